"""Pages, filters and numbers of a gallery against slow counts over all sidecars."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime
from itertools import product
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from indexed_gallery import filled, grow_old, only_notes
from PIL import Image

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import EVERYTHING, ORDERS, Choice
from reid_lightning.search.gallery.summary import VehicleSummary, summary_of
from reid_lightning.search.records import Sighting

pytestmark = pytest.mark.usefixtures("no_crashes")

NEW_YEAR = datetime(2026, 1, 1, 12).timestamp()
DAY = 86_400.0
CAMERAS, TYPES, PLATES = ("north", "south", ""), ("car", "bus", "vehicle"), ("AB-12 CDE", "b1", None)


def drawn(root: Path, *, sightings: int = 40) -> Gallery:
    """Sightings of few cameras, types, plates and hours, some without a time; and a user's picture."""
    gallery, draw = Gallery(root), random.Random(3)
    for number in range(sightings):
        start = draw.choice((None, NEW_YEAR + DAY * draw.randrange(3)))
        end = draw.choice((None, start, (start or NEW_YEAR) + DAY / 2))
        words = {"camera": draw.choice(CAMERAS), "type": draw.choice(TYPES), "plate": draw.choice(PLATES)}
        name = draw.choice(("AB12CDE", "MY-TRUCK", "V1", "V2", "V3", "V4", "V5"))
        crops = draw.choice((1, 2))
        gallery.add(sighting(f"a{number}", name, crops=crops, start=start, end=end, **words), pictures(crops))
    Image.new("RGB", (9, 9), (200, 9, 9)).save(root / "V3/mine.png")
    return gallery


def fits(name: str, sightings: list[Sighting], choice: Choice) -> bool:
    """Slowly, as the docstring of `Choice` says."""

    def bare(text: str) -> str:
        return "".join(sign for sign in text.casefold() if sign.isalnum())

    wanted = choice.text.strip().casefold()
    words = [name, *(one.plate or "" for one in sightings)]
    if wanted and not any(wanted in word.casefold() or (bare(wanted) and bare(wanted) in bare(word)) for word in words):
        return False
    for one in sightings:
        times = [time for time in (one.start, one.end) if time is not None]
        in_time = (choice.since is None or (times and max(times) >= choice.since)) and (
            choice.until is None or (times and min(times) <= choice.until)
        )
        is_seen = in_time and (not choice.cameras or one.camera in choice.cameras)
        if is_seen and (not choice.types or one.type in choice.types):
            return True
    return False


KEYS = {
    "name": lambda one: one.id,
    "last seen": lambda one: (one.last is None, -(one.last or 0.0), one.id),
    "sightings": lambda one: (-one.sightings, one.id),
}


def slowly(gallery: Gallery, choice: Choice) -> list[VehicleSummary]:
    found = {name: gallery.sightings_of(name) for name in gallery.vehicle_names()}
    shown = [summary_of(name, sightings) for name, sightings in found.items() if fits(name, sightings, choice)]
    return sorted(shown, key=KEYS[choice.order])


def test_pages_of_every_choice_hold_what_a_slow_list_holds(tmp_path: Path) -> None:
    gallery = drawn(tmp_path)
    times = (None, NEW_YEAR + DAY / 2, NEW_YEAR + 2 * DAY)
    texts = ("", "  ", "b12", "12 c", "-", "B1", "truck", "none", "%", "_")
    choices = [
        Choice(text, cameras, types, since, until, ORDERS[number % 3])
        for number, (text, cameras, types, since, until) in enumerate(
            product(texts, ((), ("north",), ("south", "")), ((), ("bus",)), times, times)
        )
    ]
    sizes = set()
    for number, choice in enumerate(choices):
        expected = slowly(gallery, choice) if number % 7 == 0 else None
        if expected is None:
            continue
        sizes.add(len(expected))
        assert gallery.names(choice) == [one.id for one in expected], choice
        for start in (0, 2):
            page = gallery.page(choice, start=start, most=2)
            assert [one.summary for one in page.vehicles] == expected[start : start + 2], choice
            assert (page.fitting, page.total) == (len(expected), 7)
    assert sizes >= {0, 1, 7} and len(sizes) > 4


def test_numbers_against_a_slow_count(tmp_path: Path) -> None:
    gallery = drawn(tmp_path)
    sightings = list(gallery.sightings())
    numbers = gallery.statistics()
    assert (numbers.vehicles, numbers.sightings) == (7, len(sightings)) == (7, 41)
    assert numbers.crops == sum(len(one.crops) for one in sightings)
    assert numbers.per_camera == Counter(one.camera for one in sightings)
    assert numbers.per_type == Counter(one.type for one in sightings)
    days = Counter(datetime.fromtimestamp(one.start).strftime("%Y-%m-%d") for one in sightings if one.start is not None)
    assert numbers.per_day == days and list(numbers.per_day) == sorted(days) and len(days) == 3
    assert numbers.undated == sum(one.start is None for one in sightings)


@pytest.mark.parametrize("seconds", [1e20, -1e18, 1e299, float(2**40), -5e9, None])
def test_times_that_no_calendar_has(gallery: Gallery, seconds: float | None) -> None:
    gallery.add(sighting("t1", "TIMES", start=seconds, end=seconds), pictures())
    numbers = gallery.statistics()
    assert (numbers.undated, numbers.per_day) == (1, {})


def test_pages_hold_what_they_show_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(tmp_path, vehicles=5)
    grow_old(tmp_path)
    gallery.vehicles()
    only_notes(monkeypatch)
    (tmp_path / "V3/a6.json").unlink()
    page = Gallery(tmp_path).page(start=2, most=2)
    assert [(one.summary.id, one.summary.sightings) for one in page.vehicles] == [("V2", 2), ("V3", 1)]
    assert (page.fitting, page.total) == (5, 5)
    latest = Gallery(tmp_path).page(Choice(order="last seen"), most=1)
    assert latest.vehicles[0].summary.id == "V4" and latest.vehicles[0].cover == "a8-0.jpg"


def test_what_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    (tmp_path / "V1/a2.json").write_text("{")
    problems: list[str] = []
    assert gallery.statistics(on_problem=problems.append).sightings == 5 == gallery.statistics().sightings
    assert len(problems) == 1 and "a2.json" in problems[0]
    assert gallery.names() == ["V0", "V1", "V2"] and EVERYTHING.is_everything
    assert Choice(text="  ").is_everything and not Choice(since=0.0).is_everything
