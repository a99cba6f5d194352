"""A table with one picture a line, for data sets that come with annotations in a file.

Columns path, identity and where known camera, track, split, colour, type, viewpoint; so no code is needed for new data.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.splits import SPLITS, Cameras, build_dataset
from reid_lightning.data.records import NAMES, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, count, shortened
from reid_lightning.regular_files import read_text
from reid_lightning.untrusted.names import composed, readable, stored_path

REQUIRED = ("path", "identity")
FOUND_BY = "found_by"
"""The column of a table whose identities a program found, with its name."""
OPTIONAL = (*NAMES[1:], "split", FOUND_BY)


def read_csv(
    *,
    path: Path | str,
    root: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
    fold: str | None = None,
    query_cameras: Cameras = None,
    gallery_cameras: Cameras = None,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read the table `path`: a header and one line a picture, separated by comma, semicolon or tab, in utf-8.

    A column found_by says that the identities are a program's work, and whose; figures are named so then.
    `columns` maps our names to the table's where they differ (`{identity: vehicle_id}`); other columns are ignored.
    Paths in the table are relative to `root`, by default the table's folder. The split column holds train, query,
    gallery, test or val; how these, or `test_fraction` (or `fold`) with `seed` in a table without it, become training,
    query and gallery pictures is described in `reid_lightning.data.readers.splits.build_dataset`.

    Raises `ReIDError` naming the line for missing values, unknown splits and lines of another length, and, as
    `on_bad_image` says, for missing or unreadable pictures.
    """
    path = Path(path).expanduser()
    folder = path.parent if root is None else Path(root).expanduser()
    if not folder.is_dir():
        raise ReIDError(f"data.root: there is no folder {folder} (seen from {Path.cwd()}); set it to the pictures'.")
    images: list[VehicleImage] = []
    splits: list[str | None] = []
    found_by: str | None = None
    headings = {name: composed(theirs) for name, theirs in (columns or {}).items()}
    for number, row in _rows(path, headings):
        picture, identity = row["path"], row["identity"]
        if picture is None or identity is None:
            empty = "path" if picture is None else "identity"
            raise ReIDError(f"{path}, line {number}: {empty} is empty; every picture needs one.")
        split = row["split"] and row["split"].lower()
        if split not in (*SPLITS, None):
            raise ReIDError(
                f"{path}, line {number}: split {shortened(repr(row['split']))}; expected one of {', '.join(SPLITS)}."
            )
        if splits and (split is None) != (splits[-1] is None):
            raise ReIDError(f"{path}, line {number}: a split is given for some pictures only; give all or none.")
        splits.append(split)
        found_by = found_by or (row[FOUND_BY] and readable(shortened(row[FOUND_BY], 60)))
        known = {name: row[name] for name in NAMES[1:]}
        images.append(VehicleImage(stored_path(folder, picture), identity, **known))
    if not images:
        raise ReIDError(f"{path} has a header but no pictures; expected one line for each.")
    dataset = build_dataset(
        path.stem,
        images,
        splits=splits,
        test_fraction=test_fraction,
        seed=seed,
        fold=fold,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )
    return check_images(replace(dataset, found_by=found_by), on_bad_image=on_bad_image)


def _rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """(line number, our name -> value, None where empty or absent) of every line below the header."""
    reader = csv.reader(io.StringIO(text := composed(_text(path)), newline=""), delimiter=_delimiter(text))
    try:
        header = [name.strip() for name in next(reader, [])]
        positions = _positions(path, header, columns)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise ReIDError(
                    f"{path}, line {reader.line_num}: {count(len(values), 'value')} for the "
                    f"{count(len(header), 'column')} of the "
                    "header; put values that contain the separator in double quotes."
                )
            cells = {name: values[position].strip() or None for name, position in positions.items()}
            yield reader.line_num, dict.fromkeys((*REQUIRED, *OPTIONAL)) | cells
    except csv.Error as error:
        raise ReIDError(f"{path}, line {reader.line_num}: not a line of a table: {error}.") from error


def _positions(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Our column name -> its position in the table."""
    known = (*REQUIRED, *OPTIONAL)
    for name, theirs in columns.items():
        if name not in known:
            raise ReIDError(f"data.columns: {name!r} is not one of {', '.join(known)}.")
        if theirs not in header:
            raise ReIDError(f"data.columns.{name}: {path} has no column {theirs!r}, only {_listed(header)}.")
    positions = {name: header.index(columns.get(name, name)) for name in known if columns.get(name, name) in header}
    missing = [name for name in REQUIRED if name not in positions]
    if missing:
        raise ReIDError(
            f"{path} has no column {' and no column '.join(missing)}; its header is {_listed(header) or 'empty'}. "
            f"Rename the column, or map it: 'data.columns={{{missing[0]}: <its name>}}'."
        )
    for extra in set(header) - {header[position] for position in positions.values()}:
        meant = difflib.get_close_matches(
            extra.lower(), [name for name in OPTIONAL if name not in positions], cutoff=0.8
        )
        if meant:
            raise ReIDError(
                f"{path} has a column {shortened(repr(extra))}; if {meant[0]!r} is meant, rename it or set "
                f"'data.columns={{{meant[0]}: {extra}}}', otherwise give it a name that is less alike."
            )
    return positions


def _listed(header: Sequence[str]) -> str:
    return shortened(", ".join(header), 500)


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except UnicodeDecodeError as error:
        raise ReIDError(f"{path} is not utf-8 text: {error}. Save the table as CSV in utf-8.") from error
    except OSError as error:
        raise ReIDError(
            f"data.path: {path} cannot be read (seen from {Path.cwd()}): {error.strerror}. Set data.path=<table>.csv."
        ) from error


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)
