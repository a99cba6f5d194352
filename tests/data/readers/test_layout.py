"""List files that are not there, and what names them."""

from __future__ import annotations

import pytest

from reid_lightning.data.readers.layout import check_seed, file_lines, text_lines
from reid_lightning.errors import ReIDError


def test_a_file_that_is_not_there_is_no_matter_of_permissions(tmp_path):
    for read in (file_lines, text_lines):
        with pytest.raises(ReIDError, match=r"nope\.txt cannot be read: No such file \(seen from ") as raised:
            read(tmp_path / "nope.txt")
        assert "read access" not in str(raised.value)
        with pytest.raises(ReIDError, match=r"^data\.test_identities: .*set data\.test_identities to a file"):
            read(tmp_path / "nope.txt", key="data.test_identities")


def test_a_folder_and_bytes_are_no_lists(tmp_path):
    with pytest.raises(ReIDError, match=r"cannot be read: Is a directory"):
        text_lines(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReIDError, match=r"list\.txt is not a text file"):
        text_lines(tmp_path / "list.txt")


def test_any_whole_number_is_a_seed():
    for seed in (0, 7, -1, 2**40):
        check_seed("data.seed", seed)
    for seed in ("abc", None, 1.5, False):
        with pytest.raises(ReIDError, match=r"data\.seed is .*; expected a whole number such as 0"):
            check_seed("data.seed", seed)
