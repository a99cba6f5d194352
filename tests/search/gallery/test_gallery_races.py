"""Two processes at one gallery: whatever the second does in the middle of the first, disk and vectors agree."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_run import child, exit_codes
from toy_store import ToyStore

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, records_of
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.gallery.index import NotInGalleryError
from reid_lightning.search.records import Crop, Sighting


def sighting(number: int, vehicle: str) -> Sighting:
    crop = Crop("", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0)
    return Sighting(f"a{number}", vehicle, "n", "f0", "x", number, "car", "d", (crop,), start=1.0, end=2.0)


def picture(number: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), 20 * number, np.uint8)]


def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
    rows = np.array([[*np.asarray(one.convert("RGB"))[0, 0], 99.0] for one in pictures], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lay(root: Path, vehicle: str, name: str, level: int = 77) -> None:
    (root / vehicle).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, level, level)).save(root / vehicle / name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine crashes here."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Two:
    """A first process and a second one, which does `change` when the first reaches `moment`, once."""

    def __init__(self, root: Path, moment: str = "", change: Callable[[GalleryIndex], object] = lambda second: None):
        self.content: dict = {}
        self.second = GalleryIndex(Gallery(root), ToyStore(self.content), embed)
        self.moment, self.change, self.happened = "", change, False
        self.first = GalleryIndex(Gallery(root), ToyStore(self.content, self._around), self._embed)
        for number, vehicle in enumerate("AAB"):
            self.second.gallery.add(sighting(number, vehicle), picture(number))
        self.second.sync()
        self.second.gallery.add(sighting(8, "A"), picture(8))  # not embedded yet
        lay(root, "A", "mine.png")
        assert self.first.gallery.find("a8") is not None  # it knows them all
        self.moment = moment

    def _around(self, moment: str) -> None:
        if moment == self.moment and not self.happened:
            self.happened = True
            with suppress(ReIDError):  # what the first has done already leaves the second nothing to do
                self.change(self.second)

    def _embed(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self._around("embed")
        return embed(pictures)


CHANGES = {
    "rename": lambda second: second.rename("A", "C"),
    "rename away and back": lambda second: (second.rename("A", "C"), second.rename("C", "A")),
    "merge": lambda second: second.merge("A", "B"),
    "merge the other": lambda second: second.merge("B", "A"),
    "delete": lambda second: second.delete("A"),
    "delete and add again": lambda second: (
        second.delete("A"),
        second.gallery.add(sighting(8, "D"), picture(8)),
        second.add(sighting(8, "D")),
    ),
    "delete a sighting": lambda second: second.delete_sighting(second.gallery.find("a8") or sighting(8, "A")),
    "sync": lambda second: second.sync(),
    "rebuild": lambda second: second.rebuild(),
}
WORK = {  # and the moments in it
    "add": (lambda first: first.add(sighting(8, "A")), "records", "embed", "upsert", "upserted"),
    "sync": (lambda first: first.sync(), "records", "embed", "upsert", "upserted"),
    "rebuild": (lambda first: first.rebuild(), "embed", "replace", "replaced", "records"),
    "rename": (lambda first: first.rename("A", "E"), "scan", "upsert", "upserted"),
    "merge": (lambda first: first.merge("A", "B"), "scan", "upsert", "upserted"),
    "delete": (lambda first: first.delete("A"), "scan", "scanned", "delete", "deleted"),
    "delete a sighting": (lambda first: first.delete_sighting(first.gallery.find("a0")), "delete", "deleted"),
}


@pytest.mark.parametrize("work", WORK)
def test_nothing_is_stored_that_is_not_on_the_disk(tmp_path: Path, work: str) -> None:
    happened = 0
    for number, (moment, change) in enumerate((moment, change) for moment in WORK[work][1:] for change in CHANGES):
        two = Two(tmp_path / f"{number}", moment, CHANGES[change])
        WORK[work][0](two.first)
        happened += two.happened
        two.moment = ""
        disk = {record.id: record for one in two.first.gallery.sightings() for record in records_of(one)}
        stored = {identifier: record for identifier, (record, _) in two.content.items()}
        ghosts = {identifier: record for identifier, record in stored.items() if disk.get(identifier) != record}
        assert ghosts == {}, (moment, change)
        if work in ("sync", "rebuild"):
            assert stored == disk, (moment, change)
        elif work == "add":
            kept = {record.id for record in records_of(sighting(8, "A"))}
            assert stored.keys() & kept == disk.keys() & kept, (moment, change)
        two.first.sync()
        assert {identifier: record for identifier, (record, _) in two.content.items()} == disk, (moment, change)
    assert happened == number + 1


def test_a_registration_goes_on_where_its_vehicle_is_deleted_before_it_is_embedded(tmp_path: Path) -> None:
    two = Two(tmp_path)
    two.second.delete("A")
    with pytest.raises(NotInGalleryError, match="a8 is not in"):
        two.first.add(sighting(8, "A"))


def test_a_crop_that_is_damaged_where_it_lies_is_an_error(tmp_path: Path) -> None:
    two = Two(tmp_path)
    (tmp_path / "A/a8-0.jpg").write_bytes(b"no picture")
    with pytest.raises(ReIDError, match=r"a8-0\.jpg"):
        two.first.add(sighting(8, "A"))


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_renamed_or_merged_is_not_added_again(tmp_path: Path, by_hand: bool) -> None:
    one, other = Gallery(tmp_path), Gallery(tmp_path)
    other.add(sighting(0, "X"), picture(0))
    assert other.find("a1") is other.find("a2") is None
    assert one.add(sighting(1, "A"), picture(1)) and one.add(sighting(2, "B"), picture(2))
    if by_hand:
        (tmp_path / "A").rename(tmp_path / "C")
    else:
        Gallery(tmp_path).rename("A", "C")
    Gallery(tmp_path).merge("B", "X")
    assert not other.add(sighting(1, "A"), picture(1)) and not other.add(sighting(2, "B"), picture(2))
    assert {one.id: one.vehicle for one in other.sightings()} == {"a0": "X", "a1": "C", "a2": "X"}


def _add_all(root: str, vehicle: str) -> None:
    gallery = Gallery(root)
    new = sum(gallery.add(sighting(number, f"{vehicle}{number % 3}"), picture(number)) for number in range(12))
    Path(root, f".{vehicle}.new").write_text(str(new))


def test_two_processes_that_read_a_plate_differently_keep_each_sighting_once(tmp_path: Path) -> None:
    processes = [child(partial(_add_all, str(tmp_path), vehicle)) for vehicle in ("ONE", "ANOTHER")]
    assert exit_codes(*processes) == [0, 0]
    assert sorted(one.id for one in Gallery(tmp_path).sightings()) == sorted(f"a{number}" for number in range(12))
    assert sum(int((tmp_path / f".{name}.new").read_text()) for name in ("ONE", "ANOTHER")) == 12


def test_a_look_reads_only_the_folders_that_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery(tmp_path)
    for number in range(4):
        gallery.add(sighting(number, f"V{number}"), picture(number))
        os.utime(tmp_path / f"V{number}", (1e9, 1e9))
    gallery.locations.look()
    read: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(Path(path).name) or real(path))
    assert not gallery.add(sighting(2, "elsewhere"), picture(2)) and read == []
    assert gallery.add(sighting(7, "V1"), picture(7)) and read == [tmp_path.name]
    gallery.locations.look()
    assert sorted(read) == sorted([tmp_path.name, tmp_path.name, "V1"])


def test_a_sighting_that_lies_in_two_folders_is_told_once_and_stops_nobody(tmp_path: Path, caplog) -> None:
    two = Two(tmp_path / "g")
    shutil.copytree(tmp_path / "g/A", tmp_path / "g/D")
    gallery = two.first.gallery
    with caplog.at_level(logging.WARNING):
        assert len(list(gallery.sightings())) == len(list(gallery.sightings())) == 6  # with two pictures of a user's
    assert caplog.text.count("a8 lies in A and in D; delete one of the two") == 1
    problems: list[str] = []
    list(gallery.sightings(on_problem=problems.append))
    assert len(problems) == 3
    report = two.first.sync()
    assert len(report.problems) == 3 and {record.vehicle for record, _ in two.content.values()} == {"A", "B", "D"}
    assert len(export_gallery(gallery, tmp_path / "z.zip").problems) == 0
    two.first.delete_sighting(gallery.sightings_of("D")[0])  # the one that was named, not its double
    assert (tmp_path / "g/A/a0.json").exists() and not (tmp_path / "g/D/a0.json").exists()
    two.first.delete("A")
    two.first.sync()
    assert {record.vehicle for record, _ in two.content.values()} == {"B", "D"}


def test_a_sighting_is_deleted_wherever_it_is_by_then(tmp_path: Path) -> None:
    two = Two(tmp_path)
    old, mine = two.first.gallery.find("a8"), two.first.gallery.sightings_of("A")[-1]
    two.second.rename("A", "C")
    lay(tmp_path, "A", "mine.png", level=5)  # another picture of the same name
    two.first.delete_sighting(old)
    two.first.delete_sighting(mine)
    assert [one.id for one in two.first.gallery.sightings_of("C")][:2] == ["a0", "a1"]
    assert (tmp_path / "A/mine.png").exists() and (tmp_path / "C/mine.png").exists()
    assert not list((tmp_path / "C").glob("a8*"))


def test_imports_keep_the_pictures_that_others_import_under_the_same_name(tmp_path: Path) -> None:
    for number in (1, 2):
        lay(tmp_path / f"from{number}", "A", "car.png", level=number)
        export_gallery(Gallery(tmp_path / f"from{number}"), tmp_path / f"{number}.zip")
    for number in (1, 2, 1):
        import_gallery(Gallery(tmp_path / "g"), tmp_path / f"{number}.zip")
    assert sorted(path.name for path in (tmp_path / "g/A").iterdir()) == ["car (2).png", "car.png"]
