"""All vehicles as cards, with filters; and their statistics."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from reid_lightning.app.gallery.charts import NO_CAMERA, bars
from reid_lightning.app.gallery.dialogs import show_vehicle
from reid_lightning.app.pictures import thumbnail
from reid_lightning.app.text import count, date, plain
from reid_lightning.app.widgets import KEPT, first_of_page, leave_out_missing
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import ORDERS, Choice, Listed, Statistics
from reid_lightning.search.records import UNCONFIRMED

PER_PAGE = 24
TEXT, CAMERAS, TYPES, SINCE, UNTIL, ORDER, PAGE = (
    f"gallery_{name}" for name in ("text", "cameras", "types", "since", "until", "order", "page")
)
_WIDTH = 170  # pixels of a card: two beside each other on a phone
_MOST_BARS = 60


def current_choice() -> Choice:
    """What the filters say."""
    state = st.session_state
    return Choice(
        text=state.get(TEXT, ""),
        cameras=tuple(state.get(CAMERAS, ())),
        types=tuple(state.get(TYPES, ())),
        since=_seconds(state.get(SINCE)),
        until=_seconds(state.get(UNTIL)),
        order=state.get(ORDER, ORDERS[0]),
    )


def vehicle_list(gallery: Gallery, numbers: Statistics) -> None:
    """Filters, then cards: of so many vehicles as are shown."""
    _filters(numbers)
    choice = current_choice()
    start = PER_PAGE * (st.session_state.get(PAGE, 1) - 1)
    page = gallery.page(choice, start=start, most=PER_PAGE, on_problem=lambda problem: None)
    if not choice.is_everything:
        st.button("Clear the filters", key="gallery_clear", on_click=_clear, icon=":material/filter_alt_off:")
    if not page.fitting:
        st.info("No vehicle fits these filters. Clear some of them to see more.", icon=":material/info:")
        return
    everything = count(page.total, "vehicle")
    st.caption(everything if choice.is_everything else f"{page.fitting:,} of {everything} fit the filters")
    with st.container():
        cards = st.container(horizontal=True)
        if (first := first_of_page(page.fitting, key=PAGE, per_page=PER_PAGE, kept=True)) != start:
            page = gallery.page(choice, start=first, most=PER_PAGE, on_problem=lambda problem: None)
        for vehicle in page.vehicles:
            with cards:
                _card(gallery.root, vehicle)


def show_statistics(numbers: Statistics) -> None:
    """Of all that is registered."""
    with st.container(horizontal=True):
        st.metric("Vehicles", f"{numbers.vehicles:,}", width=_WIDTH)
        st.metric("Sightings", f"{numbers.sightings:,}", width=_WIDTH)
        st.metric("Pictures", f"{numbers.crops:,}", width=_WIDTH)
    st.subheader("Sightings by camera", anchor=False)
    cameras = [(name or NO_CAMERA, number) for name, number in numbers.per_camera.items()]
    most = sorted(cameras, key=lambda pair: (-pair[1], pair[0]))[:_MOST_BARS]
    st.altair_chart(bars(dict(most), "camera"), width="stretch")
    if len(numbers.per_camera) > _MOST_BARS:
        st.caption(f"The {_MOST_BARS} cameras with the most sightings, of {len(numbers.per_camera):,}.")
    st.subheader("Sightings by day", anchor=False)
    if numbers.per_day:
        last = dict(list(numbers.per_day.items())[-_MOST_BARS:])
        st.altair_chart(bars(last, "day"), width="stretch")
        if len(numbers.per_day) > _MOST_BARS:
            st.caption(f"The last {_MOST_BARS} days with sightings, of {len(numbers.per_day):,}.")
    if numbers.undated:
        st.caption(f"{count(numbers.undated, 'sighting')} at unknown times.")


def _filters(numbers: Statistics) -> None:
    cameras, types = list(numbers.per_camera), list(numbers.per_type)
    for key, options in ((CAMERAS, cameras), (TYPES, types)):
        leave_out_missing(key, options)
    left, right = st.columns([3, 1])
    again: dict[str, Any] = {"on_change": _first_page, "persist_state": KEPT}
    left.text_input("Plate or name", key=TEXT, placeholder="A part of it", max_chars=100, **again)
    right.selectbox("Sort by", ORDERS, key=ORDER, **again)
    with st.expander("More filters: camera, type, time", icon=":material/filter_alt:"):
        left, right = st.columns(2)
        for column, label, key, options in ((left, "Camera", CAMERAS, cameras), (right, "Type", TYPES, types)):
            column.multiselect(label, options, key=key, placeholder="Any", format_func=_camera_name, **again)
        for column, label, key in ((left, "Seen since", SINCE), (right, "Seen until", UNTIL)):
            column.datetime_input(label, None, key=key, step=60, format="YYYY-MM-DD", **again)


def _camera_name(name: str) -> str:
    return plain_text(name) or NO_CAMERA


def _card(root: Path, vehicle: Listed) -> None:
    summary = vehicle.summary
    with st.container(border=True, width=_WIDTH, gap="xsmall"):
        picture = thumbnail(root / summary.id / vehicle.cover)
        if picture is None:
            st.caption("No readable picture.")
        else:
            st.image(picture, width="stretch", alt=summary.id)
        st.button(
            plain(summary.id),
            key=f"gallery_open_{summary.id}",
            width="stretch",
            on_click=show_vehicle,
            args=(summary.id,),
            help="Open this vehicle",
        )
        cameras = ", ".join(plain(name) for name in summary.cameras[:2]) + (" ..." if len(summary.cameras) > 2 else "")
        mark = "" if summary.confirmed else UNCONFIRMED
        lines = (count(summary.sightings, "sighting"), cameras, date(summary.last)[:16], mark)
        st.caption("  \n".join(line for line in lines if line))


def _first_page() -> None:
    st.session_state[PAGE] = 1


def _clear() -> None:
    st.session_state.update({TEXT: "", CAMERAS: [], TYPES: [], SINCE: None, UNTIL: None, PAGE: 1})


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()
