"""Tables as CSV, as Markdown and on a terminal of 80 columns (names give way, numbers never), and closing lines there.

A terminal that says no width, a pipe or a file, counts as 80 columns wide.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reid_lightning.errors import one_screen, printable
from reid_lightning.redaction import without_password

_log = logging.getLogger(__name__)

_DOTS = "..."
_LEAST = 12


@dataclass(frozen=True)
class Name:
    """A text in a cell of a table that is shortened in its middle where there is no room for all of it: beginnings and
    ends tell names apart. Never interpreted as markup."""

    text: str
    style: str = ""
    least: int = _LEAST
    """Cells of it that stay while there is anything else to take from."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(middle_shortened(self.text, options.max_width), style=self.style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = cell_len(self.text)
        return Measurement(min(width, self.least), width).with_maximum(options.max_width)


def middle_shortened(text: str, width: int) -> str:
    """The text, or its beginning and its end with dots between, in at most `width` cells of a terminal."""
    if cell_len(text) <= width:
        return text
    if width <= len(_DOTS):
        return set_cell_size(text, width)
    kept = width - len(_DOTS)
    start = set_cell_size(text, kept - kept // 2)
    return start + _DOTS + set_cell_size(text[::-1], kept // 2)[::-1]


def new_table(*columns: str, names: Iterable[str] = ()) -> Table:
    """A table whose columns hold numbers, right-aligned and never broken or cut; but for those of `names`, whose cells
    are `Name`s or words that may go over several lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    names = set(names)
    for column in columns:
        is_name = column in names
        table.add_column(Text(column), justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    return table


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The rows in Markdown, all columns but the first right-aligned."""
    cells = ([f" {cell.replace('|', '/')}" if cell else "" for cell in row] for row in (header, *rows))
    first, *others = (f"|{' |'.join(row)} |\n" for row in cells)
    return "".join([first, "| --- |" + " ---: |" * (len(header) - 1) + "\n", *others])


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The rows as CSV under their columns; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def date(seconds: float | None, zone: tzinfo | None = None) -> str:
    """Seconds since 1970 as a date and a time, of this computer's zone by default; empty where nobody knows it."""
    try:
        return "" if seconds is None else datetime.fromtimestamp(seconds, zone).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"


def titled(table: Table, title: str, caption: str = "") -> Group:
    """The table between two texts, which may be wider than it and are shown as they are; a blank line behind."""
    return Group(Text(title, style="bold"), table, *([Text(caption, style="dim")] if caption else []), Text())


def say(text: str, *, stderr: bool = False, style: str = "") -> None:
    """One message, without what a file from elsewhere may have put into it to steer a terminal; lines stay whole."""
    shown = printable(one_screen(without_password(text)))
    Console(stderr=stderr, soft_wrap=True, highlight=False).print(shown, style=style, markup=False)


def print_logged(console: Console, shown: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print, and keep as plain text in the log's file."""
    console.print(shown, soft_wrap=soft_wrap, highlight=False)
    text = io.StringIO()
    Console(file=text, width=80, color_system=None).print(
        shown, soft_wrap=soft_wrap or isinstance(shown, Text), highlight=False
    )
    _log.info("%s", text.getvalue().strip("\n"), extra={"printed": True})


def print_written(console: Console, paths: Iterable[Path]) -> None:
    """A line for each of the files and folders that are there."""
    for path in paths:
        if path.exists():
            print_logged(console, Text("wrote ", style="dim") + Text(str(path)), soft_wrap=True)
