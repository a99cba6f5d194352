"""Whoever lists a hundred thousand files is seen to work, on a terminal and nowhere else."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from reid_lightning.data.images import counting as module
from reid_lightning.data.images.counting import counting
from reid_lightning.data.images.files import find_pictures


def shown(*, terminal: bool, files: int) -> list[str]:
    """What a terminal is given while `files` are counted."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=80, _environ={"TERM": "xterm"})
    with counting("listing [b]cars[/b]", console=console) as count:
        for _ in range(files):
            count()
    return re.findall(r"listing \[b\]cars\[/b\]: ([\d,]+) files", written.getvalue())


def test_the_number_of_files_is_shown_while_it_grows() -> None:
    counts = shown(terminal=True, files=12_345)
    assert counts[0] == "5,000" and counts[-1] == "12,300"


@pytest.mark.parametrize(("terminal", "files"), [(True, 4_999), (False, 12_345)])
def test_few_files_and_no_terminal_show_nothing(terminal: bool, files: int) -> None:
    assert shown(terminal=terminal, files=files) == []


def test_folders_are_counted_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files of all folders, pictures or not."""
    for name in ("a.jpg", "b.txt", "below/c.jpg", "below/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    started: list[str] = []
    monkeypatch.setattr(module, "_SHOWN_FROM", 5)  # with the folder
    monkeypatch.setattr(module, "_started", lambda what, console: started.append(what))
    find_pictures(tmp_path)
    assert started == [f"listing {tmp_path.name}"]
