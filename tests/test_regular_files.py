"""Pipes, sockets and devices are never waited for, whatever they are called and wherever they are named."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.data.readers.layout import file_lines
from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import SpecialFileError, check_regular
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.search.video.source_base import file_fingerprint
from reid_lightning.search.video.sources import open_source
from reid_lightning.untrusted.plain_yaml import read_plain_yaml
from reid_lightning.untrusted.torch_files import UnreadableFileError, load_torch_file


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe whose other end gives nothing to whoever opens it, so that a test that waits fails and does not hang."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def give_nothing() -> None:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))

    other_end = threading.Thread(target=give_nothing, daemon=True)
    other_end.start()
    yield path
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # for which the other end waits where nobody has read
    other_end.join()
    os.close(reader)


@pytest.mark.parametrize(
    "read",
    [
        load_image,
        decode,
        open_source,
        file_fingerprint,
        file_lines,
        read_items,
        read_plain_yaml,
        load_torch_file,
        TravelTimes.read,
        lambda path: read_csv(path=path),
    ],
)
def test_a_pipe_is_refused_with_a_sentence(pipe: Path, read: Callable[[Path], object]):
    with pytest.raises((ReIDError, UnreadableFileError), match="it is a pipe and no file"):
        read(pipe)


@pytest.mark.parametrize("decoded", [False, True])
def test_a_pipe_among_pictures_is_a_bad_one(pipe: Path, decoded: bool):
    assert find_bad_images([pipe], decode=decoded) == {pipe: "it is a pipe and no file"}


def test_sockets_devices_and_links_to_them_are_no_files(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to("/dev/zero")
        for name, kind in (("socket", "a socket"), ("link", "a device")):
            with pytest.raises(SpecialFileError, match=kind):
                check_regular(tmp_path / name)
            with pytest.raises(ReIDError, match=kind):
                open_source(tmp_path / name)
    for path in (tmp_path, tmp_path / "missing", "a\0b"):
        check_regular(path)
