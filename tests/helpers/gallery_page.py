"""The Gallery page without a browser: what is on it, and its buttons pressed."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from streamlit.testing.v1 import AppTest

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Crop, Sighting

HOSTILE = "<img src=x onerror=alert(1)> **b** [x](http://evil) :smile: $a$ `c`"
NEW_YEAR = datetime(2026, 1, 1, 12).timestamp()
DAY = 86400.0
SECONDS = 60


def add(gallery: Gallery, identifier: str, vehicle: str, *, crops: int = 1, **values: object) -> None:
    given = {"camera": "north", "type": "car", "start": NEW_YEAR, "end": NEW_YEAR + 4, "source_name": "n.mp4", **values}
    boxes = tuple(Crop("", k, 0.5, (1.0, 2.0, 30.0, 40.0), 0.9, 0.1 * k) for k in range(crops))
    level = 40 * (len(identifier) + crops) % 200
    pictures = [np.full((24, 32, 3), level + 9 * k, np.uint8) for k in range(crops)]
    gallery.add(Sighting(identifier, vehicle, source="f", track=7, detector="motion", crops=boxes, **given), pictures)


def good(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def shown(app: AppTest) -> str:
    """All texts, as Markdown's source."""
    kinds = (app.title, app.markdown, app.caption, app.info, app.success, app.warning, app.error)
    return "\n".join(str(one.value) for kind in kinds for one in kind)


def cards(app: AppTest) -> list[str]:
    return [one.key.removeprefix("gallery_open_") for one in app.button if (one.key or "").startswith("gallery_open_")]


def on_its_page(app: AppTest) -> AppTest:
    """A browser would know by now that it was sent to another page."""
    return app.switch_page("screens/vehicle.py" if "vehicle" in app.query_params else "screens/gallery.py")


def press(app: AppTest, key: str) -> AppTest:
    return good(on_its_page(app).button(key=key).click().run())


def view(app: AppTest, name: str) -> AppTest:
    return good(app.segmented_control(key="gallery_view").set_value(name).run())


def ended(app: AppTest, key: str) -> AppTest:
    assert app.session_state[key].wait(SECONDS)
    return good(app.run())
