"""What several pages show alike: uploads, errors, and a job's progress with its cancel button."""

from __future__ import annotations

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Job
from reid_lightning.app.text import plain
from reid_lightning.app.uploads import Uploads

_EVERY = 0.5  # seconds between two looks at a job


def uploads(context: AppContext) -> Uploads:
    """The folder of this browser tab."""
    if "uploads" not in st.session_state:
        settings = context.settings
        st.session_state.uploads = Uploads(max_bytes=settings.max_upload_mib << 20, max_pictures=settings.max_pictures)
    return st.session_state.uploads


def job(key: str) -> Job | None:
    """The one that this tab keeps under `key`, running or ended."""
    return st.session_state.get(key)


def show_progress(key: str) -> None:
    """A bar, what the job says, and a button that stops it; the page is drawn anew when the job has ended."""
    _progress(key)


@st.fragment(run_every=_EVERY)
def _progress(key: str) -> None:
    current = job(key)
    if current is None or not current.running:
        st.rerun()
    progress_bar(current, key)


def progress_bar(current: Job, key: str) -> None:
    """For pages that draw a running job in a fragment of their own."""
    text = f"{current.title}: {current.note or 'starting'}"
    st.progress(current.share or 0.0, text=plain(text))
    if st.button("Cancel", key=f"{key}_cancel", icon=":material/stop_circle:"):
        current.cancel()


def show_error(text: str) -> None:
    """A mistake that the user can mend, in its own words."""
    st.error(plain(text), icon=":material/error:")
