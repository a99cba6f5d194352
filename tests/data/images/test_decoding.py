"""The fast way gives Pillow's pixels, and leaves to `load_image` whatever is not a plain JPEG."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_lightning.data.images import decoding
from reid_lightning.data.images.decoding import decode, resize, resize_exactly
from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted import image_limits as picture_limits

NOISE = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.linspace(0, 255, 83), np.linspace(0, 255, 61)), axis=2)
SMOOTH = np.dstack([SMOOTH, 255 - SMOOTH[..., :1]]).astype(np.uint8)


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def jpeg(pixels: np.ndarray = SMOOTH, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def without_pillow(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} went to Pillow")

    monkeypatch.setattr(decoding, "load_image", refuse)


@pytest.mark.parametrize("pixels", [NOISE, SMOOTH, SMOOTH[:1, :1], SMOOTH[:7, :9]])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 40},
        {"quality": 95, "subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_rows": 1},
        {"comment": b"a comment", "icc_profile": b"x" * 70_000},
        {"keep_rgb": True},
    ],
)
def test_plain_jpegs_have_the_pixels_of_pillow(tmp_path, without_pillow, pixels, options):
    path = save(tmp_path / "a.jpg", Image.fromarray(pixels), **options)
    assert np.array_equal(decode(path), np.asarray(load_image(path)))


def test_real_jpegs_have_the_pixels_of_pillow(shared_data, without_pillow):
    for path in sorted((shared_data / "twocam_train" / "images").iterdir())[::100]:
        assert np.array_equal(decode(path), np.asarray(load_image(path)))


def oriented(image: Image.Image, orientation: int) -> dict[str, object]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def unusual() -> dict[str, tuple[Image.Image, str, dict[str, object]]]:
    image = Image.fromarray(SMOOTH)
    deep = Image.fromarray((SMOOTH[..., 0].astype(np.uint16) << 8) + 77)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    turned = {f"turned {number}": (image, "jpg", oriented(image, number)) for number in range(1, 9)}
    return turned | {
        "turned by XMP": (image, "jpg", {"xmp": xmp}),
        "damaged Exif": (image, "jpg", {"exif": b"Exif\0\0MM\0*\0\0\0\xff\xff"}),
        "grey": (image.convert("L"), "jpg", {}),
        "four inks": (image.convert("CMYK"), "jpg", {}),
        "sixteen bits": (deep, "png", {}),
        "palette": (image.convert("P"), "png", {}),
        "transparent": (image.convert("LA"), "png", {}),
        "webp": (image, "webp", {"lossless": True}),
        "bmp": (image, "bmp", {}),
    }


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", unusual())
def test_everything_else_is_as_load_image_has_it(tmp_path, name):
    image, suffix, options = unusual()[name]
    path = save(tmp_path / f"a.{suffix}", image, **options)
    pixels = decode(path)
    assert np.array_equal(pixels, np.asarray(load_image(path)))
    assert pixels.flags.writeable


def test_xmp_turns_a_picture():
    image, _, options = unusual()["turned by XMP"]
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    assert b"\xff\xe1" in buffer.getvalue()[:64], "the case above needs an APP1 marker"


WHOLE = jpeg(NOISE, quality=90)
DAMAGED = {
    "empty": b"",
    "cut in the header": WHOLE[:100],
    "cut in the picture": WHOLE[: len(WHOLE) // 2],
    "without its end": WHOLE[:-2],
    "zeros in the picture": WHOLE[:2500] + bytes(500) + WHOLE[3000:],
    "text": b"this is no picture",
    "only the first two bytes": WHOLE[:2],
    "no pixels": WHOLE.replace(b"\x00\x3d\x00\x53", b"\x00\x00\x00\x53", 1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_end_as_with_load_image(tmp_path, name, capfd):
    path = tmp_path / "a.jpg"
    path.write_bytes(DAMAGED[name])
    try:
        expected = np.asarray(load_image(path))
    except ReIDError as error:
        with pytest.raises(ReIDError, match=re.escape(str(error))):
            decode(path)
    else:
        assert np.array_equal(decode(path), expected)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReIDError, match="no such file"):
        decode(tmp_path / "absent.jpg")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(WHOLE)
    monkeypatch.setattr(picture_limits, "MAX_PIXELS", 1000)
    with pytest.raises(ReIDError, match=r"a\.jpg cannot be read: it has 83 x 61 pixels, at most 1,000"):
        decode(path)


@pytest.mark.parametrize("pixels", [NOISE, SMOOTH])
@pytest.mark.parametrize(
    "size", [(256, 256), (61, 83), (122, 166), (41, 55), (30, 41), (15, 21), (1, 1), (64, 40), (30, 300)]
)
def test_bilinear_is_one_level_off_pillow_at_most(pixels, size):
    expected = resize_exactly(Image.fromarray(pixels), *size, interpolation="bilinear")
    resized = resize(pixels, *size)
    assert resized.shape == (*size, 3) and resized.flags.c_contiguous
    difference = np.abs(resized.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.35


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 0, 0, 0, 255, 255, 255, 255], np.uint8), 32)
    pixels = np.broadcast_to(stripes[None, :, None], (64, 256, 3))
    inner = resize(pixels, 8, 32)[2:-2, 2:-2]  # every place is half of a stripe of each kind
    assert np.abs(inner.astype(int) - 127.5).max() < 50


def test_other_interpolations():
    for name in ("nearest", "lanczos"):
        expected = resize_exactly(Image.fromarray(NOISE), 40, 90, interpolation=name)
        assert np.array_equal(resize(NOISE, 40, 90, interpolation=name), expected)
    for size in ((128, 160), (40, 50)):
        expected = resize_exactly(Image.fromarray(NOISE), *size, interpolation="bicubic")
        difference = np.abs(resize(NOISE, *size, interpolation="bicubic").astype(int) - expected)
        assert difference.max() <= 10 and difference.mean() < 0.3


def test_a_cut_of_a_picture_can_be_resized():
    cut = NOISE[3:40, 5:71]
    assert np.array_equal(resize(cut, 64, 64), resize(cut.copy(), 64, 64))
