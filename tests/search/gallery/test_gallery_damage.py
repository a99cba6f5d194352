"""The gallery on disk: what is added is read back, names stay inside, and a stopped process leaves nothing half."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_run import child

from reid_lightning import atomic
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, changes, checking
from reid_lightning.search.gallery.changes import NotRemovedError
from reid_lightning.search.plates.names import folder_name
from reid_lightning.search.records import Crop, Sighting


def sighting(identifier: str = "a1", vehicle: str = "51G12345", *, crops: int = 2, **values: object) -> Sighting:
    boxes = tuple(Crop("", 7 + k, 0.5 + k, (1.0, 2.0, 31.5, 22.0), 0.9, 0.8) for k in range(crops))
    given = {"camera": "north", "source": "f00d", "source_name": "clip.mp4", "track": 3, "type": "car"}
    return Sighting(identifier, vehicle, detector="motion", crops=boxes, **{**given, **values})


def pictures(count: int = 2, *, level: int = 90) -> list[np.ndarray]:
    return [np.full((20, 30, 3), level + 40 * k, np.uint8) for k in range(count)]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def ids(gallery: Gallery) -> dict[str, str]:
    return {one.id: one.vehicle for one in gallery.sightings()}


def all_files(root: Path) -> set[str]:
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".lock")}


def test_what_is_added_is_read_back(gallery: Gallery) -> None:
    given = sighting(start=1e9, end=1e9 + 4.25, plate="51G 123.45", plate_confidence=0.75)
    assert gallery.add(given, pictures())
    read = list(gallery.sightings())
    crops = tuple(replace(crop, file=f"a1-{k}.jpg") for k, crop in enumerate(given.crops))
    assert read == [replace(given, crops=crops)]
    assert [path.name for path in gallery.crop_paths(read[0])] == ["a1-0.jpg", "a1-1.jpg"]
    saved = np.asarray(Image.open(gallery.crop_paths(read[0])[1]))
    assert saved.shape == (20, 30, 3) and np.abs(saved.astype(int) - 130).max() <= 2
    assert all_files(gallery.root) == {"51G12345/a1.json", "51G12345/a1-0.jpg", "51G12345/a1-1.jpg"}
    assert json.loads((gallery.root / "51G12345/a1.json").read_text())["format"] == 1


def test_the_same_id_again_changes_nothing_even_in_another_folder(gallery: Gallery) -> None:
    assert gallery.add(sighting(), pictures())
    before = (gallery.root / "51G12345/a1-0.jpg").read_bytes()
    assert not gallery.add(sighting(), pictures(level=10))
    assert not Gallery(gallery.root).add(sighting(vehicle="OTHER"), pictures(level=10))
    gallery.rename("51G12345", "B2")
    assert not gallery.add(sighting(), pictures(level=10))
    assert ids(gallery) == {"a1": "B2"}
    assert (gallery.root / "B2/a1-0.jpg").read_bytes() == before
    gallery.delete("B2")
    assert gallery.add(sighting(), pictures())


def test_numbers_of_numpy_are_kept_as_plain_ones(gallery: Gallery) -> None:
    odd = Crop("", np.int64(4), np.float32(0.5), tuple(np.float32([1, 2, 3, 4])), np.float32(0.25), np.float64(1))
    gallery.add(replace(sighting(track=np.int64(9)), crops=(odd,)), pictures(1))
    (read,) = gallery.sightings()
    assert read.track == 9 and read.crops[0] == Crop("a1-0.jpg", 4, 0.5, (1.0, 2.0, 3.0, 4.0), 0.25, 1.0)


@pytest.mark.parametrize("vehicle", ["../../x", "/etc/x", "..\\x", "a/../../x", "x\0y", ".x"])
def test_no_name_leaves_the_gallery(gallery: Gallery, vehicle: str) -> None:
    gallery.add(sighting(vehicle=vehicle), pictures())
    (folder,) = [entry for entry in gallery.root.iterdir() if entry.name != ".lock"]
    assert {entry.name for entry in gallery.root.parent.iterdir()} == {"gallery"}
    assert [one.vehicle for one in gallery.sightings_of(vehicle)] == [folder.name]


@pytest.mark.parametrize("identifier", ["", "../a", "a/b", ".a", "a" * 101])
def test_an_id_that_is_no_file_name_is_an_error(gallery: Gallery, identifier: str) -> None:
    with pytest.raises(ReIDError, match="id is"):
        gallery.add(sighting(identifier), pictures())
    assert not gallery.root.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "0 pictures came with 2 crops"),
        ([np.zeros((2, 2), np.uint8)] * 2, "expected uint8"),
        ([np.zeros((2, 2, 3))] * 2, "expected uint8"),
        ([np.zeros((0, 2, 3), np.uint8)] * 2, "expected uint8"),
    ],
)
def test_pictures_that_do_not_fit_are_an_error(gallery: Gallery, wrong: list[np.ndarray], message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        gallery.add(sighting(), wrong)
    assert not gallery.root.exists()


def test_nan_is_refused_before_anything_is_written(gallery: Gallery) -> None:
    with pytest.raises(ReIDError, match="a1"):
        gallery.add(sighting(start=float("nan")), pictures())
    assert not gallery.root.exists()


def test_vehicles_sums_up(gallery: Gallery) -> None:
    gallery.add(sighting("a1", start=100.0, end=104.0), pictures())
    gallery.add(sighting("a2", camera="south", type="truck", start=50.0, end=51.0, crops=1), pictures(1))
    gallery.add(sighting("a3", "B2", crops=1), pictures(1))
    first, second = gallery.vehicles()
    assert (first.id, first.sightings, first.crops) == ("51G12345", 2, 3)
    assert (first.cameras, first.types, first.first, first.last) == (("north", "south"), ("car", "truck"), 50.0, 104.0)
    assert (second.id, second.first, second.last) == ("B2", None, None)


def test_a_users_pictures_are_sightings(gallery: Gallery) -> None:
    folder = gallery.root / "my car"
    folder.mkdir(parents=True)
    for name in ("left.PNG", "right.jpg"):
        Image.new("RGB", (30, 20), "red").save(folder / name)
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.jpg").write_bytes((folder / "right.jpg").read_bytes())
    found = gallery.sightings_of("my car")
    assert [one.crops[0].file for one in found] == ["left.PNG", "right.jpg"]
    assert {(one.vehicle, one.camera, one.type, one.start) for one in found} == {("my car", "", "vehicle", None)}
    assert len({one.id for one in found}) == 2
    assert [one.id for one in Gallery(gallery.root).sightings_of("my car")] == [one.id for one in found]
    moved = gallery.rename("my car", "b2")
    assert moved == dict(zip([one.id for one in found], [one.id for one in gallery.sightings_of("B2")], strict=True))
    assert not set(moved) & set(moved.values())


def test_merging_pictures_of_one_name_keeps_both(gallery: Gallery) -> None:
    for vehicle, colour in (("A", "red"), ("B", "blue")):
        (gallery.root / vehicle).mkdir(parents=True)
        Image.new("RGB", (30, 20), colour).save(gallery.root / vehicle / "car.png")
    moved = gallery.merge("A", "B")
    found = gallery.sightings_of("B")
    assert [one.crops[0].file for one in found] == ["car (2).png", "car.png"]
    assert list(moved.values()) == [found[0].id]
    assert Image.open(gallery.crop_paths(found[0])[0]).getpixel((0, 0)) == (255, 0, 0)


def test_rename_merge_delete(gallery: Gallery) -> None:
    for number, vehicle in enumerate(("A", "B", "B", "C")):
        gallery.add(sighting(f"a{number}", vehicle), pictures())
    assert gallery.rename("A", "d") == {"a0": "a0"}
    assert gallery.merge("B", "D") == {"a1": "a1", "a2": "a2"}
    assert ids(gallery) == {"a3": "C", "a0": "D", "a1": "D", "a2": "D"}
    assert gallery.check() == []
    found = gallery.find("a1")
    gallery.delete_sighting(found)
    gallery.delete_sighting(found)
    gallery.delete("C")
    assert ids(gallery) == {"a0": "D", "a2": "D"}
    assert all_files(gallery.root) == {
        f"D/{name}" for i in (0, 2) for name in (f"a{i}.json", f"a{i}-0.jpg", f"a{i}-1.jpg")
    }


def test_changes_that_make_no_sense_are_errors(gallery: Gallery) -> None:
    with pytest.raises(ReIDError, match="no gallery at"):
        gallery.rename("A", "B")
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    with pytest.raises(ReIDError, match="Merge the two"):
        gallery.rename("A", "B")
    with pytest.raises(ReIDError, match="no vehicle 'X'"):
        gallery.merge("A", "X")
    with pytest.raises(ReIDError, match="same vehicle"):
        gallery.merge("A", "a")
    with pytest.raises(ReIDError, match=r"no vehicle '../C'"):
        gallery.delete("../C")
    assert gallery.rename("A", "A") == {}
    assert ids(gallery) == {"a1": "A", "a2": "B"}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[" * 100_000,
        "[]",
        "null",
        '{"format": 2}',
        {"crops": []},
        {"crops": [{"file": "a1-0.jpg"}]},
        {"crops": 3},
        {"id": "a2"},
        {"track": 1.5},
        {"track": True},
        {"start": "noon"},
        {"start": float("nan")},
        {"camera": None},
        {"file": "../../secret.jpg"},
        {"file": "/etc/passwd"},
        {"file": "a1-7.jpg"},
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, "4"]},
        {"score": float("inf")},
        {"frame": 10**400},
    ],
)
def test_a_damaged_sidecar_is_named(gallery: Gallery, damage: str | dict) -> None:
    gallery.add(sighting(), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    path = gallery.root / "51G12345/a1.json"
    if isinstance(damage, dict):
        values = json.loads(path.read_text())
        (name,) = damage
        (values if name in values else values["crops"][0]).update(damage)
        damage = json.dumps(values)
    path.write_text(damage)
    with pytest.raises(ReIDError, match=r"a1(\.json|-7\.jpg)"):
        list(gallery.sightings())
    problems: list[str] = []
    assert [one.id for one in gallery.sightings(on_problem=problems.append)] == ["a2"]
    assert len(problems) == 1 and problems == gallery.check()[:1]


def test_bytes_that_are_no_text_in_a_sidecar(gallery: Gallery) -> None:
    gallery.add(sighting(), pictures())
    (gallery.root / "51G12345/a1.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ReIDError, match=r"a1.json is damaged"):
        list(gallery.sightings())


def test_links_are_not_followed(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add(sighting(), pictures())
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (30, 20)).save(secret / "x.jpg")
    (gallery.root / "LINKED").symlink_to(secret)
    (gallery.root / "51G12345" / "linked.jpg").symlink_to(secret / "x.jpg")
    assert ids(gallery) == {"a1": "51G12345"}
    with pytest.raises(ReIDError, match="links in a gallery"):
        gallery.add(sighting("a2", "linked"), pictures())
    with pytest.raises(ReIDError, match="no vehicle"):
        gallery.delete("LINKED")
    (gallery.root / "51G12345" / "a1-0.jpg").unlink()
    (gallery.root / "51G12345" / "a1-0.jpg").symlink_to(secret / "x.jpg")
    with pytest.raises(ReIDError, match=r"a1-0.jpg is missing"):
        list(gallery.sightings())
    assert os.listdir(secret) == ["x.jpg"]


def test_a_damaged_crop_is_named_by_check(gallery: Gallery) -> None:
    gallery.add(sighting(), pictures())
    path = gallery.root / "51G12345/a1-1.jpg"
    path.write_bytes(path.read_bytes()[:200])
    (problem,) = gallery.check()
    assert str(path) in problem


def test_a_copied_folder_does_not_double_its_sightings(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    shutil.copytree(gallery.root / "A", gallery.root / "B")
    problems: list[str] = []
    assert [one.vehicle for one in gallery.sightings(on_problem=problems.append)] == ["A"]
    assert problems == ["The sighting a1 lies in A and in B; delete one of the two."] == gallery.check()
    assert ids(gallery) == {"a1": gallery.find("a1").vehicle} == {"a1": "A"}


@pytest.mark.parametrize("writes", range(3))
def test_a_full_disk_leaves_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    gallery.add(sighting("a0"), pictures())
    before = all_files(gallery.root)
    left = writes

    def full(number: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "flush_folder", lambda folder: None)
    monkeypatch.setattr("reid_lightning.search.gallery.adding.flush_folder", lambda folder: None)
    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ReIDError, match="No space left"):
        gallery.add(sighting("a1", "NEW"), pictures())
    with pytest.raises(ReIDError, match="No space left"):
        gallery.add(sighting("a1"), pictures())
    monkeypatch.undo()
    assert all_files(gallery.root) == before
    assert gallery.vehicle_names() == ["51G12345"]
    assert gallery.add(sighting("a1"), pictures())


def test_repair_removes_what_a_stopped_process_left(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    (gallery.root / "B/a2.json").unlink()
    (gallery.root / "A/.beef.part").write_bytes(b"x")
    (gallery.root / ".deleted/old").mkdir(parents=True)
    assert ids(gallery) == {"a1": "A"}  # the crops of a2 do not pass for a user's pictures
    assert len(gallery.check()) == 4
    assert gallery.repair() == []  # they could belong to a process at work
    assert len(gallery.repair(older_than=-1)) == 4
    assert gallery.check() == []
    assert all_files(gallery.root) == {"A/a1.json", "A/a1-0.jpg", "A/a1-1.jpg"}
    assert not (gallery.root / "B").exists()


@pytest.mark.parametrize("damage", ['{"format": 2}', "", '{"format": 1, "id": "a1", "crops": [{"file": "a9-0.jpg"}]}'])
def test_repair_touches_nothing_where_a_sidecar_cannot_be_read(gallery: Gallery, damage: str) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    (gallery.root / "A/a1.json").write_text(damage)
    (gallery.root / "A/a2.json").rename(gallery.root / "A/a2.txt")  # whose crops these are, nobody can say now
    before = all_files(gallery.root)
    assert gallery.repair(older_than=-1) == [] and all_files(gallery.root) == before
    assert gallery.sightings_of("A", on_problem=lambda problem: None) == []
    assert len(gallery.check()) == 1


def test_what_is_merged_while_somebody_lists_is_no_problem(gallery: Gallery) -> None:
    for number, vehicle in enumerate("ABC"):
        gallery.add(sighting(f"a{number}", vehicle), pictures())
    listing = gallery.sightings()
    first = next(listing)
    gallery.merge("A", "C")
    assert [first.id, *(one.id for one in listing)] == ["a0", "a1", "a2"]


def test_the_picture_of_a_record(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        gallery.add(sighting(f"a-{number}", "A"), pictures())
    (gallery.root / "MINE").mkdir()
    Image.new("RGB", (9, 9), "red").save(gallery.root / "MINE/left.png")
    (own,) = gallery.sightings_of("MINE")
    root, own_id = gallery.root, f"{own.id}-0"
    reader = Gallery(root)
    for vehicle in ("A", "a", None, "MINE", "nobody", "../A"):
        assert reader.picture_path("a-1-1", vehicle=vehicle) == root / "A/a-1-1.jpg"
    assert reader.picture_path(own_id, vehicle="MINE") == reader.picture_path(own_id) == root / "MINE/left.png"
    assert reader.picture_path(own_id, vehicle="A") is None  # the id holds the name of its folder
    for unknown in ("a-1-2", "a-9-0", "a-1", f"{own.id}-1", "a-1-01", "a-1--1", "a-1-\u0661", "-0", "", "0"):
        assert reader.picture_path(unknown, vehicle="A") is None and reader.picture_path(unknown) is None
    reads: list[Path] = []
    for module in ("crop_files", "reader"):
        name = f"reid_lightning.search.gallery.{module}.vehicle_folders"
        monkeypatch.setattr(name, lambda root: reads.append(root) or ([], []))
    monkeypatch.setattr("reid_lightning.search.gallery.crop_files.own_pictures", reads.append)
    monkeypatch.setattr("reid_lightning.search.gallery.crop_files.read_sidecar", reads.append)
    for identifier in ("a-1-1", "a-9-0"):
        reader.picture_path(identifier, vehicle="A")
    reader.picture_path(own_id)
    assert reads == []


def test_the_picture_of_a_record_after_a_change(gallery: Gallery) -> None:
    assert gallery.picture_path("a1-0", vehicle="A") is None
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    assert gallery.picture_path("a1-0", vehicle="A") == gallery.root / "A/a1-0.jpg"
    gallery.rename("A", "B")
    assert gallery.picture_path("a1-0", vehicle="A") == gallery.root / "B/a1-0.jpg"
    (gallery.root / "B/a2.json").write_text("{")
    (gallery.root / "B/a1-0.jpg").unlink()
    assert gallery.picture_path("a1-0", vehicle="B") is gallery.picture_path("a2-0", vehicle="B") is None


def test_no_record_has_a_picture_outside_the_gallery(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    for name in ("private.png", "b-0.jpg"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    shutil.copy(gallery.root / "A/a1.json", tmp_path / "a3.json")
    (gallery.root / "A/a3.json").symlink_to(tmp_path / "a3.json")
    (gallery.root / "A/a1-1.jpg").unlink()
    (gallery.root / "A/a1-1.jpg").symlink_to(tmp_path / "private.png")
    path = gallery.root / "A/a2.json"
    path.write_text(path.read_text().replace("a2-0.jpg", "../../private.png"))
    nasty = ["../private.png", "../private-0", "a/../../b-0", f"{tmp_path}/b-0", "..-0", ".-0", "a1\0-0", "\ud800-0"]
    nasty += ["a1-1", "a2-0", "a3-0", "x" * 300 + "-0", "a1-" + "9" * 5000]
    for identifier in nasty:
        for vehicle in (None, "A", "..", "../A", "", "\ud800", "x" * 300, str(tmp_path)):
            assert gallery.picture_path(identifier, vehicle=vehicle) is None


def _killed_merge(root: str, after: int) -> None:
    """Merge A into B; killed when so many steps on the disk are done."""
    steps = 0
    for name in ("link", "flush_folder"):
        done = getattr(changes, name)

        def counted(*paths: Path, done=done) -> None:
            nonlocal steps
            done(*paths)
            steps += 1
            if steps > after:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(changes, name, counted)
    Gallery(root).merge("A", "B")


@pytest.mark.parametrize("after", [0, 2, 3, 5])
def test_a_killed_merge_leaves_each_sighting_once(gallery: Gallery, after: int) -> None:
    for number in range(2):
        gallery.add(sighting(f"a{number}", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    process = child(partial(_killed_merge, str(gallery.root), after))
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert sorted(one.id for one in gallery.sightings()) == ["a0", "a1", "a2"]
    gallery.merge("A", "B")
    gallery.repair(older_than=-1)
    assert ids(gallery) == dict.fromkeys(("a0", "a1", "a2"), "B")
    assert gallery.check() == [] and not (gallery.root / "A").exists()


def _register(root: str, start: int) -> None:
    gallery = Gallery(root)
    for number in range(start, start + 12):
        gallery.add(sighting(f"a{number}", f"V{number % 3}"), pictures())


def test_processes_that_add_and_rename_at_once_lose_and_double_nothing(gallery: Gallery) -> None:
    _register(str(gallery.root), 100)
    processes = [child(partial(_register, str(gallery.root), start)) for start in (0, 6, 12)]
    reader = Gallery(gallery.root)
    for number in range(10):
        reader.merge("V1", "V0")
        reader.rename("V2", f"W{number}")
        reader.merge(f"W{number}", "V1") if reader.folder_of("V1") else reader.rename(f"W{number}", "V1")
        (gallery.root / "V2").mkdir(exist_ok=True)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = sorted(int(one.id[1:]) for one in gallery.sightings())
    assert found == [*range(24), *range(100, 112)]


def test_sources_are_remembered_by_camera(gallery: Gallery) -> None:
    assert not gallery.source_done("f00d", "north")
    gallery.mark_source("f00d", "north", name="clip.mp4", detector="motion", sightings=3)
    gallery.mark_source("f00d", "../s'out\"h", name="clip.mp4", detector="motion", sightings=3)
    assert gallery.source_done("f00d", "north") and gallery.source_done("f00d", "../s'out\"h")
    assert not gallery.source_done("f00d", "east") and not gallery.source_done("beef", "north")
    assert gallery.source_state("f00d", "north").settings == ""
    (gallery.root / ".sources/f00d.json").write_text("{")
    assert not gallery.source_done("f00d", "north")
    with pytest.raises(ReIDError, match="fingerprint"):
        gallery.source_done("../x", "north")


def test_a_source_is_begun_finished_and_forgotten(gallery: Gallery) -> None:
    given = {"name": "clip.mp4", "settings": "motion min_score=0.5"}
    assert gallery.begin_source("f00d", "north", **given) is None
    assert gallery.begin_source("f00d", "south", **given) is None
    mark = gallery.source_state("f00d", "north")
    assert (mark.done, mark.settings, mark.name) == (False, given["settings"], "clip.mp4")
    assert not gallery.source_done("f00d", "north")
    assert gallery.begin_source("f00d", "north", name="clip.mp4", settings="other") == mark
    assert gallery.source_state("f00d", "north").settings == "other"
    gallery.mark_source("f00d", "north", name="clip.mp4", detector="motion", sightings=3)
    done = gallery.source_state("f00d", "north")
    assert (done.done, done.settings, done.sightings) == (True, "other", 3) and gallery.source_done("f00d", "north")
    assert gallery.begin_source("f00d", "north", name="clip.mp4", settings="other") == done
    assert gallery.source_done("f00d", "north")  # it stays finished
    gallery.forget_source("f00d", "north")
    gallery.forget_source("f00d", "nowhere")
    assert gallery.source_state("f00d", "north") is None and gallery.source_state("f00d", "south") is not None
    gallery.forget_source("f00d", "south")
    assert all_files(gallery.root) == set()


def test_a_mark_of_before_is_of_a_finished_source(gallery: Gallery) -> None:
    (gallery.root / ".sources").mkdir(parents=True)
    mark = {"source": "f00d", "camera": "c", "name": "x", "detector": "motion", "sightings": 3, "when": 1e9}
    (gallery.root / ".sources/f00d.json").write_text(json.dumps({"format": 1, "marks": [mark]}))
    assert gallery.source_done("f00d", "c") and gallery.source_state("f00d", "c").sightings == 3


def test_sightings_of_a_source(gallery: Gallery) -> None:
    for number, (source, camera) in enumerate([("f00d", "n"), ("f00d", "s"), ("beef", "n"), ("f00d", "n")]):
        gallery.add(sighting(f"a{number}", f"V{number}", source=source, camera=camera), pictures())
    gallery.add(sighting("a9", "V9", source="f00d", camera="n"), pictures())
    (gallery.root / "V9/a9.json").write_text("{")
    assert [one.id for one in gallery.sightings_of_source("f00d", "n")] == ["a0", "a3"]


def test_a_gallery_that_is_no_folder_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReIDError, match=f"the gallery {tmp_path / 'file'} is a file; expected a folder"):
        Gallery(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReIDError, match="is a pipe; expected a folder"):
        Gallery(tmp_path / "pipe")
    below = tmp_path / "file/below"
    with pytest.raises(ReIDError, match=f"{below} cannot be read: Not a directory. Expected a folder"):
        Gallery(below).vehicle_names()
    with pytest.raises(ReIDError, match="cannot be read"):
        list(Gallery(below).sightings())


@pytest.mark.parametrize("name", [".deleted", ".sources", ".index"])
def test_hidden_folders_that_are_links_are_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/precious").write_text("mine")
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / name).symlink_to(tmp_path / "victim")
    with pytest.raises(ReIDError, match=rf"gallery/\{name} is a link, and links in a gallery are not followed"):
        Gallery(tmp_path / "gallery").repair(older_than=-1)
    assert (tmp_path / "victim/precious").read_text() == "mine"


def test_a_deletion_that_leaves_files_says_where(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: None)  # as where a folder in it may not be changed
    with pytest.raises(NotRemovedError, match=r"V1 is out of the gallery, but 3 of its files .*\.deleted"):
        gallery.delete("V1")
    assert gallery.vehicle_names() == []


def test_a_folder_that_may_not_be_read_is_named(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    gallery.add(sighting("b1", "V2"), pictures())
    real = os.scandir

    def refused(path: Path):
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    closed, problems = gallery.root / "V1", []
    assert [one.id for one in gallery.sightings(on_problem=problems.append)] == ["b1"]
    (problem,) = problems
    assert f"{closed} cannot be read: Permission denied" in problem
    closed = gallery.root
    with pytest.raises(ReIDError, match=f"{closed} cannot be read: Permission denied"):
        gallery.vehicle_names()


def test_a_plate_is_found_as_people_write_it(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "LS15EBC"), pictures())
    for written in ("LS15 EBC", "ls15 ebc", "LS-15-EBC", "ls15·ebc"):
        assert gallery.folder_of(written) == gallery.root / "LS15EBC"
    gallery.add(sighting("b1", "LS15 EBC"), pictures())
    assert gallery.folder_of("LS15 EBC") == gallery.root / "LS15_EBC"  # a folder's own name goes before


@pytest.mark.parametrize("name", ["a" * 300, "é" * 200])
def test_a_name_that_is_too_long_for_a_folder(gallery: Gallery, name: str) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    assert gallery.folder_of(name) is None and gallery.sightings_of(name) == []
    gallery.rename("V1", name)
    assert gallery.folder_of(name).name == gallery.vehicle_names()[0] and ids(gallery) == {"a1": folder_name(name)}
    with pytest.raises(ReIDError, match="There is no vehicle"):
        gallery.delete("b" * 300)


def test_a_check_tells_how_far_it_is_and_can_be_stopped(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for vehicle in ("V1", "V2", "V3"):
        gallery.add(sighting(f"of-{vehicle}", vehicle), pictures())
    for vehicle in ("V1", "V3"):
        (gallery.root / vehicle / f"of-{vehicle}-1.jpg").write_bytes(b"x")
    whole = gallery.check()
    assert len(whole) == 2
    for at_once in (1, 3, 1024):
        steps: list[tuple[int, int]] = []
        monkeypatch.setattr(checking, "_AT_ONCE", at_once)
        assert gallery.check(on_progress=lambda *step, steps=steps: steps.append(step)) == whole
        assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.check(on_progress=stop)
