"""The Search page in all its states, as a browser's session would see it."""

import io
import json
import re
import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest
from toy_calibration import calibration
from toy_clips import scene, write_clip

from reid_lightning.app import uploads
from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.plates.names import unknown_name
from reid_lightning.search.records import Crop, Sighting

PROJECT = Path(__file__).parents[2]
HOSTILE = "**[x](javascript:1)** <img src=x onerror=alert(1)>"
CALIBRATION = calibration(0.83, (0, 0, 100, 300), (1500, 480, 0, 20)).as_dict()


def make_bundle(folder, *, seed=0, calibration=None):
    torch.manual_seed(seed)
    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
    calibrations = {} if calibration is None else {"image to image, cosine": calibration}
    return save_bundle(folder, model, Preprocessing(32, 32), metrics={}, data={}, calibration=calibrations)


def crop_of(**vehicles):
    return scene(**vehicles)[30:70, 40:100]


RED, BLUE = crop_of(red=(40, 30)), crop_of(blue=(40, 30))


def make_gallery(folder, bundle, vehicles, *, confirmed=True):
    """name -> (picture, camera, time)."""
    gallery, embedder = Gallery(folder), load_reid_model(bundle)
    for number, (name, (picture, camera, time)) in enumerate(vehicles.items()):
        crop = Crop("", frame=0, seconds=0.0, box=(0.0, 0.0, 1.0, 1.0), score=1.0, quality=1.0)
        more = {"source": "s", "source_name": "clip", "track": 1, "type": "car", "detector": "motion", "start": time}
        more["confirmed"] = confirmed
        gallery.add(Sighting(f"id-{number}", name, camera, crops=(crop,), **more), [picture])
    store = open_store(folder / ".index", fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
    GalleryIndex(gallery, store, lambda pictures: embedder.embed(pictures).numpy()).sync()
    return gallery


@pytest.fixture
def gallery(tmp_path, bundle):
    """A red and a blue vehicle."""
    vehicles = {"RED 1": (RED, "north", 1767254400.0), "BLUE 2": (BLUE, "south", 1767340800.0)}
    return make_gallery(tmp_path / "gallery", bundle, vehicles)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of empty road, then a red car drives by."""
    frames = [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)] + [scene() for _ in range(15)]
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames)


@pytest.fixture
def open_page(tmp_path, monkeypatch, bundle):
    def opened(*arguments):
        given = [f"gallery={tmp_path / 'gallery'}", f"bundle={bundle}", "plate_reader=none", "detector.warm_up=3"]
        monkeypatch.setattr(sys, "argv", ["main.py", *given, *arguments])
        monkeypatch.chdir(tmp_path)
        at = AppTest.from_file(str(PROJECT / "reid_lightning/app/main.py"), default_timeout=60)
        return at.switch_page("screens/search.py").run()

    return opened


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def press_search(at):
    at.button(key="search_start").click().run()
    assert not at.exception
    return at


def until_ended(at):
    assert at.session_state["search_job"].wait(60)
    at.run()
    assert not at.exception
    return at


def said(at):
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "subheader")
    return "\n".join(element.value for kind in kinds for element in getattr(at, kind))


def downloads(at):
    return [button.label for button in at.main.download_button]


def left_over(at):
    """Files that this tab has on the server."""
    if "uploads" not in at.session_state:
        return []
    return [path for path in at.session_state["uploads"].folder.rglob("*") if path.is_file()]


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
    import threading

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


def test_times_that_no_calendar_has_do_not_break_the_page(open_page, tmp_path, bundle):
    times = {"RED 1": 1767254400.0, "FAR": datetime(9999, 12, 31, 23).timestamp(), "NEVER": 1e17}
    make_gallery(tmp_path / "gallery", bundle, {name: (RED, "north", time) for name, time in times.items()})
    at = open_page()
    assert not at.exception and at.selectbox(key="search_vehicle").options[0] == "any of 3 vehicles"
    assert at.datetime_input(key="search_since").max == "2026-01-02T00:00"


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


def test_what_is_gone_is_no_longer_asked_for(open_page, gallery, bundle, monkeypatch):
    from reid_lightning.app.search import form as search_form

    at = open_page()
    at.selectbox(key="search_vehicle").select("BLUE_2")
    at.multiselect(key="search_cameras").select("south")
    at.datetime_input(key="search_since").set_value(datetime(2026, 1, 2, 8)).run()
    embedder = load_reid_model(bundle)
    store = open_store(gallery.root / ".index", fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
    GalleryIndex(gallery, store).delete("BLUE_2")
    store.close()
    search_form._offered.clear()
    at.run()
    assert not at.exception and at.selectbox(key="search_vehicle").value is None
    assert at.multiselect(key="search_cameras").value == [] and at.datetime_input(key="search_since").value is None


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
