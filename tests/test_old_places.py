"""Modules are found where earlier releases had them, once, and whoever imports them there is told."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("checkpoints", "training.checkpoints"),
        ("search.sources", "search.video.sources"),
        ("data.csv_table", "data.readers.csv_table"),
        ("search.detectors.motion", "search.video.detectors.motion"),
    ],
)
def test_an_old_name_is_the_module_of_today(before: str, today: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, today = f"reid_lightning.{before}", f"reid_lightning.{today}"
    known = importlib.import_module(today)
    monkeypatch.delitem(sys.modules, before, raising=False)  # another test may have asked for it
    added = {before, before.rpartition(".")[0]} - set(sys.modules)
    try:
        with pytest.warns(FutureWarning, match=f"{before} is {today} now"):
            assert importlib.import_module(before) is known
        assert known.__name__ == today and known.__spec__.name == today
        assert importlib.import_module(before) is known, "and stays it"
    finally:
        for name in added:
            above, _, last = name.rpartition(".")
            del sys.modules[name]
            vars(sys.modules.get(above, known)).pop(last, None)


@pytest.mark.parametrize("name", ["reid_lightning.nothing", "reid_lightning.job", "reid_lightning.training.nothing"])
def test_what_was_nowhere_or_may_be_several_is_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
        importlib.import_module(name)
