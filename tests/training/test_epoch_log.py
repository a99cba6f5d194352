"""The log as one table: rows are written at once, new columns widen it, and a resumed run continues it."""

import csv

import pytest
import torch

from reid_lightning.training.epoch_log import CSVLog


def rows(log):
    with log.path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def log(tmp_path):
    return CSVLog(tmp_path / "logs")


def test_a_row_is_on_the_disk_as_soon_as_it_is_logged(log):
    log.log_metrics({"train/loss": torch.tensor(0.5), "epoch": 0}, step=9)
    assert log.path.read_text() == "epoch,step,train/loss\n0,9,0.5\n"


def test_columns_stand_in_the_order_of_their_names_whenever_they_came(log):
    log.log_metrics({"val/mAP": 0.25}, step=0)
    log.log_metrics({"lr": 0.1}, step=0)
    log.log_metrics({"train/loss": 2.0}, step=1)
    assert log.path.read_text() == "lr,step,train/loss,val/mAP\n,0,,0.25\n0.1,0,,\n,1,2.0,\n"


def test_a_number_keeps_all_its_digits_when_the_table_is_widened(log):
    value = 0.1 + 0.2
    log.log_metrics({"b": value}, step=0)
    log.log_metrics({"a": 1}, step=1)
    assert float(rows(log)[0]["b"]) == value


def test_the_same_row_twice_is_one_row_but_other_columns_of_a_step_are_another(log):
    for _ in range(2):
        log.log_metrics({"train/loss": 1.0}, step=3)
    log.log_metrics({"val/mAP": 0.5}, step=3)
    assert [row["train/loss"] for row in rows(log)] == ["1.0", ""]


def test_a_resumed_run_has_the_bytes_of_one_that_was_not_interrupted(tmp_path):
    def write(log, steps):
        for step in steps:
            log.log_metrics({"lr": 0.1 * step}, step=step)
            log.log_metrics({"train/loss": 1 / (step + 1)}, step=step)
            if step % 3 == 2:
                log.log_metrics({"val/mAP": step / 10}, step=step)

    whole = CSVLog(tmp_path / "whole")
    write(whole, range(7))
    for checkpoint in range(1, 6):
        killed = CSVLog(tmp_path / f"at_{checkpoint}")
        write(killed, range(6))
        resumed = CSVLog(tmp_path / f"at_{checkpoint}")
        resumed.go_on(step=checkpoint)
        write(resumed, range(checkpoint, 7))
        assert resumed.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("torn", ["2,0.1", "2,", "2", '2,"0.1'])
def test_a_row_that_was_cut_off_is_dropped(log, torn):
    log.log_metrics({"x": 1.0}, step=0)
    log.log_metrics({"x": 2.0}, step=1)
    with log.path.open("a") as file:
        file.write(torn)
    resumed = CSVLog(log.folder)
    resumed.go_on(step=5)
    resumed.log_metrics({"x": 3.0}, step=5)
    assert [(row["step"], row["x"]) for row in rows(log)] == [("0", "1.0"), ("1", "2.0"), ("5", "3.0")]


def test_a_run_that_is_not_resumed_replaces_the_table(log):
    log.log_metrics({"x": 1.0, "old": 1}, step=7)
    CSVLog(log.folder).log_metrics({"x": 2.0}, step=0)
    assert log.path.read_text() == "step,x\n0,2.0\n"


def test_going_on_without_a_table_begins_one(log):
    log.go_on(step=4)
    log.sync()
    assert not log.path.exists()
    log.log_metrics({"x": 1.0}, step=4)
    assert log.path.read_text() == "step,x\n4,1.0\n"


def test_a_table_of_lightnings_own_logger_is_continued(log):
    log.folder.mkdir()
    log.path.write_bytes(b"epoch,step,val/mAP\r\n0,9,0.5\r\n1,19,0.75\r\n")
    log.go_on(step=10)
    log.log_metrics({"val/mAP": 0.875, "epoch": 1}, step=19)
    assert log.path.read_text() == "epoch,step,val/mAP\n0,9,0.5\n1,19,0.875\n"
