"""What the Gallery page asks before it changes anything; what was done, or why not, is told on top of the page."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from reid_lightning.app import gallery_actions as actions
from reid_lightning.app.context import AppContext
from reid_lightning.app.gallery_actions import Done
from reid_lightning.app.text import count, date, plain
from reid_lightning.cli import user_message
from reid_lightning.search.gallery import VehicleSummary
from reid_lightning.search.records import Sighting

MESSAGE = "gallery_message"
VEHICLE = "vehicle"  # in the page's address


def show_vehicle(name: str | None) -> None:
    """Go to a vehicle's page, or back to the list."""
    if name is None:
        st.query_params.pop(VEHICLE, None)
    else:
        st.query_params[VEHICLE] = name


def show_message() -> None:
    """What the last action did, once."""
    done, text = st.session_state.pop(MESSAGE, (True, ""))
    if text:
        (st.success if done else st.error)(plain(text))


@st.dialog("Rename a vehicle")
def ask_rename(context: AppContext, vehicle: str) -> None:
    """For its new name."""
    st.text_input("New name", value=vehicle, key="gallery_new_name", max_chars=200)
    st.caption("Capital letters, digits, dashes; other signs become `_`. The pictures stay as they are.")
    _confirm("Rename", lambda: actions.rename(context, vehicle, st.session_state.gallery_new_name))


@st.dialog("Merge two vehicles")
def ask_merge(context: AppContext, vehicle: VehicleSummary, others: list[str]) -> None:
    """For the vehicle that it is."""
    st.selectbox(
        "It is the same as",
        others,
        index=None,
        key="gallery_into",
        placeholder="Type a part of the name",
        filter_mode="contains",
    )
    moved = count(vehicle.sightings, "sighting")
    st.write(f"{moved} of **{plain(vehicle.id)}** move to the chosen vehicle; **{plain(vehicle.id)}** is then gone.")

    def merge() -> Done | None:
        into = st.session_state.get("gallery_into")
        return None if into is None else actions.merge(context, vehicle.id, into)

    _confirm("Merge", merge)


@st.dialog("Delete a vehicle?")
def ask_delete(context: AppContext, vehicle: VehicleSummary) -> None:
    """Whether all of it shall go."""
    what = f"{count(vehicle.sightings, 'sighting')}, {count(vehicle.crops, 'picture')}"
    st.write(f"**{plain(vehicle.id)}** with {what} is removed from the disk. This cannot be undone.")
    _confirm("Delete it", lambda: actions.delete(context, vehicle.id))


@st.dialog("Delete a sighting?")
def ask_delete_sighting(context: AppContext, sighting: Sighting, *, is_last: bool) -> None:
    """Whether this one shall go."""
    when = date(sighting.start) or "at an unknown time"
    camera = f"camera {plain(sighting.camera)}" if sighting.camera else "no camera"
    pictures = count(len(sighting.crops), "picture")
    st.write(
        f"The sighting of **{plain(sighting.vehicle)}**, {camera}, {when}, with {pictures} is removed from the disk."
    )
    st.write("It is the last one: the vehicle goes with it." if is_last else "This cannot be undone.")
    _confirm("Delete it", lambda: actions.delete_sighting(context, sighting))


def _confirm(label: str, act: Callable[[], Done | None]) -> None:
    with st.container(horizontal=True):
        confirmed = st.button(label, key="gallery_confirm", type="primary", on_click=_do, args=(act,))
        cancelled = st.button("Cancel", key="gallery_cancel")
    if confirmed or cancelled:
        st.rerun()


def _do(act: Callable[[], Done | None]) -> None:
    try:
        done = act()
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        st.session_state[MESSAGE] = (False, f"{message[:1].upper()}{message[1:]}")
        return
    if done is not None:
        st.session_state[MESSAGE] = (True, done.text)
        show_vehicle(done.vehicle)
    else:
        st.session_state[MESSAGE] = (False, "Nothing was chosen, nothing was done.")
