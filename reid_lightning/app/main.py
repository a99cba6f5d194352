"""`streamlit run reid_lightning/app/main.py`: the application's frame, and which pages there are."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Draw the chosen page."""
    if str(HERE.parents[1]) not in sys.path:  # Streamlit puts this file's folder there, not the project's
        sys.path.insert(0, str(HERE.parents[1]))
    from reid_lightning.app.context import app_context
    from reid_lightning.app.demo.page import show_demo_result
    from reid_lightning.app.icon import car_icon
    from reid_lightning.app.widgets import show_error
    from reid_lightning.errors import ReIDError
    from reid_lightning.user_messages import user_message

    st.set_page_config(page_title="reid_lightning", page_icon=car_icon(), layout="wide")
    page = st.navigation(
        [
            st.Page(HERE / "screens/register.py", title="Register", icon=":material/add_a_photo:", default=True),
            st.Page(HERE / "screens/search.py", title="Search", icon=":material/search:"),
            st.Page(HERE / "screens/gallery.py", title="Gallery", icon=":material/photo_library:"),
            st.Page(HERE / "screens/vehicle.py", title="Vehicle", visibility="hidden"),
        ],
        position="top",
    )
    try:
        has_model = app_context().bundle() is not None
    except ReIDError as error:
        show_error(f"The command line cannot be used: {error}")
        return
    if has_model:
        show_demo_result()
    try:
        page.run()
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        show_error(message)


main()
