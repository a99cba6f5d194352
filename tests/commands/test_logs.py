"""What is logged stands in a line on the console and in the file, and is said once."""

import logging.config
import sys
import warnings

import pytest
from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from reid_lightning.drawing.tables import print_logged


@pytest.fixture
def log(project, tmp_path):
    """A logger as a command has it; the path of its file."""
    settings = OmegaConf.to_container(OmegaConf.load(project / "conf/hydra/job_logging/console_and_file.yaml"))
    settings["handlers"]["file"]["filename"] = str(tmp_path / "run.log")
    before = logging.root.handlers[:], logging.root.level
    with warnings.catch_warnings():
        logging.config.dictConfig(settings)
        yield tmp_path / "run.log"
    logging.root.handlers[:], level = before[0], before[1]
    logging.root.setLevel(level)


def test_a_message_is_itself_on_the_console_and_has_its_time_in_the_file(log, capsys):
    assert not log.exists(), "nothing is written before something is logged"
    logging.getLogger("reid").info("epoch %d", 1)
    logging.getLogger("reid").warning("a camera moves")
    assert capsys.readouterr().out == "epoch 1\nwarning: a camera moves\n"
    first, second = log.read_text().splitlines()
    assert first.endswith(" INFO epoch 1") and second.endswith(" WARNING a camera moves")


def test_what_is_printed_is_in_the_file_and_on_the_console_once(log, capsys):
    print_logged(Console(file=sys.stdout), Text("wrote a"))
    assert capsys.readouterr().out == "wrote a\n"
    assert log.read_text().endswith(" INFO wrote a\n")


def test_a_warning_of_a_library_is_a_line_and_comes_once(log, capsys):
    warnings.simplefilter("always")
    for _ in range(3):
        warnings.warn("few\n  workers", stacklevel=1)
    assert capsys.readouterr().out == "warning: few workers (test_logs.py:46)\n"
    assert len(log.read_text().splitlines()) == 1


def test_messages_go_to_the_standard_output_of_their_moment(log, capsys, monkeypatch, tmp_path):
    with (tmp_path / "other").open("w") as other:
        monkeypatch.setattr(sys, "stdout", other)  # as a progress bar does
        logging.getLogger("reid").info("above the bar")
        monkeypatch.undo()
    assert (tmp_path / "other").read_text() == "above the bar\n"
