"""A source against a store in memory: what is asked of it, and what travel times make of tracks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from toy_clips import BLUE, RED, BrightBoxes, NeedsVideo, build_tracker, car_and_truck, share_of

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import KReciprocal
from reid_lightning.search.matching import vehicle_hits
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes
from reid_lightning.search.matching.vehicle_hits import VehicleHits
from reid_lightning.search.matching.vehicle_search import VehicleSearch
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.video.sources import open_source

TIMES = TravelTimes({("north", "south"): TravelTime(600.0, 0.5)})
START = 1_767_254_400.0


class Store:
    """Vectors (N, dim) compared one by one; remembers how many were asked for."""

    fingerprint = "f" * 16

    def __init__(self, records, vectors):
        self.rows = list(zip(records, np.asarray(vectors, np.float32), strict=True))
        self.asked = []

    def _of(self, where):
        return [row for row in self.rows if where.vehicles is None or row[0].vehicle in where.vehicles]

    def search(self, vectors, *, top_k, where):
        self.asked.append(top_k)
        hits = [[Hit(record, float(one @ vector)) for record, vector in self._of(where)] for one in vectors]
        return [sorted(found, key=lambda hit: -hit.score)[:top_k] for found in hits]

    def count(self, where=None):
        return len(self._of(where or Filter()))

    def scan(self, where):
        rows = self._of(where)
        yield [record for record, _ in rows], np.stack([vector for _, vector in rows])


class ColourEmbedder:
    """Red is (1, 0), blue is (0, 1)."""

    options = SimpleNamespace(fingerprint=Store.fingerprint)

    def embed(self, pictures, *, batch_size):
        shares = torch.tensor([[share_of(one, RED), share_of(one, BLUE)] for one in pictures], dtype=torch.float32)
        return torch.nn.functional.normalize(shares + 1e-6, dim=1)


def record(number, vehicle, **more):
    return VectorRecord(
        f"{vehicle}{number}-0", f"{vehicle}{number}", vehicle, more.pop("camera", "north"), "car", **more
    )


def crowd(**counts):
    """So many pictures of each vehicle, the first vehicle's most like (1, 0)."""
    records = [record(number, vehicle) for vehicle, count in counts.items() for number in range(count)]
    angles = [place for place, count in enumerate(counts.values()) for _ in range(count)]
    return Store(records, [[np.cos(angle / 10), np.sin(angle / 10)] for angle in angles])


def vehicles(hits):
    return [{hit.record.vehicle for hit in found} for found in hits]


QUERY = torch.tensor([[1.0, 0.0], [0.9950042, 0.0998334]])


def test_no_more_vehicles_are_waited_for_than_pass_the_filter():
    store = crowd(BUS=3000, CAR=2)
    ask = VehicleHits(store, top_k=5, where=Filter(vehicles=("BUS",)))
    assert [len(found) for found in ask(QUERY)] == [40, 40]
    assert store.asked == [40]


def test_what_had_to_be_asked_for_is_asked_for_at_once_the_next_time():
    store = crowd(BUS=100, CAR=100, TAXI=100, VAN=300)
    ask = VehicleHits(store, top_k=3, where=Filter())
    assert all(len(names) >= 3 for names in vehicles(ask(QUERY)))
    assert store.asked == [24, 96, 384]
    ask(QUERY)
    assert store.asked[3:] == [384]


def test_a_gallery_of_few_vehicles_is_taken_whole_once_only():
    store = Store([record(number, "BUS" if number % 2 else "CAR") for number in range(200)], [[1.0, 0.0]] * 200)
    ask = VehicleHits(store, top_k=3, where=Filter())
    assert [len(found) for found in ask(QUERY)] == [200, 200]
    assert store.asked == [24, 96, 384]
    assert vehicles(ask(QUERY)) == [{"BUS", "CAR"}] * 2
    assert store.asked[3:] == [24]  # there is no third vehicle to look for


def test_never_more_are_asked_for_than_a_server_gives(monkeypatch):
    monkeypatch.setattr(vehicle_hits, "MOST_HITS", 100)
    store = crowd(BUS=500, CAR=2)
    ask = VehicleHits(store, top_k=2, where=Filter())
    assert vehicles(ask(QUERY[:1])) == [{"BUS"}]
    assert store.asked == [16, 64, 100]
    assert VehicleHits(store, top_k=90, where=Filter())(QUERY) and store.asked[-1] == 100


@pytest.fixture
def clip(tmp_path):
    return car_and_truck(tmp_path / "clip.mp4")


def run(store, path, **options):
    finder = VehicleSearch(
        store, ColourEmbedder(), detector=BrightBoxes(), build_tracker=build_tracker, options=SearchOptions(**options)
    )
    with open_source(path) as source:
        frames = list(finder.run(source))
    return frames, finder.decisions()


def test_travel_times_weigh_tracks_by_their_middle_as_they_weigh_matches(clip):
    """The red car is in the picture from 0 to 2.9 s; a look-alike was just then in the north, itself 600 s before."""
    records = [record(0, "TWIN", time=START), record(0, "RIGHT", time=START - 600), record(0, "ELSE", camera="west")]
    store = Store(records, [[1.0, 0.0], [0.95, 0.31225], [0.9, 0.43589]])
    _, plain = run(store, clip)
    cars = [(one.vehicle, one.similarity) for one in plain if one.type == "car"]
    assert [name for name, _ in cars] == ["TWIN", "RIGHT", "ELSE"]
    frames, decisions = run(store, clip, travel_times=TIMES, camera="south", start=START)
    weighed = {one.vehicle: one for one in decisions if one.type == "car"}
    middle = (weighed["TWIN"].first_seconds + weighed["TWIN"].last_seconds) / 2
    factors = {"TWIN": TIMES.prior("north", START, "south", START + middle), "RIGHT": 1.0, "ELSE": 1.0}
    for vehicle, similarity in cars:
        assert weighed[vehicle].similarity == pytest.approx(similarity * factors[vehicle], abs=1e-5)
    assert [weighed[vehicle].rank for vehicle in ("RIGHT", "ELSE", "TWIN")] == [1, 2, 3]
    assert not weighed["TWIN"].accepted and weighed["RIGHT"].accepted
    assert "TWIN" not in {match.vehicle for frame in frames for match in frame.matches}


def test_travel_times_that_could_weigh_nothing_are_refused_before_the_search(clip):
    with pytest.raises(ReIDError, match=r"camera is 'suoth'.*north, south"):
        SearchOptions(travel_times=TIMES, camera="suoth")
    with pytest.raises(ReIDError, match="rerank and travel_times"):
        SearchOptions(travel_times=TIMES, camera="south", rerank=KReciprocal())
    with pytest.raises(ReIDError, match=r"clip\.mp4 began.*give start="):
        run(crowd(BUS=3), clip, travel_times=TIMES, camera="south")


def test_a_search_that_is_stopped_still_decides_about_what_it_has_seen(clip):
    store = crowd(BUS=3)
    finder = VehicleSearch(store, ColourEmbedder(), detector=BrightBoxes(), build_tracker=build_tracker)

    def stop(step):
        if step.frame.number == 40:
            raise KeyboardInterrupt

    seen = []
    with open_source(clip) as source, pytest.raises(KeyboardInterrupt):
        for searched in finder.run(source, on_step=stop):
            seen.append(searched.frame.number)
    assert seen == list(range(32))
    assert [(one.track, one.vehicle) for one in finder.decisions()] == [(1, "BUS"), (2, "BUS")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "a.png was taken as one vehicle"),
        ({"pictures": "crops"}, None),
        ({"box": (1.0, 1.0, 60.0, 60.0)}, None),
        ({"one_vehicle": True}, None),
    ],
)
def test_a_picture_that_was_taken_whole_is_said_to_be(tmp_path, more, said):
    Image.new("RGB", (160, 120), RED).save(tmp_path / "a.png")
    store = Store([record(0, "BUS")], [[1.0, 0.0]])
    found = {"build_tracker": build_tracker, "options": SearchOptions(**more)}
    finder = VehicleSearch(store, ColourEmbedder(), detector=NeedsVideo(), **found)
    with open_source(tmp_path / "a.png") as source:
        (frame,) = finder.run(source)
        note = finder.taken_whole(source)
    assert [match.vehicle for match in frame.matches] == ["BUS"]
    assert note is None if said is None else (said in note and "detector=yolox" in note and "box=[" in note)
    detects = VehicleSearch(store, ColourEmbedder(), detector=BrightBoxes(), **found)
    with open_source(tmp_path / "a.png") as source:
        assert detects.taken_whole(source) is None
    with open_source(tmp_path) as source:
        assert (finder.taken_whole(source) or "Each picture").startswith("Each picture")


def test_a_box_is_four_numbers():
    with pytest.raises(ReIDError, match=r"box is \[1, 2, 3\]; expected four numbers"):
        SearchOptions(box=(1, 2, 3))
