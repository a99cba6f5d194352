"""A job tells how far it is, can be stopped, and turns mistakes into messages."""

import threading

import pytest

from reid_lightning.app import jobs
from reid_lightning.app.jobs import Job
from reid_lightning.app.text import count, date, plain
from reid_lightning.errors import ReIDError


def ended(work):
    job = Job("Working", work)
    assert job.wait(20)
    return job


def test_its_value_and_progress_are_kept():
    def work(job):
        for number in range(3):
            job.step(total=4, note=f"number {number}")
        return "all"

    job = ended(work)
    assert (job.state, job.result, job.done, job.share, job.note) == ("done", "all", 3, 0.75, "number 2")
    assert not job.running and ended(lambda job: None).share is None


def test_a_stopped_one_ends_at_its_next_step():
    waiting, going = threading.Event(), threading.Event()

    def work(job):
        waiting.set()
        assert going.wait(20)
        job.step()
        raise AssertionError("it went on")

    job = Job("Working", work)
    assert waiting.wait(20) and job.running
    job.cancel()
    going.set()
    assert job.wait(20) and job.state == "cancelled" and not job.error


def test_mistakes_are_told_and_faults_are_logged(caplog):
    def mistake(job):
        raise ReIDError("the file is empty; give another")

    def fault(job):
        raise ZeroDivisionError("secret")

    assert (ended(mistake).state, ended(mistake).error) == ("failed", "the file is empty; give another")
    job = ended(fault)
    assert job.state == "failed" and "ZeroDivisionError" in job.error and "secret" not in job.error
    assert "secret" in caplog.text


@pytest.mark.parametrize(("after", "state"), [(-1.0, "cancelled"), (1000.0, "done")])
def test_without_its_tab_it_stops_after_a_while(monkeypatch, after, state):
    class Session:
        session_id = "closed"

    class Runtime:
        def is_active_session(self, session):
            return session != "closed"

    monkeypatch.setattr(jobs, "get_script_run_ctx", lambda **_: Session())
    monkeypatch.setattr(jobs, "exists", lambda: True)
    monkeypatch.setattr(jobs, "get_instance", Runtime)
    monkeypatch.setattr(jobs, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(jobs, "_GONE_AFTER", after)
    assert ended(lambda job: job.step()).state == state


def test_outside_texts_show_as_they_are_written():
    assert plain("AB-12") == "AB\\-12"
    assert plain("**[x](javascript:1)** :red[y] $z$ <b>") == (
        "\\*\\*\\[x\\]\\(javascript\\:1\\)\\*\\* \\:red\\[y\\] \\$z\\$ \\<b\\>"
    )
    assert plain("two\nlines\u202e") == "two\\?lines\\?"
    assert plain("沪A·12345") == "沪A·12345"


def test_numbers_and_dates_in_words():
    assert (count(1, "vehicle"), count(2000, "vehicle"), count(0, "entry", "entries")) == (
        "1 vehicle",
        "2,000 vehicles",
        "0 entries",
    )
    assert date(None) == "" and date(0.0).startswith("19") and date(1e20) == "1e+20 s"
