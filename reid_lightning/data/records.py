"""The records every reader produces and everything downstream consumes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from reid_lightning.data.packed_picture import PackedPicture

PicturePath = Path | PackedPicture
"""A picture's file, or its place in a shard; both have `str`, `name`, `suffix` and `read_bytes`."""


@dataclass(frozen=True, slots=True)
class VehicleImage:
    """One crop of one vehicle.

    `identity` and `camera` are the names the data set uses ("0002", "c002"), never positions in a list; whoever
    needs integers numbers the sorted names.
    """

    path: PicturePath
    identity: str
    camera: str | None = None
    track: str | None = None
    colour: str | None = None
    type: str | None = None
    viewpoint: str | None = None


NAMES = tuple(field.name for field in fields(VehicleImage))[1:]
"""What can be known of a picture, as tables, patterns of file names and losses call it."""

Split = tuple[VehicleImage, ...]


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What lies beside the pictures of a folder, in a sentence. `formats` are those of pictures among them, which
    nothing here decodes."""

    sentence: str
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VehicleDataset:
    """Training pictures and the query and gallery pictures of the official protocol. `validation`: pictures that the
    data set itself puts aside to choose the best epoch on.

    `gt_index` and `jk_index`, where the data set brings them (VeRi-776), hold for every query the 0-based rows of
    `gallery` that are right answers and that are junk. `skipped` names pictures left out because they are unreadable,
    `passed_over` says what lies beside them.

    `gallery_draws`, where the protocol is a mean over random galleries (VehicleID), holds for each of them the 0-based
    rows of `(*query, *gallery)` that are its gallery; the other rows are its queries. The first are `gallery` itself.
    `parts` are the data sets that this one joins for training, each evaluated on its own. `drawn`: no camera took these
    pictures. `found_by` names what said which pictures show one vehicle, where nobody who knows did: figures are how
    far a model agrees with it.
    """

    name: str
    train: Split = ()
    query: Split = ()
    gallery: Split = ()
    gt_index: tuple[tuple[int, ...], ...] | None = None
    jk_index: tuple[tuple[int, ...], ...] | None = None
    skipped: tuple[PicturePath, ...] = ()
    gallery_draws: tuple[tuple[int, ...], ...] | None = None
    parts: tuple[VehicleDataset, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    validation: Split = ()
    drawn: bool = False
    found_by: str | None = None
