"""VeRi-776 as its owners hand it out: three folders of crops beside text and XML lists.

Copies in circulation differ in names, encodings and missing lists, so what is optional is optional here as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.files import PictureFiles, find_pictures
from reid_lightning.data.images.formats import IMAGE_SUFFIXES
from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.data.readers.layout import file_lines
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, count, shortened
from reid_lightning.untrusted.names import name_of_file, stored_path

Index = tuple[tuple[int, ...], ...]
Labels = dict[str, tuple[str | None, str | None]]

COLOURS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
"""Names of `colorID` 1, 2, ..."""
TYPES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")
"""Names of `typeID` 1, 2, ..."""

_NAME = re.compile(r"(?P<identity>[^_\s/\\]+)_(?P<camera>c\d+)_[^/\\]+")  # a name, and no path that leaves the folder
_LAYOUT = "image_train/, image_query/ and image_test/ (beside name_*.txt, *_label.xml, test_track.txt, *_index.txt)"
_RULE_HINT = "take both index files away to use the rule instead (same identity, other camera)"


def read_veri(
    *, root: Path | str, viewpoints: Sequence[str] = (), on_bad_image: Literal["error", "skip"] = "error"
) -> VehicleDataset:
    """Read the VeRi-776 folder at `root`; https://github.com/VehicleReId/VeRi describes the data set.

    Needed: the three picture folders. Used where present: `name_train|query|test.txt` (else the folder's sorted
    listing), `train_label.xml` and `test_label.xml` (colour, type), `list_color.txt` and `list_type.txt` (their
    names), `test_track.txt` (tracks of gallery and query pictures), `gt_index.txt` with `jk_index.txt`; and the files
    below `root` that `viewpoints` names, see `read_viewpoints`.

    Raises `ReIDError` for another layout, names that are not `<identity>_c<camera>_...`, index files that do not fit
    the lists, malformed XML, and, as `on_bad_image` says, for unreadable or missing pictures.
    """
    root = Path(root).expanduser()
    _check_layout(root)
    colours = _id_names(root / "list_color.txt", COLOURS)
    types = _id_names(root / "list_type.txt", TYPES)
    labels = {
        part: _named(read_labels(root / f"{part}_label.xml"), colours, types)
        if (root / f"{part}_label.xml").exists()
        else {}
        for part in ("train", "test")
    }
    tracks = read_tracks(root / "test_track.txt") if (root / "test_track.txt").exists() else {}
    sides = {name: side for path in viewpoints for name, side in read_viewpoints(root / path).items()}
    found = {part: _names(root, part) for part in ("train", "query", "test")}
    names = {part: files.names for part, files in found.items()}
    of_test = partial(records, labels=labels["test"], tracks=tracks, viewpoints=sides)
    query = of_test(names["query"], folder=root / "image_query")
    gallery = of_test(names["test"], folder=root / "image_test")
    gt_index, jk_index = _read_indices(root, query, gallery)
    dataset = VehicleDataset(
        name="veri776",
        train=records(names["train"], folder=root / "image_train", labels=labels["train"], viewpoints=sides),
        query=query,
        gallery=gallery,
        gt_index=gt_index,
        jk_index=jk_index,
        passed_over=tuple(line for files in found.values() for line in files.reported()),
    )
    return check_images(dataset, on_bad_image=on_bad_image)


def records(
    names: Sequence[str],
    *,
    folder: Path,
    labels: Labels | None = None,
    tracks: Mapping[str, str] | None = None,
    viewpoints: Mapping[str, str] | None = None,
) -> Split:
    """One record for each picture name, in order; `labels` maps names to (colour, type), `tracks` to tracks,
    `viewpoints` to viewpoints."""
    labels, tracks, viewpoints = labels or {}, tracks or {}, viewpoints or {}
    images = []
    for name in names:
        path, name = stored_path(folder, name), name_of_file(name)
        identity, camera = parse_name(name, folder)
        colour, kind = labels.get(name, (None, None))
        images.append(VehicleImage(path, identity, camera, tracks.get(name), colour, kind, viewpoints.get(name)))
    return tuple(images)


def parse_name(name: str, folder: Path) -> tuple[str, str]:
    """("0002", "c003") from "0002_c003_00084280_0.jpg"; `folder` is for the message if that fails."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ReIDError(
            f"The picture {shortened(repr(name))} of {folder} is not named <identity>_c<camera>_..., such as "
            "0002_c003_00084280_0.jpg. Rename it, or read these pictures with data=folder and a pattern of your own."
        )
    return match["identity"], match["camera"]


def read_name_list(path: Path) -> tuple[str, ...]:
    """The first word of every line that is not blank: some copies carry a class number behind the name."""
    return tuple(line.split()[0] for line in file_lines(path) if line.strip())


def read_labels(path: Path) -> Labels:
    """Picture name -> (colorID, typeID) of a `*_label.xml`, see `read_items`."""
    return {item["imageName"]: (item.get("colorID"), item.get("typeID")) for item in read_items(path)}


def read_tracks(path: Path) -> dict[str, str]:
    """Picture name -> track; every line is one track: its name, if it has one, and the pictures.

    What ends like a picture file is a picture, the first word before them is the track's name. Lines without a name,
    or with one that an earlier line has, get the line number into theirs, so that every line stays one track.
    """
    tracks: dict[str, str] = {}
    taken: set[str] = set()
    for number, line in enumerate(file_lines(path), start=1):
        words = line.split()
        pictures = [word for word in words if word.lower().endswith(IMAGE_SUFFIXES)]
        if not words:
            continue
        if not pictures:
            raise ReIDError(f"{path}, line {number}: a track without picture names: {line.strip()[:80]!r}.")
        name = f"line{number:04d}" if words[0] == pictures[0] else words[0]
        if name in taken:
            name = f"{name}_line{number:04d}"
        taken.add(name)
        for picture in pictures:
            if tracks.setdefault(picture, name) != name:
                raise ReIDError(f"{path}, line {number}: {picture} is in the track {tracks[picture]} already.")
    return tracks


def read_viewpoints(path: Path) -> dict[str, str]:
    """Picture name -> viewpoint: the first word of a line, less its folders, and the last one.

    Such are the key-point files that circulate for VeRi-776 (`keypoint_train.txt`, `keypoint_test.txt`: a path, 20
    pairs of coordinates, one of 8 orientations; Wang et al., "Orientation Invariant Feature Embedding", ICCV 2017).
    """
    sides: dict[str, str] = {}
    for number, line in enumerate(file_lines(path, key="data.viewpoints"), start=1):
        words = line.split()
        if len(words) == 1:
            raise ReIDError(f"{path}, line {number}: {line.strip()[:80]!r}; expected a picture and its viewpoint.")
        if words:
            sides[words[0].replace("\\", "/").rsplit("/", 1)[-1]] = words[-1]
    return sides


def read_index(path: Path, *, queries: int, gallery: int) -> Index:
    """Rows of `gt_index.txt` or `jk_index.txt`, made 0-based; the file holds 1-based rows of the test list.

    Line i belongs to query i, a blank line is an empty row. Raises `ReIDError` unless there are `queries` lines of
    numbers in 1 to `gallery`.
    """
    lines = file_lines(path)
    while len(lines) > queries and not lines[-1].strip():
        lines.pop()
    if len(lines) != queries:
        raise ReIDError(
            f"{path} has {count(len(lines), 'line')} for {count(queries, 'query picture')}. It belongs to "
            "other lists: use the "
            f"name_query.txt and name_test.txt that came with it, or {_RULE_HINT}."
        )
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = tuple(int(word) - 1 for word in line.split())
        except ValueError as error:
            raise ReIDError(f"{path}, line {number}: expected row numbers, got {line.strip()[:80]!r}.") from error
        wrong = next((entry + 1 for entry in row if not 0 <= entry < gallery), None)
        if wrong is not None:
            raise ReIDError(
                f"{path}, line {number}: row {wrong} is outside 1 to {gallery:,}, the length of the test list. "
                f"Use the name_test.txt that came with it, or {_RULE_HINT}."
            )
        rows.append(row)
    return tuple(rows)


def _read_indices(root: Path, query: Split, gallery: Split) -> tuple[Index | None, Index | None]:
    paths = [root / "gt_index.txt", root / "jk_index.txt"]
    present = [path for path in paths if path.exists()]
    if not present:
        return None, None
    if len(present) == 1:
        raise ReIDError(f"{present[0]} is there without its partner; add the other file, or {_RULE_HINT}.")
    gt_index, jk_index = (read_index(path, queries=len(query), gallery=len(gallery)) for path in paths)
    for number, (image, row) in enumerate(zip(query, gt_index, strict=True), start=1):
        wrong = next((gallery[entry] for entry in row if gallery[entry].identity != image.identity), None)
        if wrong is not None:
            raise ReIDError(
                f"{paths[0]}, line {number}: {shortened(wrong.path.name)} is no match of "
                f"{shortened(image.path.name)}. The file belongs to "
                f"lists in another order: use the name_*.txt that came with it, or {_RULE_HINT}."
            )
    return gt_index, jk_index


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise ReIDError(
            f"data.root: there is no folder {root} (seen from {Path.cwd()}). Expected the VeRi-776 folder with "
            f"{_LAYOUT}; set data.root=<that folder>."
        )
    missing = [f"image_{part}/" for part in ("train", "query", "test") if not (root / f"image_{part}").is_dir()]
    if missing:
        inner = next((child for child in sorted(root.iterdir()) if (child / "image_train").is_dir()), None)
        hint = f"did you mean data.root={inner}?" if inner else "set data.root=<that folder>."
        raise ReIDError(
            f"data.root: {root} has no {', '.join(missing)}. Expected the VeRi-776 folder with {_LAYOUT}; {hint}"
        )


def _names(root: Path, part: str) -> PictureFiles:
    list_path, folder = root / f"name_{part}.txt", root / f"image_{part}"
    listed = list_path.exists()
    found = PictureFiles(folder, read_name_list(list_path)) if listed else find_pictures(folder, below=False)
    if not found.names:
        source = list_path if listed else folder
        raise ReIDError(f"{source} names no picture; expected names such as 0002_c003_00084280_0.jpg.")
    return found


def _named(labels: Labels, colours: Mapping[str, str], types: Mapping[str, str]) -> Labels:
    """`labels` with names for the ids; an id without a name stays as it is."""
    return {
        name: (colour and colours.get(colour, colour), kind and types.get(kind, kind))
        for name, (colour, kind) in labels.items()
    }


def _id_names(path: Path, published: Sequence[str]) -> dict[str, str]:
    """Id -> name, from lines such as "3 van", or as published where the file is absent."""
    if not path.exists():
        return {str(number): name for number, name in enumerate(published, start=1)}
    pairs = (line.split(maxsplit=1) for line in file_lines(path) if line.strip())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
