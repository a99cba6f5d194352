"""What a console shows: of any encoding, without secrets, a screen at most."""

import io
import os
import sys

import pytest

from reid_lightning.commands.console import safe_console, secrets_of
from reid_lightning.commands.main import main
from reid_lightning.errors import ReIDError, one_screen


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


def written(file):
    file.flush()
    return file.buffer.getvalue().decode(file.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_what_a_console_cannot_show_is_escaped(monkeypatch, encoding):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, file := stream(encoding))
        with safe_console():
            print("京A12345 caf\udce9", file=getattr(sys, name))
        assert written(file) == "\\u4eacA12345 caf\\udce9\n"


@pytest.mark.parametrize("words", [[], ["vectors.token=hushhush"]])
@pytest.mark.parametrize(("name", "status"), [("stdout", 1), ("stderr", None)])
@pytest.mark.parametrize("length", [10, 100_000])
def test_what_a_full_disk_does_not_take_is_told_at_the_end(monkeypatch, capsys, name, status, length, words):
    done, ended = [], None
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, name, full)
    try:
        with safe_console(words):
            for _ in range(3):
                print("x" * length, file=getattr(sys, name))
            done.append("the work")
    except SystemExit as stop:
        ended = stop.code
    assert done == ["the work"] and ended == status
    shown = capsys.readouterr().err
    assert shown.count("cannot write to stdout: No space left on device") == (status or 0) and "Traceback" not in shown
    full.close()  # what was left to be written has been given up


def test_a_reader_that_has_gone_is_no_mistake(monkeypatch, capsys):
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with safe_console():
            print("hello")
    assert capsys.readouterr().err == ""


def test_a_closed_console_is_no_mistake(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with safe_console():
        print("hello")
    assert sys.stdout is None


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        (["source=rtsp://admin:Geh#im77@127.0.0.1:1/x"], ["Geh#im77", "Geh", "im77", "admin:Geh#im77", "Geh%23im77"]),
        (["source=rtsp://admin:密码Secret77@h/x"], ["密码Secret77", "%E5%AF%86%E7%A0%81Secret77"]),
        (["source=rtsp://me:two words/and?more@h/x"], ["two words/and?more", "words"]),
        (["source=[a.mp4,rtsp://me:hush-hush@h/x]"], ["hush-hush"]),
        (["source=rtsp://h/x?user=me&password=hushhush"], ["hushhush"]),
        (["stores.token=root:Milvus!7"], ["root:Milvus!7"]),
        (["+logger.wandb.api_key=0123abcd"], ["0123abcd"]),
        (["list", "--token", "hushhush", "--uri", "http://u:other@h:1"], ["hushhush", "other"]),
        (["--uri=http://u:other@h:1"], ["other"]),
        (["source=rtsp//admin:Secret77@127.0.0.1:1/x"], ["Secret77"]),
        (["source=rtsp:admin:Secret77@127.0.0.1"], ["Secret77"]),
        (["query=rtsp://admin:Secret77"], ["Secret77"]),
        (["query=http://127.0.0.1:1/x#Secret77"], ["Secret77"]),
        (["stores.uri=Secret77@127.0.0.1:1"], ["Secret77"]),
        (["query=rtsp://admin:x\udcffPW77@127.0.0.1:1/x"], ["PW77"]),
    ],
)
def test_no_secret_of_the_command_line_is_shown(monkeypatch, words, hidden):
    monkeypatch.setattr(sys, "stdout", file := stream("utf-8"))
    with safe_console(words):
        for secret in [*hidden, *words]:
            print(f"what a library says: {secret!r}, {secret}.")
    assert not [secret for secret in hidden if secret in written(file)], written(file)


def test_what_is_no_secret_is_shown():
    words = ["source=rtsp://cam:554/1?channel=2", "data.root=/data/me@home", "loss=id", "query=C:/clips/me@home.mp4"]
    assert secrets_of(words) == frozenset()
    assert secrets_of(["stores.token=${oc.env:MILVUS_TOKEN}"]).isdisjoint({"${oc.env:MILVUS_TOKEN}"})


def test_the_traceback_of_a_bug_hides_secrets_too(monkeypatch, capsys):
    words = ["source=rtsp://me:hushhush@h/x"]
    with pytest.raises(SystemExit) as stop, safe_console(words):
        raise ValueError(words[0])
    shown = capsys.readouterr().err
    assert stop.value.code == 1 and "Traceback" in shown and "ValueError: source=rtsp://" in shown
    assert "hushhush" not in shown


@pytest.mark.parametrize("full", ["0", "1"])
def test_an_entry_point_hides_secrets_in_whatever_it_prints(monkeypatch, capsys, full):
    monkeypatch.setenv("HYDRA_FULL_ERROR", full)

    monkeypatch.setattr(sys, "argv", ["reid", "data", "report", "data.size=rtsp://admin:Geh#im77@h/x"])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert stop.value.code == 1 and "data.size is 'rtsp://" in captured.err
    assert "im77" not in captured.err + captured.out


def test_a_message_is_a_screen_at_most(monkeypatch, capsys):
    assert one_screen("short\nmessage") == "short\nmessage"
    for text in ("x" * 70_000, "line\n" * 1000):
        kept = one_screen(text)
        assert len(kept) <= 2010 and len(kept.split("\n")) <= 20 and " ... " in kept.replace("\n", " ")

    def report(cfg):
        raise ReIDError("y" * 100_000)

    monkeypatch.setattr("reid_lightning.commands.report.report", report)
    monkeypatch.setattr(sys, "argv", ["reid", "data", "report"])
    with pytest.raises(SystemExit):
        main()
    assert len(capsys.readouterr().err) < 2100


def test_a_reader_that_has_gone_ends_the_command_without_a_traceback(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w", buffering=1))
    monkeypatch.setattr(sys, "stderr", errors)
    with pytest.raises(SystemExit) as stopped, safe_console():
        print("one line")
        print("and one more")
    assert stopped.value.code == 1 and errors.getvalue() == ""
