"""What lies in the entries of a gallery's zip: wrong sidecars, crops and times are left out by name."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import asdict
from pathlib import Path

import pytest
from gallery_zips import filled, jpeg, sidecar, sighting, zipped
from PIL import Image

from reid_lightning.search.gallery import Gallery, archive_entries, archive_import
from reid_lightning.search.gallery.archive import export_gallery, import_gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return filled(tmp_path / "gallery")


def tiled_tiff(*, side: int) -> bytes:
    """A picture of 16 x 16 in one tile of `side` x `side`."""
    packed = zlib.compress(bytes(side * side))
    values = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(values)) + entries + bytes(4)


def scanned_again(times: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()[:-2]
    return data + data[data.rindex(b"\xff\xda") :] * times + b"\xff\xd9"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "it is not JSON"),
        (b"[" * 200_000, "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[]", "it holds no JSON object"),
        (sidecar("b2"), "its id is 'b2', which is not the file's name"),
        (sidecar(format=7), "its format is 7"),
        (sidecar(crops=[]), "crops is not a list"),
        (sidecar(plate_confidence="much"), "plate_confidence is 'much'"),
        (sidecar(camera="x" * 2000), "has more than 1024 bytes"),
        (sidecar(camera="\ud800"), "is no valid text"),
        (sidecar(camera="\x1b]0;title\x07"), "holds control characters"),
        (sidecar(source="", detector=""), "neither a source nor a detector"),
        (sidecar(crops=[{**asdict(sighting().crops[0]), "file": "../a.jpg"}]), "without a folder"),
        (sidecar(crops=[{**asdict(sighting().crops[0]), "file": "gone.jpg"}]), "its crop 'gone.jpg' is missing"),
        (sidecar(crops=[{**asdict(sighting().crops[0]), "file": "a1.json"}]), "it is no whole picture"),
    ],
)
def test_a_wrong_sidecar_is_named(other: Gallery, tmp_path: Path, content: bytes, message: str) -> None:
    entries = {"V1/a1.json": content, "V1/a1-0.jpg": jpeg(), "V1/b1.json": sidecar("b1"), "V1/b1-0.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert report.added + report.known >= 1 and other.find("b1") is not None and other.find("a1") is None
    assert report.problems[0].startswith("'V1/a1.json': ") and message in report.problems[0]
    assert other.check() == []


def test_a_name_of_a_vehicle_in_which_nothing_is_a_letter(other: Gallery, tmp_path: Path) -> None:
    entries = {"___/a1.json": sidecar(), "___/a1-0.jpg": jpeg(), "--/b.jpg": jpeg(), "../../V/c.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (0, 3) and not other.root.exists()


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        (b"", "no whole picture"),
        (b"GIF89a", "no whole picture"),
        (jpeg()[:-40], "no whole picture"),
        (jpeg(size=(200, 200)), "200 x 200 pixels, at most 1,000"),
        (tiled_tiff(side=48), "its tiles of 48 x 48 pixels have 48 x 48 together, at most 1,000"),
        (scanned_again(60), "a JPEG of more than 50 scans"),
    ],
)
def test_crops_must_decode_and_be_small(
    other: Gallery, tmp_path: Path, crop: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_entries, "MAX_PIXELS", 1_000)
    entries = {"V1/a1.json": sidecar(), "V1/a1-0.jpg": crop, "V2/own.jpg": crop, "V3/b.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (1, 2) and other.vehicle_names() == ["V3"]
    assert all(message in problem for problem in report.problems)


def test_all_crops_of_a_sighting_are_bounded_together(gallery, other, tmp_path, monkeypatch) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    monkeypatch.setattr(archive_import, "_MOST_PIXELS", 24 * 32)
    report = import_gallery(other, tmp_path / "g.zip")
    assert report.added == 2 and all("768 pixels together" in problem for problem in report.problems)


def test_a_damaged_byte_is_found_by_its_checksum(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    content = bytearray((tmp_path / "g.zip").read_bytes())
    content[content.index(b"reid_lightning sighting a1")] ^= 1
    (tmp_path / "g.zip").write_bytes(content)
    report = import_gallery(other, tmp_path / "g.zip")
    assert (report.added, report.left_out) == (3, 1) and "Bad CRC-32" in report.problems[0]


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("seconds", [-1.0, 253_370_764_800.0, 253_402_300_799.0, 1e17])
def test_times_that_no_calendar_has_are_left_out(other: Gallery, tmp_path: Path, name: str, seconds: float) -> None:
    last = 253_370_764_799.0  # of the year 9998
    entries = {"V1/a1.json": sidecar("a1", **{name: seconds}), "V1/a1-0.jpg": jpeg()}
    entries |= {"V1/a2.json": sidecar("a2", start=0.0, end=last), "V1/a2-0.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (1, 1) and [one.id for one in other.sightings()] == ["a2"]
    assert "'V1/a1.json'" in report.problems[0] and f"its {name} is" in report.problems[0]
    assert "years 1970 to 9998" in report.problems[0]
