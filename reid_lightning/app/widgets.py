"""What several pages show alike: uploads, errors, and a job's progress with its cancel button."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Job
from reid_lightning.app.text import count, plain
from reid_lightning.app.uploads import Uploads
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.errors import one_screen
from reid_lightning.redaction import without_password
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import Choice

OFFERED = 1000
"""Names that a browser is sent to choose from."""
LARGEST_DOWNLOAD = 256 << 20
"""Bytes."""
KEPT: Literal["session"] = "session"
"""`persist_state` of fields whose answer is wanted again when they, or their page, are drawn again."""
Item = TypeVar("Item")
_EVERY = 0.5  # seconds between two looks at a job


def uploads(context: AppContext) -> Uploads:
    """The folder of this browser tab."""
    if "uploads" not in st.session_state:
        settings = context.settings
        st.session_state.uploads = Uploads(max_bytes=settings.max_upload_mib << 20, max_pictures=settings.max_pictures)
    return st.session_state.uploads


def leave_out_missing(key: str, options: Sequence[str]) -> None:
    """What is no longer among the `options` of a field of several, which is drawn next, is no longer chosen in it.

    Nothing is set where all is there: a field that is set anew while a page is drawn loses what is typed meanwhile.
    """
    chosen = st.session_state.get(key) or []
    left = [one for one in chosen if one in options]
    if left != chosen:
        st.session_state[key] = left


def paged(items: Sequence[Item], *, key: str, per_page: int) -> Sequence[Item]:
    """Those of the page that is chosen under `key`; draws the choice where there is more than one page."""
    first = first_of_page(len(items), key=key, per_page=per_page)
    return items[first : first + per_page]


def first_of_page(total: int, *, key: str, per_page: int, kept: bool = False) -> int:
    """The number, from 0, of the first of `total` items on the page that is chosen under `key`; draws the choice where
    there is more than one page. `kept`: the same page is shown again after another one of the application."""
    pages = -(-total // per_page)
    if pages < 2:
        st.session_state.pop(key, None)
        return 0
    if st.session_state.get(key, 1) > pages:  # some were deleted, or a filter leaves fewer
        st.session_state[key] = pages
    page: int = st.pagination(pages, key=key, persist_state=KEPT if kept else None)
    return (page - 1) * per_page


def choose_vehicle(
    gallery: Gallery, label: str, *, key: str, any_one: bool = False, without: str | None = None
) -> str | None:
    """Draw the choice of a registered vehicle; None: none yet or, with `any_one`, whichever.

    A browser is sent a thousand names at most: of more vehicles, those with the part of a name or plate that is asked
    for. `without` is not among them.
    """
    page = gallery.page(most=OFFERED, on_problem=lambda problem: None)
    total = count(page.total, "vehicle")
    if page.total > OFFERED:
        part = st.text_input(
            f"Part of the name or plate, of {total}", key=f"{key}_part", max_chars=100, persist_state=KEPT
        )
        page = gallery.page(Choice(text=part or ""), most=OFFERED, on_problem=lambda problem: None)
    names = [one.summary.id for one in page.vehicles if one.summary.id != without]
    chosen = st.session_state.get(key)
    if chosen is not None and chosen not in names:  # renamed or deleted meanwhile, or another part is looked for
        st.session_state[key] = None
    if any_one:
        anyone = f"any of {total}"
        options: list[str | None] = [None, *names]
        vehicle = st.selectbox(
            label,
            options,
            format_func=lambda name: anyone if name is None else plain_text(name),
            placeholder=anyone,  # Streamlit shows it for None, whatever None is called in the list
            key=key,
            persist_state=KEPT,
        )
    else:
        vehicle = st.selectbox(
            label,
            names,
            format_func=plain_text,
            index=None,
            key=key,
            persist_state=KEPT,
            placeholder="Type a part of the name",
            filter_mode="contains",
        )
    if page.fitting > OFFERED:
        st.caption(f"{page.fitting:,} fit, of which the first {OFFERED:,} can be chosen: type more of the name above.")
    return vehicle


def show_download(path: Path, label: str, *, mime: str, key: str) -> None:
    """A button for a file. Streamlit reads a file whole into the server's memory when it is asked for, so one of more
    than `LARGEST_DOWNLOAD` bytes is not sent, but named."""
    try:
        size = path.stat().st_size
    except OSError:
        st.caption(f"{plain(path.name)} was removed meanwhile.")
        return
    if size > LARGEST_DOWNLOAD:
        with st.container():  # one below the other, whatever is around them
            st.write(
                f"{plain(label)}: {size / 2**20:,.0f} MiB are too much for a browser's download. The file lies on the "
                "computer that this application runs on; copy it from there before you close this tab or start again:"
            )
            st.code(str(path), language=None, wrap_lines=True)
        return
    icon = ":material/download:"
    st.download_button(label, path.read_bytes, file_name=path.name, mime=mime, key=key, icon=icon, on_click="ignore")


def job(key: str) -> Job | None:
    """The one that this tab keeps under `key`, running or ended."""
    return st.session_state.get(key)


@st.fragment(run_every=_EVERY)
def show_progress(key: str) -> None:
    """A bar, what the job says, and a button that stops it; the page is drawn again when the job has ended."""
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
    """A mistake that the user can fix, in its own words."""
    st.error(plain(one_screen(without_password(text))), icon=":material/error:")
