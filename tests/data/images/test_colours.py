"""Pictures are what a person sees: what is hidden does not count, and every depth gives the picture of 8 bits."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError
from raw_pictures import png, tiff

from reid_lightning.data.images.colours import BACKGROUND
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, in_rgb, load_image
from reid_lightning.errors import ReIDError

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.dstack([GREY, GREY[::-1], GREY.T])
ALPHA = np.ascontiguousarray(GREY.T[::-1])
WIDE, WIDE_RGB, WIDE_ALPHA = (values.astype(np.uint16) * 257 for values in (GREY, RGB, ALPHA))
TWELVE = (GREY.astype(np.uint32) * 4095 // 255).astype(np.uint16)
REAL = (GREY / 255).astype(np.float32)
OPAQUE = np.full((16, 16), 255, np.uint8)
SPOT = tuple(int(level) for level in RGB[3, 3])


def seen(colours: np.ndarray, alpha: np.ndarray = OPAQUE) -> np.ndarray:
    """Float (16, 16, 3): colours, or grey, on the background."""
    share = alpha[..., None] / 255
    return (colours if colours.ndim == 3 else colours[..., None]) * share + np.array(BACKGROUND) * (1 - share)


def hidden(levels: np.ndarray, wanted: object) -> np.ndarray:
    """Alpha that is 0 where a colour is the wanted one."""
    same = levels == wanted
    return np.where(same if same.ndim == 2 else same.all(axis=-1), 0, 255)


def opaque(colours: np.ndarray) -> np.ndarray:
    return np.dstack([colours, ALPHA])


READ = {
    "grey 16": (tiff(WIDE), seen(GREY)),
    "grey 16, big endian, compressed": (tiff(WIDE, order=">", compressed=True), seen(GREY)),
    "grey 16, white is zero": (tiff(WIDE, photometric=0), seen(255 - GREY)),
    "grey 8, white is zero": (tiff(GREY, photometric=0), seen(255 - GREY)),
    "grey 12": (tiff(TWELVE, bits=12), seen(GREY)),
    "grey 12, compressed": (tiff(TWELVE, bits=12, compressed=True), seen(GREY)),
    "12 bits in 16, with its white": (tiff(TWELVE, tags={281: [4095]}), seen(GREY)),
    "12 bits in 16, with its white as of any format": (tiff(TWELVE, order=">", tags={341: [4095]}), seen(GREY)),
    "the largest value of this picture is no white": (tiff(WIDE, tags={281: [65_534]}), seen(GREY)),
    "real numbers": (tiff(REAL), seen(GREY)),
    "real numbers, white is zero": (tiff(REAL, photometric=0, order=">"), seen(255 - GREY)),
    "colours of 16": (tiff(WIDE_RGB, photometric=2), seen(RGB)),
    "colours of 16, compressed": (tiff(WIDE_RGB, photometric=2, order=">", compressed=True), seen(RGB)),
    "planes of 8": (tiff(RGB, photometric=2, planes=True), seen(RGB)),
    "inks of 16": (tiff(np.dstack([65_535 - WIDE_RGB, 0 * WIDE]), photometric=5), seen(RGB)),
    "alpha of 8": (tiff(opaque(RGB), photometric=2, tags={338: [2]}), seen(RGB, ALPHA)),
    "alpha of 8, in the colours": (
        tiff(opaque(np.rint(RGB * (ALPHA[..., None] / 255)).astype(np.uint8)), photometric=2, tags={338: [1]}),
        seen(RGB, ALPHA),
    ),
    "alpha of 16": (tiff(np.dstack([WIDE_RGB, WIDE_ALPHA]), photometric=2, tags={338: [2]}), seen(RGB, ALPHA)),
    "a fourth channel that is no alpha": (tiff(opaque(RGB), photometric=2, tags={338: [0]}), seen(RGB)),
    "grey with alpha": (tiff(opaque(GREY), tags={338: [2]}), seen(GREY, ALPHA)),
    "grey with alpha in it": (
        tiff(opaque(np.rint(GREY * (ALPHA / 255)).astype(np.uint8)), tags={338: [1]}),
        seen(GREY, ALPHA),
    ),
    **{
        f"PNG, grey {bits}, a transparent level": (
            png(GREY >> 8 - bits, bits=bits, chunks={b"tRNS": struct.pack(">H", 1)}),
            seen((GREY >> 8 - bits) * (255 // (2**bits - 1)), hidden(GREY >> 8 - bits, 1)),
        )
        for bits in (1, 2, 4, 8)
    },
    "PNG, grey 16, a transparent level": (
        png(WIDE, bits=16, chunks={b"tRNS": struct.pack(">H", 7 * 257)}),
        seen(GREY, hidden(GREY, 7)),
    ),
    "PNG, a transparent colour": (
        png(RGB, colour_type=2, chunks={b"tRNS": struct.pack(">HHH", *SPOT)}),
        seen(RGB, hidden(RGB, SPOT)),
    ),
    "PNG, a transparent colour of 16": (
        png(WIDE_RGB, bits=16, colour_type=2, chunks={b"tRNS": struct.pack(">HHH", *(257 * level for level in SPOT))}),
        seen(RGB, hidden(RGB, SPOT)),
    ),
    "PNG, a transparent colour of 16, alike in its upper bytes": (
        png(WIDE_RGB, bits=16, colour_type=2, chunks={b"tRNS": struct.pack(">HHH", *(257 * v ^ 1 for v in SPOT))}),
        seen(RGB),
    ),
    "PNG, colours of 16": (png(WIDE_RGB, bits=16, colour_type=2), seen(RGB)),
    "PNG, alpha of 16": (png(np.dstack([WIDE_RGB, WIDE_ALPHA]), bits=16, colour_type=6), seen(RGB, ALPHA)),
    "PNG, grey with alpha of 16": (png(np.dstack([WIDE, WIDE_ALPHA]), bits=16, colour_type=4), seen(GREY, ALPHA)),
    "PNG, grey with alpha": (png(opaque(GREY), colour_type=4), seen(GREY, ALPHA)),
    "PNG, a palette with alpha": (
        png(GREY, colour_type=3, chunks={b"PLTE": RGB.tobytes(), b"tRNS": ALPHA.tobytes()}),
        seen(RGB, ALPHA),
    ),
}

REFUSED = {
    "12 bits in 16": (tiff(TWELVE), "none of its values of 16 bits is above 4,095"),
    "14 bits in 16": (png(WIDE >> 2, bits=16), "none of its values of 16 bits is above 16,383"),
    "colours of 12 in 16": (tiff(WIDE_RGB >> 4, photometric=2), "use 14 or fewer"),
    "colours of 14 in 16": (png(WIDE_RGB >> 2, bits=16, colour_type=2), "use 14 or fewer"),
    "inks of 12 in 16": (tiff(np.dstack([WIDE_RGB, WIDE]) >> 4, photometric=5), "use 14 or fewer"),
    "a white that is none": (tiff(WIDE, tags={281: [1023]}), "above the white of 1,023"),
    "32 bits": (tiff(GREY.astype(np.uint32)), "a sign or 32 bits"),
    "32 bits, signed": (tiff(GREY.astype(np.int32)), "have a sign"),
    "16 bits, signed": (tiff((WIDE >> 1).astype(np.int16)), "have a sign"),
    "8 bits, signed": (tiff(GREY.astype(np.int8)), "have a sign"),
    "real numbers to 255": (tiff(GREY.astype(np.float32)), "from 0 to 255"),
    "no numbers": (tiff(np.full((16, 16), np.nan, np.float32)), "from nan to nan"),
    "real numbers, big endian, compressed": (tiff(REAL, order=">", compressed=True), "first byte in front"),
    "half real numbers": (tiff(REAL.astype(np.float16)), "begins like TIFF"),
    "double real numbers": (tiff(REAL.astype(np.float64)), "begins like TIFF"),
    "real colours": (tiff((RGB / 255).astype(np.float32), photometric=2), "begins like TIFF"),
    "10 bits": (tiff(TWELVE >> 2, bits=10), "begins like TIFF"),
    "planes of 16": (tiff(WIDE_RGB, photometric=2, planes=True), "in separate planes"),
    "planes with grey and alpha": (tiff(opaque(GREY), planes=True, tags={338: [2]}), "not read with transparency"),
    **{
        f"planes with alpha, compressed {tags}": (
            tiff(values, photometric=photometric, planes=True, compressed=True, tags=tags),
            "not read with transparency",
        )
        for values, photometric, tags in [
            (opaque(GREY), 1, {338: [1]}),
            (opaque(GREY), 1, {338: [2]}),
            (opaque(RGB), 2, {338: [1]}),
            (opaque(RGB), 2, {}),
        ]
    },
    "planes of LAB": (tiff(RGB, photometric=8, planes=True), "not read with LAB colours"),
    "a preview": (tiff(RGB, photometric=2, tags={254: [1]}), "only a preview"),
}


@pytest.mark.parametrize("name", READ)
def test_every_depth_and_every_transparency_is_the_picture_that_is_seen(tmp_path: Path, name: str):
    content, expected = READ[name]
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert find_bad_images([path]) == {}
    shown = np.asarray(load_image(path))
    assert np.abs(shown - expected).max() <= 2
    assert np.array_equal(decode(path), shown)
    picture = Image.open(io.BytesIO(content))
    assert np.array_equal(in_rgb(picture), shown)
    if not name.startswith("PNG, a transparent colour of 16"):  # the lower bytes of which are gone
        assert np.array_equal(in_rgb(picture), shown)


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_without_a_known_white_are_refused_with_a_sentence(tmp_path: Path, name: str):
    content, why = REFUSED[name]
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert why in find_bad_images([path])[path]
    for read in (load_image, decode):
        with pytest.raises(ReIDError, match=f"picture cannot be read: .*{why}"):
            read(path)
    with suppress(UnidentifiedImageError), Image.open(io.BytesIO(content)) as picture:
        for _ in range(2):  # afterwards it is loaded
            with pytest.raises(ReIDError, match=why):
                in_rgb(picture)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_loaded_tiff_is_still_known_to_have_colours_of_16_bits(order: str):
    for levels in (WIDE_RGB >> 4, WIDE_RGB >> 6):
        picture = Image.open(io.BytesIO(tiff(levels, photometric=2, order=order)))
        picture.load()
        with pytest.raises(ReIDError, match="use 14 or fewer"):
            in_rgb(picture)
    picture = Image.open(io.BytesIO(tiff(WIDE_RGB, photometric=2, order=order)))
    picture.load()
    assert np.array_equal(in_rgb(picture), RGB)


@pytest.mark.parametrize(
    "name", ["a transparent colour of 16", "grey 2, a transparent level", "grey 4, a transparent level"]
)
def test_a_loaded_picture_does_not_hide_another_colour_than_its_file(name: str):
    picture = Image.open(io.BytesIO(READ[f"PNG, {name}"][0]))
    picture.load()
    for loaded in (picture, picture.copy()):
        with pytest.raises(ReIDError, match="open it again"):
            in_rgb(loaded)


def test_a_grey_gif_whose_transparent_level_is_unused_is_no_shallow_picture():
    levels = (GREY > 99).astype(np.uint8) * 255
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "GIF", transparency=3, optimize=False)
    picture = Image.open(file)
    assert picture.mode == "L"
    for _ in range(2):  # afterwards it is loaded
        assert np.array_equal(in_rgb(picture), seen(levels))


@pytest.mark.parametrize("turn", [1, 6])
def test_a_turned_picture_hides_its_transparent_colour_of_16_bits(tmp_path: Path, turn: int):
    exif = Image.Exif()
    exif[274] = turn
    chunks = {b"tRNS": struct.pack(">HHH", *(257 * level for level in SPOT)), b"eXIf": exif.tobytes()[6:]}
    (tmp_path / "a.png").write_bytes(png(WIDE_RGB, bits=16, colour_type=2, chunks=chunks))
    expected = seen(RGB, hidden(RGB, SPOT))
    shown = np.asarray(load_image(tmp_path / "a.png"))
    assert np.array_equal(shown, expected if turn == 1 else np.rot90(expected, -1))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((None, mode) for mode in ("RGBA", "LA", "PA", "RGBa", "La")),
        *((kind, mode) for kind in ("PNG", "WEBP", "TIFF", "AVIF") for mode in ("RGBA", "LA")),
        ("GIF", "RGBA"),
    ],
)
def test_what_is_hidden_does_not_count(tmp_path: Path, kind: str | None, mode: str):
    shown = []
    for under in (0, 255):
        pixels = np.dstack([RGB, np.where(ALPHA > 127, 255, 0).astype(np.uint8)])
        pixels[ALPHA <= 127, :3] = under
        picture = Image.fromarray(pixels)
        if mode == "PA":
            alpha, picture = picture.getchannel("A"), picture.convert("L").convert("P")
            picture.putalpha(alpha)
        picture = picture.convert("LA").convert("La") if mode == "La" else picture.convert(mode)
        assert picture.mode == mode
        if kind is not None:
            options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
            picture.save(tmp_path / "picture", kind, **options)
            picture = load_image(tmp_path / "picture")
        shown.append(np.asarray(in_rgb(picture)).astype(int))
    assert np.abs(shown[0] - shown[1]).max() <= (6 if kind == "AVIF" else 0)  # which is lossy
    assert (shown[0][ALPHA <= 127] == BACKGROUND).all()


def test_the_first_picture_of_an_animation_lies_on_the_background(tmp_path: Path):
    first, second = Image.new("RGBA", (8, 8), (0, 255, 0, 0)), Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    for kind in ("GIF", "WEBP", "PNG"):
        first.save(tmp_path / kind, kind, save_all=True, append_images=[second])
        assert (np.asarray(load_image(tmp_path / kind)) == BACKGROUND).all(), kind


def test_a_transparent_entry_of_a_palette_and_lab_colours(tmp_path: Path):
    flat = Image.new("P", (9, 6))
    flat.putpalette([200, 40, 40, 255, 0, 255] + [0] * 762)
    flat.paste(1, (6, 0, 9, 6))
    for kind in ("PNG", "GIF"):
        flat.save(tmp_path / kind, kind, transparency=1)
        shown = np.asarray(load_image(tmp_path / kind))
        assert (shown[:, :6] == (200, 40, 40)).all() and (shown[:, 6:] == BACKGROUND).all()
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    ImageCms.applyTransform(Image.new("RGB", (8, 8), (200, 40, 40)), to_lab).save(tmp_path / "lab.tif")
    assert np.abs(np.asarray(load_image(tmp_path / "lab.tif")) - (200, 40, 40)).max() <= 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pictures_in_memory_without_a_known_white_are_refused(mode: str):
    with pytest.raises(ReIDError, match="the picture cannot be read: its"):
        in_rgb(Image.fromarray(GREY).convert(mode))
