"""Which files count as readable pictures, and what happens to a data set around those that do not."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from reid_lightning.data.images import colours as picture_colours
from reid_lightning.data.images.reading import check_images, find_bad_images, in_rgb, load_image, upright
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError


def encoded(kind: str = "JPEG", size: tuple[int, int] = (48, 32), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("suffix", "kind", "options"),
    [
        ("jpg", "JPEG", {}),
        ("jpeg", "JPEG", {"progressive": True}),
        ("png", "PNG", {}),
        ("bmp", "BMP", {}),
        ("webp", "WEBP", {}),
        ("tif", "TIFF", {}),
        ("jpg", "PNG", {}),  # a wrong suffix is no damage
    ],
)
@pytest.mark.parametrize("decode", [False, True])
def test_whole_pictures_are_good_and_truncated_ones_bad(tmp_path, suffix, kind, options, decode):
    content = encoded(kind, **options)
    good = write(tmp_path / f"good.{suffix}", content)
    cut = [write(tmp_path / f"cut{share}.{suffix}", content[: len(content) * share // 10]) for share in (1, 5, 9)]
    assert list(find_bad_images([good, *cut], decode=decode)) == cut


@pytest.mark.parametrize("decode", [False, True])
def test_missing_empty_foreign_files_and_folders_are_bad_with_the_reason(tmp_path, decode):
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    paths = {
        tmp_path / "missing.jpg": "no such file",
        write(tmp_path / "empty.jpg", b""): "the file is empty",
        write(tmp_path / "text.jpg", b"this is text"): "not a picture",
        write(tmp_path / "page.png", b"<html>404</html>"): "not a picture",
        folder: "directory",
    }
    found = find_bad_images(list(paths), decode=decode)
    assert list(found) == list(paths)
    for path, reason in paths.items():
        assert reason in found[path]


def test_unusual_but_whole_jpegs_are_good(tmp_path):
    trailing = write(tmp_path / "trailing.jpg", encoded() + b"\0" * 700)
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    long_header = write(tmp_path / "long_header.jpg", encoded(exif=exif, icc_profile=b"y" * 200_000))
    large = write(tmp_path / "large.jpg", encoded(size=(400, 400), quality=95))
    assert large.stat().st_size > 1 << 17, "must be longer than what is read of a file at once"
    assert find_bad_images([trailing, long_header, large]) == {}


def test_a_large_jpeg_without_its_end_is_bad(tmp_path):
    content = encoded(size=(400, 400), quality=95)
    cut = write(tmp_path / "cut.jpg", content[:-2_000])
    assert list(find_bad_images([cut])) == [cut]


def test_a_jpeg_whose_header_announces_no_rows_is_bad(tmp_path):
    content = bytearray(encoded())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 7] = b"\0\0"  # the height
    path = write(tmp_path / "flat.jpg", bytes(content))
    assert list(find_bad_images([path])) == [path]


def test_a_path_named_twice_is_reported_once(tmp_path):
    missing = tmp_path / "missing.jpg"
    assert list(find_bad_images([missing, missing])) == [missing]


def test_many_pictures_show_a_bar_on_stderr_only(tmp_path, capsys):
    content = encoded(size=(4, 4))
    paths = [write(tmp_path / f"{number}.jpg", content) for number in range(5_000)]
    bad = write(tmp_path / "bad.jpg", content[:50])
    assert list(find_bad_images([*paths, bad])) == [bad]
    shown = capsys.readouterr()
    assert "checking the pictures" in shown.err
    assert shown.out == ""


def test_load_image_gives_rgb_for_every_mode(tmp_path):
    for mode in ("L", "LA", "P", "RGBA", "CMYK", "1"):
        path = tmp_path / f"{mode}.tif"
        Image.new("RGB", (6, 4), (200, 30, 60)).convert(mode).save(path)
        image = load_image(path)
        assert (image.mode, image.size) == ("RGB", (6, 4))


DEEP = np.array([[0, 0, 0, 255, 256, 511], [25_600, 65_279, 65_280, 65_535, 65_535, 65_535]], np.uint16)
UPPER = np.array([[0, 0, 0, 0, 1, 1], [100, 254, 255, 255, 255, 255]], np.uint8)


@pytest.mark.parametrize("band", [1 << 20, 13, 1])
@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_deep_grey_keeps_its_upper_bits(tmp_path, monkeypatch, kind, band):
    monkeypatch.setattr(picture_colours, "_BAND_PIXELS", band)
    picture = np.tile(DEEP.astype(kind), (5, 1))
    for suffix in ("tif", "png") if kind == "<u2" else ("tif",):
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(picture).save(path)
        with Image.open(path) as stored:
            assert stored.mode.startswith("I")
        shown = np.asarray(load_image(path))
        assert np.array_equal(shown, np.tile(UPPER, (5, 1))[..., None].repeat(3, axis=2))


def test_deep_grey_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(DEEP).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(load_image(tmp_path / "turned.png"))[..., 0], np.rot90(UPPER, -1))


def test_a_picture_that_is_given_stays_as_it_is():
    for mode in ("RGB", "L", "I;16"):
        given = Image.new(mode, (6, 4))
        shown = in_rgb(upright(given))
        shown.paste((255, 255, 255), (0, 0, 6, 4))
        assert given.mode == mode and not np.asarray(given).any()


def test_load_image_turns_the_picture_upright(tmp_path):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: left becomes top
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    shown = np.asarray(load_image(path))
    assert shown.shape == (16, 8, 3)
    assert shown[:8].min() == 255 and shown[8:].max() == 0


def test_load_image_ignores_a_damaged_exif_block(tmp_path):
    width_as_text = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc\0")
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + width_as_text + turned + b"\0" * 4
    path = write(tmp_path / "damaged.jpg", encoded(exif=block))
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(path))
    assert load_image(path).size == (48, 32)


@pytest.mark.parametrize("content", [None, b"", b"text", encoded()[:600]])
def test_load_image_names_the_file_that_it_cannot_read(tmp_path, content):
    path = tmp_path / "car.jpg"
    if content is not None:
        write(path, content)
    with pytest.raises(ReIDError, match=r"car\.jpg cannot be read"):
        load_image(path)


def split(folder: Path, name: str, count: int, bad: set[int]) -> Split:
    images = []
    for number in range(count):
        path = write(folder / f"{name}{number}.jpg", encoded()[: 40 if number in bad else None])
        images.append(VehicleImage(path, identity=str(number % 3), camera=str(number % 2)))
    return tuple(images)


def dataset_with_bad(folder: Path, *, query: set[int] = frozenset(), gallery: set[int] = frozenset()) -> VehicleDataset:
    queries, pictures = split(folder, "q", 5, query), split(folder, "g", 9, gallery)

    def rows(query: VehicleImage, *, same_camera: bool) -> tuple[int, ...]:
        return tuple(
            row
            for row, image in enumerate(pictures)
            if image.identity == query.identity and (image.camera == query.camera) == same_camera
        )

    return VehicleDataset(
        name="cars",
        train=split(folder, "t", 4, {1}),
        query=queries,
        gallery=pictures,
        gt_index=tuple(rows(image, same_camera=False) for image in queries),
        jk_index=tuple(rows(image, same_camera=True) for image in queries),
    )


def test_error_names_the_files_the_count_and_the_fix(tmp_path):
    dataset = dataset_with_bad(tmp_path, gallery=set(range(8)))
    with pytest.raises(ReIDError) as caught:
        check_images(dataset)
    message = str(caught.value)
    assert "9 of the 18 pictures of cars" in message
    assert "t1.jpg" in message and "g0.jpg" in message
    assert "... and 4 more" in message
    assert "data.on_bad_image=skip" in message


def test_skip_removes_pictures_and_index_rows_still_mean_the_same_pictures(tmp_path, caplog):
    dataset = dataset_with_bad(tmp_path, query={0, 3}, gallery={0, 4, 8})
    with caplog.at_level(logging.WARNING):
        kept = check_images(dataset, on_bad_image="skip")
    assert "6 of the 18 pictures" in caplog.text
    assert {path.name for path in kept.skipped} == {"t1.jpg", "q0.jpg", "q3.jpg", "g0.jpg", "g4.jpg", "g8.jpg"}
    assert [image.path.name for image in kept.train] == ["t0.jpg", "t2.jpg", "t3.jpg"]
    assert [image.path.name for image in kept.query] == ["q1.jpg", "q2.jpg", "q4.jpg"]

    def meant(dataset: VehicleDataset, index) -> dict[str, set[str]]:
        return {
            query.path.name: {dataset.gallery[row].path.name for row in rows}
            for query, rows in zip(dataset.query, index, strict=True)
        }

    lost = {"g0.jpg", "g4.jpg", "g8.jpg"}
    for field in ("gt_index", "jk_index"):
        before = meant(dataset, getattr(dataset, field))
        after = meant(kept, getattr(kept, field))
        assert after == {name: before[name] - lost for name in ("q1.jpg", "q2.jpg", "q4.jpg")}


def test_good_pictures_pass_unchanged_and_missing_indices_stay_missing(tmp_path):
    good = VehicleDataset(name="cars", gallery=split(tmp_path, "g", 3, set()))
    assert check_images(good) is good
    bad = VehicleDataset(name="cars", gallery=split(tmp_path, "b", 3, {1}))
    kept = check_images(bad, on_bad_image="skip")
    assert kept.gt_index is None and kept.jk_index is None and len(kept.gallery) == 2


def test_skip_is_an_error_when_a_split_would_be_empty(tmp_path):
    with pytest.raises(ReIDError, match="No query picture would be left"):
        check_images(dataset_with_bad(tmp_path, query=set(range(5))), on_bad_image="skip")


@pytest.mark.parametrize("word", ["ignore", "Skip", None, True])
def test_other_words_are_an_error(tmp_path, word):
    with pytest.raises(ReIDError, match=r'data.on_bad_image.*"error" or "skip"'):
        check_images(dataset_with_bad(tmp_path), on_bad_image=word)
