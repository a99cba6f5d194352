"""Pictures that cost more than they may are refused before they are decoded, and honest ones are read as before."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from reid_lightning.data.images import decoding
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted import image_limits as picture_limits

GREY = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH = 256, 257, 322, 323
SHORT, LONG, SIGNED_LONG_8, DOUBLE = 3, 4, 17, 12
FORMATS = {SHORT: "H", LONG: "I", SIGNED_LONG_8: "q", DOUBLE: "d"}

KINDS = [("<", False), (">", False), ("<", True)]  # byte order, BigTIFF; Pillow reads no other

Tag = tuple[int, int, float]  # number, type, value


def tiff(
    tile: tuple[int, int],
    *,
    size: tuple[int, int] = (64, 64),
    order: str = "<",
    big: bool = False,
    more: tuple[Tag, ...] = (),
    without: tuple[int, ...] = (),
) -> bytes:
    """A grey TIFF in deflated tiles of `tile` (width, height), which all lie at the same place and hold `GREY`."""
    pixels = np.zeros(tile[::-1], np.uint8)
    pixels[:64, :64] = GREY[: tile[1], : tile[0]]
    packed = zlib.compress(pixels.tobytes())
    head = 16 if big else 8
    tiles = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    tables = head + len(packed) + len(packed) % 2
    content = packed + bytes(len(packed) % 2)
    places = (head, tables, tables + 4 * tiles) if tiles > 1 else (head, head, len(packed))
    if tiles > 1:
        content += struct.pack(f"{order}{tiles}I", *[head] * tiles)
        content += struct.pack(f"{order}{tiles}I", *[len(packed)] * tiles)
    tags: list[tuple[int, int, int, float]] = [
        (WIDTH, LONG, 1, size[0]),
        (LENGTH, LONG, 1, size[1]),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, 8),
        (262, SHORT, 1, 1),
        (277, SHORT, 1, 1),
        (TILE_WIDTH, LONG, 1, tile[0]),
        (TILE_LENGTH, LONG, 1, tile[1]),
        (324, LONG, tiles, places[1]),
        (325, LONG, tiles, places[2]),
    ]
    tags = [tag for tag in tags if tag[0] not in without] + [(number, kind, 1, value) for number, kind, value in more]
    room = 8 if big else 4
    entries, after = b"", b""
    directory = head + len(content)
    end = directory + (8 if big else 2) + len(tags) * (20 if big else 12) + room
    for number, kind, count, value in sorted(tags, key=lambda tag: tag[0]):
        field = struct.pack(order + FORMATS[kind], value)
        if len(field) > room:
            field, after = struct.pack(order + "I", end + len(after)), after + field
        entries += struct.pack(order + ("HHQ" if big else "HHI"), number, kind, count) + field.ljust(room, b"\0")
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory)
    counted = struct.pack(order + ("Q" if big else "H"), len(tags))
    return mark + start + content + counted + entries + bytes(room) + after


def write(folder: Path, content: bytes, name: str = "a.tif") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture
def without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a picture was decoded")

    for kind in (ImageFile.ImageFile, TiffImagePlugin.TiffImageFile):
        monkeypatch.setattr(kind, "load", refuse)
    monkeypatch.setattr(decoding.simplejpeg, "decode_jpeg", refuse)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_limits, "MAX_PIXELS", 20_000)


def assert_refused(path: Path, reason: str) -> None:
    for read in (load_image, decode):
        with pytest.raises(ReIDError, match=f"{path.name} cannot be read: .*{reason}.* Replace the file"):
            read(path)
    for in_full in (False, True):
        assert list(find_bad_images([path], decode=in_full)) == [path]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"])
@pytest.mark.usefixtures("small_limit", "without_decoding")
def test_a_picture_of_too_many_pixels(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (201, 100)).save(buffer, kind)
    assert_refused(write(tmp_path, buffer.getvalue()), "it has 201 x 100 pixels, at most 20,000 are read")


@pytest.mark.usefixtures("small_limit")
def test_a_picture_of_just_as_many_pixels_as_are_read(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG"):
        Image.new("RGB", (200, 100)).save(tmp_path / "a", kind)
        assert load_image(tmp_path / "a").size == (200, 100) and decode(tmp_path / "a").shape == (100, 200, 3)
        assert find_bad_images([tmp_path / "a"]) == {}


@pytest.mark.parametrize(("order", "big"), KINDS)
@pytest.mark.parametrize(
    ("size", "tile"), [((64, 64), (64, 64)), ((64, 64), (128, 128)), ((64, 64), (16, 16)), ((50, 90), (32, 48))]
)
@pytest.mark.usefixtures("small_limit")
def test_honest_tiles(tmp_path: Path, size: tuple[int, int], tile: tuple[int, int], order: str, big: bool) -> None:
    path = write(tmp_path, tiff(tile, size=size, order=order, big=big))
    down, across = np.arange(size[1]) % tile[1], np.arange(size[0]) % tile[0]
    expected = np.pad(GREY, 64)[64:, 64:][np.ix_(down, across)]
    assert np.array_equal(decode(path)[..., 0], expected) and find_bad_images([path]) == {}


@pytest.mark.parametrize(("order", "big"), KINDS)
@pytest.mark.parametrize(
    ("size", "tile", "sum_of_tiles"),
    [
        ((64, 64), (144, 144), "144 x 144"),
        ((64, 64), (48, 1 << 20), "96 x 1048576"),
        ((2, 160), (1008, 16), "1008 x 160"),  # many tiles, each of few pixels
    ],
)
@pytest.mark.usefixtures("small_limit", "without_decoding")
def test_tiles_that_are_far_larger_than_their_picture(
    tmp_path: Path, size: tuple[int, int], tile: tuple[int, int], sum_of_tiles: str, order: str, big: bool
) -> None:
    path = write(tmp_path, tiff(tile, size=size, order=order, big=big))
    assert_refused(path, f"its tiles of {tile[0]} x {tile[1]} pixels have {sum_of_tiles} together, at most 20,000")


@pytest.mark.parametrize(
    ("more", "without"),
    [
        (((TILE_WIDTH, LONG, 64),), ()),
        (((TILE_LENGTH, LONG, 64),), ()),
        (((277, SHORT, 1),), ()),
        (((258, SHORT, 8),), ()),
        (((TILE_WIDTH, SIGNED_LONG_8, 1 << 15), (TILE_LENGTH, SIGNED_LONG_8, 1 << 15)), (TILE_WIDTH, TILE_LENGTH)),
        (((TILE_WIDTH, DOUBLE, 64.0),), (TILE_WIDTH,)),
        (((TILE_WIDTH, LONG, 0),), (TILE_WIDTH,)),
        ((), (TILE_WIDTH,)),
        ((), (TILE_LENGTH,)),
    ],
)
@pytest.mark.usefixtures("without_decoding")
def test_sizes_of_which_two_readers_may_think_differently(
    tmp_path: Path, more: tuple[Tag, ...], without: tuple[int, ...]
) -> None:
    assert_refused(write(tmp_path, tiff((64, 64), more=more, without=without)), "size")


def test_rows_of_a_strip_that_are_more_than_the_picture_has(tmp_path: Path) -> None:
    packed = zlib.compress(GREY.tobytes())
    strips = ((273, LONG, 8), (278, LONG, (1 << 32) - 1), (279, LONG, len(packed)))
    path = write(tmp_path, tiff((64, 64), more=strips, without=(TILE_WIDTH, TILE_LENGTH, 324, 325)))
    assert np.array_equal(decode(path)[..., 0], GREY)


@pytest.mark.parametrize("compression", [None, "tiff_deflate", "tiff_lzw", "jpeg", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_tiffs_in_strips(tmp_path: Path, compression: str | None, big: bool) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression=compression, big_tiff=big)
    assert np.abs(decode(tmp_path / "a.tif")[..., 0].astype(int) - GREY).max() <= (200 if compression == "jpeg" else 0)


def test_a_jpeg_of_more_bytes_than_any_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(GREY).save(path)
    load_image(path)
    monkeypatch.setattr(picture_limits, "_LARGEST_JPEG", path.stat().st_size - 1)
    with pytest.raises(ReIDError, match=r"a\.jpg cannot be read: it is a JPEG of more than [\d,]+ bytes"):
        load_image(path)
