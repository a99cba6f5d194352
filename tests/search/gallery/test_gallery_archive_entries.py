"""Entries of a gallery's zip from people who mean harm: names, links, bombs, packings, numbers."""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from gallery_zips import MANIFEST, files_of, filled, jpeg, sidecar, zipped

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, archive_entries
from reid_lightning.search.gallery.archive import MAX_BYTES, export_gallery, import_gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return filled(tmp_path / "gallery")


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg", "V1/../../a.jpg", "/etc/a.jpg", "/a.jpg", "..\\..\\a.jpg", "V1\\a.jpg", "C:/a.jpg", "C:a.jpg",
        "V1/a:b.jpg", ".index/a.jpg", "V1/.a.jpg", "./a.jpg", "V1//a.jpg", "a/b/c.jpg", "//host/a.jpg", "V1/..",
        "V1/a\nb.jpg", "V1/\x1b[31ma.jpg", "a.jpg", f"V1/{'a' * 300}.jpg",
    ],
)  # fmt: skip
def test_no_entry_leaves_its_folder(other: Gallery, tmp_path: Path, name: str) -> None:
    before = files_of(tmp_path)
    report = import_gallery(other, zipped(tmp_path / "g.zip", {name: jpeg(), "V2/good.jpg": jpeg()}))
    assert (report.added, report.left_out) == (1, 1), report
    assert report.problems[0].isprintable() and len(report.problems[0]) < 250
    assert set(files_of(tmp_path)) - set(before) - {"g.zip"} == {"other/V2/good.jpg"}


@pytest.mark.parametrize("name", ["", "\0", "/"])
def test_a_name_of_nothing(other: Gallery, tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "g.zip", [(zipfile.ZipInfo(name), b""), ("V1/b.jpg", jpeg())])
    report = import_gallery(other, path)
    assert report.added == 1 and other.vehicle_names() == ["V1"]


def test_a_nul_in_a_name(other: Gallery, tmp_path: Path) -> None:
    path = zipped(tmp_path / "g.zip", {"V1/goodX.exe": jpeg()})
    path.write_bytes(path.read_bytes().replace(b"V1/goodX.exe", b"V1/a.jpg\0exe"))
    report = import_gallery(other, path)
    assert report.added == 0 and report.left_out == 1 and not other.root.exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_not_read(other: Gallery, tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("V1/a.jpg")
    link.external_attr = (kind | 0o777) << 16
    report = import_gallery(other, zipped(tmp_path / "g.zip", [(link, b"/etc/passwd"), ("V1/b.jpg", jpeg())]))
    assert report.added == 1 and "'V1/a.jpg': it is a link" in report.problems[0]
    assert not (other.root / "V1/a.jpg").exists()


def test_a_link_in_the_gallery_is_not_written_through(other: Gallery, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    other.root.mkdir()
    (other.root / "V1").symlink_to(tmp_path / "outside")
    entries = {"V1/a1.json": sidecar(), "V1/a1-0.jpg": jpeg(), "V1/b.jpg": jpeg(7), "V2/c.jpg": jpeg(8)}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (1, 2) and "is a link" in report.problems[0]
    assert list((tmp_path / "outside").iterdir()) == []


def test_entries_that_are_there_twice_are_left_out(other: Gallery, tmp_path: Path) -> None:
    twice = [("V1/a1.json", sidecar()), ("V1/a1-0.jpg", jpeg()), ("V1/a1-0.jpg", jpeg(200)), ("V2/b.jpg", jpeg())]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "g.zip", twice)
    report = import_gallery(other, path)
    assert (report.added, report.left_out) == (1, 3) and other.vehicle_names() == ["V2"]
    assert "more than once" in report.problems[0] and "'a1-0.jpg' is missing" in report.problems[2]


def test_a_bomb_is_refused_by_what_it_says(other: Gallery, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(MANIFEST))
        archive.writestr("V1/a.jpg", b"\0" * 3_000_000)
    with pytest.raises(ReIDError, match="unpacks to more than 2,000,000 bytes"):
        import_gallery(other, tmp_path / "g.zip", max_bytes=2_000_000)
    assert import_gallery(other, tmp_path / "g.zip").left_out == 1


def test_a_bomb_that_says_it_is_small_is_refused_too(other: Gallery, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(MANIFEST))
        archive.writestr("V1/a.jpg", b"\0" * 3_000_000)
    lie = (tmp_path / "g.zip").read_bytes().replace(struct.pack("<L", 3_000_000), struct.pack("<L", 100))
    (tmp_path / "g.zip").write_bytes(lie)
    report = import_gallery(other, tmp_path / "g.zip", max_bytes=10_000)
    assert (report.added, report.left_out) == (0, 1) and not other.root.exists()


def test_bytes_are_counted_while_reading(gallery: Gallery, other: Gallery, tmp_path: Path, monkeypatch) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    monkeypatch.setattr(archive_entries.Entries, "_plain_ones", _without_looking_at_sizes)
    with pytest.raises(ReIDError, match="unpacks to more than 2,000 bytes"):
        import_gallery(other, tmp_path / "g.zip", max_bytes=2_000)
    assert other.check() == []


def _without_looking_at_sizes(entries: archive_entries.Entries) -> dict[str, zipfile.ZipInfo]:
    return {info.filename: info for info in entries._zip.infolist()}


def test_numbers_of_entries_are_bounded(gallery: Gallery, other: Gallery, tmp_path: Path, monkeypatch) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    monkeypatch.setattr(archive_entries, "MAX_ENTRIES", 5)
    with pytest.raises(ReIDError, match=r"holds 10 files; at most 5"):
        import_gallery(other, tmp_path / "g.zip")
    assert import_gallery(other, tmp_path / "g.zip", max_bytes=2 * MAX_BYTES).added == 4
    monkeypatch.setattr(archive_entries, "_LARGEST_READ", 100)
    monkeypatch.setattr(archive_entries, "_LINE", 1)
    with pytest.raises(ReIDError, match="table of contents is too large"):
        import_gallery(other, tmp_path / "g.zip", max_bytes=2 * MAX_BYTES)


def test_other_packings_and_encryption_are_refused(other: Gallery, tmp_path: Path) -> None:
    packed, secret = zipfile.ZipInfo("V1/a.jpg"), b"V1/secret.jpg"
    packed.compress_type = zipfile.ZIP_BZIP2
    path = zipped(tmp_path / "g.zip", [(packed, jpeg()), (secret.decode(), jpeg())])
    content = bytearray(path.read_bytes())
    content[content.rindex(secret) - 46 + 8] |= 1  # the flags in the table of contents
    path.write_bytes(content)
    report = import_gallery(other, path)
    assert report.added == 0 and len(report.problems) == 2
    assert "method 12" in report.problems[0] and "encrypted" in report.problems[1]


def test_crops_without_their_sidecar_and_strange_files(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    crop = (gallery.root / "51G12345/a1-0.jpg").read_bytes()
    entries = {"V1/a1-0.jpg": crop, "V1/run.sh": b"rm", "readme.txt": b"hello", "V1/": b"", "V1/ok.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (1, 3)
    assert set(files_of(other.root)) == {"V1/ok.jpg"}


def test_very_many_problems_are_counted_but_not_all_told(other: Gallery, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive_entries, "MOST_PROBLEMS", 3)
    report = import_gallery(other, zipped(tmp_path / "g.zip", {f"V1/{k}.exe": b"" for k in range(9)}))
    assert report.left_out == 9 and len(report.problems) == 3
