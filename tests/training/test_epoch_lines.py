"""Each epoch has its line in the log."""

import logging
import re

import pytest
from toy_run import fit, noise_pictures

from reid_lightning.training.callbacks.epoch_lines import EpochLines, StepBar, _clock


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (12.4, "0:12"), (185, "3:05"), (3723, "1:02:03")])
def test_a_time_is_short(seconds, text):
    assert _clock(seconds) == text


def test_a_line_has_epoch_losses_figures_and_what_is_left(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        fit(tmp_path, noise_pictures(tmp_path), EpochLines())
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("epoch_lines")]
    number = r"\d+\.\d+"
    for epoch, line in enumerate(lines, start=1):
        words = rf"epoch {epoch}/2: loss {number} \(circle {number}, id {number}\), mAP {number}, rank-1 {number}; "
        assert re.fullmatch(words + r"\d+:\d\d, \d+:\d\d left", line), line
    assert len(lines) == 2 and lines[1].endswith(" 0:00 left")


def test_the_bar_is_for_a_terminal_and_shows_no_version(monkeypatch):
    bar = StepBar()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert bar.is_enabled
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert not bar.is_enabled
