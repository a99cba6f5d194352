"""Z-buffered triangles in plain numpy: every scan line of every triangle at once, no loop over triangles.

The cost is that of the covered pixels, about 10 ms for a vehicle at 200 by 150.
"""

from __future__ import annotations

import numpy as np


def rasterise(points: np.ndarray, depth: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest triangle of every pixel.

    Args:
        points: (T, 3, 2) corners on the screen in pixels, x to the right and y down.
        depth: (T, 3) distances along the view, all positive.
        size: (width, height) of the screen.

    Returns:
        pixels: (N,) the covered pixels as y * width + x, ascending; triangles: (N,) which triangle each one shows.
        A pixel belongs to a triangle that covers its centre; the nearest wins, and of equals the first.
    """
    width, height = size
    y = points[..., 1].astype(np.float64)
    x = points[..., 0].astype(np.float64)
    top = np.clip(np.ceil(y.min(axis=1) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(y.max(axis=1) - 0.5), 0, height).astype(np.int64)
    rows = bottom - top
    span_triangle = np.repeat(np.arange(len(x)), rows)
    starts = np.cumsum(rows) - rows
    row = np.arange(len(span_triangle)) - starts[span_triangle] + top[span_triangle]
    centre = row + 0.5
    left = np.full(len(row), np.inf)
    right = np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        rise = y[:, b] - y[:, a]
        slope = (x[:, b] - x[:, a]) / np.where(rise == 0, 1, rise)
        ya, yb = y[span_triangle, a], y[span_triangle, b]
        crosses = (ya <= centre) != (yb <= centre)
        at = x[span_triangle, a] + (centre - ya) * slope[span_triangle]
        left = np.where(crosses, np.minimum(left, at), left)
        right = np.where(crosses, np.maximum(right, at), right)
    found = np.isfinite(left)
    first = np.clip(np.ceil(np.where(found, left, 0) - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.ceil(np.where(found, right, 0) - 0.5), 0, width).astype(np.int64)
    counts = np.maximum(last - first, 0)
    span = np.repeat(np.arange(len(counts)), counts)
    column = np.arange(len(span)) - (np.cumsum(counts) - counts)[span] + first[span]
    triangle = span_triangle[span]
    plane = screen_planes(points, 1.0 / depth[..., None])[:, 0]
    nearness = plane[triangle, 0] * (column + 0.5) + plane[triangle, 1] * centre[span] + plane[triangle, 2]
    inverse = 1.0 / depth
    nearness = np.clip(nearness, inverse.min(axis=1)[triangle], inverse.max(axis=1)[triangle])
    scale = 2.0**30 / max(float(inverse.max()) * 2, 1e-12)
    order = np.clip(2.0**31 - nearness * scale, 0, 2.0**32).astype(np.int64)
    key = (order << 20) | triangle
    empty = np.int64(2**62)
    buffer = np.full(width * height, empty)
    np.minimum.at(buffer, row[span] * width + column, key)
    pixels = np.flatnonzero(buffer != empty)
    return pixels, buffer[pixels] & ((1 << 20) - 1)


def screen_planes(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Planes a x + b y + c through values at the corners.

    Args:
        points: (T, 3, 2) corners on the screen.
        values: (T, 3, K) what to interpolate.

    Returns:
        (T, K, 3) of a, b, c.
    """
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    x1, x2, y1, y2 = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0], y[:, 1] - y[:, 0], y[:, 2] - y[:, 0]
    area = x1 * y2 - x2 * y1
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)[:, None]
    v1, v2 = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    a = (v1 * y2[:, None] - v2 * y1[:, None]) / area
    b = (v2 * x1[:, None] - v1 * x2[:, None]) / area
    c = values[:, 0] - a * x[:, :1] - b * y[:, :1]
    return np.stack([a, b, c], axis=-1)
