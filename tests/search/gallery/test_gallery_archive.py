"""Export and import of a gallery as a zip: round trips, repeated and stopped ones, and files that are no galleries."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gallery_zips import MANIFEST, files_of, filled, jpeg, sidecar, zipped
from PIL import Image
from running import gallery_command

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, adding, open_store
from reid_lightning.search.gallery.archive import export_gallery, import_gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return filled(tmp_path / "gallery")


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


def test_another_picture_of_the_same_name_gets_a_second_name(other: Gallery, tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"{k}.zip", {"V1/front.jpg": jpeg(k)}) for k in (10, 90))
    assert [import_gallery(other, path).added for path in (first, second, second, first)] == [1, 1, 0, 0]
    assert set(files_of(other.root)) == {"V1/front.jpg", "V1/front (2).jpg"}


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


def test_commands(gallery: Gallery, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert gallery_command("import", f"file={file}", *at, f"bundle={bundle}") == 0
    output = capsys.readouterr().out
    assert "2 sightings added, 2 were known" in output and "6 vectors: 6 embedded" in output
    assert open_store(tmp_path / "new/.index").count() == 6
    (tmp_path / "g.zip").write_bytes(b"no")
    assert gallery_command("import", f"file={file}", *at) == 1 and "is no zip" in capsys.readouterr().err
