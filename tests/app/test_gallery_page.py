"""The Gallery page and a vehicle's: lists, filters and every action, also of a page that is out of date."""

from __future__ import annotations

from datetime import datetime

import pytest
from gallery_page import HOSTILE, NEW_YEAR, add, cards, good, on_its_page, press, shown, view
from PIL import Image
from redrawn import set_anew

from reid_lightning.app.context import app_context
from reid_lightning.search.gallery import Gallery


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
    assert set_anew(app.run()) == []
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
