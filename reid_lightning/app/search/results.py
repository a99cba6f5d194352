"""How the search page draws what was found: cards, a timeline, decisions over whole tracks, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
import pandas as pd
import streamlit as st

from reid_lightning.app.search.found import Card, Snapshot, TimelinePoint
from reid_lightning.app.search.job import SearchRun
from reid_lightning.app.search.score_chart import LEAST_SCORE
from reid_lightning.app.text import date, plain
from reid_lightning.app.widgets import show_download
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.search.matching.track_decisions import TrackDecision, answer_of
from reid_lightning.search.output.results import score_in_words
from reid_lightning.search.records import UNCONFIRMED, time_code

PAGE = 12
"""Cards at a time."""
MOST_VEHICLES = 20
"""Lines of the timeline."""
MOST_TRACKS = 500
_REGISTERED_WIDTH = 160  # pixels, or less where there is no room
_WEAK, _STRONG = "#8fb1cf", "#e0532f"  # scores; both seen on white and on black
_FILES = {
    "matches.csv": ("Matches (CSV)", "text/csv"),
    "matches.json": ("Matches (JSON)", "application/json"),
    "tracks.csv": ("Tracks (CSV)", "text/csv"),
    "annotated.mp4": ("Annotated video", "video/mp4"),
    "matches.jpg": ("Sheet of pictures", "image/jpeg"),
}


def show_cards(cards: Sequence[Card], *, in_video: bool, answers: Mapping[int, TrackDecision] | None = None) -> None:
    """Two beside each other where there is room; with answers of whole tracks each says what its track is."""
    for start in range(0, len(cards), 2):
        for column, card in zip(st.columns(2), cards[start : start + 2], strict=False):
            with column.container(border=True):
                _show_card(card, in_video=in_video, answers=answers)


def _show_card(card: Card, *, in_video: bool, answers: Mapping[int, TrackDecision] | None) -> None:
    match = card.match
    mark = "" if match.confirmed else f" · {UNCONFIRMED}"
    st.markdown(f"**{plain(match.vehicle)}** · score {score_in_words(match)}{mark}")
    if answers is not None:
        answer = answer_of(match, answers)
        if answer is None:
            st.caption(f"no answer: all pictures of the track together are below the {LEAST_SCORE.lower()}")
        elif answer.vehicle != match.vehicle:
            st.caption(f"not the answer: that is {plain(answer.vehicle)}")
    frame, registered = st.columns([2, 1], vertical_alignment="top")
    frame.image(card.picture, width="stretch", caption=plain(_where(card, in_video=in_video)))
    if card.registered is None:
        registered.caption("The registered picture is gone.")
        return
    taken = [f"camera {match.camera}"] if match.camera else []
    taken += [date(match.time)] if match.time is not None else []
    registered.image(card.registered, width=_REGISTERED_WIDTH, caption=plain(", ".join(["registered", *taken])))


def _where(card: Card, *, in_video: bool) -> str:
    if not in_video:
        return f"picture {card.match.frame + 1}"
    span = "" if card.frames == 1 else f"; {card.frames:,} frames, {_clock(card.first)} to {_clock(card.last)}"
    return f"{time_code(card.match.seconds)}, track {card.match.track}{span}"


def timeline_table(points: Sequence[TimelinePoint]) -> pd.DataFrame:
    """A row for each point of the `MOST_VEHICLES` best vehicles."""
    best: dict[str, float] = {}
    for point in points:
        best[point.vehicle] = max(point.score, best.get(point.vehicle, -1.0))
    shown = sorted(best, key=lambda vehicle: (-best[vehicle], vehicle))[:MOST_VEHICLES]
    order = {vehicle: row for row, vehicle in enumerate(shown)}
    rows = [
        {
            "vehicle": plain_text(point.vehicle),
            "row": order[point.vehicle],
            "start": point.start,
            "end": point.end,
            "score": point.score,
            "frames": point.frames,
            "time": f"{time_code(point.start)} to {time_code(point.end)}",
        }
        for point in points
        if point.vehicle in order
    ]
    return pd.DataFrame(rows)


def show_timeline(points: Sequence[TimelinePoint]) -> None:
    """The source's time from left to right, a line for each vehicle, its score as the colour."""
    table = timeline_table(points)
    names = list(dict.fromkeys(table.sort_values("row")["vehicle"]))
    minutes = "format(floor(datum.value / 60), 'd') + ':' + format(floor(datum.value % 60), '02d')"
    chart = (
        alt.Chart(table)
        .mark_bar(height=14, cornerRadius=2)
        .encode(
            x=alt.X("start:Q", title="time in the video (min:s)").axis(labelExpr=minutes, tickMinStep=1),
            x2="end:Q",
            y=alt.Y("vehicle:N", title=None, sort=names).axis(labelLimit=110),
            color=alt.Color("score:Q", title="score")
            .scale(range=[_WEAK, _STRONG])
            .legend(orient="top", gradientLength=160),
            tooltip=["vehicle:N", "time:N", alt.Tooltip("score:Q", format=".3f"), "frames:Q"],
        )
        .properties(height=alt.Step(24))
    )
    st.altair_chart(chart, width="stretch")


def show_tracks(decisions: Sequence[TrackDecision], *, min_score: float, one_vehicle: bool) -> None:
    """What each track is, taken as a whole: its most similar vehicle, or none. `one_vehicle`: all pictures are one
    track, of which the next vehicles are shown, too."""
    shown = [one for one in decisions if one_vehicle or one.rank == 1]
    if not shown:
        return
    st.subheader("All pictures together" if one_vehicle else "Whole tracks")
    accepted = sum(one.accepted for one in shown)
    st.caption(
        "All pictures of the vehicle decide together, steadier than one by one. A similarity of "
        f"{min_score:.2f} or more counts as found, of the most similar vehicle only: "
        + ("yes." if one_vehicle and accepted else "no." if one_vehicle else f"{accepted:,} of {len(shown):,} tracks.")
    )
    table = pd.DataFrame(
        {
            "track": one.track,
            "most similar vehicle": plain_text(one.vehicle),
            "similarity": one.similarity,
            "found": one.accepted,
            "mark": "" if one.confirmed else UNCONFIRMED,
            "from": _clock(one.first_seconds),
            "to": _clock(one.last_seconds),
            "pictures": one.crops,
        }
        for one in sorted(shown, key=lambda one: -one.similarity)[:MOST_TRACKS]
    )
    needless = ["track", "from", "to"] if one_vehicle else []
    needless += ["mark"] if all(one.confirmed for one in shown) else []
    st.dataframe(
        table.drop(columns=needless),
        hide_index=True,
        width="stretch",
        column_config={"similarity": st.column_config.NumberColumn(format="%.3f")},
    )


def show_downloads(files: Sequence[Path]) -> None:
    """A button for each file."""
    known = [path for name in _FILES for path in files if path.name == name]
    if not known:
        return
    st.subheader("Files")
    with st.container(horizontal=True):
        for path in known:
            label, mime = _FILES[path.name]
            show_download(path, label, mime=mime, key=f"search_download_{path.name}")


def show_nothing(run: SearchRun, snapshot: Snapshot) -> None:
    """No match: the best that was seen, and what to do."""
    best, asked = snapshot.best_seen, run.request.options.min_score
    if best is None:
        st.info(
            "No vehicle was seen that could be compared. The default detector finds what moves before a fixed camera; "
            "pictures of single vehicles can be searched, too.",
            icon=":material/info:",
        )
        return
    at = f" at {time_code(best.seconds)}" if run.in_video else f" in picture {best.frame + 1}"
    at += "" if best.confirmed else f", {UNCONFIRMED}"
    st.info(
        f"No match with a score of {asked:.2f} or more. The best was {best.score:.2f}: "
        f"{plain(best.vehicle)}{plain(at)}. "
        f"Lower the {LEAST_SCORE.lower()} to see it, drop filters, or register clearer pictures of the vehicle.",
        icon=":material/search_off:",
    )


def _clock(seconds: float) -> str:
    return time_code(seconds)[:8]
