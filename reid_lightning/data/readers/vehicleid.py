"""PKU VehicleID (VehicleID_V1.0): one folder of pictures, lists of identities, and a gallery that is drawn at random.

Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.layout import check_choice, check_seed, data_folder, matched_lines
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import stored_path

LISTS = {"small": "test_list_800.txt", "medium": "test_list_1600.txt", "large": "test_list_2400.txt"}

_LINE = re.compile(r"(?P<picture>[\w-]+)(?:\.jpg)?\s+(?P<identity>[\w-]+)")
_EXAMPLE = "0000123 456"


def read_vehicleid(
    *,
    root: Path | str,
    split: Literal["small", "medium", "large"] = "small",
    repeats: int = 10,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read the VehicleID folder at `root`: `image/`, `train_test_split/train_list.txt` and the split's test list.

    The protocol: of each test identity one picture, drawn at random, is the gallery; all others are queries; this is
    done `repeats` times, and figures are means. All draws are in `gallery_draws`; `query` and `gallery` are the first.
    Which pictures are drawn depends on their names and the `seed` alone. There are no cameras, hence no junk.

    Raises `ReIDError` for another layout, an unknown split, malformed lines, test identities that are all alone, and,
    as `on_bad_image` says, for unreadable or missing pictures.
    """
    check_choice("split", split, tuple(LISTS))
    if not isinstance(repeats, int) or repeats < 1:
        raise ReIDError(f"data.repeats is {repeats!r}; expected a whole number of 1 or more, such as 10.")
    check_seed("data.seed", seed)
    lists = [f"train_test_split/{name}" for name in ("train_list.txt", LISTS[split])]
    root = data_folder(root, needed=("image/", *lists), name="VehicleID")
    train, test = (_listed(root / name, root / "image") for name in lists)
    dataset = check_images(VehicleDataset(f"vehicleid-{split}", train, gallery=test), on_bad_image=on_bad_image)
    return draw_galleries(dataset, repeats=repeats, seed=seed)


def draw_galleries(dataset: VehicleDataset, *, repeats: int, seed: int) -> VehicleDataset:
    """`dataset`, whose gallery holds all test pictures, with `repeats` galleries of one picture of each identity. The
    pictures must be checked already: leaving some out later would shift the rows.

    The picture with the smallest SHA-256 of "seed:repeat:name" is drawn, so that the choice depends on neither the
    order of the list nor the random generators of a library version.
    """
    test = dataset.gallery
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(test):
        rows_of[image.identity].append(row)
    if all(len(rows) == 1 for rows in rows_of.values()):
        raise ReIDError(f"{dataset.name}: no test identity has a second picture, so there are no queries.")
    draws = [
        {min(rows, key=lambda row: _draw(test[row].path.name, seed, repeat)) for rows in rows_of.values()}
        for repeat in range(repeats)
    ]
    order = [row for row in range(len(test)) if row not in draws[0]] + sorted(draws[0])
    place = {row: number for number, row in enumerate(order)}
    query, gallery = order[: -len(rows_of)], order[-len(rows_of) :]
    return replace(
        dataset,
        query=tuple(test[row] for row in query),
        gallery=tuple(test[row] for row in gallery),
        gallery_draws=tuple(tuple(sorted(place[row] for row in draw)) for draw in draws),
    )


def _listed(path: Path, folder: Path) -> Split:
    matches = (match for _, match in matched_lines(path, _LINE, example=_EXAMPLE))
    return tuple(VehicleImage(stored_path(folder, f"{match['picture']}.jpg"), match["identity"]) for match in matches)


def _draw(name: str, seed: int, repeat: int) -> bytes:
    return hashlib.sha256(f"{seed}:{repeat}:{name}".encode()).digest()
