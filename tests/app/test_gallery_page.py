"""The Gallery page: every view and every action, also of a page that is out of date."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from reid_lightning.app import widgets
from reid_lightning.app.context import app_context
from reid_lightning.app.gallery.charts import timeline
from reid_lightning.app.gallery.choice import Choice, chosen
from reid_lightning.app.gallery.overview import GalleryOverview
from reid_lightning.app.gallery.pictures import LARGEST, SIZE, thumbnail
from reid_lightning.app.gallery.statistics import moment, statistics_of
from reid_lightning.app.jobs import Cancelled
from reid_lightning.search.gallery import Gallery, open_store
from reid_lightning.search.gallery.archive import export_gallery
from reid_lightning.search.records import Crop, Sighting

HOSTILE = "<img src=x onerror=alert(1)> **b** [x](http://evil) :smile: $a$ `c`"
NEW_YEAR = datetime(2026, 1, 1, 12).timestamp()
DAY = 86400.0
SECONDS = 60


def add(gallery: Gallery, identifier: str, vehicle: str, *, crops: int = 1, **values: object) -> None:
    given = {"camera": "north", "type": "car", "start": NEW_YEAR, "end": NEW_YEAR + 4, "source_name": "n.mp4", **values}
    boxes = tuple(Crop("", k, 0.5, (1.0, 2.0, 30.0, 40.0), 0.9, 0.1 * k) for k in range(crops))
    level = 40 * (len(identifier) + crops) % 200
    pictures = [np.full((24, 32, 3), level + 9 * k, np.uint8) for k in range(crops)]
    gallery.add(Sighting(identifier, vehicle, source="f", track=7, detector="motion", crops=boxes, **given), pictures)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery(tmp_path / "gallery")
    add(made, "a1", "AB12CDE", crops=2, plate="AB12CDE", plate_confidence=0.91)
    add(made, "a2", "AB12CDE", camera="south", start=NEW_YEAR + DAY, end=NEW_YEAR + DAY + 3)
    add(made, "b1", "MY TRUCK", type="truck", camera="south", start=None, end=None, plate="XY-99 ZZZ")
    add(made, "c1", HOSTILE, camera=HOSTILE, source_name=HOSTILE, plate=HOSTILE, type=HOSTILE)
    return made


@pytest.fixture
def start(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Opens the page in a browser tab of its own."""

    def run(*given: str, vehicle: str | None = None) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", "gallery=gallery", *given])  # the same for all: composed once
        monkeypatch.chdir(tmp_path)
        app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS)
        app.switch_page("screens/gallery.py")
        if vehicle is not None:
            app.query_params["vehicle"] = vehicle
        return good(app.run())

    return run


def good(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def shown(app: AppTest) -> str:
    """All texts, as Markdown's source."""
    kinds = (app.title, app.markdown, app.caption, app.info, app.success, app.warning, app.error)
    return "\n".join(str(one.value) for kind in kinds for one in kind)


def cards(app: AppTest) -> list[str]:
    return [one.key.removeprefix("gallery_open_") for one in app.button if (one.key or "").startswith("gallery_open_")]


def on_its_page(app: AppTest) -> AppTest:
    """A browser would know by now that it was sent to another page."""
    return app.switch_page("screens/vehicle.py" if "vehicle" in app.query_params else "screens/gallery.py")


def press(app: AppTest, key: str) -> AppTest:
    return good(on_its_page(app).button(key=key).click().run())


def view(app: AppTest, name: str) -> AppTest:
    return good(app.segmented_control(key="gallery_view").set_value(name).run())


def ended(app: AppTest, key: str) -> AppTest:
    assert app.session_state[key].wait(SECONDS)
    return good(app.run())


def test_an_empty_gallery_says_what_to_do(start) -> None:
    app = start()
    assert "No vehicle is registered" in app.info[0].value and not cards(app)
    assert app.get("page_link")
    for name in ("Statistics", "Export and import", "Model and repair"):
        view(app, name)
    assert "nothing to export" in shown(view(app, "Export and import"))


def test_all_vehicles_are_cards(start, gallery: Gallery) -> None:
    app = start()
    assert cards(app) == gallery.vehicle_names() and len(cards(app)) == 3
    assert len(app.image) == 3
    assert "3 vehicles" in shown(app) and "2 sightings  \nnorth, south  \n2026-01-02 12:00" in shown(app)


def test_filters(start, gallery: Gallery) -> None:
    app = start()
    app.text_input(key="gallery_text").set_value("ab12").run()
    assert cards(app) == ["AB12CDE"] and "1 of 3 vehicles" in shown(app)
    app.text_input(key="gallery_text").set_value("xy 99-z").run()
    assert cards(app) == ["MY_TRUCK"]  # by the plate that was read
    app.text_input(key="gallery_text").set_value("nothing like it").run()
    assert cards(app) == [] and "No vehicle fits" in shown(app)
    press(app, "gallery_clear")
    assert len(cards(app)) == 3
    app.multiselect(key="gallery_cameras").set_value(["south"]).run()
    assert cards(app) == ["AB12CDE", "MY_TRUCK"]
    app.multiselect(key="gallery_types").set_value(["car"]).run()
    assert cards(app) == ["AB12CDE"]
    app.datetime_input(key="gallery_since").set_value(datetime(2026, 1, 3)).run()
    assert cards(app) == []
    app.datetime_input(key="gallery_since").set_value(datetime(2026, 1, 2)).run()
    assert cards(app) == ["AB12CDE"]
    app.datetime_input(key="gallery_until").set_value(datetime(2026, 1, 2, 11)).run()
    assert cards(app) == []


def test_filters_stay_while_a_vehicle_is_looked_at(start, gallery: Gallery) -> None:
    app = start()
    app.text_input(key="gallery_text").set_value("ab12").run()
    press(app, "gallery_open_AB12CDE")
    assert app.query_params["vehicle"] == "AB12CDE" and app.title[0].value == "AB12CDE"
    press(app, "gallery_back")
    assert cards(app) == ["AB12CDE"] and app.text_input(key="gallery_text").value == "ab12"


def test_filters_stay_while_another_page_is_looked_at(start, gallery: Gallery) -> None:
    app = start()
    app.text_input(key="gallery_text").set_value("ab12").run()
    app.multiselect(key="gallery_cameras").set_value(["south"]).run()
    app.multiselect(key="gallery_types").set_value(["car"]).run()
    app.datetime_input(key="gallery_since").set_value(datetime(2026, 1, 2)).run()
    app.selectbox(key="gallery_order").set_value("sightings").run()
    for _ in range(2):
        good(app.switch_page("screens/register.py").run())
        good(app.run())
        good(app.switch_page("screens/gallery.py").run())
        assert app.text_input(key="gallery_text").value == "ab12" and cards(app) == ["AB12CDE"]
        assert app.multiselect(key="gallery_cameras").value == ["south"]
        assert app.multiselect(key="gallery_types").value == ["car"]
        assert app.datetime_input(key="gallery_since").value == datetime(2026, 1, 2)
        assert app.selectbox(key="gallery_order").value == "sightings" and "1 of 3 vehicles fit" in shown(app)
    press(app, "gallery_clear")
    assert len(cards(app)) == 3 and not any(one.key == "gallery_clear" for one in app.button)
    good(app.switch_page("screens/register.py").run())
    assert len(cards(good(app.switch_page("screens/gallery.py").run()))) == 3


def test_a_camera_that_is_gone_is_no_filter_any_more(start, gallery: Gallery) -> None:
    app = start()
    app.multiselect(key="gallery_cameras").set_value(["south"]).run()
    gallery.delete("MY_TRUCK")
    gallery.delete("AB12CDE")
    assert len(cards(good(app.run()))) == 1


def test_order_and_pages(start, gallery: Gallery) -> None:
    for number in range(30):
        add(gallery, f"z{number:02d}", f"Z{number:02d}", start=NEW_YEAR - number, end=NEW_YEAR - number)
    app = start()
    first = cards(app)
    assert len(first) == 24
    app.pagination(key="gallery_page").set_value(2).run()
    assert first + cards(good(app)) == gallery.vehicle_names()
    app.selectbox(key="gallery_order").set_value("sightings").run()
    assert cards(good(app))[0] == "AB12CDE" and len(cards(app)) == 24  # the first page again
    app.selectbox(key="gallery_order").set_value("last seen").run()
    assert cards(app)[0] == "AB12CDE" and cards(app)[2:5] == ["Z00", "Z01", "Z02"]
    app.pagination(key="gallery_page").set_value(2).run()
    assert cards(app)[-1] == "MY_TRUCK"  # nobody knows when
    for number in range(30):
        gallery.delete(f"Z{number:02d}")
    assert len(cards(good(app.run()))) == 3


def test_a_vehicles_page(start, gallery: Gallery) -> None:
    Image.new("RGB", (30, 20)).save(gallery.root / "AB12CDE" / "by *hand*.png")
    app = start(vehicle="AB12CDE")
    text = shown(app)
    assert "3 sightings, 4 pictures" in text and "cameras: north, south" in text
    assert "**2026-01-01 12:00:00 to 12:00:04**, camera north" in text
    assert "track 7 · type car · plate AB12CDE (0.91) · detector motion · source n\\.mp4" in text
    assert "frame 1, 0.5 s, box 1, 2, 30, 40, score 0.90" in text
    assert "1 sighting at unknown times" in text and r"by \*hand\*\.png" in text
    assert len(app.image) == 4 and len(app.get("arrow_vega_lite_chart") + app.get("vega_lite_chart")) == 1


def test_many_sightings_come_in_pages(start, gallery: Gallery) -> None:
    for number in range(12):
        add(gallery, f"m{number:02d}", "MANY", start=NEW_YEAR + number)
    app = start(vehicle="MANY")
    assert len(app.image) == 10
    on_its_page(app).pagination(key="gallery_sightings_page").set_value(2).run()
    assert len(good(app).image) == 2
    gallery.delete_sighting(gallery.find("m00"))
    gallery.delete_sighting(gallery.find("m01"))
    assert len(good(app.run()).image) == 10


def test_a_vehicle_that_is_not_there(start, gallery: Gallery) -> None:
    for name in ("../..", HOSTILE + "x"):
        assert "There is no vehicle" in shown(start(vehicle=name))


def test_outside_texts_stay_texts(start, gallery: Gallery) -> None:
    app = start()
    (name,) = [one for one in gallery.vehicle_names() if one.startswith("IMG")]
    for page in (app, view(app, "Statistics"), start(vehicle=name)):
        for one in (*page.markdown, *page.caption, *page.title, *page.button):
            text = str(getattr(one, "value", "") or "") + str(getattr(one, "label", "") or "")
            assert "<img" not in text.replace(r"\<img", "") and "**b**" not in text and ":smile:" not in text, text
    assert r"\<img src\=x onerror\=alert\(1\)\>" in shown(start(vehicle=name))


def test_rename(start, gallery: Gallery) -> None:
    app = start(vehicle="AB12CDE")
    press(app, "gallery_rename")
    app.text_input(key="gallery_new_name").set_value("the boss")
    press(app, "gallery_confirm")
    assert app.query_params["vehicle"] == "THE_BOSS" and app.title[0].value == r"THE\_BOSS"
    assert r"AB12CDE is now called THE\_BOSS\." in app.success[0].value
    assert {one.id for one in gallery.sightings_of("THE_BOSS")} == {"a1", "a2"}


@pytest.mark.parametrize(("name", "message"), [("my truck", "which exists"), (" ", "is empty"), ("...", "one letter")])
def test_names_that_cannot_be(start, gallery: Gallery, name: str, message: str) -> None:
    app = start(vehicle="AB12CDE")
    press(app, "gallery_rename")
    app.text_input(key="gallery_new_name").set_value(name)
    press(app, "gallery_confirm")
    assert message in app.error[0].value and app.title[0].value == "AB12CDE"
    assert "AB12CDE" in gallery.vehicle_names()


def test_merge(start, gallery: Gallery) -> None:
    app = start(vehicle="MY_TRUCK")
    press(app, "gallery_merge")
    assert "1 sighting of **MY\\_TRUCK** will move" in shown(app)
    assert "MY_TRUCK" not in app.selectbox(key="gallery_into").options
    press(app, "gallery_confirm")
    assert "Nothing was chosen" in app.error[0].value and "MY_TRUCK" in gallery.vehicle_names()
    press(app, "gallery_merge")
    app.selectbox(key="gallery_into").set_value("AB12CDE")
    press(app, "gallery_confirm")
    assert app.query_params["vehicle"] == "AB12CDE" and "3 sightings" in shown(app)
    assert "MY_TRUCK" not in gallery.vehicle_names()


def test_delete_asks_first(start, gallery: Gallery) -> None:
    app = start(vehicle="AB12CDE")
    press(app, "gallery_delete")
    assert "**AB12CDE** (2 sightings, 3 pictures) will be deleted" in shown(app)
    press(app, "gallery_cancel")
    assert "AB12CDE" in gallery.vehicle_names() and app.title[0].value == "AB12CDE"
    press(app, "gallery_delete")
    press(app, "gallery_confirm")
    assert "AB12CDE" not in gallery.vehicle_names() and "AB12CDE" not in cards(app) and len(cards(app)) == 2
    assert "AB12CDE was deleted" in app.success[0].value
    press(app, "gallery_undo")
    assert "AB12CDE is as it was" in app.success[0].value and len(gallery.sightings_of("AB12CDE")) == 2
    assert not good(app.run()).success  # it is said once


def test_delete_one_sighting(start, gallery: Gallery) -> None:
    app = start(vehicle="AB12CDE")
    press(app, "gallery_delete_a2")
    assert "camera south, 2026-01-02 12:00:00 (1 picture) will be deleted" in shown(app)
    press(app, "gallery_confirm")
    assert [one.id for one in gallery.sightings_of("AB12CDE")] == ["a1"] and "1 sighting, 2 pictures" in shown(app)
    press(app, "gallery_delete_a1")
    assert "It is the last one" in shown(app)
    press(app, "gallery_confirm")
    assert gallery.folder_of("AB12CDE") is None and len(cards(app)) == 2


@pytest.mark.parametrize(
    ("action", "meanwhile"),
    [("rename", "delete"), ("merge", "rename"), ("delete", "merge"), ("delete_a2", "rename"), ("delete_a2", "merge")],
)
def test_another_tab_was_faster(start, gallery: Gallery, action: str, meanwhile: str) -> None:
    app = start(vehicle="AB12CDE")
    press(app, f"gallery_{action}")
    if action == "rename":
        app.text_input(key="gallery_new_name").set_value("NEW")
    if action == "merge":
        app.selectbox(key="gallery_into").set_value("MY_TRUCK")
    {
        "rename": lambda: gallery.rename("AB12CDE", "OTHER"),
        "delete": lambda: gallery.delete("AB12CDE"),
        "merge": lambda: gallery.merge("AB12CDE", "MY_TRUCK"),
    }[meanwhile]()
    left = {one.id: one.vehicle for one in gallery.sightings()}
    press(app, "gallery_confirm")
    assert "any more" in app.error[0].value and "Nothing was done" in app.error[0].value
    assert "There is no vehicle AB12CDE" in app.warning[0].value
    assert {one.id: one.vehicle for one in Gallery(gallery.root).sightings()} == left
    assert len(cards(press(app, "gallery_back"))) == len(gallery.vehicle_names())


def test_merging_into_what_is_gone(start, gallery: Gallery) -> None:
    app = start(vehicle="AB12CDE")
    press(app, "gallery_merge")
    app.selectbox(key="gallery_into").set_value("MY_TRUCK")
    gallery.rename("MY_TRUCK", "ELSEWHERE")
    press(app, "gallery_confirm")
    assert r"There is no vehicle MY\_TRUCK any more" in app.error[0].value and app.title[0].value == "AB12CDE"


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


def test_statistics_against_a_slow_count(start, gallery: Gallery, tmp_path: Path) -> None:
    sightings = list(gallery.sightings())
    numbers = statistics_of(GalleryOverview(gallery.root).look().vehicles)
    assert (numbers.vehicles, numbers.sightings) == (len({one.vehicle for one in sightings}), len(sightings))
    assert numbers.crops == sum(len(one.crops) for one in sightings) == 5
    assert numbers.per_camera == {
        camera: sum(one.camera == camera for one in sightings) for camera in {one.camera for one in sightings}
    }
    assert numbers.per_day == {"2026-01-01": 2, "2026-01-02": 1} and numbers.undated == 1
    app = view(start(), "Statistics")
    assert [(one.label, one.value) for one in app.metric] == [("Vehicles", "3"), ("Sightings", "4"), ("Pictures", "5")]
    assert "1 sighting at unknown times" in shown(app)


@pytest.mark.parametrize("seconds", [1e20, -1e18, 1e299, float(2**40), -5e9, None])
def test_times_that_no_calendar_has(gallery: Gallery, seconds: float | None) -> None:
    add(gallery, "t1", "TIMES", start=seconds, end=seconds)
    assert moment(seconds) is None
    assert timeline(gallery.sightings_of("TIMES")) is None
    assert statistics_of(GalleryOverview(gallery.root).look().vehicles).undated == 2


def test_a_vehicle_with_a_time_that_no_calendar_has(start, gallery: Gallery) -> None:
    add(gallery, "t1", "TIMES", start=1e299, end=1e299)
    assert "1 sighting at unknown times" in shown(start(vehicle="TIMES"))


def test_the_time_line_shows_local_times(gallery: Gallery) -> None:
    chart = timeline(gallery.sightings_of("AB12CDE"))
    rows = chart.data.sort_values("start").to_dict("records")
    assert [(row["camera"], row["start"].to_pydatetime()) for row in rows] == [
        ("north", datetime(2026, 1, 1, 12)),
        ("south", datetime(2026, 1, 2, 12)),
    ]
    assert chart.to_dict()["height"] == 60 + 2 * 34


def test_an_overview_follows_every_change_and_reads_only_what_changed(gallery: Gallery, monkeypatch) -> None:
    from reid_lightning.app.gallery import overview as gallery_overview

    monkeypatch.setattr(gallery_overview, "_SURE_AFTER", -1)
    look, read = GalleryOverview(gallery.root), []
    real = gallery_overview.read_folder
    monkeypatch.setattr(gallery_overview, "read_folder", lambda folder: read.append(folder.name) or real(folder))
    names = [vehicle.summary.id for vehicle in look.look().vehicles]
    assert names == gallery.vehicle_names() == read
    read.clear()
    assert len(look.look().vehicles) == 3 and read == []
    add(gallery, "a9", "AB12CDE")
    gallery.rename("MY_TRUCK", "VAN")
    assert [vehicle.summary.sightings for vehicle in look.look().vehicles] == [3, 1, 1]
    assert sorted(read) == ["AB12CDE", "VAN"]
    assert [one.summary for one in look.look().vehicles] == gallery.vehicles()
    monkeypatch.setattr(gallery_overview, "_SURE_AFTER", 10**18)  # a clock too coarse to trust
    fresh = GalleryOverview(gallery.root)
    fresh.look()
    read.clear()
    fresh.look()
    assert len(read) == 3


def test_one_sighting_must_fit_all_filters(gallery: Gallery) -> None:
    vehicles = GalleryOverview(gallery.root).look().vehicles

    def names(**wanted: object) -> list[str]:
        return [vehicle.summary.id for vehicle in chosen(vehicles, Choice(**wanted))]

    assert names(cameras=("north",), since=NEW_YEAR + DAY) == []  # north was the day before
    assert names(cameras=("south",), since=NEW_YEAR + DAY + 3) == ["AB12CDE"]
    assert names(until=NEW_YEAR - 1) == [] and "AB12CDE" in names(until=NEW_YEAR)
    assert names(text="-") == ["MY_TRUCK"] and names(text="XY-99") == ["MY_TRUCK"]
    assert Choice(text="  ").is_everything and not Choice(since=0.0).is_everything
    assert names(order="sightings")[0] == names(order="last seen")[0] == "AB12CDE"


def test_the_page_reads_the_command_lines_gallery(start, gallery: Gallery) -> None:
    start()
    assert app_context().gallery.root.absolute() == gallery.root


def test_names_that_are_too_long_for_a_folder(start, gallery: Gallery) -> None:
    for name in ("a" * 300, "é" * 200):
        assert "There is no vehicle" in shown(start(vehicle=name))
    app = start(vehicle="AB12CDE")
    press(app, "gallery_rename")
    app.text_input(key="gallery_new_name").set_value("é" * 200)
    press(app, "gallery_confirm")
    assert not app.error and app.title[0].value.startswith("É" * 20)


def test_a_second_click_says_the_same_again(start, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_lightning.app.gallery import dialogs as gallery_dialogs

    real = gallery_dialogs._do

    def twice(*given: object) -> None:
        real(*given)
        real(*given)

    monkeypatch.setattr(gallery_dialogs, "_do", twice)
    app = start(vehicle="AB12CDE")
    for _ in range(2):
        press(app, "gallery_delete")
        press(app, "gallery_confirm")
        assert not app.error and "AB12CDE was deleted" in app.success[0].value
        assert "AB12CDE" not in gallery.vehicle_names()
        add(gallery, "a7", "AB12CDE")  # registered again, it can be deleted again
        app.query_params["vehicle"] = "AB12CDE"
        good(app.run())


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


def test_all_small_pictures_together_are_bounded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("RGB", (900, 30), (250, 0, 0)).save(tmp_path / "wide.png")
    assert len(thumbnail(tmp_path / "noise.png")) <= LARGEST
    picture = Image.open(io.BytesIO(thumbnail(tmp_path / "wide.png")))
    assert picture.format == "JPEG" and picture.size == SIZE
    assert thumbnail(tmp_path / "nothing.png") is None
