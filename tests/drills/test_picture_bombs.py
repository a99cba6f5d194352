"""Pictures that want much memory or time, loose and in archives: huge, in huge tiles, of many scans."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bombs import MIB, peak, refused
from PIL import Image
from upload import Upload

from reid_lightning.app.uploads import Uploads
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.archive import import_gallery


def packed_zeros(count: int) -> bytes:
    """So many bytes of zero as zlib packs them: a block that is packed once, again and again."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(bytes(100_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    times, rest = divmod(count, 100_000)
    end = packer.compress(bytes(rest)) + packer.flush()
    return b"\x78\x01" + block * times + end + struct.pack(">HH", count % 65_521, 1)  # the sums of Adler-32


def png(side: int) -> bytes:
    """A picture of one bit a pixel, all black, whole to the last byte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packed = packed_zeros(side * (1 + -(-side // 8)))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg(side: int | None = None) -> bytes:
    """A small picture, whose header says `side` where one is given."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 90, 200)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    if side is not None:
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(data)


HUGE = png(60_000)
READERS: list[Callable[[Path], object]] = [
    load_image,
    decode,
    Preprocessing(32, 32).load,
    Preprocessing(32, 32).load_fast,
]


@pytest.mark.parametrize("read", READERS)
def test_pictures_of_huge_dimensions(read: Callable[[Path], object], tmp_path: Path) -> None:
    for name, content in (("a.png", HUGE), ("b.jpg", jpeg(65_500)), ("c.jpg", HUGE)):
        (tmp_path / name).write_bytes(content)
        with refused(f"{name} cannot be read.*decompression bomb"):
            read(tmp_path / name)


def tile_tiff(side: int) -> bytes:
    """A picture of 64 x 64 in one tile of `side` x `side`."""
    packed = packed_zeros(side * side)
    long = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in long.items())
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(long)) + entries + bytes(4)


def many_scans() -> bytes:
    file = io.BytesIO()
    Image.new("L", (3_000, 3_000), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()[:-2]
    return data + data[data.rindex(b"\xff\xda") :] * 1_000 + b"\xff\xd9"


COSTLY = [
    (lambda: tile_tiff(15_000), "its tiles of 15000 x 15000 pixels"),
    (lambda: png(12_000), "it has 12000 x 12000 pixels"),
    (many_scans, "it is a JPEG of more than 50 scans"),
]


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of what is refused right after
@pytest.mark.parametrize(("make", "message"), COSTLY, ids=["tile", "pixels", "scans"])
def test_pictures_that_pillow_would_decode(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    content = make()
    assert len(content) < MIB
    (tmp_path / "a.jpg").write_bytes(content)
    for read in READERS:
        with refused(f"a.jpg cannot be read: {message}", mib=100):
            read(tmp_path / "a.jpg")
    with refused(f"a.jpg cannot be read: {message}", mib=100):
        Uploads(max_bytes=MIB, max_pictures=1).keep([Upload("a.jpg", content)])
    assert message in find_bad_images([tmp_path / "a.jpg"])[tmp_path / "a.jpg"]


@pytest.mark.parametrize("in_full", [False, True])
def test_the_check_before_training_names_huge_pictures(in_full: bool, tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, content in zip(paths, (HUGE, jpeg(65_500)), strict=True):
        path.write_bytes(content)
    before = peak(reset=True)
    assert list(find_bad_images(paths, decode=in_full)) == paths
    assert peak() - before < 200 * MIB


@pytest.mark.parametrize("marker", [0x01, 0xD0, 0xD7])
def test_a_header_that_two_decoders_read_differently(marker: int, tmp_path: Path) -> None:
    """A marker without a length, which a look at the header could take the next two bytes for: it would then jump over
    the size that libjpeg goes by, to a small one that lies in a comment."""
    small, jump = jpeg(), 0xFFFE  # as number: what the first comment begins with
    frame = small[small.index(b"\xff\xc0") :][: 2 + 17] + b"\xff\xda\x00\x0c"
    first = b"\xff\xfe" + struct.pack(">H", jump - 6) + bytes(jump - 8)
    second = b"\xff\xfe" + struct.pack(">H", 2 + len(frame)) + frame
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes([marker]) + first + second + jpeg(65_500)[2:])
    with refused("a.jpg cannot be read: (Image size .* decompression bomb|it begins like JPEG, and is damaged)"):
        decode(path)


def test_pictures_are_opened_by_the_formats_that_are_read_alone(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(hello) print\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(eps)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "EPS"  # which Pillow hands to Ghostscript when its pixels are asked for
    with refused("a.jpg cannot be read: it is not a picture in a format that is read"):
        load_image(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of what is refused right after
@pytest.mark.parametrize(
    ("make", "message"),
    [*COSTLY, (lambda: HUGE, "60000 x 60000 pixels|no whole picture")],
    ids=["tile", "pixels", "scans", "huge"],
)
def test_costly_pictures_in_an_archive(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": 1, "kind": "reid_lightning gallery"}))
        archive.writestr("V1/a.png", make())
    before = peak(reset=True)
    report = import_gallery(Gallery(tmp_path / "gallery"), tmp_path / "g.zip")
    assert peak() - before < 100 * MIB
    assert (report.added, report.left_out) == (0, 1) and re.search(message, report.problems[0])
