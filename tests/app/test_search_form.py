"""What the Search page asks for, keeps and refuses, as a browser's session would see it."""

import threading
from datetime import datetime
from pathlib import Path

import pytest
from redrawn import set_anew
from search_page import (
    CALIBRATION,
    HOSTILE,
    RED,
    jpeg,
    left_over,
    make_bundle,
    make_gallery,
    press_search,
    said,
    until_ended,
)

from reid_lightning.app import uploads, widgets
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import GalleryIndex, open_store


@pytest.fixture
def gallery(tmp_path, bundle):
    return make_gallery(tmp_path / "gallery", bundle)


def test_without_a_model_it_says_how_to_get_one(open_page):
    at = open_page("bundle=latest")
    assert not at.exception and not at.file_uploader
    assert "model" in said(at)


def test_a_bundle_that_is_none_is_an_error(open_page, tmp_path):
    at = open_page(f"bundle={tmp_path}")
    assert not at.exception and len(at.error) == 1 and "not the folder of a bundle" in at.error[0].value


def test_an_empty_gallery_sends_to_register(open_page):
    at = open_page()
    assert not at.exception and "register vehicles first" in at.info[0].value and not at.file_uploader
    assert [link.label for link in at.get("page_link")] == ["Register vehicles"]


def test_a_gallery_of_another_model_is_an_error(open_page, gallery, tmp_path):
    at = open_page(f"bundle={make_bundle(tmp_path / 'other', seed=1)}")
    assert not at.exception and "cannot be compared" in at.error[0].value and not at.file_uploader


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("clip.mp4", b"no video at all", "clip"),
        ("clip.mp4", None, "clip"),
        ("picture.jpg", b"\xff\xd8\xff\xe0 no picture", "picture"),
        (HOSTILE + ".mp4", b"no video at all", "alert"),
        ("empty.mp4", b"", "empty"),
    ],
)
def test_a_bad_upload_is_one_error_and_leaves_nothing(open_page, gallery, clip, name, content, words):
    at = open_page()
    content = clip.read_bytes()[:300] if content is None else content
    at.file_uploader(key="search_files").set_value((name, content, "video/mp4"))
    press_search(at)
    assert len(at.error) == 1 and words in at.error[0].value.replace("\\", "")
    assert "search_job" not in at.session_state and left_over(at) == []
    assert "<img" not in at.error[0].value and "](" not in at.error[0].value


def test_many_pictures_are_checked_by_the_job_and_a_bad_one_is_told(open_page, gallery, monkeypatch):
    threads = []
    real = uploads.open_source

    def look(path):
        threads.append(threading.current_thread().name)
        return real(path)

    monkeypatch.setattr(uploads, "open_source", look)
    at = open_page()
    files = [("a.jpg", jpeg(RED), "image/jpeg"), ("b.jpg", b"\xff\xd8\xff\xe0 no picture", "image/jpeg")]
    at.file_uploader(key="search_files").set_value(files)
    until_ended(press_search(at))
    assert threads == ["Searching"] * 2 and left_over(at) == []
    assert len(at.error) == 1 and "00001_b.jpg" in at.error[0].value.replace("\\", "")
    at.file_uploader(key="search_files").set_value(files[:1] * 3)
    until_ended(press_search(at))
    assert at.session_state["search_job"].state == "done" and threads[2:] == ["Searching"] * 3


def test_mistakes_before_the_search(open_page, gallery, clip):
    at = press_search(open_page())
    assert "nothing to search in" in at.error[0].value
    at.text_input(key="search_named").set_value("nowhere **x**.mp4")
    until_ended(press_search(at))
    assert "does not exist" in at.error[0].value and "\\*\\*x\\*\\*" in at.error[0].value
    at.file_uploader(key="search_files").set_value(("clip.mp4", clip.read_bytes(), "video/mp4"))
    press_search(at)
    assert "choose one of them" in at.error[0].value and left_over(at) == []
    at = open_page("max_upload_mib=0")
    at.file_uploader(key="search_files").set_value(("clip.mp4", clip.read_bytes(), "video/mp4"))
    press_search(at)
    assert "at most 0 MiB" in at.error[0].value and left_over(at) == []


def test_the_threshold_of_the_model_is_where_the_slider_starts(open_page, gallery, tmp_path):
    plain = open_page()
    assert plain.slider[0].value == 0.6 and "no calibrated threshold" in said(plain)
    assert not plain.get("vega_lite_chart")
    at = open_page(f"bundle={make_bundle(tmp_path / 'calibrated', calibration=CALIBRATION)}")
    assert (
        at.slider[0].value == 0.83
        and "expect wrong matches" not in said(at)
        and "0.83 is this model's calibrated threshold" in said(at)
    )
    assert len(at.get("vega_lite_chart")) == 1
    at.slider[0].set_value(0.75).run()
    assert "about 75 % of the pairs of pictures of the same vehicle are found" in said(at)
    assert "about 1 % (1 in 100) of the pairs of different vehicles are taken for one" in said(at)
    assert "Matches from 0.75 on; this bundle's calibrated threshold is 0.83 (one false match in " in said(at)
    assert "expect wrong matches; move the slider to 0.83 for fewer" in said(at)
    doubtful = make_bundle(tmp_path / "doubtful", calibration=CALIBRATION | {"warning": "too few", "histogram": None})
    at = open_page(f"bundle={doubtful}")
    assert at.slider[0].value == 0.6 and "rests on too few pairs" in said(at)
    assert not at.get("vega_lite_chart")


def test_times_that_no_calendar_has_do_not_break_the_page(open_page, tmp_path, bundle):
    times = {"RED 1": 1767254400.0, "FAR": datetime(9999, 12, 31, 23).timestamp(), "NEVER": 1e17}
    make_gallery(tmp_path / "gallery", bundle, {name: (RED, "north", time) for name, time in times.items()})
    at = open_page()
    assert not at.exception and at.selectbox(key="search_vehicle").options[0] == "any of 3 vehicles"
    assert at.datetime_input(key="search_since").max == "2026-01-02T00:00"


def test_of_very_many_vehicles_those_with_a_part_of_the_name_are_offered(open_page, gallery, monkeypatch):
    monkeypatch.setattr(widgets, "OFFERED", 1)
    at = open_page()
    assert at.selectbox(key="search_vehicle").options == ["any of 2 vehicles", "BLUE_2"]
    assert "2 fit, of which the first 1 can be chosen" in said(at)
    at.text_input(key="search_vehicle_part").set_value("red").run()
    assert at.selectbox(key="search_vehicle").options == ["any of 2 vehicles", "RED_1"]
    at.selectbox(key="search_vehicle").select("RED_1").run()
    assert at.selectbox(key="search_vehicle").value == "RED_1" and "fit, of which" not in said(at)
    at.text_input(key="search_vehicle_part").set_value("nobody").run()
    assert not at.exception and at.selectbox(key="search_vehicle").value is None


def test_the_form_is_kept_while_another_page_is_looked_at(open_page, gallery):
    at = open_page()
    at.selectbox(key="search_vehicle").select("RED_1")
    at.text_input(key="search_named").set_value("clips")
    at.slider[0].set_value(0.33)
    at.number_input(key="search_top_k").set_value(7)
    at.number_input(key="search_every").set_value(3)
    at.multiselect(key="search_cameras").select("north")
    at.multiselect(key="search_types").select("car")
    at.datetime_input(key="search_since").set_value(datetime(2026, 1, 1))
    at.run()
    assert set_anew(at.run()) == []
    for screen in ("gallery", "search"):
        at.switch_page(f"screens/{screen}.py").run()
        assert not at.exception and not at.warning
    fields = (at.number_input(key="search_top_k"), at.number_input(key="search_every"), at.slider[0])
    assert [field.value for field in fields] == [7, 3, 0.33]
    assert at.selectbox(key="search_vehicle").value == "RED_1" and at.text_input(key="search_named").value == "clips"
    assert [at.multiselect(key=f"search_{name}").value for name in ("cameras", "types")] == [["north"], ["car"]]
    assert at.datetime_input(key="search_since").value == datetime(2026, 1, 1)
    at.radio(key="search_kind").set_value("The vehicle on a picture").run()
    for screen in ("gallery", "search"):
        at.switch_page(f"screens/{screen}.py").run()
    assert at.radio(key="search_kind").value == "The vehicle on a picture"


def test_what_is_gone_is_no_longer_asked_for(open_page, gallery, bundle):
    at = open_page()
    at.selectbox(key="search_vehicle").select("BLUE_2")
    at.multiselect(key="search_cameras").select("south")
    at.datetime_input(key="search_since").set_value(datetime(2026, 1, 2, 8)).run()
    embedder = load_reid_model(bundle)
    store = open_store(gallery.root / ".index", fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
    GalleryIndex(gallery, store).delete("BLUE_2")
    store.close()
    at.run()
    assert not at.exception and at.selectbox(key="search_vehicle").value is None
    assert at.multiselect(key="search_cameras").value == [] and at.datetime_input(key="search_since").value is None


def test_a_full_disk_is_an_error_and_leaves_nothing(open_page, gallery, clip, monkeypatch):
    at = open_page()
    at.file_uploader(key="search_files").set_value(("clip.mp4", clip.read_bytes(), "video/mp4")).run()

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    press_search(at)
    assert "the server cannot keep the files" in at.error[0].value and left_over(at) == []


@pytest.mark.parametrize("screen", ["search", "gallery"])
def test_a_gallery_that_is_a_file_is_one_error(open_page, tmp_path, screen):
    (tmp_path / "gallery").write_text("x")
    at = open_page().switch_page(f"screens/{screen}.py").run()
    assert not at.exception and len(at.error) == 1
    message = at.error[0].value.replace("\\", "")
    assert f"the gallery {tmp_path / 'gallery'} is a file; expected a folder" in message
