"""Files that appear whole or not at all, in folders that somebody else has prepared."""

import os

import pytest

from reid_lightning.atomic import replacing


def test_a_file_is_replaced_whole_or_stays_and_nothing_is_left(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError, match="half"), replacing(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("ne")
        raise ValueError("half")
    assert (tmp_path / "a.txt").read_text() == "old"
    with replacing(tmp_path / "a.txt") as unfinished:
        assert unfinished.suffix == ".txt" and unfinished.name.startswith(".")
        unfinished.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "new")]


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_or_a_device_is_not_replaced(tmp_path, name):
    """Whoever has the rights would have no /dev/null any more."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe and no file"), replacing(tmp_path / name):
        pytest.fail("begun")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_no_link_can_lie_in_wait_under_the_temporary_name(tmp_path):
    with replacing(tmp_path / "card.md") as first, replacing(tmp_path / "card.md") as second:
        first.write_text("one")
        second.write_text("two")
        assert first != second and str(os.getpid()) not in (first.name.split(".")[1], second.name.split(".")[1])


def test_a_link_under_the_name_itself_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "card.md").symlink_to(tmp_path / "precious")
    with replacing(tmp_path / "card.md") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "precious").read_text() == "mine" and not (tmp_path / "card.md").is_symlink()
