"""A vehicle's own page, which the Gallery page leads to: a page of its own, so that "Gallery" leads back."""

from __future__ import annotations

import streamlit as st

from reid_lightning.app.context import app_context
from reid_lightning.app.gallery.dialogs import VEHICLE, show_message
from reid_lightning.app.gallery.vehicle import vehicle_page


def page() -> None:
    """The vehicle that the address names; without one, the gallery."""
    vehicle = st.query_params.get(VEHICLE)
    if vehicle is None:
        st.switch_page("screens/gallery.py")
    context = app_context()
    show_message(context)
    vehicle_page(context, vehicle)


page()
