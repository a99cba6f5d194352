"""Linking whole galleries: by looks over cameras, plates, times and words; new ones only; the same in any order."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_traffic import Pass, TrafficStore, city, registered

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking import links
from reid_lightning.search.linking.answers import FOLDER, Answers
from reid_lightning.search.linking.linker import Linked, linked_before
from reid_lightning.search.linking.linker import link as link_gallery
from reid_lightning.search.linking.problem import LinkOptions
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes

LOOKS = LinkOptions(0.6)


def link(root: Path, store: TrafficStore, options: LinkOptions = LOOKS) -> Linked:
    return link_gallery(GalleryReader(root), store, options)


def together(linked: Linked) -> list[list[int]]:
    """The numbers of passes that were joined."""
    return sorted(sorted(int(one.removeprefix("a")) for one in vehicle.sightings) for vehicle in linked.links.joined)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


def test_vehicles_are_joined_over_cameras_although_light_differs(root: Path) -> None:
    passes = city(12)
    linked = link(root, registered(root, passes))
    assert together(linked) == [[3 * vehicle, 3 * vehicle + 1, 3 * vehicle + 2] for vehicle in range(12)]
    assert (linked.compared, linked.without_vectors) == (36, 0)


def test_nothing_of_the_gallery_is_changed(root: Path) -> None:
    store = registered(root, city(4))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".index" not in path.parts}
    link(root, store)
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".index" not in path.parts}
    assert {path: content for path, content in after.items() if FOLDER not in path.parts} == before


def test_only_who_is_new_is_compared_and_the_outcome_is_the_same(root: Path, tmp_path: Path) -> None:
    passes = city(12)
    store = registered(root, passes[:30])
    link(root, store)
    registered(root, passes[30:], first=30, store=store)
    later = link(root, store)
    assert later.compared == 6
    whole = link(root, store, LinkOptions(0.6, again=True))
    assert whole.compared == 36
    assert together(later) == together(whole) == [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(12)]


def test_the_order_of_registering_makes_no_difference(tmp_path: Path) -> None:
    passes = city(8)
    found = []
    for number in range(2):
        order = list(range(len(passes)))
        random.Random(number).shuffle(order)
        root, store = tmp_path / f"gallery{number}", TrafficStore()
        for place in order:
            registered(root, [passes[place]], first=place, store=store)
        linked = link(root, store)
        found.append(([vehicle for vehicle in linked.links.vehicles], linked.problem.scores.tolist()))
    assert found[0] == found[1]


def test_who_is_deleted_leaves_the_links_and_who_moves_stays_in_them(root: Path) -> None:
    store = registered(root, city(6))
    link(root, store)
    gallery = Gallery(root)
    gallery.delete(gallery.find("a4").vehicle)
    gallery.rename(gallery.find("a0").vehicle, "MY VAN")
    linked = link(root, store)
    assert linked.compared == 0
    assert [0, 1, 2] in together(linked) and [3, 5] in together(linked)
    assert linked.links.of_sighting["a2"].name == "MY_VAN"


def test_equal_sure_plates_join_what_looks_different_and_different_ones_part_what_looks_equal(root: Path) -> None:
    alike = [Pass(1, "north", 1e9), Pass(1, "south", 1e9 + 50)]
    store = registered(
        root,
        [
            Pass(1, "north", 1e9, plate="AB12CDE"),
            Pass(2, "south", 1e9 + 40, plate="AB12CDE", folder="AB12CDE"),
            Pass(3, "north", 1e9 + 60, plate="XY34ZZZ"),
            Pass(3, "south", 1e9 + 90, plate="XY34ZZA"),
            *alike,
        ],
    )
    linked = link(root, store)
    assert linked.links.of_sighting["a0"] == linked.links.of_sighting["a1"]
    assert linked.links.of_sighting["a2"] != linked.links.of_sighting["a3"]
    by_looks = link(root, store, LinkOptions(0.6, use_plates=False))
    assert by_looks.links.of_sighting["a2"] == by_looks.links.of_sighting["a3"]
    assert by_looks.links.of_sighting["a0"] != by_looks.links.of_sighting["a1"]


def test_one_vehicle_is_never_at_two_places_at_once(root: Path) -> None:
    store = registered(root, [Pass(1, "north", 1e9), Pass(1, "north", 1e9 + 2), Pass(1, "south", 1e9 + 60)])
    assert together(link(root, store)) in ([[0, 2]], [[1, 2]])
    times = TravelTimes({("north", "south"): TravelTime(60.0, 0.2)})
    near = registered(root.with_name("other"), [Pass(1, "north", 1e9), Pass(1, "south", 1e9 + 5)])
    assert together(link(root.with_name("other"), near)) == [[0, 1]]
    assert together(link(root.with_name("other"), near, LinkOptions(0.6, travel_times=times))) == []


def test_travel_times_tell_who_of_two_equal_vehicles_came(root: Path) -> None:
    """Two vehicles look alike; north sees them at 0 and 140 s, south at 60 and 200 s, which takes 60 s."""
    passes = [
        Pass(1, "north", 1e9),
        Pass(1, "south", 1e9 + 60),
        Pass(1, "north", 1e9 + 140),
        Pass(1, "south", 1e9 + 200),
    ]
    store = registered(root, passes, noise=0.02)
    Answers(root).add([("a0", "a2"), ("a1", "a3")], "different", by="Anna")
    times = TravelTimes({("north", "south"): TravelTime(60.0, 0.1)})
    options = LinkOptions(0.6, travel_times=times, use_answers=False)
    assert together(link(root, store, options)) == [[0, 1], [2, 3]]


def test_a_word_is_never_overruled(root: Path) -> None:
    store = registered(root, [*city(4), Pass(9, "north", 1e9 + 900, plate="AB12CDE"), Pass(9, "east", 1e9 + 999)])
    options = LinkOptions(0.6, use_answers=False)
    assert [12, 13] in together(link(root, store, options))
    answers = Answers(root)
    apart = answers.add([("a12", "a13")], "different", by="Anna")
    answers.add([("a0", "a5")], "same", by="Anna")
    linked = together(link(root, store, options))
    assert [12, 13] not in linked
    assert any({0, 5} <= set(group) for group in linked)
    answers.take_back(apart.id, by="Ben")
    assert [12, 13] in together(link(root, store, options))


def test_what_a_person_has_put_into_one_folder_is_one_vehicle(root: Path) -> None:
    store = registered(root, [Pass(1, "north", 1e9, folder="TAXI"), Pass(2, "south", 1e9 + 40, folder="TAXI")])
    assert together(link(root, store)) == [[0, 1]]
    Answers(root).add([("a0", "a1")], "different", by="Anna")
    assert together(link(root, store)) == []


def test_words_that_contradict_each_other_are_named(root: Path) -> None:
    store = registered(root, city(2))
    answers = Answers(root)
    for pair, says in ((("a0", "a3"), "different"), (("a0", "a1"), "same"), (("a1", "a3"), "same")):
        answers.add([pair], says, by="Anna")
    (note,) = link(root, store).links.notes
    assert "Anna said of a0 and a3 (different) contradicts later answers" in note


def test_without_a_threshold_strangers_tell_one(root: Path) -> None:
    passes = city(60, ("north", "south"))
    linked = link(root, registered(root, passes), LinkOptions(None))
    found = together(linked)
    assert sum(pair in [[2 * n, 2 * n + 1] for n in range(60)] for pair in found) >= 55
    assert "of strangers reaches" in linked.problem.basis
    with pytest.raises(ReIDError, match="surely strangers tell too little; expected 200"):
        link(root.with_name("few"), registered(root.with_name("few"), city(2)), LinkOptions(None))


def test_answers_move_the_threshold_and_say_how_sure_they_are(root: Path) -> None:
    store = registered(root, city(12))
    link(root, store)
    answers = Answers(root)
    for vehicle in range(12):
        answers.add([(f"a{3 * vehicle}", f"a{3 * vehicle + 1}")], "same", by="Anna", score=0.55)
    problem = link(root, store).problem
    assert "by 12 answers; 0.60 before" in problem.basis
    assert problem.rules.threshold != 0.6
    assert link(root, store, LinkOptions(0.6, use_answers=False)).problem.rules.threshold == 0.6


def test_what_was_linked_is_read_again_with_its_settings(root: Path) -> None:
    store = registered(root, city(3))
    times = TravelTimes({("north", "south"): TravelTime(40.0, 0.2)})
    before = link(root, store, LinkOptions(0.6, travel_times=times))
    found, problem = linked_before(GalleryReader(root))
    assert found == before.links
    assert problem.rules == before.problem.rules
    assert np.array_equal(problem.scores, before.problem.scores)


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_comparisons_that_are_damaged_or_gone_are_made_again(root: Path, content: bytes | None) -> None:
    store = registered(root, city(3))
    first = link(root, store)
    path = root / FOLDER / links.COMPARISONS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReIDError, match="gone or damaged; link again"):
        linked_before(GalleryReader(root))
    again = link(root, store)
    assert again.compared == 9 and together(again) == together(first)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 9}', b"\xff"])
def test_links_that_are_damaged_say_so(root: Path, content: bytes) -> None:
    link(root, registered(root, city(2)))
    (root / FOLDER / links.FILE).write_bytes(content)
    with pytest.raises(ReIDError, match=r"damaged .*link again"):
        links.read(root)


def test_another_model_compares_all_again(root: Path) -> None:
    store = registered(root, city(3))
    link(root, store)
    store.fingerprint = "another"
    assert link(root, store).compared == 9


def test_nothing_to_link_is_one_clear_error(root: Path) -> None:
    store = registered(root, city(1))
    store.content.clear()
    with pytest.raises(ReIDError, match=r"No sighting of .* has a vector; embed them first"):
        link(root, store)
    with pytest.raises(ReIDError, match=r"Nothing in .* is linked yet"):
        linked_before(GalleryReader(root))


def test_a_link_in_the_place_of_the_layer_is_not_followed(root: Path, tmp_path: Path) -> None:
    store = registered(root, city(1))
    (tmp_path / "elsewhere").mkdir()
    (root / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReIDError, match="is a link, and links in a gallery are not followed"):
        link(root, store)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_sightings_without_vectors_are_joined_by_plates_alone(root: Path) -> None:
    store = registered(root, [*city(2), Pass(7, "north", 1e9 + 500, plate="AB12CDE")])
    registered(root, [Pass(7, "south", 1e9 + 600, plate="AB12CDE")], first=7, store=TrafficStore())
    linked = link(root, store)
    assert linked.without_vectors == 1
    assert [6, 7] in together(linked)


def test_a_copy_of_a_gallery_brings_its_links_along(root: Path, tmp_path: Path) -> None:
    store = registered(root, city(3))
    link(root, store)
    shutil.copytree(root, tmp_path / "copy")
    assert links.read(tmp_path / "copy") == links.read(root)
