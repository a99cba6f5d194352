"""The plan of a drawn fleet: VeRi-776's counts and protocol, checked without drawing."""

from __future__ import annotations

import collections
import dataclasses
from itertools import pairwise

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet import FleetPlan, fleet_spec, plan_fleet
from reid_lightning.synthetic.fleet.look import fleet_looks
from reid_lightning.synthetic.fleet.plan import TEST, TRAIN


@pytest.fixture(scope="module", params=["tiny", "small", "veri"])
def plan(request: pytest.FixtureRequest) -> FleetPlan:
    return plan_fleet(fleet_spec(request.param))


def test_veri_has_the_counts_of_veri_776() -> None:
    plan = plan_fleet(fleet_spec("veri", seed=3))
    tracks = [track for track in plan.tracks if track.split == TEST]
    assert (len(plan.identities(TRAIN)), len(plan.identities(TEST))) == (576, 200)
    assert (len(plan.images(TRAIN)), len(plan.images(TEST)), len(plan.query)) == (37778, 11579, 1678)
    assert len(tracks) == 2021
    assert {track.camera for track in plan.tracks} == set(range(1, 21))


def test_counts_are_those_of_the_spec(plan: FleetPlan) -> None:
    spec = plan.spec
    assert len(plan.images(TRAIN)) == len(set(plan.images(TRAIN))) == spec.train_images
    assert len(plan.images(TEST)) == len(set(plan.images(TEST))) == spec.test_images
    assert len({(t.identity, t.camera) for t in plan.tracks if t.split == TRAIN}) == spec.train_pairs
    assert sum(track.split == TEST for track in plan.tracks) == spec.test_tracks
    assert len(plan.identities(TRAIN)) == spec.train_identities
    assert not set(plan.identities(TRAIN)) & set(plan.identities(TEST))
    assert plan.identities(TRAIN) + plan.identities(TEST) != sorted(plan.identities(TRAIN) + plan.identities(TEST))


def test_tracks_hold_every_test_picture_once_in_time_order(plan: FleetPlan) -> None:
    tracks = [track for track in plan.tracks if track.split == TEST]
    assert sorted(name for track in tracks for name in track.images) == plan.images(TEST)
    assert all(a < b for track in plan.tracks for a, b in pairwise(track.frames))
    assert len({track.name for track in plan.tracks if track.split == TEST}) == len(tracks)


def test_every_test_pair_asks_once_and_every_query_can_be_answered(plan: FleetPlan) -> None:
    names = plan.images(TEST)
    row_of = {name: row for row, name in enumerate(names, start=1)}
    pictures = collections.Counter(name[:4] for name in names)
    rows = list(plan.index_rows())
    assert {query[:9] for query in plan.query} == {name[:9] for name in names}
    assert len({query[:9] for query in plan.query}) == len(plan.query) == plan.spec.queries == len(rows)
    for query, (right, junk) in zip(plan.query, rows, strict=True):
        assert right
        assert row_of[query] in junk
        assert all(names[row - 1][:4] == query[:4] and names[row - 1][:9] != query[:9] for row in right)
        assert all(names[row - 1][:9] == query[:9] for row in junk)
        assert len(right) + len(junk) == pictures[query[:4]]


def test_plan_is_a_pure_function_of_the_spec(plan: FleetPlan) -> None:
    assert plan_fleet(plan.spec) == plan
    assert plan_fleet(dataclasses.replace(plan.spec, seed=1)).tracks != plan.tracks


def test_looks_share_body_and_paint_in_small_groups_and_differ_in_marks() -> None:
    plan = plan_fleet(fleet_spec("small"))
    looks = fleet_looks(0, TEST, plan.identities(TEST))
    assert sorted(looks) == plan.identities(TEST)
    groups = collections.Counter((look.model.name, look.paint) for look in looks.values())
    assert sum(size for size in groups.values() if size >= 2) >= 40
    assert max(groups.values()) <= 4
    assert len({(look.panels, look.band, look.stripes, look.stickers, look.rack) for look in looks.values()}) == 60
    assert fleet_looks(0, TEST, plan.identities(TEST)) == looks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 11}, "queries is 11"),
        ({"train_pairs": 33}, "train_pairs is 33"),
        ({"test_tracks": 17}, "test_tracks is 17"),
        ({"test_images": 39}, "too few pictures"),
        ({"cameras": 1}, "cameras is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"train_identities": 9999}, "9999 in all"),
    ],
)
def test_impossible_counts_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        dataclasses.replace(fleet_spec("tiny"), **change)


def test_unknown_size_is_refused() -> None:
    with pytest.raises(ReIDError, match="'huge'; expected one of tiny, starter, small, veri"):
        fleet_spec("huge")


def test_folder_name_changes_with_every_parameter() -> None:
    spec = fleet_spec("tiny", seed=7)
    assert spec.folder_name.startswith("tiny-seed7-")
    others = {dataclasses.replace(spec, **change).folder_name for change in ({"seed": 8}, {"long_side": (64, 111)})}
    assert len(others | {spec.folder_name}) == 3
