"""The Gallery page's charts: a vehicle's sightings over time, and counts by camera and day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from reid_lightning.app.text import date
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.search.gallery.listing import moment
from reid_lightning.search.records import Sighting

NO_CAMERA = "(none)"

_ROW = 34  # pixels of a camera's row
_LABEL = 150  # pixels
_FEW = 6  # days, whose bars would be as wide as the page


def timeline(sightings: Sequence[Sighting]) -> alt.LayerChart | None:
    """Time against camera, a dot when the vehicle came into view and a line for how long it stayed, local time; None:
    no sighting has a time."""
    rows = []
    for one in sightings:
        start, end = moment(one.start), moment(one.end)
        if start is not None:
            last = end if end is not None and end >= start else start
            times = {"start": start, "end": last, "from": date(one.start), "until": date(one.end)}
            rows.append({"camera": plain_text(one.camera) or NO_CAMERA, **times})
    if not rows:
        return None
    table = pd.DataFrame(rows)
    camera = alt.Y("camera:N", title=None, axis=alt.Axis(labelLimit=_LABEL))
    tooltip = [alt.Tooltip(name, type="nominal") for name in ("camera", "from", "until")]
    base = alt.Chart(table).encode(y=camera, tooltip=tooltip)
    axis = alt.Axis(format=_time_format(table["end"].max() - table["start"].min()), tickCount=5, labelOverlap=True)
    x = alt.X("start:T", title=None, axis=axis)
    lines = base.mark_bar(size=6, opacity=0.6).encode(x=x, x2="end:T")
    dots = base.mark_circle(size=140, opacity=0.9).encode(x=x)
    return (lines + dots).properties(height=60 + _ROW * table["camera"].nunique())


def _time_format(span: pd.Timedelta) -> str:
    if span < pd.Timedelta(hours=20):
        return "%H:%M:%S"
    return "%d %b %H:%M" if span < pd.Timedelta(days=4) else "%Y-%m-%d"


def bars(counts: Mapping[str, int], name: str) -> alt.Chart:
    """Sightings by camera (`name` says what), the most first where they are no days."""
    table = pd.DataFrame({name: [plain_text(key) for key in counts], "sightings": list(counts.values())})
    label = alt.Axis(labelLimit=_LABEL)
    if name == "day":
        bar = alt.Chart(table).mark_bar(size=40 if len(table) <= _FEW else alt.Undefined)
        days = alt.X("day:O", title=None, axis=alt.Axis(labelAngle=-45))
        numbers = alt.Y("sightings:Q", axis=alt.Axis(tickMinStep=1, format="d"))
        return bar.encode(x=days, y=numbers, tooltip=["day:N", "sightings:Q"]).properties(height=240)
    y = alt.Y(f"{name}:N", sort="-x", title=None, axis=label)
    x = alt.X("sightings:Q", axis=alt.Axis(tickMinStep=1, format="d"))
    chart = alt.Chart(table).mark_bar().encode(x=x, y=y, tooltip=[f"{name}:N", "sightings:Q"])
    return chart.properties(height=60 + _ROW * len(table))
