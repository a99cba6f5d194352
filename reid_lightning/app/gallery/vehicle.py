"""A vehicle's own page: its sightings on a time line, their pictures, and what can be changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.gallery.charts import timeline
from reid_lightning.app.gallery.dialogs import ask_delete, ask_delete_sighting, ask_merge, ask_rename, show_vehicle
from reid_lightning.app.pictures import thumbnail
from reid_lightning.app.text import count, date, plain
from reid_lightning.app.widgets import paged
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, VehicleSummary
from reid_lightning.search.gallery.listing import moment
from reid_lightning.search.gallery.summary import summary_of
from reid_lightning.search.gallery.vehicle_folder import is_picture
from reid_lightning.search.records import UNCONFIRMED, Crop, Sighting

PER_PAGE = 10
_WIDTH = 150  # pixels of a picture: two beside each other on a phone


def vehicle_page(context: AppContext, vehicle: str) -> None:
    """All that is known of one vehicle."""
    st.button("All vehicles", key="gallery_back", icon=":material/arrow_back:", on_click=show_vehicle, args=(None,))
    gallery = context.gallery
    folder = gallery.folder_of(vehicle)
    problems: list[str] = []
    sightings = [] if folder is None else gallery.sightings_of(folder.name, on_problem=problems.append)
    if folder is None or not (sightings or problems):
        st.warning(f"There is no vehicle {plain(vehicle)}: it was renamed, merged or deleted, or never was here.")
        return
    st.title(plain(folder.name), anchor=False)
    summary = summary_of(folder.name, sightings)
    _facts(summary, sightings)
    _actions(context, gallery, summary)
    for problem in problems:
        st.warning(f"Left out: {plain(problem)}")
    if sightings:
        _show_sightings(context, sorted(sightings, key=lambda one: (one.start is None, one.start or 0.0, one.id)))


def _facts(summary: VehicleSummary, sightings: list[Sighting]) -> None:
    plates = sorted({one.plate for one in sightings if one.plate})
    seen = _from_to(summary.first, summary.last)
    facts = [
        f"{count(summary.sightings, 'sighting')}, {count(summary.crops, 'picture')}",
        f"cameras: {_names(summary.cameras) or 'unknown'}",
        f"type: {_names(summary.types) or 'unknown'}{'' if summary.confirmed else f', {UNCONFIRMED}'}",
        f"plates read: {_names(plates) or 'none'}",
        f"seen: {seen or 'at unknown times'}",
    ]
    st.caption(" · ".join(facts))


def _actions(context: AppContext, gallery: Gallery, summary: VehicleSummary) -> None:
    with st.container(horizontal=True):
        if st.button("Rename", key="gallery_rename", icon=":material/edit:"):
            ask_rename(context, summary.id)
        if st.button("Merge", key="gallery_merge", icon=":material/merge:"):
            ask_merge(context, summary)
        if st.button("Delete vehicle", key="gallery_delete", icon=":material/delete:"):
            ask_delete(context, summary)


def _show_sightings(context: AppContext, sightings: list[Sighting]) -> None:
    st.subheader("Time line", anchor=False)
    chart = timeline(sightings)
    if chart is not None:
        st.altair_chart(chart, width="stretch")
    undated = sum(moment(one.start) is None for one in sightings)
    if undated:
        st.caption(f"{count(undated, 'sighting')} at unknown times: listed below.")
    st.subheader("Sightings", anchor=False)
    for one in paged(sightings, key="gallery_sightings_page", per_page=PER_PAGE):
        _show_sighting(context, one, is_last=len(sightings) == 1)


def _show_sighting(context: AppContext, sighting: Sighting, *, is_last: bool) -> None:
    with st.container(border=True):
        when = _from_to(sighting.start, sighting.end)
        camera = f"camera {plain(sighting.camera)}" if sighting.camera else "no camera"
        st.markdown(f"**{when or 'Unknown time'}**, {camera}")
        st.caption(_details(sighting))
        with st.container(horizontal=True):
            for path, crop in zip(_paths(context.gallery, sighting), sighting.crops, strict=True):
                _show_crop(path, crop, sighting)
        label, key = "Delete this sighting", f"gallery_delete_{sighting.id}"
        if st.button(label, key=key, type="tertiary", icon=":material/delete:"):
            ask_delete_sighting(context, sighting, is_last=is_last)


def _show_crop(path: Path | None, crop: Crop, sighting: Sighting) -> None:
    with st.container(width=_WIDTH):
        picture = None if path is None else thumbnail(path)
        if picture is None:
            st.caption("The picture cannot be read.")
        else:
            st.image(picture, width="stretch", alt=f"{sighting.vehicle}, frame {crop.frame}")
        if not is_picture(sighting):
            box = ", ".join(f"{side:.0f}" for side in crop.box)
            st.caption(f"frame {crop.frame}, {crop.seconds:.1f} s, box {box}, score {crop.score:.2f}")


def _details(sighting: Sighting) -> str:
    if is_picture(sighting):
        return f"a picture put into the folder: {plain(sighting.crops[0].file)}"
    plate = f"plate {plain(sighting.plate)} ({sighting.plate_confidence:.2f})" if sighting.plate else "no plate read"
    source = f"source {plain(sighting.source_name)}" if sighting.source_name else "source unknown"
    names = (f"track {sighting.track}", f"type {plain(sighting.type)}", plate, f"detector {plain(sighting.detector)}")
    return " · ".join((*names, source, *(() if sighting.confirmed else (UNCONFIRMED,))))


def _names(names: Iterable[str]) -> str:
    return ", ".join(plain(name) for name in names)


def _from_to(first: float | None, last: float | None) -> str:
    """`2026-01-31 08:00:02 to 08:00:06`; the date again where it is another day."""
    start, end = date(first), date(last)
    if not start or not end or start == end:
        return start or end
    return f"{start} to {end[11:] if end[:10] == start[:10] else end}"


def _paths(gallery: Gallery, sighting: Sighting) -> list[Path] | list[None]:
    try:
        return gallery.crop_paths(sighting)
    except ReIDError:  # a link
        return [None] * len(sighting.crops)
