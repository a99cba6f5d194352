"""The scans of a JPEG are counted as libjpeg would come to them, and every reader refuses a file with too many."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from reid_lightning.data.images import decoding
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.jpeg_markers import MAX_SCANS, has_many_scans, jpeg_header

NOISE = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
END = b"\xff\xd9"
REASON = f"it is a JPEG of more than {MAX_SCANS} scans"


def jpeg(pixels: np.ndarray = NOISE, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


PROGRESSIVE = jpeg(progressive=True)
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]


def with_scans(more: int, between: bytes = b"") -> bytes:
    return PROGRESSIVE[:-2] + (between + LAST_SCAN) * more + END


def scans_of(data: bytes) -> int:
    return data.count(b"\xff\xda")


def not_interleaved() -> bytes:
    """A baseline file that says of its three components one scan each, the first of them again and again."""
    data = jpeg(subsampling=0)
    start = data.index(b"\xff\xda")
    scan = data[start:-2]
    one = segment(0xDA, bytes([1, *scan[5:7], 0, 63, 0])) + scan[14:]
    return data[:start] + one * (MAX_SCANS + 1) + END


MANY = {
    "progressive": with_scans(MAX_SCANS),
    "fill bytes": with_scans(MAX_SCANS, b"\xff\xff\xff"),
    "bytes between segments": with_scans(MAX_SCANS, b"\x00\xff\x00 and more"),
    "comments between": with_scans(MAX_SCANS, segment(0xFE, b"x" * 200)),
    "markers without a length": with_scans(MAX_SCANS, b"\xff\xd0\xff\x01\xff\x02\xff\xfe\x00\x02"),
    "very many segments": with_scans(MAX_SCANS, b"\xff\xfe\x00\x02" * 9_000),
    "not interleaved": not_interleaved(),
}
FEW = {
    "baseline": jpeg(),
    "progressive": PROGRESSIVE,
    "restarts": jpeg(progressive=True, restart_marker_blocks=1),
    "just as many": with_scans(MAX_SCANS - scans_of(PROGRESSIVE)),
    "previews in the header": PROGRESSIVE[:2] + segment(0xE2, with_scans(MAX_SCANS)[:60_000]) + PROGRESSIVE[2:],
    "a film behind its end": PROGRESSIVE + b"\xff\xda" * 1_000 + END,
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("exif", [b"", segment(0xE1, b"anything")], ids=["plain", "APP1"])
def test_honest_files_are_read(tmp_path: Path, name: str, exif: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FEW[name][:2] + exif + FEW[name][2:])
    assert not has_many_scans(path.read_bytes())
    assert np.array_equal(decode(path), np.asarray(load_image(path))) and decode(path).shape == NOISE.shape
    assert find_bad_images([path]) == {} == find_bad_images([path], decode=True)


def test_many_scans_behind_the_part_that_the_quick_look_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    padding = segment(0xFE, bytes(60_000)) * 3
    for scans, reasons in ((MAX_SCANS, 1), (1, 0)):
        path.write_bytes(with_scans(0)[:-2] + padding + with_scans(scans)[len(PROGRESSIVE) - 2 :])
        assert len(find_bad_images([path])) == reasons


def test_honest_progressive_files_have_about_ten_scans() -> None:
    inks = io.BytesIO()
    Image.fromarray(NOISE).convert("CMYK").save(inks, "JPEG", progressive=True)
    assert scans_of(PROGRESSIVE) == 10 and scans_of(inks.getvalue()) < MAX_SCANS // 2


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("exif", [b"", segment(0xE1, b"anything")], ids=["plain", "APP1"])
def test_files_with_many_scans_are_refused_before_they_are_decoded(
    tmp_path: Path, name: str, exif: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(decoding.simplejpeg, "decode_jpeg", refuse)
    data = MANY[name][:2] + exif + MANY[name][2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    shard = tmp_path / "a.tar"
    shard.write_bytes(data)
    packed = PackedPicture(str(shard), 0, len(data), zipfile.crc32(data), "a.jpg")
    for picture in (path, packed):
        for read in (load_image, decode):
            with pytest.raises(ReIDError, match=f"a.jpg cannot be read: {REASON}.* Replace the file"):
                read(picture)
        for in_full in (False, True):
            assert REASON in find_bad_images([picture], decode=in_full)[picture]


def test_a_marker_that_libjpeg_passes_over_hides_no_scans() -> None:
    """Where a restart is due, libjpeg drops an unknown marker and looks for the next, whatever length follows it."""
    data = jpeg(progressive=True, restart_marker_blocks=1)
    hidden = data[:-2].replace(b"\xff\xd0", b"\xff\x02\xff\xff", 1) + LAST_SCAN * MAX_SCANS + END
    assert has_many_scans(hidden)


def test_the_repeated_scans_are_ones_that_decoders_take() -> None:
    with Image.open(io.BytesIO(with_scans(3))) as image:
        image.load()


def test_a_second_scan_after_one_that_holds_everything_is_none() -> None:
    """Why files of one scan need not be counted: libjpeg takes no other."""
    data = jpeg()
    scan = data[data.index(b"\xff\xda") : -2]
    assert jpeg_header(data).one_scan
    with pytest.raises(ValueError, match="more than one scan"):
        simplejpeg.decode_jpeg(data[:-2] + scan * 2 + END)


def test_what_a_header_says() -> None:
    assert jpeg_header(jpeg()) == (8, 33, 47, 3, True, False, b"")
    assert jpeg_header(jpeg(NOISE[..., 0])) == (8, 33, 47, 1, True, False, b"")
    assert jpeg_header(PROGRESSIVE) == (8, 33, 47, 3, False, False, b"")
    assert jpeg_header(jpeg(xmp=b"<x/>")).app1
    assert jpeg_header(jpeg(icc_profile=b"p" * 70_000)).profile == b"p" * 70_000
    for none in (b"", b"\xff\xd8", jpeg()[:100], b"text" * 9, b"\xff\xd8\xff\xd0" + jpeg()[2:]):
        assert jpeg_header(none) is None
