"""The Gallery page: all that is registered, to look at, correct, count, and carry elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from reid_lightning.app.context import app_context
from reid_lightning.app.gallery.care import export_and_import, model_and_repair, show_problems
from reid_lightning.app.gallery.dialogs import VEHICLE, show_message
from reid_lightning.app.gallery.list import show_statistics, vehicle_list
from reid_lightning.app.text import plain
from reid_lightning.app.widgets import KEPT
from reid_lightning.search.gallery import Gallery

VIEWS = ("Vehicles", "Statistics", "Export and import", "Model and repair")
VIEW = "gallery_view"


def page() -> None:
    """All vehicles; the one that the address names has a page of its own."""
    if (vehicle := st.query_params.get(VEHICLE)) is not None:
        st.switch_page("screens/vehicle.py", query_params={VEHICLE: vehicle})
    context = app_context()
    st.title("Gallery", anchor=False)
    show_message(context)
    root = context.gallery.root
    gallery, problems = _shared(str(root.absolute()), str(root)), list[str]()
    with st.spinner("Reading the gallery ...", show_time=True):
        numbers = gallery.statistics(on_problem=problems.append)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], key=VIEW, required=True, label_visibility="collapsed", persist_state=KEPT
    )
    if view == "Export and import":
        export_and_import(context, gallery, vehicles=numbers.vehicles)
    elif view == "Model and repair":
        model_and_repair(context, problems, crops=numbers.crops)
    elif not numbers.vehicles:
        _nothing_yet(problems, str(context.settings.gallery))
    elif view == "Statistics":
        show_statistics(numbers)
    else:
        show_problems(problems)
        vehicle_list(gallery, numbers)


def _nothing_yet(problems: Sequence[str], folder: str) -> None:
    st.info(f"No vehicle is registered in {plain(folder)} yet.", icon=":material/directions_car:")
    st.write("Register pictures or a video, or import a zip of another gallery.")
    st.page_link("screens/register.py", label="Register vehicles", icon=":material/add_a_photo:")
    show_problems(problems)


@st.cache_resource(show_spinner=False, max_entries=4)
def _shared(place: str, root: str) -> Gallery:
    """One for all browser tabs: what cannot be kept on a disk is kept in it. Messages name the folder as the user
    did."""
    return Gallery(Path(root))


page()
