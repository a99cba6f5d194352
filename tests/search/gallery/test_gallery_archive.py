"""Export and import of a gallery as a zip: round trips, and zips from people who mean harm."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import gallery_command

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, adding, archive_entries, archive_import, open_store
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.records import Crop, Sighting

MANIFEST = {"format": 1, "kind": "reid_lightning gallery"}


def sighting(identifier: str = "a1", vehicle: str = "51G12345", *, crops: int = 2, **values: object) -> Sighting:
    boxes = tuple(Crop("", k, 0.5 * k, (1.0, 2.0, 9.0, 9.0), 0.9, 0.8) for k in range(crops))
    given = {"camera": "north", "start": 1e9, "end": 1e9 + 4, "plate": "51G12345", "plate_confidence": 0.9, **values}
    return Sighting(
        identifier, vehicle, source="f0", source_name="x.mp4", track=1, type="car", detector="d", crops=boxes, **given
    )


def pictures(count: int = 2, *, level: int = 90) -> list[np.ndarray]:
    return [np.full((24, 32, 3), level + 40 * k, np.uint8) for k in range(count)]


def jpeg(level: int = 90, size: tuple[int, int] = (32, 24), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 20, 60)).save(buffer, kind)
    return buffer.getvalue()


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


def sidecar(identifier: str = "a1", vehicle: str = "V1", **changes: object) -> bytes:
    one = sighting(identifier, vehicle, crops=1)
    one = replace(one, crops=(replace(one.crops[0], file=f"{identifier}-0.jpg"),))
    return json.dumps({"format": 1, **asdict(one), **changes}).encode()


def zipped(
    path: Path, entries: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], **manifest: object
) -> Path:
    pairs = list(entries.items()) if isinstance(entries, dict) else entries
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [("manifest.json", json.dumps({**MANIFEST, **manifest})), *pairs]:
            archive.writestr(name, content)
    return path


def files_of(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery(tmp_path / "gallery")
    made.add(sighting("a1"), pictures())
    made.add(sighting("a2", camera='<img src=x onerror="alert(1)">', start=None, end=None), pictures(level=30))
    made.add(sighting("b1", "ŽLUŤ 1", crops=1), pictures(1))
    (made.root / "my van").mkdir()
    (made.root / "my van" / "front.PNG").write_bytes(jpeg(kind="PNG"))
    return made


@pytest.fixture
def other(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "other")


def test_a_round_trip_keeps_all_that_is_known(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = export_gallery(gallery, tmp_path / "g.zip", on_progress=lambda *step: steps.append(step))
    assert (report.vehicles, report.sightings, report.crops, report.problems) == (3, 4, 6, ())
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with zipfile.ZipFile(tmp_path / "g.zip") as archive:
        assert json.loads(archive.read("manifest.json")) == {**MANIFEST, "vehicles": 3, "sightings": 4, "crops": 6}
        methods = {info.compress_type for info in archive.infolist() if not info.filename.endswith(".json")}
        assert methods == {zipfile.ZIP_STORED}
    first = import_gallery(other, tmp_path / "g.zip")
    assert (first.added, first.known, first.left_out) == (4, 0, 0)
    mine, theirs = ({one.id: one for one in one_of.sightings()} for one_of in (gallery, other))
    own = next(one for one in theirs.values() if one.vehicle == "MY_VAN")
    assert {key: theirs[key] for key in theirs if key != own.id} == {
        key: mine[key] for key in mine if mine[key].vehicle != "my van"
    }
    assert (other.root / "MY_VAN/front.PNG").read_bytes() == jpeg(kind="PNG")
    for one in (mine["a1"], mine["b1"]):
        for here, there in zip(gallery.crop_paths(one), other.crop_paths(theirs[one.id]), strict=True):
            difference = np.asarray(Image.open(here), np.int16) - np.asarray(Image.open(there), np.int16)
            assert np.abs(difference).max() <= 3
    assert other.check() == []
    before = files_of(other.root)
    again = import_gallery(other, tmp_path / "g.zip")
    assert (again.added, again.known, again.left_out) == (0, 4, 0)
    into_itself = import_gallery(gallery, tmp_path / "g.zip")
    assert (into_itself.added, into_itself.known) == (0, 4)
    assert files_of(other.root) == before


def test_the_same_gallery_gives_the_same_zip(gallery: Gallery, tmp_path: Path) -> None:
    for name in ("1.zip", "2.zip"):
        export_gallery(gallery, tmp_path / name)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_some_vehicles_only(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    report = export_gallery(gallery, tmp_path / "g.zip", vehicles=["51G12345", "51g12345"])
    assert (report.vehicles, report.sightings) == (1, 2)
    import_gallery(other, tmp_path / "g.zip")
    assert other.vehicle_names() == ["51G12345"]
    with pytest.raises(ReIDError, match="no vehicle 'NOBODY'"):
        export_gallery(gallery, tmp_path / "g.zip", vehicles=["NOBODY"])


def test_what_is_known_elsewhere_stays_there(gallery: Gallery, tmp_path: Path) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    gallery.rename("51G12345", "BOSS")
    report = import_gallery(gallery, tmp_path / "g.zip")
    assert (report.added, report.known) == (0, 4) and "51G12345" not in gallery.vehicle_names()
    gallery.delete_sighting(next(one for one in gallery.sightings() if one.id == "a2"))
    assert import_gallery(gallery, tmp_path / "g.zip").added == 1
    assert gallery.find("a2").vehicle == "51G12345"


def test_damage_is_left_out_and_named_when_exporting(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    (gallery.root / "51G12345/a1.json").write_text("{")
    report = export_gallery(gallery, tmp_path / "g.zip")
    assert report.sightings == 3 and "a1.json is damaged" in report.problems[0]
    assert import_gallery(other, tmp_path / "g.zip").added == 3


def test_an_export_that_stops_leaves_nothing(gallery: Gallery, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        export_gallery(gallery, tmp_path / "out/g.zip", on_progress=stop)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ReIDError, match="cannot be written"):
        export_gallery(gallery, tmp_path / "nowhere/g.zip")


@pytest.mark.parametrize("cut", [0, 1, 200, -1, -30])
def test_what_is_no_whole_zip_is_one_clear_error(gallery: Gallery, other: Gallery, tmp_path: Path, cut: int) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "g.zip").read_bytes()[:cut])
    with pytest.raises(ReIDError, match=r"^cut\.zip is no zip, or not all of one"):
        import_gallery(other, tmp_path / "cut.zip")
    assert not other.root.exists()


def test_other_files_are_no_galleries(other: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="There is no file"):
        import_gallery(other, tmp_path / "g.zip")
    with pytest.raises(ReIDError, match=r"cannot be read|no zip"):
        import_gallery(other, tmp_path)
    (tmp_path / "g.zip").write_bytes(jpeg())
    with pytest.raises(ReIDError, match="is no zip"):
        import_gallery(other, tmp_path / "g.zip")
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("V1/a1.json", sidecar())
    with pytest.raises(ReIDError, match=r"no exported gallery: it has no manifest\.json"):
        import_gallery(other, tmp_path / "g.zip")
    with pytest.raises(ReIDError, match="its format is '2', this version reads 1"):
        import_gallery(other, zipped(tmp_path / "g.zip", {}, format=2))
    with pytest.raises(ReIDError, match="another program's"):
        import_gallery(other, zipped(tmp_path / "g.zip", {}, kind="app"))


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
    monkeypatch.setattr(archive_entries, "_LARGEST_READ", 100)
    with pytest.raises(ReIDError, match="table of contents is too large"):
        import_gallery(other, tmp_path / "g.zip")


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


def test_crops_without_their_sidecar_and_strange_files(gallery: Gallery, other: Gallery, tmp_path: Path) -> None:
    crop = (gallery.root / "51G12345/a1-0.jpg").read_bytes()
    entries = {"V1/a1-0.jpg": crop, "V1/run.sh": b"rm", "readme.txt": b"hello", "V1/": b"", "V1/ok.jpg": jpeg()}
    report = import_gallery(other, zipped(tmp_path / "g.zip", entries))
    assert (report.added, report.left_out) == (1, 3)
    assert set(files_of(other.root)) == {"V1/ok.jpg"}


def test_another_picture_of_the_same_name_gets_a_second_name(other: Gallery, tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"{k}.zip", {"V1/front.jpg": jpeg(k)}) for k in (10, 90))
    assert [import_gallery(other, path).added for path in (first, second, second, first)] == [1, 1, 0, 0]
    assert set(files_of(other.root)) == {"V1/front.jpg", "V1/front (2).jpg"}


def test_very_many_problems_are_counted_but_not_all_told(other: Gallery, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive_entries, "MOST_PROBLEMS", 3)
    report = import_gallery(other, zipped(tmp_path / "g.zip", {f"V1/{k}.exe": b"" for k in range(9)}))
    assert report.left_out == 9 and len(report.problems) == 3


def test_a_full_disk_stops_the_import_and_leaves_whole_sightings(gallery, other, tmp_path, monkeypatch) -> None:
    export_gallery(gallery, tmp_path / "g.zip")
    real, left = adding.staged, [1]

    def full(folder: Path, contents: list[bytes]):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(folder, contents)

    monkeypatch.setattr(adding, "staged", full)
    with pytest.raises(ReIDError, match="No space left"):
        import_gallery(other, tmp_path / "g.zip")
    monkeypatch.undo()
    assert [one.id for one in other.sightings()] == ["a1"] and other.check() == []
    assert import_gallery(other, tmp_path / "g.zip").added == 3


def test_commands(gallery: Gallery, tmp_path: Path, small_model, capsys: pytest.CaptureFixture[str]) -> None:
    save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})
    file, at = str(tmp_path / "g.zip"), [f"gallery={tmp_path / 'new'}"]
    assert gallery_command("export", f"file={file}", f"gallery={gallery.root}") == 0
    assert capsys.readouterr().out.endswith("g.zip: 3 vehicles, 4 sightings, 6 crops; 0 left out\n")
    assert gallery_command("export", f"file={file}", *at) == 1 and "no gallery at" in capsys.readouterr().err
    assert gallery_command("export", f"file={file}", f"gallery={gallery.root}", "vehicle=51G12345") == 0
    assert "1 vehicle, 2 sightings" in capsys.readouterr().out
    assert gallery_command("import", f"file={file}", *at) == 0
    output = capsys.readouterr().out
    assert "2 sightings added, 0 were known, 0 files left out" in output
    assert "reid gallery sync gallery=" in output and "bundle=latest" in output
    assert gallery_command("export", f"file={file}", f"gallery={gallery.root}") == 0
    assert gallery_command("import", f"file={file}", *at, f"bundle={tmp_path / 'bundle'}") == 0
    output = capsys.readouterr().out
    assert "2 sightings added, 2 were known" in output and "6 vectors: 6 embedded" in output
    assert open_store(tmp_path / "new/.index").count() == 6
    (tmp_path / "g.zip").write_bytes(b"no")
    assert gallery_command("import", f"file={file}", *at) == 1 and "is no zip" in capsys.readouterr().err


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
