"""Anything that several processes do to a gallery, in each other's midst and killed anywhere, against a simple model.

Two processes are two `GalleryIndex`es of one folder and one store; the second acts when the first reaches its store or
its model. A kill is an exception that nobody catches, at a drawn change of the file system or call of the store.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from PIL import Image
from toy_store import ToyStore

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, records_of
from reid_lightning.search.records import Crop, Sighting

VEHICLES = ("A", "B", "C")
IDS = tuple(f"a{number}" for number in range(8))
CHANGING = ("rename", "replace", "unlink", "link", "mkdir", "rmdir")  # of `os`


class Kill(BaseException):
    """kill -9, but for the lock, which the system lets go of."""


@dataclass
class State:
    """Where every sighting is, and every picture of a user's, by its colour."""

    sightings: dict[str, str] = field(default_factory=dict)
    pictures: dict[int, str] = field(default_factory=dict)

    def moved(self, vehicle: str, into: str | None) -> State:
        """All of a vehicle's to another one, or away."""

        def move(places: dict) -> dict:
            moved = {one: into if place == vehicle else place for one, place in places.items()}
            return {one: place for one, place in moved.items() if place is not None}

        return State(move(self.sightings), move(self.pictures))


def sighting(identifier: str, vehicle: str) -> Sighting:
    crop = Crop(f"{identifier}-0.jpg", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0)
    return Sighting(identifier, vehicle, "n", "f0", "x", 1, "car", "d", (crop,), start=1.0, end=2.0)


def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
    rows = np.array([[*np.asarray(one.convert("RGB"))[0, 0], 99.0] for one in pictures], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


vehicles = st.sampled_from(VEHICLES)
adds = st.tuples(st.just("add"), st.sampled_from(IDS), vehicles)
moves = st.tuples(st.sampled_from(["rename", "merge"]), vehicles, vehicles)
deletes = st.tuples(st.just("delete"), vehicles, st.booleans())
changes = st.one_of(
    adds,
    moves,
    deletes,
    st.tuples(st.just("delete sighting"), st.sampled_from(IDS), st.booleans()),
    st.tuples(st.just("restore"), st.integers(0, 3)),
    st.tuples(st.just("lay"), vehicles),
    st.tuples(st.sampled_from(["sync", "rebuild"])),
)


class Processes(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "gallery"
        self.root.mkdir()
        self.content: dict = {}
        self.colour = 0
        self.fuse: int | None = None  # steps until the first process is killed
        self.second: tuple | None = None  # what the second one does,
        self.wait = 0  # and after how many calls of the first one
        self.expected = State()
        self.first = GalleryIndex(Gallery(self.root), ToyStore(self.content, self._call), self._embed)
        self.other = GalleryIndex(Gallery(self.root), ToyStore(self.content), embed)
        self.patches = [mock.patch.object(os, "fsync", lambda number: None)]
        self.patches += [mock.patch.object(os, name, self._counted(getattr(os, name))) for name in CHANGING]
        for patch in self.patches:
            patch.start()

    @rule(
        change=adds | changes,
        second=moves | deletes | changes,
        wait=st.integers(0, 4),
        fuse=st.none() | st.just(None) | st.integers(1, 12),
    )
    def act(self, change: tuple, second: tuple, wait: int, fuse: int | None) -> None:
        self.second, self.wait = second, wait
        before = self._disk()
        self.expected = self._after(change, before)
        self.fuse = fuse
        try:
            self._do(self.first, change)
        except Kill:
            self.fuse = self.second = None
            now = self._disk()
            for places in ("sightings", "pictures"):
                old, new, found = (getattr(state, places) for state in (before, self.expected, now))
                for one in old.keys() | new.keys() | found.keys():
                    assert found.get(one) in (old.get(one), new.get(one)), one
            self.other.sync()  # the next one to look after the gallery
            assert self._disk() == now
        else:
            self.fuse = self.second = None
            assert self._disk() == self.expected
        self._no_ghosts()

    @rule()
    def search(self) -> None:
        [hits] = self.other.store.search(np.eye(4, dtype=np.float32)[:1], top_k=20)
        for hit in hits:
            path = self.other.gallery.picture_path(hit.record.id, vehicle=hit.record.vehicle)
            assert path is not None

    def teardown(self) -> None:
        try:
            self.fuse = self.second = None
            Gallery(self.root).repair(older_than=-1)
            before = self._disk()
            fresh = GalleryIndex(Gallery(self.root), ToyStore(self.content), embed)
            assert fresh.sync().problems == ()
            stored = {identifier: record for identifier, (record, _) in self.content.items()}
            assert stored == {record.id: record for one in fresh.gallery.sightings() for record in records_of(one)}
            assert self._disk() == before and fresh.gallery.check() == []
        finally:
            for patch in self.patches:
                patch.stop()
            self.folder.cleanup()

    def _do(self, index: GalleryIndex, change: tuple) -> None:
        """What is impossible is refused, and changes nothing."""
        name, *given = change
        with suppress(ReIDError):
            if name == "add":
                identifier, vehicle = given
                known = identifier in self._disk().sightings
                picture = np.full((8, 8, 3), 20 * int(identifier[1:]), np.uint8)
                assert index.gallery.add(sighting(identifier, vehicle), [picture]) != known
                index.add(sighting(identifier, vehicle))
            elif name in ("rename", "merge"):
                getattr(index, name)(*given, undoable=True)
            elif name == "delete":
                index.delete(given[0], undoable=given[1])
            elif name == "delete sighting":
                index.delete_sighting(sighting(given[0], "Z"), undoable=given[1])
            elif name == "restore":
                if entry := self._entry(given[0]):
                    index.restore(entry.id)
            elif name == "lay":
                if path := self._free(given[0]):
                    self.colour += 1
                    path.parent.mkdir(exist_ok=True)
                    Image.new("RGB", (8, 8), (self.colour, 0, 0)).save(path)
            else:
                getattr(index, name)()

    def _after(self, change: tuple, now: State) -> State:
        """What a change makes of the gallery, if nobody is killed."""
        name, *given = change
        there = {path.name for path in self.root.iterdir() if path.is_dir()}
        if name == "add":
            return State({given[0]: given[1], **now.sightings}, now.pictures)
        if name in ("rename", "merge"):
            possible = given[0] in there and (given[1] in there) == (name == "merge") and given[0] != given[1]
            return now.moved(*given) if possible else now
        if name == "delete":
            return now.moved(given[0], None)
        if name == "delete sighting":
            return State({one: place for one, place in now.sightings.items() if one != given[0]}, now.pictures)
        if name == "restore" and (entry := self._entry(given[0])) and entry.vehicle not in there:
            if entry.action == "rename":
                return now.moved(entry.into, entry.vehicle)
            if entry.action == "delete":
                kept = self._pictures(self.root / ".deleted" / entry.id / entry.vehicle)
                back = dict.fromkeys((one for one in entry.sightings if one in IDS), entry.vehicle)
                return State({**back, **now.sightings}, {**now.pictures, **dict.fromkeys(kept, entry.vehicle)})
            back = dict.fromkeys((one for one in entry.sightings if one in now.sightings), entry.vehicle)
            origins = {entry.into, *(now.sightings[one] for one in back)}
            mine = dict.fromkeys(self._merged(entry, now, origins), entry.vehicle)
            return State({**now.sightings, **back}, {**now.pictures, **mine})
        if name == "lay" and self._free(given[0]):
            return State(now.sightings, {**now.pictures, self.colour + 1: given[0]})
        return now

    def _free(self, vehicle: str) -> Path | None:
        paths = (self.root / vehicle / f"mine{number}.png" for number in range(2))
        return next((path for path in paths if not path.exists()), None)

    def _entry(self, number: int):
        entries = self.other.gallery.trash()
        return entries[number % len(entries)] if entries else None

    def _merged(self, entry, now: State, origins: set[str]) -> list[int]:
        found = []
        for vehicle in origins:
            for path in (self.root / vehicle).glob("*.png"):
                if hashlib.sha256(path.read_bytes()).hexdigest() in entry.pictures:
                    found.append(Image.open(path).getpixel((0, 0))[0])
        return found

    def _disk(self) -> State:
        state = State()
        for folder in self.root.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                for path in folder.glob("*.json"):
                    assert path.stem not in state.sightings, "a sighting lies in two folders"
                    state.sightings[path.stem] = folder.name
                state.pictures |= dict.fromkeys(self._pictures(folder), folder.name)
        return state

    def _pictures(self, folder: Path) -> list[int]:
        return [Image.open(path).getpixel((0, 0))[0] for path in folder.glob("*.png")]

    def _no_ghosts(self) -> None:
        disk = {record.id: record for one in Gallery(self.root).sightings() for record in records_of(one)}
        stored = {identifier: record for identifier, (record, _) in self.content.items()}
        assert {one: record for one, record in stored.items() if disk.get(one) != record} == {}

    def _call(self, name: str) -> None:
        """The first process reaches its store or its model."""
        self._burn()
        if self.second is not None and self.wait == 0:
            second, self.second, fuse, self.fuse = self.second, None, self.fuse, None
            assert self._disk() == self.expected
            self.expected = self._after(second, self.expected)
            self._do(self.other, second)
            assert self._disk() == self.expected
            self.fuse = fuse
        self.wait -= 1

    def _embed(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self._call("embed")
        return embed(pictures)

    def _counted(self, real: Callable) -> Callable:
        def counted(*given, **named):
            self._burn()
            return real(*given, **named)

        return counted

    def _burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:  # the dead tidy nothing up
                raise Kill


def run(examples: int, steps: int, *, derandomize: bool = True) -> None:
    run_state_machine_as_test(
        Processes,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate] if derandomize else list(Phase),
        ),
    )


def test_each_sighting_is_in_one_place_and_the_vectors_agree() -> None:
    run(30, 12)


@pytest.mark.slow
def test_the_same_at_length() -> None:
    run(1000, 25, derandomize=False)
