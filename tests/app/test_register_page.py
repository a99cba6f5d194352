"""The Register page: nothing is stored before Save, and what is saved is what the cards said."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from redrawn import set_anew
from streamlit.testing.v1 import AppTest
from toy_clips import scene, write_clip

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, open_store

SECONDS = 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two vehicles, one after the other, with some seconds between them."""
    empty = [scene() for _ in range(40)]
    frames = empty[:10]
    for vehicle in ("red", "blue"):
        frames += [scene(**{vehicle: (4 * n, 30)}) for n in range(25)] + empty
    return write_clip(tmp_path_factory.mktemp("clips") / "north.mp4", frames)


@pytest.fixture
def gallery(tmp_path):
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def app(project, bundle, gallery, tmp_path, monkeypatch):
    given = [f"gallery={gallery.root}", f"bundle={bundle}", "plate_reader=none", "detector.warm_up=3"]
    monkeypatch.setattr(sys, "argv", ["main.py", *given])
    monkeypatch.chdir(tmp_path)
    return AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()


def button(app, start):
    (found,) = [one for one in app.button if one.label.startswith(start)]
    return found


def field(app, start):
    (found,) = [one for one in app.text_input if one.label.startswith(start)]
    return found


def ended(app, key):
    assert app.session_state[key].wait(SECONDS)
    return app.run()


def find(app, source, camera="north", start=""):
    app.radio[0].set_value("A folder, video or camera that this computer reaches").run()
    field(app, "Folder").set_value(str(source))
    field(app, "Camera").set_value(camera)
    field(app, "Start").set_value(start)
    button(app, "Find vehicles").click().run()
    return ended(app, "register_finding") if "register_finding" in app.session_state else app


def texts(app):
    return " ".join(
        str(one.value) for kind in (app.error, app.info, app.success, app.warning, app.caption) for one in kind
    )


def test_found_vehicles_are_shown_and_stored_only_when_saved(app, clip, gallery):
    find(app, clip, start="2026-01-01T08:00:00Z")
    assert not app.exception and [one.value for one in app.subheader] == ["2 vehicles in north\\.mp4"]
    assert not gallery.root.exists()
    field(app, "Plate or name, card 1").set_value("51g-123 45").run()
    assert "saved as 51G12345" in texts(app)
    app.checkbox[1].uncheck().run()
    button(app, "Save 1 vehicle").click().run()
    ended(app, "register_saving")
    assert not app.exception and "1 vehicle: 1 new sighting." in texts(app)
    (sighting,) = gallery.sightings()
    assert (sighting.vehicle, sighting.camera, sighting.source_name) == ("51G12345", "north", "north.mp4")
    assert sighting.start == pytest.approx(1_767_254_400, abs=2)
    assert len(list((gallery.root / ".index").iterdir())) > 0

    button(app, "Register another").click().run()
    find(app, clip)
    assert "was registered for camera north before: nothing to add" in texts(app)
    button(app, "Find its vehicles again").click().run()
    ended(app, "register_finding")
    button(app, "Save 2 vehicles").click().run()
    ended(app, "register_saving")
    assert {one.vehicle.partition("-")[0] for one in gallery.sightings()} == {"unknown"}
    assert len(list(gallery.sightings())) == 2


def merge(app):
    app.multiselect[0].set_value([1, 2])
    button(app, "Merge these").click().run()


def test_merged_cards_are_one_vehicle_and_can_be_taken_apart(app, clip, gallery):
    find(app, clip)
    button(app, "Merge these").click().run()
    assert "choose two cards or more" in texts(app)
    field(app, "Plate or name, card 1").set_value("ONE").run()
    field(app, "Plate or name, card 2").set_value("TWO").run()
    app.checkbox[1].uncheck().run()
    merge(app)
    assert [(one.label, one.value) for one in app.text_input] == [("Plate or name, card 1", "ONE")]
    button(app, "Take card 1 apart").click().run()
    assert [one.value for one in app.text_input] == ["ONE", "TWO"]
    assert [one.value for one in app.checkbox] == [True, False]
    merge(app)
    field(app, "Plate or name, card 1").set_value("").run()
    button(app, "Save 1 vehicle").click().run()
    ended(app, "register_saving")
    assert "1 vehicle: 2 new sightings" in texts(app)
    one, two = gallery.sightings()
    assert one.vehicle == two.vehicle and one.vehicle.startswith("unknown-") and one.vehicle[8:] in (one.id, two.id)


def test_all_cards_left_out_cannot_be_saved_and_discarding_stores_nothing(app, clip, gallery):
    find(app, clip)
    for box in app.checkbox:
        box.uncheck()
    app.run()
    assert button(app, "Save 0").disabled
    button(app, "Discard all").click().run()
    assert button(app, "Find vehicles") and not gallery.root.exists()
    for key in ("register_cards", "register_findings", "register_finding"):
        assert key not in app.session_state


@pytest.mark.parametrize(
    ("source", "camera", "start", "said"),
    [
        ("", "north", "", "no source was named"),
        ("nowhere.mp4", "north", "", "does not exist"),
        ("text.mp4", "north", "", "text\\.mp4"),
        ("text.mp4", "", "", "camera is ''; expected a name of 1,024 bytes at most"),
        ("text.mp4", "north", "soon", "start is \\'soon\\'"),
        ("still.mp4", "north", "", "no vehicle was found in still\\.mp4 by the motion detector"),
    ],
)
def test_mistakes_are_one_message_and_leave_nothing(app, gallery, tmp_path, source, camera, start, said):
    (tmp_path / "text.mp4").write_text("no video")
    write_clip(tmp_path / "still.mp4", [scene() for _ in range(12)])
    find(app, source, camera, start)
    assert not app.exception and len(app.error) == 1
    assert said.replace("\\", "") in app.error[0].value.replace("\\", "")
    assert not gallery.root.exists() and "register_cards" not in app.session_state


def test_a_name_of_which_nothing_remains_is_told_before_anything_is_saved(app, clip, gallery):
    find(app, clip)
    field(app, "Plate or name, card 2").set_value("../..").run()
    assert "cannot name a folder" in texts(app).replace("\\", "")
    button(app, "Save 2").click().run()
    assert "card 2" in texts(app).replace("\\", "") and "register_saving" not in app.session_state
    assert not gallery.root.exists()


def test_hostile_names_stay_text(app, gallery, clip, tmp_path):
    hostile = tmp_path / "<img src=x onerror=alert(1)> **[x](javascript:1)**.mp4"
    hostile.write_bytes(clip.read_bytes())
    find(app, hostile, camera=":red[x]")
    (title,) = app.subheader
    assert "\\<img src\\=x onerror\\=alert\\(1\\)\\>" in title.value and "\\*\\*\\[x\\]" in title.value
    assert any("\\:red\\[x\\]" in one.value for one in app.caption)
    assert not any(one.allow_html for one in [*app.markdown, *app.caption])


def test_stopping_stores_nothing(app, clip, monkeypatch):
    from reid_lightning.app.jobs import Job

    real = Job.step

    def step(self, **options):
        self.cancel()
        real(self, **options)

    monkeypatch.setattr(Job, "step", step)
    find(app, clip)
    assert "Stopped; nothing was stored" in texts(app).replace("\\", "")
    assert button(app, "Find vehicles")


def test_an_unknown_setting_on_the_command_line_is_told(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", "galery=x"])
    app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()
    assert not app.exception and "galery" in app.error[0].value


def test_an_upload_is_registered_and_a_bad_one_is_told(app, clip, gallery):
    field(app, "Camera").set_value("north")
    app.file_uploader[0].set_value([("text.mp4", b"no video", "video/mp4")])
    button(app, "Find vehicles").click().run()
    assert not app.exception and len(app.error) == 1 and "register_finding" not in app.session_state
    app.file_uploader[0].set_value([("<b>north.mp4", clip.read_bytes(), "video/mp4")])
    button(app, "Find vehicles").click().run()
    ended(app, "register_finding")
    assert [one.value for one in app.subheader] == ["2 vehicles in b\\_north\\.mp4"]
    kept = app.session_state["register_findings"].place
    assert kept.is_file()
    button(app, "Discard all").click().run()
    assert not kept.exists()


def test_many_uploaded_pictures_are_checked_by_the_job(app, gallery):
    sent = [(f"{number}.png", png(60 * number), "image/png") for number in range(3)]
    app.file_uploader[0].set_value([*sent, ("bad.png", b"no picture", "image/png")])
    field(app, "Camera").set_value("north")
    button(app, "Find vehicles").click().run()
    while "register_finding" in app.session_state:  # the page may be drawn before or after the job has ended
        ended(app, "register_finding")
    assert not app.exception and len(app.error) == 1 and "bad.png" in app.error[0].value.replace("\\", "")
    assert list(app.session_state["uploads"].folder.iterdir()) == [] and field(app, "Camera").value == "north"
    app.switch_page("screens/gallery.py").run()
    app.switch_page("screens/register.py").run()
    assert field(app, "Camera").value == "north"
    assert set_anew(app.run()) == []
    app.file_uploader[0].set_value(sent)
    button(app, "Find vehicles").click().run()
    ended(app, "register_finding")
    assert not app.error and [one.value for one in app.subheader] == ["3 vehicles in pictures"]
    button(app, "Discard all").click().run()
    assert field(app, "Camera").value == ""


def test_the_save_button_stays_the_same_one_while_its_label_changes(app, clip):
    """A click on the way to the server is for the button as it was drawn."""
    find(app, clip)
    before = button(app, "Save 2 vehicles").proto.id
    next(one for one in app.checkbox if one.label == "Keep card 2").uncheck().run()
    assert button(app, "Save 1 vehicle").proto.id == before


def png(level):
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def fails_once_after(monkeypatch, saved):
    """The disk is full after so many sightings, the first time."""
    real, calls = Gallery.add, []

    def add(self, *arguments):
        calls.append(arguments)
        if len(calls) == saved + 1:
            raise ReIDError("no space left")
        return real(self, *arguments)

    monkeypatch.setattr(Gallery, "add", add)


def save(app, start="Save 2"):
    button(app, start).click().run()
    ended(app, "register_saving")


def test_after_a_failure_saving_again_does_what_the_cards_say_then(app, clip, gallery, monkeypatch):
    find(app, clip)
    field(app, "Plate or name, card 1").set_value("AAA111").run()
    field(app, "Plate or name, card 2").set_value("BBB222").run()
    fails_once_after(monkeypatch, 1)
    save(app)
    assert "no space left" in texts(app) and [one.vehicle for one in gallery.sightings()] == ["AAA111"]
    button(app, "Back to the cards").click().run()
    field(app, "Plate or name, card 1").set_value("CCC333").run()
    save(app)
    assert not app.warning and sorted(one.vehicle for one in gallery.sightings()) == ["BBB222", "CCC333"]
    assert open_store(gallery.root / ".index").count() == sum(len(one.crops) for one in gallery.sightings())


def test_replacing_what_was_registered_loses_nothing_when_it_fails(app, clip, gallery, monkeypatch):
    find(app, clip)
    field(app, "Plate or name, card 1").set_value("MINE").run()
    save(app)
    before = sorted(one.vehicle for one in gallery.sightings())
    button(app, "Register another").click().run()
    find(app, clip)
    button(app, "Find its vehicles again").click().run()
    ended(app, "register_finding")
    fails_once_after(monkeypatch, 0)
    save(app)
    assert app.error and sorted(one.vehicle for one in gallery.sightings()) == before
    button(app, "Back to the cards").click().run()
    app.checkbox[0].uncheck().run()
    save(app, "Save 1")
    assert len(list(gallery.sightings())) == 1 and "MINE" not in gallery.vehicle_names()


def test_two_tabs_that_save_the_same_source_are_told_so(app, project, clip, gallery):
    other = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()
    for tab in (app, other):
        find(tab, clip)
    field(app, "Plate or name, card 1").set_value("FIRST").run()
    field(other, "Plate or name, card 1").set_value("SECOND").run()
    save(app)
    save(other)
    assert "was registered for camera north meanwhile" in texts(other) and "FIRST" in gallery.vehicle_names()
    button(other, "Back to the cards").click().run()
    save(other)
    assert {"SECOND"} == {name for name in gallery.vehicle_names() if not name.startswith("unknown")}


def test_a_typed_plate_is_kept_whatever_is_shown_next(app, tmp_path, monkeypatch):
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(30):
        Image.fromarray(np.full((60, 60, 3), 8 * number, np.uint8)).save(folder / f"{number:02d}.png")
    find(app, folder)
    field(app, "Plate or name, card 20").set_value("TYPED")
    app.pagination(key="register_page").set_value(2).run()
    app.pagination(key="register_page").set_value(1).run()
    assert field(app, "Plate or name, card 20").value == "TYPED"
    app.switch_page("screens/gallery.py").run()
    app.switch_page("screens/register.py").run()
    assert field(app, "Plate or name, card 20").value == "TYPED"
    assert set_anew(app.run()) == []
    (folder / "03.png").unlink()
    button(app, "Save 30").click().run()
    if "register_saving" in app.session_state:
        ended(app, "register_saving")
    assert not app.exception and "03.png cannot be read" in texts(app).replace("\\", "")


def test_more_pictures_than_the_page_may_hold_are_refused(app, bundle, project, tmp_path, monkeypatch, gallery):
    monkeypatch.setattr(sys, "argv", [*sys.argv, "max_found_mib=1"])
    app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((400, 500, 3), 80 * number, np.uint8)).save(folder / f"{number}.png")
    find(app, folder)
    assert "more than 1 MiB" in texts(app) and not gallery.root.exists()


def test_a_detector_that_cannot_be_made_is_one_message(app, project, clip, monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], "detector=yolox", "detector.path=nowhere.onnx"])
    app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS).run()
    find(app, clip)
    assert not app.exception and len(app.error) == 1 and "nowhere.onnx" in app.error[0].value.replace("\\", "")
