"""The plots of a report: camera pairs, precision over recall, CMC, score histograms and ROC.

Each function builds a matplotlib Figure, which a notebook or a logger can take; `save_figure` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from reid_lightning.drawing.colours import RIGHT, TEXT, WRONG
from reid_lightning.drawing.figures import WIDTH, new_figure
from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.curves import CameraPairMap, PrecisionRecallCurve

_SHADES = LinearSegmentedColormap.from_list("shares", ["#edf7e9", "#a6d8a0", RIGHT, "#00441b"])
_EMPTY = "#d9d9d9"
_MOST_NUMBERED = 30  # cameras; numbers in smaller cells could not be read
_MOST_COUNTED = 12  # cameras; a cell has room for its number of queries too
_MOST_NAMED = 40  # cameras; beyond it some names are left out
_percent = partial(PercentFormatter, xmax=1, decimals=0)
_round_steps = partial(MaxNLocator, steps=[1, 2, 5, 10])


def plot_camera_pairs(pairs: CameraPairMap, *, title: str = "mAP by camera pair", caption: str = "") -> Figure:
    """A heat map with mAP in percent, a row for each query camera; grey where no query has a right answer."""
    rows, columns = pairs.mAP.shape
    most = max(rows, columns)
    explained = "A cell ranks that camera's part of the gallery alone; grey: no right answer"
    explained += "; small: queries." if most <= _MOST_COUNTED else "."
    figure, axes = new_figure(title, explained, caption, height=0.8 + rows * min(0.7, (WIDTH - 1.8) / most))
    shares = pairs.mAP.numpy()
    lowest = min(0.9, math.floor(10 * np.nanmin(shares)) / 10)  # the colours span what there is, in tenths
    highest = max(lowest + 0.1, math.ceil(10 * np.nanmax(shares)) / 10)
    image = axes.imshow(shares, cmap=_SHADES.with_extremes(bad=_EMPTY), aspect="auto", vmin=lowest, vmax=highest)
    for set_ticks, names in ((axes.set_xticks, pairs.gallery_cameras), (axes.set_yticks, pairs.query_cameras)):
        step = math.ceil(len(names) / _MOST_NAMED)
        set_ticks(range(0, len(names), step), names[::step])
    if sum(len(name) for name in pairs.gallery_cameras) > 60:
        axes.tick_params(axis="x", rotation=90)
    axes.set(xlabel="gallery camera", ylabel="query camera")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if most <= _MOST_NUMBERED:
        _number_cells(axes, pairs, dark=lowest + 0.65 * (highest - lowest))
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=40, pad=0.015, format=_percent(), ticks=_round_steps())
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=TEXT)
    return figure


def plot_precision_recall(
    curve: PrecisionRecallCurve, *, mAP: float, title: str = "Precision and recall", caption: str = ""
) -> Figure:
    """Interpolated precision over recall, with `mAP` (a share) written beside the curve."""
    explained = (
        "Mean over the queries of the highest precision at this recall or beyond; the area is mAP or a little more."
    )
    figure, axes = new_figure(title, explained, caption)
    recall, precision = curve.recall.numpy(), curve.precision.numpy()
    axes.plot(recall, precision, color=RIGHT, linewidth=2)
    axes.fill_between(recall, precision, color=RIGHT, alpha=0.08, linewidth=0)
    axes.text(0.03, 0.06, f"mAP {100 * mAP:.1f}", fontsize=13, color=TEXT)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(_percent())
    axes.yaxis.set_major_formatter(_percent())
    return figure


def plot_cmc(
    cmc: ArrayLike,
    *,
    marked: Sequence[int] = (1, 5, 10),
    title: str = "Cumulative match characteristic (CMC)",
    caption: str = "",
) -> Figure:
    """The share of queries with a right answer among the first 1, 2 ... places, `cmc` (ranks,), with ranks marked."""
    shares = _vector("cmc", cmc)
    figure, axes = new_figure(title, "Share of the queries with a right answer among the first places.", caption)
    axes.plot(np.arange(1, len(shares) + 1), shares, color=RIGHT, linewidth=2)
    ranks = [rank for rank in sorted(set(marked)) if 1 <= rank <= len(shares)]
    _mark(axes, ranks, [shares[rank - 1] for rank in ranks], labels=[f"rank-{rank}" for rank in ranks])
    lowest = math.floor(20 * max(0.0, shares[0] - 0.02)) / 20  # the axis need not begin at 0: the curve only rises
    axes.set(
        xlabel="rank", ylabel="share of the queries", xlim=(0, len(shares)), ylim=(lowest, 1 + 0.03 * (1 - lowest))
    )
    axes.xaxis.set_major_locator(_round_steps(integer=True))
    axes.yaxis.set_major_locator(_round_steps())
    axes.yaxis.set_major_formatter(_percent())
    return figure


def plot_score_histogram(
    edges: ArrayLike,
    same: ArrayLike,
    different: ArrayLike,
    *,
    threshold: float | None = None,
    score: str = "score",
    title: str = "Scores of same and different vehicles",
    caption: str = "",
) -> Figure:
    """Counts of pairs of the same vehicle, `same` (bins,), and of two vehicles, `different` (bins,), by score.

    `edges` (bins + 1,) ascend; bin i reaches from `edges[i]` to `edges[i + 1]`. `score` says in words what that is.
    """
    borders = _vector("edges", edges)
    sides = {"same": _vector("same", same), "different": _vector("different", different)}
    for name, counts in sides.items():
        if len(counts) != len(borders) - 1:
            raise ReIDError(f"{name} has {len(counts)} counts for {len(borders)} edges; expected one count fewer.")
    figure, axes = new_figure(title, "Pairs of a query and a gallery item; their axis is logarithmic.", caption)
    for (name, counts), colour in zip(sides.items(), (RIGHT, WRONG), strict=True):
        label = f"{name} vehicle{'s' if name == 'different' else ''}: {count(int(counts.sum()), 'pair')}"
        axes.stairs(counts, borders, baseline=0.5, fill=True, color=colour, alpha=0.22, linewidth=0)
        axes.stairs(counts, borders, baseline=0.5, color=colour, linewidth=1.6, label=label)
    highest = max(counts.max() for counts in sides.values())
    filled = (sides["same"] + sides["different"]).nonzero()[0]
    shown = [borders[filled[0]], borders[filled[-1] + 1]] if len(filled) else [borders[0], borders[-1]]
    shown += [] if threshold is None else [threshold]
    axes.set(xlabel=score, ylabel="pairs", yscale="log", xlim=(min(shown), max(shown)))
    axes.set_ylim(0.5, max(10.0, 6 * highest))  # room for the legend and the threshold's label
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    if threshold is not None:
        axes.axvline(threshold, color=TEXT, linewidth=1.2, linestyle=(0, (4, 3)))
        right_half = threshold > (min(shown) + max(shown)) / 2
        axes.annotate(
            f"threshold {threshold:.3f}",
            (threshold, 0.975),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if right_half else 5, 0),
            textcoords="offset points",
            horizontalalignment="right" if right_half else "left",
            verticalalignment="top",
            color=TEXT,
            fontsize=10,
        )
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, labelcolor=TEXT
    )
    return figure


def plot_roc(
    false_match_rates: ArrayLike,
    true_match_rates: ArrayLike,
    *,
    marked: Mapping[float, float] | None = None,
    title: str = "Receiver operating characteristic (ROC)",
    caption: str = "",
) -> Figure:
    """The share of same pairs accepted over the share of different pairs accepted, (points,) each and ascending.

    `marked` gives true-match rates to point out, by false-match rate.
    """
    false, true = _vector("false_match_rates", false_match_rates), _vector("true_match_rates", true_match_rates)
    if len(false) != len(true):
        raise ReIDError(f"false_match_rates has {len(false)} values, true_match_rates {len(true)}; expected as many.")
    if not (false > 0).any():
        raise ReIDError("false_match_rates has no value above 0, so a logarithmic axis has nothing to show.")
    figure, axes = new_figure(title, "A match is a pair accepted as one vehicle.", caption)
    axes.plot(false, true, color=RIGHT, linewidth=2, drawstyle="steps-post")
    left = min(0.1, 10.0 ** math.floor(math.log10(false[false > 0].min())))
    points = {rate: share for rate, share in sorted((marked or {}).items()) if rate >= left}
    _mark(axes, list(points), list(points.values()), labels=[f"at {rate:g}" for rate in points])
    axes.set(xscale="log", xlim=(left, 1), ylim=(0, 1.02))
    axes.set(xlabel="false matches (share of different pairs)", ylabel="true matches (share of same pairs)")
    axes.yaxis.set_major_formatter(_percent())
    return figure


def _number_cells(axes: Axes, pairs: CameraPairMap, *, dark: float) -> None:
    """Write mAP into the cells, in white above `dark`, and the number of queries where there is room."""
    rows, columns = pairs.mAP.shape
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="white", linewidth=1)
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="white", linewidth=1)
    counted = max(rows, columns) <= _MOST_COUNTED
    decimals, size = (1, 10.5) if counted else (0, min(9.0, 180 / max(rows, columns)))
    for row, column in (pairs.queries > 0).nonzero().tolist():
        value = float(pairs.mAP[row, column])
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if value > dark else TEXT}
        axes.text(column, row - 0.12 * counted, f"{100 * value:.{decimals}f}", fontsize=size, **style)
        if counted:
            axes.text(column, row + 0.26, f"{int(pairs.queries[row, column]):,}", fontsize=7, **style)


def _mark(axes: Axes, x: Sequence[float], y: Sequence[float], *, labels: Sequence[str]) -> None:
    """Dots on a curve, and their shares `y` in percent in the corner that a rising curve leaves free: beside the dots
    they would cover each other."""
    axes.plot(x, y, marker="o", markersize=6.5, color=RIGHT, markeredgecolor="white", linestyle="none")
    text = "\n".join(f"{label}   {100 * share:.1f}" for label, share in zip(labels, y, strict=True))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 4}
    style: dict[str, Any] = {"fontsize": 12, "color": TEXT, "linespacing": 1.5, "bbox": box}
    axes.text(0.97, 0.06, text, transform=axes.transAxes, horizontalalignment="right", **style)


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or not len(vector):
        raise ReIDError(f"{name} has shape {vector.shape}; expected a row of at least one number.")
    if not np.isfinite(vector).all():
        raise ReIDError(f"{name} holds NaN or infinity, first at {int((~np.isfinite(vector)).argmax())}.")
    return vector
