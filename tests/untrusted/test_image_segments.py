"""What lies before and beside a picture's pixels is bounded before it is gone through, and never prints."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_pictures import chunk, tiff

from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.image_segments import MAX_SEGMENTS, check_segments

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 18, 3), dtype=np.uint8)
MANY = MAX_SEGMENTS + 1


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format=kind)
    return buffer.getvalue()


JPEG, PNG, GIF = (encoded(kind) for kind in ("JPEG", "PNG", "GIF"))
BEFORE_GIF = 13 + (3 << (GIF[10] & 7) + 1)


def padded(kind: str, count: int) -> bytes:
    """A picture with so many empty parts in front of its pixels."""
    if kind == "JPEG":
        return JPEG[:2] + b"\xff\xfe\0\2" * count + JPEG[2:]
    if kind == "JPEG, fill":
        return JPEG[:2] + b"\xff" * count + JPEG[2:]
    if kind == "PNG":
        return PNG[:33] + chunk(b"teXt", b"") * count + PNG[33:]
    if kind == "GIF":
        return GIF[:BEFORE_GIF] + b"!\xfe\1x\0" * count + GIF[BEFORE_GIF:]
    return tiff(PIXELS, photometric=2, tags={40_000 + tag: [0] for tag in range(count)})


@pytest.mark.parametrize("kind", ["JPEG", "JPEG, fill", "PNG", "GIF", "TIFF"])
def test_a_header_of_very_many_parts_is_one_error(tmp_path: Path, kind: str):
    few, many = tmp_path / "few", tmp_path / "many"
    few.write_bytes(padded(kind, 50))
    many.write_bytes(padded(kind, MANY))
    assert load_image(few).size == (18, 12) and find_bad_images([few]) == {}
    assert "more than 10,000 parts" in find_bad_images([many])[many]
    for read in (load_image, decode):
        with pytest.raises(ReIDError, match="more than 10,000 parts"):
            read(many)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
def test_a_header_that_ends_anywhere_is_left_to_pillow(kind: str):
    content = padded(kind, 2)
    for length in range(0, min(len(content), 300), 7):
        file = io.BytesIO(content[:length])
        check_segments(file, kind)
        assert file.tell() == 0


def test_directories_that_point_at_themselves_and_damaged_tags_print_nothing(tmp_path: Path):
    loop = b"II*\0" + struct.pack("<IH", 8, 4)
    loop += b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x014A, 0x8769, 0x8825, 0xA005))
    loop += struct.pack("<I", 8)
    turned = b"II*\0" + struct.pack("<IH", 8, 3) + struct.pack("<HHII", 0x112, 3, 1, 6)
    turned += struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x9286, 7, 1 << 30, 1 << 20) + bytes(4)
    for name, exif in (("loop", loop), ("turned", turned)):
        for kind in ("JPEG", "PNG", "WEBP"):
            Image.fromarray(PIXELS).save(tmp_path / f"{name}.{kind}", kind, exif=b"Exif\0\0" + exif)
    code = (
        "import sys; from pathlib import Path; from reid_lightning.data.images.reading import load_image\n"
        "print(*(load_image(path).size for path in sorted(Path(sys.argv[1]).iterdir())))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.split() == ["(18,", "12)"] * 3 + ["(12,", "18)"] * 3
