"""What the Gallery page counts, draws and remembers, against slow counts."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from gallery_page import DAY, NEW_YEAR, add, shown, view
from PIL import Image

from reid_lightning.app.gallery.charts import timeline
from reid_lightning.app.gallery.choice import Choice, chosen
from reid_lightning.app.gallery.overview import GalleryOverview
from reid_lightning.app.gallery.statistics import moment, statistics_of
from reid_lightning.app.pictures import LARGEST, SIZE, thumbnail
from reid_lightning.search.gallery import Gallery


def test_statistics_against_a_slow_count(start, gallery: Gallery, tmp_path: Path) -> None:
    sightings = list(gallery.sightings())
    numbers = statistics_of(GalleryOverview(gallery.root).look().vehicles)
    assert (numbers.vehicles, numbers.sightings) == (len({one.vehicle for one in sightings}), len(sightings))
    assert numbers.crops == sum(len(one.crops) for one in sightings) == 5
    assert numbers.per_camera == {
        camera: sum(one.camera == camera for one in sightings) for camera in {one.camera for one in sightings}
    }
    assert numbers.per_day == {"2026-01-01": 2, "2026-01-02": 1} and numbers.undated == 1
    app = view(start(), "Statistics")
    assert [(one.label, one.value) for one in app.metric] == [("Vehicles", "3"), ("Sightings", "4"), ("Pictures", "5")]
    assert "1 sighting at unknown times" in shown(app)


@pytest.mark.parametrize("seconds", [1e20, -1e18, 1e299, float(2**40), -5e9, None])
def test_times_that_no_calendar_has(gallery: Gallery, seconds: float | None) -> None:
    add(gallery, "t1", "TIMES", start=seconds, end=seconds)
    assert moment(seconds) is None
    assert timeline(gallery.sightings_of("TIMES")) is None
    assert statistics_of(GalleryOverview(gallery.root).look().vehicles).undated == 2


def test_a_vehicle_with_a_time_that_no_calendar_has(start, gallery: Gallery) -> None:
    add(gallery, "t1", "TIMES", start=1e299, end=1e299)
    assert "1 sighting at unknown times" in shown(start(vehicle="TIMES"))


def test_the_time_line_shows_local_times(gallery: Gallery) -> None:
    chart = timeline(gallery.sightings_of("AB12CDE"))
    rows = chart.data.sort_values("start").to_dict("records")
    assert [(row["camera"], row["start"].to_pydatetime()) for row in rows] == [
        ("north", datetime(2026, 1, 1, 12)),
        ("south", datetime(2026, 1, 2, 12)),
    ]
    assert chart.to_dict()["height"] == 60 + 2 * 34


def test_an_overview_follows_every_change_and_reads_only_what_changed(gallery: Gallery, monkeypatch) -> None:
    from reid_lightning.app.gallery import overview as gallery_overview

    monkeypatch.setattr(gallery_overview, "_SURE_AFTER", -1)
    look, read = GalleryOverview(gallery.root), []
    real = gallery_overview.read_folder
    monkeypatch.setattr(gallery_overview, "read_folder", lambda folder: read.append(folder.name) or real(folder))
    names = [vehicle.summary.id for vehicle in look.look().vehicles]
    assert names == gallery.vehicle_names() == read
    read.clear()
    assert len(look.look().vehicles) == 3 and read == []
    add(gallery, "a9", "AB12CDE")
    gallery.rename("MY_TRUCK", "VAN")
    assert [vehicle.summary.sightings for vehicle in look.look().vehicles] == [3, 1, 1]
    assert sorted(read) == ["AB12CDE", "VAN"]
    assert [one.summary for one in look.look().vehicles] == gallery.vehicles()
    monkeypatch.setattr(gallery_overview, "_SURE_AFTER", 10**18)  # a clock too coarse to trust
    fresh = GalleryOverview(gallery.root)
    fresh.look()
    read.clear()
    fresh.look()
    assert len(read) == 3


def test_one_sighting_must_fit_all_filters(gallery: Gallery) -> None:
    vehicles = GalleryOverview(gallery.root).look().vehicles

    def names(**wanted: object) -> list[str]:
        return [vehicle.summary.id for vehicle in chosen(vehicles, Choice(**wanted))]

    assert names(cameras=("north",), since=NEW_YEAR + DAY) == []  # north was the day before
    assert names(cameras=("south",), since=NEW_YEAR + DAY + 3) == ["AB12CDE"]
    assert names(until=NEW_YEAR - 1) == [] and "AB12CDE" in names(until=NEW_YEAR)
    assert names(text="-") == ["MY_TRUCK"] and names(text="XY-99") == ["MY_TRUCK"]
    assert Choice(text="  ").is_everything and not Choice(since=0.0).is_everything
    assert names(order="sightings")[0] == names(order="last seen")[0] == "AB12CDE"


def test_all_small_pictures_together_are_bounded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("RGB", (900, 30), (250, 0, 0)).save(tmp_path / "wide.png")
    assert len(thumbnail(tmp_path / "noise.png")) <= LARGEST
    picture = Image.open(io.BytesIO(thumbnail(tmp_path / "wide.png")))
    assert picture.format == "JPEG" and picture.size == SIZE
    assert thumbnail(tmp_path / "nothing.png") is None
