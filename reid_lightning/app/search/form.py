"""What the search page asks for: which vehicle, in what, from which score on, by which filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.search.score_chart import LEAST_SCORE, default_min_score, in_words, score_chart
from reid_lightning.app.text import count
from reid_lightning.app.uploads import ENDINGS, PICTURE_ENDINGS, Upload
from reid_lightning.app.widgets import KEPT, choose_vehicle, leave_out_missing
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.search import Embedder
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import Statistics
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.records import Filter

REGISTERED, PICTURE = "A registered vehicle", "The vehicle on a picture"
_MIN_SCORE = "search_min_score"


@dataclass(frozen=True)
class Asked:
    """What was filled in: `wanted` are pictures of the vehicle, `files` or `named` what is searched."""

    wanted: Sequence[Upload]
    files: Sequence[Upload]
    named: str
    every: int
    options: SearchOptions


def ask(context: AppContext, embedder: Embedder) -> Asked:
    """Draw the form."""
    asked, scored = st.columns(2, gap="large")
    with asked:
        wanted, vehicle = _ask_wanted(context.gallery)
        files, named = _ask_source(optional=bool(wanted))
    with scored:
        min_score = _ask_min_score(embedder)
    with st.expander("More: how many, which cameras, types and times", icon=":material/tune:"):
        left, right = st.columns(2)
        top_k = left.number_input("Matches of a frame", 1, 100, 5, key="search_top_k", persist_state=KEPT)
        start = context.settings.every
        every = right.number_input("Look at every n-th frame", 1, 1000, start, key="search_every", persist_state=KEPT)
        if wanted and (files or named):
            st.caption("The vehicle on the picture is looked for; filters of registered vehicles have no say.")
            where = Filter()
        else:
            where = _ask_filter(context.gallery.statistics(), vehicle)
    options = SearchOptions(
        min_score=min_score,
        top_k=top_k,
        where=where,
        pictures=context.settings.pictures,
        min_quality=context.settings.min_compared_quality,
    )
    return Asked(wanted, files, named, every, options)


def _ask_wanted(gallery: Gallery) -> tuple[list[Upload], str | None]:
    """Uploaded pictures of the wanted vehicle, or a registered one; none of both: any registered vehicle."""
    kind = st.radio("Look for", [REGISTERED, PICTURE], horizontal=True, key="search_kind", persist_state=KEPT)
    if kind == REGISTERED:
        return [], choose_vehicle(gallery, "Vehicle (type to find)", key="search_vehicle", any_one=True)
    files = st.file_uploader(
        "Picture of the vehicle",
        type=PICTURE_ENDINGS,
        accept_multiple_files=True,
        key="search_wanted",
        help="A crop: this vehicle and little else. It need not be registered. Several pictures are of one vehicle.",
    )
    return list(files), None


def _ask_source(*, optional: bool) -> tuple[list[Upload], str]:
    """Uploaded files to search in, or the name of others."""
    files = st.file_uploader(
        "Search in: one video, or pictures" + (" (left out: which registered vehicle is it?)" if optional else ""),
        type=ENDINGS,
        accept_multiple_files=True,
        key="search_files",
    )
    named = st.text_input(
        "or a file, folder or address that this computer reaches",
        placeholder="clips/south.mp4, or rtsp://camera/stream",
        key="search_named",
        persist_state=KEPT,
    )
    return list(files), named.strip()


def _ask_min_score(embedder: Embedder) -> float:
    calibration = embedder.calibration
    start, why = default_min_score(calibration)
    key = f"{_MIN_SCORE}_{embedder.options.fingerprint}"  # another model, another default
    min_score = st.slider(LEAST_SCORE, 0.0, 1.0, start, step=0.01, key=key, persist_state=KEPT)
    threshold = Threshold(min_score, calibration)
    if calibration is not None:
        st.caption(f"Matches {threshold.describe()}.")
    if calibration is None or calibration.histogram is None:
        st.caption(f"{why} A stored threshold brings a chart of scores: `reid evaluate ... store_threshold=true`.")
        _warn(threshold)
        return min_score
    st.altair_chart(score_chart(calibration.histogram, min_score), width="stretch")
    st.write(in_words(calibration.histogram, min_score))
    st.caption(
        f"{why} Measured on {count(calibration.same_pairs, 'pair')} of one vehicle and "
        f"{calibration.different_pairs:,} of different ones when the model was evaluated; your cameras may differ."
    )
    _warn(threshold)
    return min_score


def _warn(threshold: Threshold) -> None:
    if threshold.is_below:
        remedy = f"move the slider to {threshold.calibrated:.2f} for fewer"
        st.warning(threshold.warning(remedy=remedy), icon=":material/warning:")


def _ask_filter(known: Statistics, vehicle: str | None) -> Filter:
    known_cameras, known_types = sorted({*known.per_camera} - {""}), sorted(known.per_type)
    for key, options in (("search_cameras", known_cameras), ("search_types", known_types)):
        leave_out_missing(key, options)
    left, right = st.columns(2)
    cameras = left.multiselect(
        "Registered by camera",
        known_cameras,
        format_func=plain_text,
        placeholder="all cameras",
        key="search_cameras",
        persist_state=KEPT,
    )
    types = right.multiselect("Type", known_types, placeholder="all types", key="search_types", persist_state=KEPT)
    since = until = None
    if not known.per_day:
        st.caption("The registered pictures have no time to filter by.")
    else:
        first = datetime.fromisoformat(min(known.per_day))
        last = datetime.fromisoformat(max(known.per_day)) + timedelta(days=1)
        for key in ("search_since", "search_until"):
            kept = st.session_state.get(key)
            if kept is not None and not first <= kept <= last:  # of what is no longer registered
                st.session_state[key] = None
        since = left.datetime_input("Registered since", None, first, last, key="search_since", persist_state=KEPT)
        until = right.datetime_input("Registered before", None, first, last, key="search_until", persist_state=KEPT)
    return Filter(
        vehicles=None if vehicle is None else (vehicle,),
        cameras=tuple(cameras) or None,
        types=tuple(types) or None,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
    )
