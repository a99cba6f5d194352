"""What the Gallery page counts, draws and remembers."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from gallery_page import add, shown, view
from PIL import Image

from reid_lightning.app.gallery.charts import timeline
from reid_lightning.app.pictures import LARGEST, SIZE, thumbnail
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import moment


def test_the_numbers_of_a_gallery(start, gallery: Gallery) -> None:
    app = view(start(), "Statistics")
    assert [(one.label, one.value) for one in app.metric] == [("Vehicles", "3"), ("Sightings", "4"), ("Pictures", "5")]
    assert "1 sighting at unknown times" in shown(app)


@pytest.mark.parametrize("seconds", [1e20, -1e18, 1e299, float(2**40), -5e9, None])
def test_times_that_no_calendar_has(gallery: Gallery, seconds: float | None) -> None:
    add(gallery, "t1", "TIMES", start=seconds, end=seconds)
    assert moment(seconds) is None
    assert timeline(gallery.sightings_of("TIMES")) is None


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


def test_all_small_pictures_together_are_bounded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("RGB", (900, 30), (250, 0, 0)).save(tmp_path / "wide.png")
    assert len(thumbnail(tmp_path / "noise.png")) <= LARGEST
    picture = Image.open(io.BytesIO(thumbnail(tmp_path / "wide.png")))
    assert picture.format == "JPEG" and picture.size == SIZE
    assert thumbnail(tmp_path / "nothing.png") is None
