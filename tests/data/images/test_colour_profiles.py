"""A picture with an ICC profile is the picture that a viewer shows, in every reader; one of sRGB stays as it is."""

from __future__ import annotations

import io
import random
import sys
import zlib
from pathlib import Path

import icc_profiles
import numpy as np
import pytest
from PIL import Image
from raw_pictures import png

from reid_lightning.app.uploads import Uploads
from reid_lightning.bundle.bundle import open_model
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images import decoding
from reid_lightning.data.images.cache import PictureCache
from reid_lightning.data.images.colour_profiles import MAX_PROFILE_BYTES
from reid_lightning.data.images.colours import BACKGROUND
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import find_bad_images, in_rgb, load_image
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.matching.gallery_embeddings import load_gallery_embeddings
from reid_lightning.search.registration import Registrar
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

from toy_clips import RED, BrightBoxes, KnowsRed, build_tracker, scene, share_of
from upload import Upload


def blocks(colours: np.ndarray) -> np.ndarray:
    """Each number, or colour, on 16 x 16 pixels."""
    return np.repeat(np.repeat(np.asarray(colours, np.uint8), 16, axis=0), 16, axis=1)


SEEN = blocks([[(200, 40, 90), (30, 160, 220), (250, 250, 250)], [(10, 90, 30), (128, 128, 128), (255, 0, 255)]])
STORED = np.ascontiguousarray(SEEN[..., [1, 2, 0]])
TURNED = icc_profiles.turned("gbr")
CLEAR_LEFT = blocks([[0, 255, 255]] * 2)
SEEN_CLEAR_LEFT = np.where(CLEAR_LEFT[..., None] == 0, BACKGROUND, SEEN)

SHADES = blocks([range(60, 256, 13)])
SEEN_SHADES = np.dstack([SHADES] * 3)
LINEAR = ((SHADES / 255 + 0.055) / 1.055) ** 2.4
LIGHT = np.rint(LINEAR * 255).astype(np.uint8)
LINEAR_GREY = icc_profiles.grey(1)

CORNERS = np.array([(230 - 11 * number, 60 + 8 * number, 20 + 83 * number % 200) for number in range(16)])
CORNERS[0] = 255  # paper
SEEN_INKS = blocks(CORNERS[None])
INKS = Image.fromarray(blocks(np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1)[None, :, 4:] * 255), "CMYK")
PRINTED = icc_profiles.inks(CORNERS)

OPTIONS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
OPTIONS["JPEG"] = {"quality": 97, "subsampling": 0}


def file_of(picture: np.ndarray | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **(OPTIONS.get(kind, {}) | options))
    return file.getvalue()


def raw_png(levels: np.ndarray, content: bytes, *, colour_type: int = 0, hidden: bytes | None = None) -> bytes:
    chunks = {b"iCCP": b"made up\0\0" + zlib.compress(content)} | ({} if hidden is None else {b"tRNS": hidden})
    return png(levels, bits=8 * levels.itemsize, colour_type=colour_type, chunks=chunks)


def upside_down() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 3
    return exif


READ = {
    **{kind: (file_of(STORED, kind, icc_profile=TURNED), SEEN) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")},
    "JPEG, progressive": (file_of(STORED, progressive=True, icc_profile=TURNED), SEEN),
    "JPEG, a profile in two parts": (file_of(STORED, icc_profile=TURNED + bytes(70_000)), SEEN),
    "JPEG, turned": (file_of(STORED[::-1, ::-1], exif=upside_down(), icc_profile=TURNED), SEEN),
    "JPEG, grey": (file_of(LIGHT, icc_profile=LINEAR_GREY), SEEN_SHADES),
    "JPEG, four inks": (file_of(INKS, icc_profile=PRINTED), SEEN_INKS),
    "TIFF, four inks": (file_of(INKS, "TIFF", icc_profile=PRINTED), SEEN_INKS),
    "PNG, a palette": (file_of(Image.fromarray(STORED).quantize(8), "PNG", icc_profile=TURNED), SEEN),
    "PNG, colours of 16": (raw_png(STORED.astype(np.uint16) * 257, TURNED, colour_type=2), SEEN),
    "PNG, grey of 16": (raw_png(np.uint16(LINEAR * 65_535), LINEAR_GREY), SEEN_SHADES),
    "PNG, grey with alpha": (raw_png(np.dstack([LIGHT, LIGHT | 255]), LINEAR_GREY, colour_type=4), SEEN_SHADES),
    "PNG, alpha": (file_of(np.dstack([STORED, CLEAR_LEFT]), "PNG", icc_profile=TURNED), SEEN_CLEAR_LEFT),
    "WEBP, alpha": (file_of(np.dstack([STORED, CLEAR_LEFT]), "WEBP", icc_profile=TURNED), SEEN_CLEAR_LEFT),
    "PNG, a transparent colour": (
        raw_png(STORED, TURNED, colour_type=2, hidden=b"\0\x28\0\x5a\0\xc8"),
        np.where(np.equal(SEEN, SEEN[0, 0]).all(axis=-1, keepdims=True), BACKGROUND, SEEN),
    ),
    "grey under a profile of colours": (file_of(SHADES, "PNG", icc_profile=TURNED), SEEN_SHADES),
    "a tag that browsers do not read": (
        file_of(STORED, icc_profile=icc_profiles.turned("gbr", more={b"D2B1": icc_profiles.BLACK_BY_REAL_NUMBERS})),
        SEEN,
    ),
}


def levels_apart(first: object, second: object) -> int:
    assert np.shape(first) == np.shape(second)
    return int(np.abs(np.asarray(first, int) - np.asarray(second, int)).max())


@pytest.mark.parametrize("name", READ)
def test_a_picture_is_the_one_that_a_viewer_shows(tmp_path: Path, name: str):
    content, seen = READ[name]
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert find_bad_images([path]) == find_bad_images([path], decode=True) == {}
    shown = load_image(path)
    assert levels_apart(shown, seen) <= 3
    assert "icc_profile" not in shown.info, "it would be turned once more"
    assert np.array_equal(decode(path), shown)
    with Image.open(path) as opened:
        assert np.array_equal(in_rgb(opened), shown)
        assert opened.info["icc_profile"], "a picture that is handed over stays as it is"
    assert np.array_equal(in_rgb(shown), shown)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_readers_see_the_same(tmp_path: Path, kind: str):
    content = READ[kind][0]
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("1_c1_x.jpg", "2_c1_x.jpg"):
        (folder / name).write_bytes(content)
    (tmp_path / "set.csv").write_text("path,identity,split\nset/1_c1_x.jpg,1,train\n")
    loose = read_folder(root=folder, pattern=r"(?P<identity>\d)_(?P<camera>c\d)", test_fraction=0)
    packed = read_shards(root=write_shards(loose, tmp_path / "shards"))
    uploads = Uploads(max_bytes=1 << 20, max_pictures=3)
    size = Preprocessing(*SEEN.shape[:2])
    seen = []
    for image in (*loose.train, *read_csv(path=tmp_path / "set.csv").train, *packed.train):
        cache = PictureCache([image.path], height=size.height, width=size.width, limit_mib=1)
        training = TrainTransform(size, cache=cache)
        seen += [size.load(image.path), size.load_fast(image.path), training.load(image.path, 0)]
    for place in (folder, folder / "1_c1_x.jpg", uploads.keep([Upload("a.jpg", content)])):
        with open_source(place) as source:
            seen += [frame.picture for frame in source]
    assert len(seen) == 3 * 5 + 4
    assert max(levels_apart(picture, SEEN) for picture in seen) <= 3


def test_a_query_is_embedded_as_it_is_seen_and_so_is_a_gallery(tmp_path: Path, bundle: Path):
    embedder = ReIDEmbedder(open_model(bundle))
    vectors = []
    for name, content in {"plain": file_of(SEEN, "PNG"), "turned": READ["PNG"][0]}.items():
        crop = tmp_path / name / "VAN" / "1.png"
        crop.parent.mkdir(parents=True)
        crop.write_bytes(content)
        gallery = load_gallery_embeddings(tmp_path / name, None, embedder)
        vectors += [embedder.embed([Image.open(crop)])[0].numpy(), np.asarray(gallery.embeddings)[0]]
    assert all(np.allclose(vector, vectors[0], atol=1e-3) for vector in vectors)
    assert not np.allclose(embedder.embed([STORED])[0].numpy(), vectors[0], atol=1e-2)


def test_registered_crops_are_srgb_and_carry_no_profile(tmp_path: Path):
    path = tmp_path / "street.png"
    path.write_bytes(file_of(np.ascontiguousarray(scene(red=(40, 40))[..., [1, 2, 0]]), "PNG", icc_profile=TURNED))
    gallery = Gallery(tmp_path / "gallery")
    finder = VehicleFinder(BrightBoxes(), KnowsRed(), build_tracker=build_tracker, crops=3)
    with open_source(path) as source:
        (registered,) = Registrar(gallery, finder, settings="all").register(source, camera="north", start=None)
    (crop,) = gallery.crop_paths(registered.sighting)
    with Image.open(crop) as image:
        assert "icc_profile" not in image.info
        assert share_of(np.asarray(image), RED) > 0.6


def damaged(number: int) -> bytes:
    draw = random.Random(number)
    content = bytearray((TURNED, PRINTED, LINEAR_GREY)[number % 3])
    for _ in range(draw.randint(1, 9)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])


def test_no_damage_of_a_profile_is_an_error():
    for number in range(150):
        mode = ("RGB", "CMYK", "L")[number % 3]
        in_rgb(Image.open(io.BytesIO(file_of(Image.new(mode, (2, 2)), icc_profile=damaged(number)))))


WITHOUT_EFFECT = {
    "sRGB": icc_profiles.SRGB,
    "sRGB under another name, with a table of its curve": icc_profiles.profile(
        b"RGB ",
        icc_profiles.tags_of(icc_profiles.SRGB) | {b"%cTRC" % name: icc_profiles.SRGB_TABLE for name in b"rgb"},
    ),
    "no profile": b"nothing" * 99,
    "cut off": TURNED[:300],
    "only a head": TURNED[:128],
    "of grey": LINEAR_GREY,
    "of inks": PRINTED,
    "an effect": icc_profiles.profile(b"RGB ", icc_profiles.tags_of(TURNED), kind=b"abst"),
    "too large": TURNED + bytes(MAX_PROFILE_BYTES),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_other_profiles_change_nothing_and_cost_the_loader_nothing(tmp_path: Path, monkeypatch, name: str):
    plain, path = Image.open(io.BytesIO(file_of(SEEN))), tmp_path / "a.jpg"
    path.write_bytes(file_of(SEEN, icc_profile=WITHOUT_EFFECT[name]))
    shown = load_image(path)
    assert np.array_equal(shown, plain) and "icc_profile" not in shown.info
    monkeypatch.setattr(decoding, "load_image", None)
    assert np.array_equal(decode(path), plain)


@pytest.mark.parametrize(
    "chunk", [b"", b"a", b"a\0\0text", b"a\0\1" + zlib.compress(TURNED), b"a\0\0" + zlib.compress(bytes(2 << 20))]
)
def test_what_pillow_refuses_of_a_profile_in_a_png_is_passed_over(tmp_path: Path, chunk: bytes):
    path = tmp_path / "a.png"
    path.write_bytes(png(SEEN, colour_type=2, chunks={b"iCCP": chunk}))
    assert find_bad_images([path]) == {}
    assert np.array_equal(load_image(path), SEEN) and np.array_equal(decode(path), SEEN)
    path.write_bytes(path.read_bytes()[:-30])
    assert list(find_bad_images([path])) == [path], "what else is damaged stays an error"


@pytest.mark.parametrize("mode", ["L", "CMYK", "LAB"])
def test_a_profile_of_other_colours_than_the_picture_changes_nothing(mode: str):
    picture = Image.fromarray(SEEN).convert("RGB" if mode == "LAB" else mode)
    picture = Image.fromarray(SEEN, "LAB") if mode == "LAB" else picture
    with_profile = picture.copy()
    with_profile.info["icc_profile"] = PRINTED if mode == "L" else TURNED
    assert np.array_equal(in_rgb(with_profile), in_rgb(picture))


def test_parts_of_a_profile_count_in_any_order_and_only_together(tmp_path: Path):
    content = file_of(STORED, icc_profile=TURNED + bytes(70_000))
    first = content.index(b"\xff\xe2")
    second = content.index(b"\xff\xe2", first + 2)
    end = second + 2 + int.from_bytes(content[second + 2 : second + 4], "big")
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:first] + content[second:end] + content[first:second] + content[end:])
    assert levels_apart(decode(path), SEEN) <= 3 and np.array_equal(decode(path), load_image(path))
    for lacking in (content[:first] + content[second:], content[:second] + content[end:]):
        path.write_bytes(lacking)
        assert levels_apart(decode(path), STORED) <= 3 and np.array_equal(decode(path), load_image(path))
