"""What the Search page finds, in all its states, as a browser's session would see it."""

import json
import re
import threading
from contextlib import closing
from datetime import datetime

import pytest
from search_page import (
    BLUE,
    HOSTILE,
    RED,
    downloads,
    jpeg,
    left_over,
    make_gallery,
    press_search,
    said,
    until_ended,
)

from reid_lightning.search.gallery import open_store
from reid_lightning.search.plates.names import unknown_name


@pytest.fixture
def gallery(tmp_path, bundle):
    return make_gallery(tmp_path / "gallery", bundle)


def test_a_chosen_vehicle_is_found_in_a_clip(open_page, gallery, clip):
    at = open_page()
    assert at.selectbox(key="search_vehicle").options == ["any of 2 vehicles", "BLUE_2", "RED_1"]
    assert at.selectbox(key="search_vehicle").placeholder == "any of 2 vehicles"  # what a browser shows at first
    at.selectbox(key="search_vehicle").select("RED_1")
    at.file_uploader(key="search_files").set_value((HOSTILE + ".mp4", clip.read_bytes(), "video/mp4"))
    press_search(at)
    until_ended(at)
    run = at.session_state["search_run"]
    assert at.session_state["search_job"].state == "done"
    (card,) = run.found.snapshot().cards
    assert card.match.vehicle == "RED_1" and card.match.score > 0.6 and 1.0 <= card.first < card.last < 4.0
    text = said(at)
    assert "1 vehicle found" in text and f"**RED\\_1** · score {card.match.score:.2f}" in text
    assert len(at.get("image")) == 2 and len(at.get("vega_lite_chart")) == 1
    assert [one.vehicle for one in run.decisions] == ["RED_1"] and run.decisions[0].accepted
    assert at.dataframe[0].value["most similar vehicle"].tolist() == ["RED_1"]
    assert "mark" not in at.dataframe[0].value and "unconfirmed" not in text
    assert downloads(at) == [
        "Matches (CSV)",
        "Matches (JSON)",
        "Tracks (CSV)",
        "Annotated video",
        "Sheet of pictures",
    ]
    assert {path.name for path in left_over(at)} == {path.name for path in run.files}  # the upload is gone
    assert "BLUE" not in (run.folder / "matches.csv").read_text()
    assert HOSTILE not in text

    first = run.folder
    at.slider[0].set_value(0.5).run()
    press_search(at)
    until_ended(at)
    assert not first.exists() and at.session_state["search_run"].folder.is_dir()


def test_any_vehicle_of_some_cameras_and_times(open_page, gallery, clip):
    at = open_page()
    assert at.multiselect(key="search_cameras").options == ["north", "south"]
    assert at.multiselect(key="search_types").options == ["car"]
    at.multiselect(key="search_cameras").select("south")
    at.text_input(key="search_named").set_value(str(clip))
    at.number_input(key="search_every").set_value(2)
    at.slider[0].set_value(0.0)
    until_ended(press_search(at))
    cards = at.session_state["search_run"].found.snapshot().cards
    assert {card.match.vehicle for card in cards} == {"BLUE_2"} and {card.match.frame % 2 for card in cards} == {0}
    at.multiselect(key="search_cameras").unselect("south")
    at.datetime_input(key="search_since").set_value(datetime(2026, 1, 1))
    at.datetime_input(key="search_until").set_value(datetime(2026, 1, 2))
    until_ended(press_search(at))
    found = {card.match.vehicle for card in at.session_state["search_run"].found.snapshot().cards}
    assert found == {"RED_1"}
    at.multiselect(key="search_cameras").select("south")
    until_ended(press_search(at))
    assert "no registered picture meets the filter" in at.error[0].value.replace("\\", "")
    assert left_over(at) == [] and downloads(at) == []


def test_which_registered_vehicle_is_on_a_picture(open_page, gallery):
    at = open_page()
    at.radio(key="search_kind").set_value("The vehicle on a picture").run()
    at.file_uploader(key="search_wanted").set_value(("crop.jpg", jpeg(BLUE), "image/jpeg"))
    at.slider[0].set_value(0.0)
    until_ended(press_search(at))
    cards = at.session_state["search_run"].found.snapshot().cards
    assert [card.match.vehicle for card in cards] == ["BLUE_2", "RED_1"] and cards[0].match.score > 0.99
    assert not at.get("vega_lite_chart")  # pictures have no time
    assert "Annotated video" not in downloads(at) and "Sheet of pictures" in downloads(at)
    assert at.dataframe[0].value["most similar vehicle"].tolist() == ["BLUE_2", "RED_1"]
    assert at.dataframe[0].value["found"].tolist() == [True, False]  # one answer, also from a score of 0 on
    assert "1 vehicle found" in said(at) and said(at).count("not the answer: that is BLUE\\_2") == 1


def test_what_nobody_has_confirmed_is_marked(open_page, tmp_path, bundle):
    names = [unknown_name("id-0"), "BLUE 2"]  # the second one somebody has named
    make_gallery(tmp_path / "gallery", bundle, {name: (BLUE, "north", None) for name in names}, confirmed=False)
    at = open_page()
    at.radio(key="search_kind").set_value("The vehicle on a picture").run()
    at.file_uploader(key="search_wanted").set_value(("crop.jpg", jpeg(BLUE), "image/jpeg"))
    until_ended(press_search(at))
    marks = {one.value.split("**")[1]: "unconfirmed" in one.value for one in at.markdown if "· score" in one.value}
    assert marks == {names[0].replace("-", "\\-"): True, "BLUE\\_2": False}
    table = at.dataframe[0].value
    assert dict(zip(table["most similar vehicle"], table["mark"], strict=True)) == {
        names[0]: "unconfirmed",
        "BLUE_2": "",
    }


def test_an_unregistered_vehicle_is_looked_for_in_a_clip(open_page, gallery, clip):
    at = open_page(f"stores.uri={gallery.root / '.index'}")  # its own store, which is not to see the wanted vehicle
    at.radio(key="search_kind").set_value("The vehicle on a picture").run()
    at.file_uploader(key="search_wanted").set_value([(f"{n}.jpg", jpeg(RED), "image/jpeg") for n in "ab"])
    at.file_uploader(key="search_files").set_value(("clip.mp4", clip.read_bytes(), "video/mp4")).run()
    assert not at.multiselect
    until_ended(press_search(at))
    (card,) = at.session_state["search_run"].found.snapshot().cards
    assert card.match.vehicle == "wanted vehicle" and card.match.score > 0.6 and card.registered is not None
    assert [entry.name for entry in gallery.root.iterdir() if not entry.name.startswith(".")] == ["BLUE_2", "RED_1"]
    with closing(open_store(gallery.root / ".index")) as store:
        assert {record.vehicle for part in store.records() for record in part} == {"BLUE_2", "RED_1"}


def test_poor_pictures_of_a_video_are_not_compared(open_page, gallery, clip):
    at = open_page("min_compared_quality=1")
    at.text_input(key="search_named").set_value(str(clip))
    at.slider[0].set_value(0.0)
    until_ended(press_search(at))
    assert at.session_state["search_run"].found.snapshot().pairs == 0


def test_cancelled_it_keeps_what_was_found(open_page, gallery, clip, monkeypatch):
    from reid_lightning.search.matching import vehicle_search

    at = open_page()
    follow = vehicle_search.follow

    def until(*given, **options):
        for step in follow(*given, **options):
            if step.frame.number == 33:
                at.session_state["search_job"].cancel()
            yield step

    monkeypatch.setattr(vehicle_search, "follow", until)
    at.text_input(key="search_named").set_value(str(clip))
    until_ended(press_search(at))
    assert at.session_state["search_job"].state == "cancelled"
    assert "Stopped" in at.warning[0].value
    snapshot = at.session_state["search_run"].found.snapshot()
    assert snapshot.frames == 32 and snapshot.cards
    assert "Annotated video" in downloads(at) and "Matches (CSV)" in downloads(at)


def test_while_it_runs_results_come_and_it_can_be_cancelled(open_page, gallery, clip, monkeypatch):

    from reid_lightning.search.matching import vehicle_search

    reached, go_on = threading.Event(), threading.Event()
    follow = vehicle_search.follow

    def held(*given, **options):
        for step in follow(*given, **options):
            if step.frame.number == 40:
                reached.set()
                assert go_on.wait(60)
            yield step

    monkeypatch.setattr(vehicle_search, "follow", held)
    at = open_page()
    at.text_input(key="search_named").set_value(str(clip))
    try:
        press_search(at)
        assert reached.wait(60)
        at.run()
        assert not at.exception
        assert at.button(key="search_start").disabled and len(at.get("image")) >= 2 and downloads(at) == []
        assert "32 frames compared" in said(at)
        at.button(key="search_job_cancel").click().run()
    finally:
        go_on.set()
    until_ended(at)
    assert at.session_state["search_job"].state == "cancelled" and not at.button(key="search_start").disabled


def test_no_match_tells_the_best_score(open_page, gallery, clip):
    at = open_page()
    at.text_input(key="search_named").set_value(str(clip))
    at.slider[0].set_value(1.0)
    until_ended(press_search(at))
    best = at.session_state["search_run"].found.snapshot().best_seen
    assert f"The best was {best.score:.2f}: RED\\_1" in said(at)
    assert f"Lower the {at.slider[0].label.lower()}" in said(at)
    assert not at.get("image") and not at.session_state["search_run"].decisions[0].accepted


def test_hostile_names_are_texts(open_page, tmp_path, bundle, clip):
    plates = {HOSTILE.replace("/", ""): (RED, "<b>cam</b> $x$ :red[y]", 1767254400.0)}
    (name,) = make_gallery(tmp_path / "gallery", bundle, plates).vehicle_names()
    at = open_page()
    at.file_uploader(key="search_files").set_value((HOSTILE + ".mp4", clip.read_bytes(), "video/mp4"))
    until_ended(press_search(at))
    (card,) = at.session_state["search_run"].found.snapshot().cards
    assert card.match.vehicle == name
    captions = [caption for image in at.get("image") for caption in image.captions]
    assert len(captions) == 2
    for text in (said(at), *captions):
        unescaped = re.sub(r"\\.", "", text)
        assert not re.search(r"[<>\[\]$]|javascript:", unescaped), text
    at.slider[0].set_value(1.0)
    until_ended(press_search(at))
    assert "No match" in said(at) and "<img" not in said(at) and "](" not in said(at)


def test_many_cards_come_some_at_a_time(open_page, tmp_path, bundle):
    red = {f"RED_{n}": (RED, f"c{n}", 1767254400.0) for n in range(15)}
    make_gallery(tmp_path / "gallery", bundle, red)
    at = open_page()
    at.radio(key="search_kind").set_value("The vehicle on a picture").run()
    at.file_uploader(key="search_wanted").set_value(("crop.jpg", jpeg(RED), "image/jpeg"))
    at.number_input(key="search_top_k").set_value(15)
    until_ended(press_search(at))
    assert len(at.get("image")) == 2 * 12
    at.button(key="search_more").click().run()
    assert len(at.get("image")) == 2 * 15 and "search_more" not in {button.key for button in at.button}


@pytest.mark.parametrize("limit", [{"MOST_MATCHES": 10}, {"MOST_SECONDS": 2.0}])
def test_a_live_stream_is_followed_for_so_long(open_page, gallery, clip, monkeypatch, limit):
    from reid_lightning.app.search import job as search_job

    real = search_job.open_source

    def live(*given, **named):
        source = real(*given, **named)
        source.kind = "stream"
        return source

    at = open_page()
    for name, value in limit.items():
        monkeypatch.setattr(search_job, name, value)
    at.text_input(key="search_named").set_value(str(clip))
    until_ended(press_search(at))
    run = at.session_state["search_run"]
    assert run.limit is None and run.found.snapshot().frames == 50  # a video ends by itself
    monkeypatch.setattr(search_job, "open_source", live)
    until_ended(press_search(at))
    run = at.session_state["search_run"]
    assert at.session_state["search_job"].state == "done" and run.found.snapshot().frames < 50
    assert "live stream was followed until" in at.warning[0].value and "Annotated video" in downloads(at)
    found = json.loads((run.folder / "matches.json").read_text())
    assert found["query"]["limit"] == run.limit and len(found["matches"]) >= 10


def test_cancelled_before_it_began_it_leaves_no_upload(open_page, gallery, clip, monkeypatch):
    from reid_lightning.app import jobs

    real = jobs.Job.step

    def cancelled(job, **given):
        job.cancel()
        real(job, **given)

    monkeypatch.setattr(jobs.Job, "step", cancelled)
    at = open_page()
    at.file_uploader(key="search_files").set_value(("clip.mp4", clip.read_bytes(), "video/mp4"))
    until_ended(press_search(at))
    assert at.session_state["search_job"].state == "cancelled" and left_over(at) == []
