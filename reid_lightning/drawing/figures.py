"""A matplotlib Figure with a title and grey captions, and writing one."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reid_lightning.atomic import replacing
from reid_lightning.drawing.colours import FAINT, TEXT

WIDTH = 9.0  # inches; at 150 dots an inch a picture has 1,350 pixels and is still readable at 900
DPI = 150
_HEIGHT = 4.6  # inches below the caption
_MARGIN = 0.15
_LINE = 0.19  # of a caption
_LETTERS = 138  # in a line of a caption
_GRID = "#e4e4e4"


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of the path's ending (.png, .svg, .pdf); it appears whole or not at all."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI)
    return path


def new_figure(title: str, *captions: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """A figure whose axes take `height` inches below a title and grey captions, each of which begins a line."""
    figure, (axes,) = new_grid(title, *captions, rows=1, columns=1, height=height)
    return figure, axes


def new_grid(title: str, *captions: str, rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """The same with several axes, row by row."""
    lines = [line for caption in captions for line in textwrap.wrap(caption, _LETTERS)]
    total = height + 0.5 + _LINE * len(lines)
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN / 2, rect=(0, 0, 1, height / total))
    figure = Figure(figsize=(WIDTH, total), facecolor="white", layout=layout)
    place: dict[str, Any] = {"x": _MARGIN / WIDTH, "verticalalignment": "top", "parse_math": False}
    figure.text(y=1 - 0.12 / total, s=title, fontsize=13, color=TEXT, **place)
    figure.text(y=1 - 0.42 / total, s="\n".join(lines), fontsize=8.5, color=FAINT, linespacing=1.35, **place)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for one in axes:
        _style(one)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", color=FAINT, labelcolor=TEXT, labelsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=TEXT, fontsize=10)
