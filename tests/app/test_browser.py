"""The application as its user has it: a server of its own, a real browser, drawn clips of two cameras."""

import re
import sys
from pathlib import Path

import pytest
import torch
from browser import FIND, SAVE, SAVED, SEARCH, SEARCH_IN, Tab, chromium, serving

from reid_lightning.bundle import save_bundle
from reid_lightning.data.synthetic.traffic import TrafficSpec, draw_traffic
from reid_lightning.data.transforms import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search.gallery import Gallery

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

from toy_clips import scene, write_clip

SPEC = TrafficSpec(vehicles=3, seconds=13.5, frames_per_second=6, width=640, height=360, travel=(1.2, 1.6))
READ, MISREAD, TRUE = "PE35KJC", "UU04NYC", "UU94NYC"  # what the plate reader makes of two of its three vehicles
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
    assert {READ, MISREAD} <= names_of(gallery, "north")

    tab.go("Search")
    tab.choose("Vehicle (type to find)", READ)
    tab.type(SEARCH_IN, str(traffic / "south.mp4"))
    tab.button(SEARCH).click()
    tab.see("1 vehicle found")
    tab.see(re.compile(rf"{READ} · score"))

    tab.go("Gallery")
    tab.open_vehicle(MISREAD)
    tab.rename(TRUE)
    assert {READ, TRUE} <= names_of(gallery, "north") and MISREAD not in names_of(gallery, "north")
    tab.delete_vehicle()
    assert READ in names_of(gallery, "north") and TRUE not in names_of(gallery, "north")
    tab.go("Search")
    tab.page.get_by_role("combobox", name="Vehicle (type to find)").click()
    tab.page.get_by_role("option", name=READ).wait_for()
    assert tab.page.get_by_role("option", name=TRUE).count() == 0


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


def test_every_button_is_reached_by_the_tab_key_and_has_a_name(tab, toy_clip):
    def check():
        for _ in range(3):  # parts of a page may still be loading
            tab.settle()
            buttons = tab.buttons()
            if all(one["reached"] for one in buttons):
                break
        assert [one["html"] for one in buttons if not one["name"]] == []
        assert [one["name"] for one in buttons if not one["reached"]] == []
        return {one["name"] for one in buttons}

    tab.button(FIND).wait_for()
    assert {"Find vehicles", "Search", "Gallery"} <= check()
    tab.find_vehicles(toy_clip, camera="keys")
    tab.button(SAVE).wait_for()
    assert {"Save 2 vehicles", "Discard all", "Merge these cards"} <= check()
    tab.go("Search")
    assert {"Search", "Register"} <= check()
    tab.go("Gallery")
    assert {"Search", "Register"} <= check()


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
