"""The application as its user has it: a server of its own, a real browser, drawn clips of two cameras."""

import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from browser import FIND, SAVE, SAVED, SEARCH, SEARCH_IN, Tab, chromium, serving
from PIL import Image
from toy_clips import scene, write_clip

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search.gallery import Gallery
from reid_lightning.synthetic.traffic import TrafficSpec, draw_traffic

SPEC = TrafficSpec(vehicles=3, seconds=13.5, frames_per_second=6, width=640, height=360, travel=(1.2, 1.6))
READ, OTHER, RENAMED = "PE35KJC", "UU94NYC", "UU94NYD"  # what the plate reader makes of two of its three vehicles
HOSTILE = "<img src=x onerror=window.ran=1>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def traffic(browser, tmp_path_factory):
    return draw_traffic(tmp_path_factory.mktemp("traffic"), SPEC)


@pytest.fixture(scope="module")
def toy_clip(tmp_path_factory):
    """Two vehicles, one after the other."""
    empty = [scene() for _ in range(20)]
    frames = empty[:10]
    for vehicle in ("red", "blue"):
        frames += [scene(**{vehicle: (4 * n, 30)}) for n in range(25)] + empty
    return write_clip(tmp_path_factory.mktemp("clips") / "toy.mp4", frames)


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("application")
    torch.manual_seed(0)
    model = ReIDModel("resnet18", ibn="a", last_stride=2, embedding_dim=64).eval()
    bundle = save_bundle(folder / "runs/train/untrained/bundle", model, Preprocessing(64, 64), metrics={}, data={})
    with serving(folder, f"bundle={bundle}", "plates=gb", "detector.warm_up=3") as server:
        yield server


@pytest.fixture(scope="module")
def gallery(server):
    return Gallery(server.log.parent / "data/gallery")


@pytest.fixture
def tab(browser, server):
    tab = Tab.open(browser, server.address)
    yield tab
    tab.page.context.close()
    assert tab.dialogs == [] and tab.faults == []
    assert "Traceback" not in server.said(), server.said()


def names_of(gallery, camera):
    return {one.vehicle for one in gallery.sightings() if one.camera == camera}


def test_a_vehicle_is_registered_found_by_the_other_camera_corrected_and_deleted(tab, traffic, gallery):
    tab.find_vehicles(traffic / "north.mp4", camera="north")
    tab.button(SAVE).wait_for()
    assert names_of(gallery, "north") == set()
    tab.button(SAVE).click()
    tab.see(SAVED)
    assert {READ, OTHER} <= names_of(gallery, "north")

    tab.go("Search")
    tab.choose("Vehicle (type to find)", READ)
    tab.type(SEARCH_IN, str(traffic / "south.mp4"))
    tab.button(SEARCH).click()
    tab.see("1 vehicle found")
    tab.see(re.compile(rf"{READ} · score"))

    tab.go("Gallery")
    tab.open_vehicle(OTHER)
    tab.rename(RENAMED)
    assert {READ, RENAMED} <= names_of(gallery, "north") and OTHER not in names_of(gallery, "north")
    tab.delete_vehicle()
    assert READ in names_of(gallery, "north") and RENAMED not in names_of(gallery, "north")
    tab.go("Search")
    tab.page.get_by_role("combobox", name="Vehicle (type to find)").click()
    tab.page.get_by_role("option", name=READ).wait_for()
    assert tab.page.get_by_role("option", name=RENAMED).count() == 0


def test_two_tabs_at_once_register_side_by_side(tab, browser, server, toy_clip, gallery):
    other = Tab.open(browser, server.address)
    tabs = {"east": tab, "west": other}
    for camera, one in tabs.items():
        one.find_vehicles(toy_clip, camera=camera)
    for one in tabs.values():
        one.button(SAVE).wait_for()
    for number, one in enumerate(tabs.values()):
        one.type("Plate or name, card 1", f"TAB{number}00")
    for one in tabs.values():
        one.button(SAVE).click()
    for one in tabs.values():
        one.see("2 vehicles: 2 new sightings")
    other.page.context.close()
    assert other.dialogs == [] and other.faults == []
    for number, camera in enumerate(tabs):
        assert len(names_of(gallery, camera)) == 2 and f"TAB{number}00" in names_of(gallery, camera)


def every_button(tab, *expected):
    """All buttons and links that are seen have a name and are reached by the Tab key; `expected` are among them."""
    for _ in range(12):  # parts of a page may still be loading
        tab.settle()
        buttons = tab.buttons()
        if all(one["reached"] for one in buttons) and set(expected) <= {one["name"] for one in buttons}:
            break
    assert [one["html"] for one in buttons if not one["name"]] == []
    assert [one["html"] for one in buttons if not one["reached"]] == []
    assert set(expected) <= {one["name"] for one in buttons}


def dialog(tab):
    return tab.page.get_by_role("dialog")


def test_register_by_the_keyboard_alone(tab, toy_clip, gallery):
    tab.button(FIND).wait_for()
    every_button(tab, "Find vehicles", "Register", "Search", "Gallery")
    tab.find_vehicles(toy_clip, camera="keys")
    tab.button(SAVE).wait_for()
    every_button(tab, "Save 2 vehicles", "Discard all", "Merge these cards")
    tab.write("Plate or name, card 1", "KEY001")
    tab.press("Keep card 2", key="Space", tag="INPUT")
    tab.button("Save 1 vehicle").wait_for()
    tab.press("Keep card 2", key="Space", tag="INPUT")
    tab.button("Save 2 vehicles").wait_for()
    tab.reach("Cards that show the same vehicle")
    for _ in range(2):
        tab.page.keyboard.press("ArrowDown")
        tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Escape")
    tab.press("Merge these cards", key="Space")
    tab.button("Take card 1 apart").wait_for()
    every_button(tab, "Take card 1 apart", "Save 1 vehicle")
    tab.press("Take card 1 apart")
    tab.button("Save 2 vehicles").wait_for()
    tab.press("Save 2 vehicles")
    tab.see("2 vehicles: 2 new sightings")
    assert "KEY001" in names_of(gallery, "keys")
    every_button(tab, "See them in the gallery", "Search for one of them", "Register another source")
    tab.press("See them in the gallery", tag="A")
    tab.page.get_by_role("heading", level=1, name="Gallery").wait_for()


@pytest.fixture
def two_vehicles(gallery):
    """Put into the gallery's folder."""
    for name, colour in (("KEYS10", "red"), ("KEYS20", "blue")):
        for number in range(2):
            add_picture(gallery, name, scene(**{colour: (40 + number, 30)})[30:70, 40:100], number)
    return gallery


def add_picture(gallery, vehicle, pixels, number):
    (gallery.root / vehicle).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(gallery.root / vehicle / f"{number}.png")


def test_the_gallery_by_the_keyboard_alone(tab, two_vehicles):
    tab.go("Gallery")
    tab.page.get_by_role("button", name="KEYS10", exact=True).wait_for()
    every_button(tab, "KEYS10", "KEYS20")
    tab.press("KEYS10", key="Space")
    tab.page.get_by_role("heading", level=1, name="KEYS10").wait_for()
    every_button(tab, "All vehicles", "Rename", "Merge", "Delete vehicle", "Delete this sighting")
    tab.go("Gallery")  # leads back
    tab.press("KEYS10", key="Space")
    tab.page.get_by_role("heading", level=1, name="KEYS10").wait_for()
    for label, confirm in (("Merge", "Merge"), ("Delete vehicle", "Delete it"), ("Delete this sighting", "Delete it")):
        tab.press(label)
        dialog(tab).wait_for()
        every_button(tab, confirm, "Cancel", "Close")
        tab.press("Cancel", key="Space")
        dialog(tab).wait_for(state="detached")
    tab.press("Rename", key="Space")
    dialog(tab).wait_for()
    every_button(tab, "Rename", "Cancel", "Close")
    tab.write("New name", "KEYS30")
    tab.press("Rename")
    tab.page.get_by_role("heading", level=1, name="KEYS30").wait_for()
    tab.press("Merge")
    dialog(tab).wait_for()
    tab.reach("It is the same as")
    tab.page.keyboard.type("KEYS20")
    tab.page.keyboard.press("Enter")
    tab.press("Merge")
    tab.page.get_by_role("heading", level=1, name="KEYS20").wait_for()
    assert len(two_vehicles.sightings_of("KEYS20")) == 4
    tab.press("Delete this sighting")
    dialog(tab).wait_for()
    tab.page.keyboard.press("Escape")
    dialog(tab).wait_for(state="detached")
    tab.press("Delete vehicle")
    dialog(tab).wait_for()
    tab.press("Delete it")
    tab.page.get_by_role("heading", level=1, name="Gallery").wait_for()
    assert two_vehicles.folder_of("KEYS20") is None


def test_the_other_views_of_the_gallery_by_the_keyboard_alone(tab, two_vehicles):
    tab.go("Gallery")
    tab.page.get_by_role("button", name="KEYS10", exact=True).wait_for()
    every_button(tab, "KEYS10")
    shown = {
        "Statistics": "Sightings by camera",
        "Export and import": "Known sightings stay as they are.",
        "Model and repair": "Every sighting can be read.",
    }
    for name, text in shown.items():
        tab.reach(re.compile("^(Vehicles|Statistics|Export and import|Model and repair)$"))
        for _ in range(3):
            if tab.page.evaluate("document.activeElement.innerText") == name:
                break
            tab.page.keyboard.press("ArrowRight")
        tab.page.keyboard.press("Enter")
        tab.see(text)
        every_button(tab, name)
        if name == "Export and import":
            tab.press(re.compile("^Make a zip"))
            tab.button("Download gallery.zip").wait_for()
            every_button(tab, "Download gallery.zip", "Upload")
            with tab.page.expect_download() as download:
                tab.press("Download gallery.zip")
            assert zipfile.is_zipfile(download.value.path())
        if name == "Model and repair":
            tab.press("Check every picture")
            tab.see("Nothing else is wrong.")
            tab.press("Embed what is missing")
            tab.see(re.compile("vectors: .* embedded"))
            every_button(tab, "Embed all again", "Check every picture")


def test_search_by_the_keyboard_alone(tab, two_vehicles, tmp_path):
    tab.go("Gallery")
    tab.page.get_by_role("radio", name="Model and repair").click()
    tab.button(re.compile("^Embed")).first.click()
    tab.see(re.compile("vectors: .* embedded"))
    tab.go("Search")
    every_button(tab, "Search", "Upload")
    many, few = tmp_path / "many", tmp_path / "few"
    for folder in (many, few):
        folder.mkdir()
    for number in range(14):
        Image.fromarray(scene(red=(40 + number, 30))[30:70, 40:100]).save(few / f"{number}.png")
    for number in range(20_000):  # more than are searched while the keyboard is on its way to the button
        os.link(few / "0.png", many / f"{number}.png")
    tab.write(SEARCH_IN, str(many))
    tab.press("Search")
    tab.button("Cancel").wait_for()
    tab.press("Cancel")
    tab.see("Stopped. This is what was found until then.")
    tab.write(SEARCH_IN, str(few))
    tab.reach("Vehicle (type to find)")
    tab.page.keyboard.type("KEYS10")
    tab.page.keyboard.press("Enter")
    tab.press("Search")
    tab.see("1 vehicle found")
    every_button(tab, "Show more of 14", "Matches (CSV)", "Matches (JSON)", "Sheet of pictures")
    with tab.page.expect_download() as download:
        tab.press("Matches (CSV)")
    assert len(Path(download.value.path()).read_text().splitlines()) == 15
    tab.press("Show more of 14", key="Space")
    tab.button("Show more of 14").wait_for(state="detached")


def test_names_from_outside_are_shown_and_never_run(tab, toy_clip, gallery, tmp_path):
    hostile = tmp_path / f"{HOSTILE}.mp4"
    hostile.write_bytes(toy_clip.read_bytes() + b"\0\0\0\10free")  # other bytes, so another source
    tab.find_vehicles(hostile, camera=HOSTILE)
    tab.button(SAVE).wait_for()
    tab.type("Plate or name, card 1", f"'\"><script>window.ran=1</script>{HOSTILE}")
    tab.see(re.compile("^saved as"))
    tab.button(SAVE).click()
    tab.see(SAVED)
    assert HOSTILE in {one.camera for one in gallery.sightings()}
    for title in ("Search", "Gallery"):
        tab.go(title)
        assert tab.page.evaluate("window.ran") is None
        assert tab.page.locator("img[src=x], script:has-text('window.ran')").count() == 0


def test_only_this_computer_is_listened_to(server):
    assert [address for address, _ in server.listening()] == ["127.0.0.1"]
    assert [port for _, port in server.listening()] == [server.port]
