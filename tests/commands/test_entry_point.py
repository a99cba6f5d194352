import errno
import os
import sys

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationKeyError

from reid_lightning.atomic import check_writable, write_atomically
from reid_lightning.commands.main import main
from reid_lightning.errors import ReIDError
from reid_lightning.user_messages import user_message


def caused(error, cause):
    try:
        raise error from cause
    except type(error) as raised:
        return raised


def test_a_user_mistake_is_found_behind_what_hydra_wraps_around_it():
    error = caused(InstantiationException("Error in call to target"), ReIDError("no folder there"))
    assert user_message(error) == "no folder there"


def test_an_unknown_argument_and_an_unknown_key_are_user_mistakes():
    unknown = TypeError("read_veri() got an unexpected keyword argument 'rot'")
    wrapped = caused(InstantiationException(f"Error in call: {unknown!r}\nfull_key: data"), unknown)
    assert "'rot'" in user_message(wrapped)
    assert "full_key: data" in user_message(wrapped)
    refused = caused(InstantiationException("Error in call to target 'torch.optim.x.SGD'"), ValueError("momentum"))
    assert "torch.optim" in user_message(refused)
    assert "colour" in user_message(ConfigKeyError("Key 'colour' is not in struct"))
    with pytest.raises(InterpolationKeyError) as raised:
        _ = OmegaConf.create({"data": {"root": "${x}"}}).data.root
    assert user_message(raised.value).startswith("data.root is '${x}': there is no such key or environment variable.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_a_user_mistake(number):
    message = user_message(OSError(number, "reason", "/somewhere/file"))
    assert "/somewhere/file" in message
    assert "hydra.run.dir" in message


def test_what_lies_where_a_folder_or_a_file_should_be_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, kind in (("pipe", "a pipe"), ("file", "a file"), ("file/runs/1", "a file")):
        with pytest.raises((FileExistsError, NotADirectoryError)) as raised:
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        place = tmp_path / name.partition("/")[0]
        assert user_message(raised.value) == f"{place} is {kind}; expected a folder, or a name for a new one."
    with pytest.raises(OSError, match="pipe") as raised:
        write_atomically(tmp_path / "pipe", "text")
    assert user_message(raised.value) == f"{tmp_path / 'pipe'} is a pipe; expected a file, or a name for a new one."
    with pytest.raises(FileExistsError) as raised:
        tmp_path.mkdir()
    assert user_message(raised.value) is None  # a folder that is there already is no user's mistake


@pytest.mark.parametrize("error", [ValueError("bug"), TypeError("bug"), OSError(errno.EPIPE, "bug"), KeyError("bug")])
def test_a_bug_keeps_its_traceback(error):
    assert user_message(error) is None
    ours = InstantiationException("Error in call to target 'reid_lightning.models.ReIDModel'")
    assert user_message(caused(ours, ValueError("bug"))) is None


def test_a_folder_that_is_gone_is_no_traceback(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    monkeypatch.setattr(sys, "argv", ["reid", "gallery", "list"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == (
        "\nerror: the folder that this was started from is not there any more; change to one that is.\n"
    )


def test_too_little_space_is_an_error_before_the_work(tmp_path):
    check_writable(tmp_path, needed_bytes=1000)
    with pytest.raises(ReIDError, match="free"):
        check_writable(tmp_path, needed_bytes=10**18)
    assert list(tmp_path.iterdir()) == []


def test_text_is_written_whole_or_not_at_all(tmp_path):
    path = write_atomically(tmp_path / "metrics.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_cannot_steer_the_terminal(monkeypatch, capsys):
    def report(cfg):
        raise ReIDError("no picture at \x1b]0;title\x07a.jpg\nsecond line")

    monkeypatch.setattr("reid_lightning.commands.report.report", report)
    monkeypatch.setattr(sys, "argv", ["reid", "data", "report"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == "\nerror: no picture at ?]0;title?a.jpg\nsecond line\n"


def test_secrets_stay_out_of_the_saved_configuration(tmp_path):
    from reid_lightning.commands.entry_point import plain_config, save_config

    cfg = {
        "source": "rtsp://me:sec@ret@camera/1",
        "api_key": "secret",
        "vectors": {"token": "root:secret", "uri": "http://host:1"},
        "token": None,
    }
    saved = save_config(OmegaConf.create(cfg), tmp_path).read_text()
    assert "sec" not in saved
    assert OmegaConf.create(saved) == {
        "source": "rtsp://camera/1",
        "api_key": "***",
        "vectors": {"token": "***", "uri": "http://host:1"},
        "token": None,
    }
    assert plain_config(OmegaConf.create(cfg)) == OmegaConf.create(saved)


@pytest.mark.parametrize("place", ["report.report", "entry_point.run"])
def test_ctrl_c_is_no_traceback(place, monkeypatch, capsys, tmp_path):
    """In the work of a command, and while that is imported."""

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"reid_lightning.commands.{place}", interrupted)
    monkeypatch.setattr(sys, "argv", ["reid", "data", "report"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    assert capsys.readouterr().err.splitlines() == ["", "stopped by Ctrl+C"]
