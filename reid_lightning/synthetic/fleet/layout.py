"""Writes the text files of VeRi-776's layout for a planned fleet, byte for byte as they circulate."""

from __future__ import annotations

from pathlib import Path

from reid_lightning.data.readers.veri import COLOURS, TYPES
from reid_lightning.synthetic.fleet.look import VehicleLook
from reid_lightning.synthetic.fleet.plan import TEST, TRAIN, FleetPlan

FOLDERS = {TRAIN: "image_train", TEST: "image_test"}
QUERY_FOLDER = "image_query"


def write_layout(folder: Path, plan: FleetPlan, looks: dict[int, VehicleLook]) -> None:
    """Write names, labels, tracks, index rows and lists into `folder`.

    Args:
        folder: an existing folder; the pictures are not touched.
        plan: what to list.
        looks: the look of every identity of both splits, for colour and type.
    """
    _write(folder / "name_train.txt", plan.images(TRAIN))
    _write(folder / "name_test.txt", plan.images(TEST))
    _write(folder / "name_query.txt", list(plan.query))
    _write(folder / "train_label.xml", _labels(plan.images(TRAIN), looks), end="\r\n")
    _write(folder / "test_label.xml", _labels(plan.images(TEST), looks), end="\r\n")
    tracks = sorted((track for track in plan.tracks if track.split == TEST), key=lambda track: track.images)
    _write(folder / "test_track.txt", [" ".join((track.name, *track.images)) + " " for track in tracks])
    right, junk = zip(*plan.index_rows(), strict=True)
    for name, rows in (("gt_index.txt", right), ("jk_index.txt", junk)):
        _write(folder / name, ["".join(f"{row} " for row in line) for line in rows], end="\r\n")
    for name, words in (("list_color.txt", COLOURS), ("list_type.txt", TYPES)):
        _write(folder / name, [f"{number} {word}" for number, word in enumerate(words, start=1)])
    places = plan.camera_places
    metres = [
        " ".join(str(round(abs(there - here)) if j > i else 0) for j, there in enumerate(places))
        for i, here in enumerate(places)
    ]
    _write(folder / "camera_distance.txt", metres)


def _labels(images: list[str], looks: dict[int, VehicleLook]) -> list[str]:
    """The lines of a label file."""
    items = []
    for image in images:
        look = looks[int(image[:4])]
        items.append(
            f'        <Item imageName="{image}" vehicleID="{image[:4]}" cameraID="{image[5:9]}" '
            f'colorID="{look.colour_id}" typeID="{TYPES.index(look.model.type) + 1}" />'
        )
    return [
        '<?xml version="1.0" encoding="gb2312"?>',
        '<TrainingImages Version="1.0">',
        f'    <Items number="{len(items)}">',
        *items,
        "    </Items>",
        "</TrainingImages>",
    ]


def _write(path: Path, lines: list[str], *, end: str = "\n") -> None:
    """Write lines with the line end the original file has."""
    path.write_bytes("".join(line + end for line in lines).encode("ascii"))
