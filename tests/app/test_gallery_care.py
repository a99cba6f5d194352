"""The Gallery page's vectors, zips and checks, also where the disk or the model does not play along."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gallery_page import HOSTILE, SECONDS, cards, ended, good, press, shown, view
from streamlit.testing.v1 import AppTest

from reid_lightning.app import widgets
from reid_lightning.app.jobs import Cancelled
from reid_lightning.search.gallery import Gallery, open_store
from reid_lightning.search.gallery.archive import export_gallery


def test_the_vectors_follow(start, gallery: Gallery, bundle: Path) -> None:
    app = view(start(f"bundle={bundle}"), "Model and repair")
    assert "no vectors yet" in shown(app) and "5 pictures\\, 0 vectors" in shown(app)
    press(app, "gallery_sync")
    ended(app, "gallery_vectors")
    assert "5 vectors: 5 embedded" in shown(app) and "Every picture is embedded" in shown(app)
    app = start(f"bundle={bundle}", vehicle="AB12CDE")
    press(app, "gallery_rename")
    app.text_input(key="gallery_new_name").set_value("BOSS")
    press(app, "gallery_confirm")
    assert Counter(_vehicles_in_store(gallery))["BOSS"] == 3
    press(app, "gallery_delete_a2")
    press(app, "gallery_confirm")
    press(app, "gallery_merge")
    app.selectbox(key="gallery_into").set_value("MY_TRUCK")
    press(app, "gallery_confirm")
    assert Counter(_vehicles_in_store(gallery))["MY_TRUCK"] == 3
    press(app, "gallery_delete")
    press(app, "gallery_confirm")
    assert len(_vehicles_in_store(gallery)) == 1


def _vehicles_in_store(gallery: Gallery) -> list[str]:
    return [record.vehicle for part in open_store(gallery.root / ".index").records() for record in part]


def test_vectors_of_another_model(start, gallery: Gallery, bundle: Path, tmp_path: Path) -> None:
    other = open_store(gallery.root / ".index", fingerprint="another", dim=4)
    from reid_lightning.search.gallery import records_of

    other.upsert(records_of(gallery.find("a2")), np.eye(4, dtype=np.float32)[:1])
    app = view(start(f"bundle={bundle}"), "Model and repair")
    assert "Made with the model `another`: 1 vector of 4 numbers" in shown(app) and "of another model" in shown(app)
    press(app, "gallery_sync")
    assert app.session_state["gallery_vectors"].wait(SECONDS)
    assert "cannot be compared" in good(app.run()).error[0].value
    press(app, "gallery_rebuild")
    ended(app, "gallery_vectors")
    assert "5 vectors: 5 embedded" in shown(app) and "Every picture is embedded by the present" in shown(app)


def test_without_a_model(start, gallery: Gallery) -> None:
    app = view(start(), "Model and repair")
    assert "There is no model" in shown(app)
    assert not [one for one in app.button if one.key in ("gallery_sync", "gallery_rebuild")]


def test_problems_are_told(start, gallery: Gallery) -> None:
    (gallery.root / "MY_TRUCK/b1.json").write_text("{")
    crop = gallery.root / "AB12CDE/a1-0.jpg"
    crop.write_bytes(crop.read_bytes()[:-60])
    app = start()
    assert app.expander[0].label.startswith("1 problem") and "damaged" in shown(app)
    assert cards(app) == ["AB12CDE", *[name for name in gallery.vehicle_names() if name.startswith("IMG")]]
    view(app, "Model and repair")
    press(app, "gallery_check_start")
    ended(app, "gallery_check")
    assert "1 problem found by the check" in [one.label for one in app.expander] and r"a1\-0\.jpg" in shown(app)
    assert "Left out" in shown(start(vehicle="MY_TRUCK"))
    assert "The picture cannot be read" in shown(start(vehicle="AB12CDE"))


def test_export_all_and_the_filtered(start, gallery: Gallery, tmp_path: Path) -> None:
    app = view(start(), "Export and import")
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    assert "3 vehicles, 4 sightings, 5 pictures" in shown(app) and app.download_button
    made = app.session_state["gallery_export"].result.file
    with zipfile.ZipFile(made) as archive:
        assert len(archive.namelist()) == 1 + 4 + 5
    view(app, "Vehicles")
    app.text_input(key="gallery_text").set_value("ab12").run()
    view(app, "Export and import")
    choice = app.radio(key="gallery_which")
    assert choice.options == ["All 3 vehicles", "Those that fit the list's filters: 1 vehicle"]
    choice.set_value(choice.options[1])
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    assert "1 vehicle, 2 sightings, 3 pictures" in shown(app) and not made.exists()


def test_a_zip_too_large_for_the_servers_memory_is_named_and_not_sent(
    start, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = view(start(), "Export and import")
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    made = app.session_state["gallery_export"].result.file
    monkeypatch.setattr(widgets, "LARGEST_DOWNLOAD", made.stat().st_size)
    assert good(app.run()).download_button and not app.code
    monkeypatch.setattr(widgets, "LARGEST_DOWNLOAD", made.stat().st_size - 1)
    assert not good(app.run()).download_button
    assert [one.value for one in app.code] == [str(made)] and "too much for a browser's download" in shown(app)


def test_an_export_that_fails_says_why(start, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_lightning.app.gallery import jobs as gallery_jobs

    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device", "gallery.zip")

    app = view(start(), "Export and import")
    monkeypatch.setattr(gallery_jobs, "export_gallery", full)
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    assert "No space left" in app.error[0].value and not app.download_button
    monkeypatch.undo()


def upload(app: AppTest, content: bytes) -> AppTest:
    view(app, "Export and import")
    app.file_uploader[0].set_value([("g.zip", content, "application/zip")])
    good(app.run())
    press(app, "gallery_import_start")
    if "gallery_import" in app.session_state:
        ended(app, "gallery_import")
    return app


@pytest.fixture
def zipped(gallery: Gallery, tmp_path: Path) -> bytes:
    export_gallery(gallery, tmp_path / "g.zip")
    shutil.rmtree(gallery.root)
    return (tmp_path / "g.zip").read_bytes()


def test_import_with_a_model_can_be_searched(start, gallery: Gallery, bundle: Path, zipped: bytes) -> None:
    app = upload(start(f"bundle={bundle}"), zipped)
    assert "4 sightings added, 0 known before, 0 left out" in shown(app) and "5 vectors: 5 embedded" in shown(app)
    assert len(cards(view(app, "Vehicles"))) == 3 and len(_vehicles_in_store(gallery)) == 5
    app = upload(app, zipped)
    assert "0 sightings added, 4 known before" in shown(app)


def test_import_without_a_model(start, gallery: Gallery, zipped: bytes) -> None:
    app = upload(start(), zipped)
    assert "4 sightings added" in shown(app) and "cannot be searched yet" in shown(app)


@pytest.mark.parametrize("damage", ["no zip", "cut", "other"])
def test_files_that_are_no_gallery(start, gallery: Gallery, zipped: bytes, damage: str) -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    app = upload(start(), {"no zip": b"\xff" * 99, "cut": zipped[:-50], "other": other.getvalue()}[damage])
    assert "import\\.zip is no" in app.error[0].value and not gallery.root.exists()
    assert not list(app.session_state["uploads"].folder.rglob("*.zip"))


def test_a_hostile_zip(start, gallery: Gallery, tmp_path: Path, zipped: bytes) -> None:
    (tmp_path / "h.zip").write_bytes(zipped)
    with zipfile.ZipFile(tmp_path / "h.zip", "a") as archive:
        for name in ("../../escaped.jpg", "/tmp/escaped.jpg", f"V/{HOSTILE.replace('/', '')}.exe"):
            archive.writestr(name, b"x")
    app = upload(start(), (tmp_path / "h.zip").read_bytes())
    assert "4 sightings added, 0 known before, 3 left out" in shown(app) and "3 problems in the zip" in [
        one.label for one in app.expander
    ]
    assert r"\<img" in shown(app) and not list(tmp_path.rglob("escaped*"))


def test_too_large_an_upload(start, gallery: Gallery, zipped: bytes) -> None:
    app = upload(start("max_upload_mib=1"), zipped + bytes(1 << 20))
    assert "at most 1 MiB" in app.error[0].value and "gallery_import" not in app.session_state


def test_a_zip_that_was_removed_meanwhile_can_be_made_again(start, gallery: Gallery) -> None:
    app = view(start(), "Export and import")
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    app.session_state["gallery_export"].result.file.unlink()
    good(app.run())
    assert "removed from the server meanwhile" in app.warning[0].value and not app.download_button
    press(app, "gallery_export_start")
    ended(app, "gallery_export")
    assert app.download_button and not app.warning


def test_a_full_disk_while_a_zip_is_uploaded(start, gallery: Gallery, zipped: bytes, monkeypatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    app = upload(start(), zipped)
    assert "No space left on device" in app.error[0].value and "gallery_import" not in app.session_state
    assert list(app.session_state["uploads"].folder.iterdir()) == []


def test_a_check_can_be_cancelled(start, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_lightning.app.gallery import jobs as gallery_jobs

    job = gallery_jobs.Job("x", lambda job: None)
    assert job.wait(SECONDS)
    job.cancel()
    read = []
    real = Gallery.sightings_of
    monkeypatch.setattr(Gallery, "sightings_of", lambda *given, **named: read.append(given[1]) or real(*given, **named))
    with pytest.raises(Cancelled):
        gallery_jobs.checking(gallery)(job)
    assert read == ["AB12CDE"]
