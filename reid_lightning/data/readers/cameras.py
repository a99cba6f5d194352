"""Cameras that are kept for the test: what a model is worth on a scene that it has never seen."""

from __future__ import annotations

from dataclasses import replace

from reid_lightning.data.readers.splits import Cameras, camera_names
from reid_lightning.data.records import Split, VehicleDataset
from reid_lightning.errors import ReIDError


def keep_for_test(dataset: VehicleDataset, cameras: Cameras) -> VehicleDataset:
    """`dataset` with the pictures of `cameras` for the test alone: training and validation go without them, queries
    and gallery have no others. None: the data set as it is.

    Raises:
        ReIDError: cameras that are not in it, a split that would be left without pictures, queries that would be left
            without right answers, joined sets, or a protocol of random galleries (VehicleID).
    """
    names = camera_names(cameras)
    if names is None:
        return dataset
    if dataset.gallery_draws or dataset.parts:
        what = "a mean over random galleries" if dataset.gallery_draws else "joined of several sets"
        raise ReIDError(f"data.test_cameras: {dataset.name} is {what}, of which no cameras can be kept; leave it out.")
    known = sorted({image.camera for image in (*dataset.query, *dataset.gallery) if image.camera is not None})
    unknown = sorted(names - set(known))
    if unknown or not names:
        raise ReIDError(
            f"data.test_cameras: {', '.join(unknown) or 'the empty list'} is not a camera of the test pictures of "
            f"{dataset.name}; expected some of {', '.join(known) or 'none: they have no cameras'} (names with leading "
            "zeros need quotes: 'data.test_cameras=[\"01\"]')."
        )

    def of(split: Split, *, test: bool) -> Split:
        return tuple(image for image in split if (image.camera in names) is test)

    kept = replace(
        dataset,
        name=f"{dataset.name}, cameras {', '.join(sorted(names))}",
        train=of(dataset.train, test=False),
        validation=of(dataset.validation, test=False),
        query=of(dataset.query, test=True),
        gallery=of(dataset.gallery, test=True),
        gt_index=_rows_kept(dataset, dataset.gt_index, names),
        jk_index=_rows_kept(dataset, dataset.jk_index, names),
    )
    empty = [word for word in ("query", "gallery") if not getattr(kept, word)]
    if dataset.train and not kept.train:
        empty.append("training")
    if empty:
        raise ReIDError(
            f"data.test_cameras={sorted(names)} leaves no {empty[0]} pictures of {dataset.name}; its cameras are "
            f"{', '.join(known)}. Name fewer or other ones."
        )
    if not _has_right_answers(kept):
        raise ReIDError(
            f"data.test_cameras={sorted(names)} leaves no query of {dataset.name} with a right answer: a picture of "
            "the same vehicle before another of these cameras. Name several that see the same vehicles, of "
            f"{', '.join(known)}."
        )
    return kept


def _has_right_answers(dataset: VehicleDataset) -> bool:
    if dataset.gt_index is not None:
        return any(dataset.gt_index)
    seen = {(image.identity, image.camera) for image in dataset.gallery}
    cameras: dict[str, set[str | None]] = {}
    for identity, camera in seen:
        cameras.setdefault(identity, set()).add(camera)
    return any(cameras.get(image.identity, set()) - {image.camera} for image in dataset.query)


def _rows_kept(
    dataset: VehicleDataset, index: tuple[tuple[int, ...], ...] | None, names: set[str]
) -> tuple[tuple[int, ...], ...] | None:
    """`index` for the queries and in the rows of the gallery that are left."""
    if index is None:
        return None
    kept = [row for row, image in enumerate(dataset.gallery) if image.camera in names]
    new = {row: position for position, row in enumerate(kept)}
    return tuple(
        tuple(new[row] for row in rows if row in new)
        for image, rows in zip(dataset.query, index, strict=True)
        if image.camera in names
    )
