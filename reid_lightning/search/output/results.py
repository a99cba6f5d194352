"""What a search has found, as files for programs (JSON) and for spreadsheets (CSV)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from reid_lightning.atomic import replacing
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.records import Match, time_code

FORMAT = 2
"""In 1 the `rank` of a track's vehicle was called `place`."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # by which spreadsheets tell a formula from a text
_SIDES = ("x1", "y1", "x2", "y2")
_MATCH_COLUMNS = (
    *("frame", "time_code", "seconds", "track", "type", *_SIDES),
    *("vehicle", "score", "camera", "time", "picture", "confirmed"),
)


def write_json(
    path: Path,
    matches: Sequence[Match],
    *,
    decisions: Sequence[TrackDecision] = (),
    query: Mapping[str, Any] | None = None,
) -> Path:
    """Write a JSON object; the file appears whole or not at all. Its keys:

    - `format`: see `FORMAT`.
    - `query`: what was searched and how, plain values, as given here; of a search `threshold` says what `min_score`
      means, see `Threshold.as_dict`.
    - `matches`: in their order, each with `frame` (from 0), `time_code` ("00:01:23.450" since the start), `seconds`,
      `box` ([x1, y1, x2, y2] in pixels), `track`, `type`, `vehicle`, `score` (4 digits), `picture`, `camera` and `time`
      (seconds since 1970) of the registered picture, `confirmed` (a vehicle model or a person says of the registered
      one that it is a vehicle), `details` (numbers by name, such as `cosine` and `prior`); what is unknown is null.
    - `tracks`: decisions over whole tracks, with the fields of `TrackDecision`.

    A number that is not finite becomes null.
    """
    head = _json({"format": FORMAT, "query": dict(query or {})}).removesuffix("\n}")
    tracks = _json([_decision_values(decision) for decision in decisions], inside=1)
    rows = (_json(_match_values(match), inside=2) for match in matches)  # one at a time: there may be many
    listed = chain(*(((",\n    " if number else "\n    "), row) for number, row in enumerate(rows)))
    end = "\n  ]" if matches else "]"
    return _write(path, chain((head, ',\n  "matches": ['), listed, (end, f',\n  "tracks": {tracks}\n}}\n')))


def write_csv(path: Path, matches: Sequence[Match]) -> Path:
    """Write one row a match, in their order, with a header; empty cells: unknown. The file appears whole or not at all.

    A text that a spreadsheet would take for a formula (it starts with =, +, -, @ or white space) gets an apostrophe in
    front: names of vehicles may come from strangers.
    """
    return _write(path, _table(_MATCH_COLUMNS, (_match_cells(match) for match in matches)))


def write_tracks_csv(path: Path, decisions: Sequence[TrackDecision]) -> Path:
    """The same for decisions over whole tracks, with the fields of `TrackDecision`."""
    return _write(path, _table(tuple(TrackDecision.__dataclass_fields__), map(_decision_values, decisions)))


def score_in_words(match: Match) -> str:
    """The score; where re-ranking or a prior made it of a cosine similarity, that as well."""
    cosine = match.details.get("cosine")
    return f"{match.score:.2f}" if cosine is None else f"{match.score:.2f} (cosine {cosine:.2f})"


def _match_values(match: Match) -> dict[str, Any]:
    return {
        "frame": match.frame,
        "time_code": time_code(match.seconds),
        "seconds": _rounded(match.seconds, 3),
        "box": None if match.box is None else [_rounded(side, 1) for side in match.box],
        "track": match.track,
        "type": match.type,
        "vehicle": match.vehicle,
        "score": _rounded(match.score, 4),
        "picture": match.picture,
        "camera": match.camera,
        "time": None if match.time is None else _rounded(match.time, 3),
        "confirmed": match.confirmed,
        "details": {name: _rounded(value, 4) for name, value in match.details.items()},
    }


def _match_cells(match: Match) -> dict[str, Any]:
    values = _match_values(match)
    sides = values.pop("box") or (None,) * 4
    del values["details"]
    return {**values, **dict(zip(_SIDES, sides, strict=True))}


def _decision_values(decision: TrackDecision) -> dict[str, Any]:
    digits = {"similarity": 4, "first_seconds": 3, "last_seconds": 3}
    return {
        name: _rounded(value, digits[name]) if name in digits else value for name, value in asdict(decision).items()
    }


def _rounded(value: float, digits: int) -> float | None:
    """As a plain number, whatever kind of float came; None if it is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None


def _json(content: Any, *, inside: int = 0) -> str:
    """As a part of a JSON text that is so many levels deep."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return text.replace("\n", "\n" + "  " * inside)  # one inside a text is written as an escape


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _write(path: Path, parts: Iterable[str]) -> Path:
    # a file name that is no Unicode becomes \udcff: valid in JSON, readable in a table
    with (
        replacing(path) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.writelines(parts)
    return path
