"""Which sightings a watch list asks for, what is told of them, and that a kill between two steps loses no hit."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from gallery_files import pictures, sighting
from PIL import Image
from toy_vectors import MODEL

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.live.cameras import WatchList
from reid_lightning.search.live.hits import hit_of
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.watching import Checker, Watched, known_lists

DIM = 16


def unit(*parts: float) -> np.ndarray:
    vector = np.zeros(DIM, np.float32)
    vector[: len(parts)] = parts
    return vector / np.linalg.norm(vector)


class Place:
    """A gallery whose vectors are said by hand."""

    def __init__(self, root) -> None:
        self.root = root
        self.gallery = Gallery(root / "gallery")
        self.store = open_store(str(root / "gallery/.index"), **MODEL)
        self.index = GalleryIndex(self.gallery, self.store, embed=self._embed)
        self.embedded = 0

    def _embed(self, crops) -> np.ndarray:
        self.embedded += len(crops)
        return np.stack([unit(1.0)] * len(crops))

    def add(self, name, vehicle, *vectors, **values):
        one = sighting(name, vehicle, **values)
        assert self.gallery.add(one, pictures())
        self.index.add(one, np.stack(vectors))
        return self.gallery.find(one.id)

    def hits(self, one, *lists):
        return [
            (hit.list, hit.kind, hit.watched, hit.score) for hit in Watched(lists, self.gallery, self.index).hits(one)
        ]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def watched(*, vehicles=(), plates=(), name="list", least=0.6, cameras=None):
    return WatchList(name, tuple(plates), tuple(vehicles), min_score=least, cameras=cameras)


def test_a_plate_is_a_hit_as_it_is_read_and_as_people_write_it(place):
    seen = place.add("a1", "LS15EBC", unit(1), unit(1), plate="LS15EBC", plate_confidence=0.83)
    assert place.hits(seen, watched(plates=["LS15EBC"])) == [("list", "plate", "LS15EBC", 0.83)]
    assert place.hits(seen, watched(plates=["LS15EBD"])) == []
    other = place.add("a2", "LS15EBC", unit(1), unit(1))  # its folder is called so; no plate was read
    assert place.hits(other, watched(plates=["LS15EBC"])) == []


def test_a_vehicle_is_a_hit_from_its_similarity_on_by_hand(place):
    """Two crops against two: each crop's best cosine, the mean of the n // 2 + 1 = 2 best: (1 + .6) / 2 = .8."""
    place.add("a1", "VAN", unit(1.0), unit(0.0, 1.0))
    seen = place.add("a2", "unknown-1", unit(1.0), unit(0.6, 0.0, 0.8))
    ((_, kind, name, score),) = place.hits(seen, watched(vehicles=["VAN"], least=0.79))
    assert (kind, name, score) == ("vehicle", "VAN", pytest.approx(0.8, abs=1e-4))
    assert place.hits(seen, watched(vehicles=["VAN"], least=0.81)) == []


def test_a_vehicle_counts_by_its_closest_sighting_and_is_not_compared_with_itself(place):
    place.add("a1", "VAN", unit(0.0, 0.0, 1.0), unit(0.0, 0.0, 1.0))
    place.add("a2", "VAN", unit(1.0, 0.1), unit(1.0, 0.1))
    (hit,) = Watched((watched(vehicles=["VAN"]),), place.gallery, place.index).hits(
        place.add("a3", "unknown-1", unit(1.0), unit(1.0))
    )
    assert hit.like == "a2"
    alone = place.add("b1", "LORRY", unit(0.0, 0.0, 0.0, 1.0), unit(0.0, 0.0, 0.0, 1.0))
    assert place.hits(alone, watched(vehicles=["LORRY"])) == []


def test_a_watched_vehicle_whose_plate_was_read_is_a_hit_whatever_it_looks_like(place):
    place.add("a1", "LS15EBC", unit(1.0), unit(1.0))
    seen = place.add("a2", "LS15EBC", unit(0.0, 1.0), unit(0.0, 1.0), plate="LS15EBC", plate_confidence=0.7)
    assert place.hits(seen, watched(vehicles=["LS15EBC"])) == [("list", "plate", "LS15EBC", 0.7)]


def test_lists_of_other_cameras_do_not_look(place):
    seen = place.add("a1", "A", unit(1), unit(1), plate="LS15EBC", plate_confidence=0.9, camera="north")
    lists = [
        watched(name="both", plates=["LS15EBC"], cameras=("south", "north")),
        watched(name="south", plates=["LS15EBC"], cameras=("south",)),
    ]
    assert [name for name, *_ in place.hits(seen, *lists)] == ["both"]


def test_a_vehicle_that_has_gone_is_nowhere_and_breaks_nothing(place):
    seen = place.add("a1", "A", unit(1), unit(1))
    assert place.hits(seen, watched(vehicles=["GONE"])) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_similarities_are_those_of_a_slow_loop(place, seed):
    random = np.random.default_rng(seed)
    drawn = {name: [unit(*random.normal(size=4)) for _ in range(2)] for name in ("a1", "a2", "b1", "q")}
    for name, vehicle in (("a1", "A"), ("a2", "A"), ("b1", "B"), ("q", "unknown-1")):
        one = place.add(name, vehicle, *drawn[name])
    hits = {name: score for _, _, name, score in place.hits(one, watched(vehicles=["A", "B"], least=-1.0))}

    def similarity(other: str) -> float:
        best = sorted((max(float(mine @ theirs) for theirs in drawn[other]) for mine in drawn["q"]), reverse=True)
        return float(np.mean(best))

    assert hits == {
        "A": pytest.approx(max(similarity("a1"), similarity("a2")), abs=1e-3),
        "B": pytest.approx(similarity("b1"), abs=1e-3),
    }


class Killed(BaseException):
    """The process is gone."""


def test_what_is_told_has_the_picture_the_score_and_the_time(place, tmp_path):
    seen = place.add(
        "a1", "A", unit(1), unit(1), plate="LS15EBC", plate_confidence=0.9, start=1767254400.0, end=1767254402.5
    )
    spool = Spool(tmp_path / "spool", ["mqtt"], most=9)
    checker = Checker(Watched((watched(plates=["LS15EBC"]),), place.gallery, place.index), spool)
    checker.begin(seen.id)
    hits, dropped = checker.check(seen)
    (waiting,) = spool.waiting("mqtt")
    told = json.loads(waiting.content())
    assert told["id"] == waiting.id == hits[0].id and dropped == 0 and spool.begun() == []
    assert (told["list"], told["kind"], told["watched"], told["score"]) == ("list", "plate", "LS15EBC", 0.9)
    assert (told["time"], told["camera"], told["sighting"]) == ("2026-01-01T08:00:02.500+00:00", "north", "a1")
    picture = Image.open(io.BytesIO(base64.b64decode(told["crop"])))
    assert picture.format == "JPEG" and picture.size == (30, 20)


@pytest.mark.parametrize("moment", ["before the save", "after the save", "before the vectors", "in the spool"])
def test_a_hit_of_what_was_saved_is_found_by_the_next_start(place, tmp_path, monkeypatch, moment):
    place.add("v1", "VAN", unit(1.0), unit(1.0))
    lists = (watched(plates=["LS15EBC"]), watched(name="looks", vehicles=["VAN"]))
    spool = Spool(tmp_path / "spool", ["mqtt"], most=9)
    checker = Checker(Watched(lists, place.gallery, place.index), spool)
    one = sighting("a1", "LS15EBC", plate="LS15EBC", plate_confidence=0.9)
    checker.begin(one.id)
    if moment != "before the save":
        place.gallery.add(one, pictures())
    if moment in ("after the save", "in the spool"):
        place.index.add(one)
    if moment == "in the spool":
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(spool, "done", lambda name: (_ for _ in ()).throw(Killed))
            checker.check(place.gallery.find("a1"))
    again = Spool(tmp_path / "spool", ["mqtt"], most=9)
    found = Checker(Watched(lists, place.gallery, place.index), again).finish()
    expected = 0 if moment == "before the save" else 2
    assert len(found) == len(again.waiting("mqtt")) == expected and again.begun() == []
    assert Checker(Watched(lists, place.gallery, place.index), again).finish() == []


def test_the_id_of_a_hit_is_the_same_each_time_and_another_for_each_list():
    one = sighting("a1", "A")
    ids = {
        hit_of(name, kind, "A", score, one).id
        for name in ("x", "y")
        for kind in ("plate", "vehicle")
        for score in (0, 1)
    }
    assert len(ids) == 4


def test_vehicles_are_known_by_plate_or_folder_or_it_is_said(place, tmp_path):
    place.add("a1", "LS15EBC", unit(1), unit(1))
    file = tmp_path / "cameras.yaml"
    (one,) = known_lists([WatchList("s", ("X1",), ("ls15 ebc", "LS15EBC"))], place.gallery, embeds=True, file=file)
    assert one.vehicles == ("LS15EBC",) and one.plates == ("X1",)
    with pytest.raises(ReIDError, match=r"cameras\.yaml: watch list s: no vehicle 'LS15EBD' in .* there are LS15EBC"):
        known_lists([WatchList("s", (), ("LS15EBD",))], place.gallery, embeds=True, file=file)
    with pytest.raises(ReIDError, match=r"watch list s: vehicles are compared by a model, and bundle is null"):
        known_lists([WatchList("s", (), ("LS15EBC",))], place.gallery, embeds=False, file=file)
