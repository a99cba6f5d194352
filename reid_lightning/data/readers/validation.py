"""Which pictures choose the best epoch of a training: never the ones that its final figures come from, unless asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reid_lightning.data.readers.splits import draw_order, query_gallery
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, count

Validation = float | Literal["test"]

_LEAST = 2  # identities: among the pictures of a single one every ranking is right


@dataclass(frozen=True)
class Divided:
    """A data set for training: `train` holds what is trained on, `validation` the query and gallery pictures by which
    the best epoch is chosen, and `chosen_on` says in words which these are."""

    train: VehicleDataset
    validation: VehicleDataset
    chosen_on: str

    @property
    def on_test(self) -> bool:
        """Whether the epoch is chosen on the pictures of the final figures."""
        return self.validation is self.train


def divide(dataset: VehicleDataset, validation: Validation, *, seed: int) -> Divided:
    """Put pictures aside to validate on.

    The data set's own validation pictures, if it has some; else all pictures of a share of the training identities,
    two at least, which the classifier then does not have. These are the ones that come first by a hash of the seed and
    their names, out of those that can be searched for: seen by two cameras, or, if none is, in two pictures, whose
    cameras do not count then. Of a joined set they are identities of the set that it is validated on.

    Args:
        validation: the share; or "test": the query and gallery pictures, as most published code does.
        seed: of the choice.

    Raises:
        ReIDError: too few identities to put some aside.
    """
    if validation == "test":
        return Divided(dataset, dataset, "the very query and gallery pictures of the final figures")
    name = f"{dataset.name}, validation"
    if dataset.validation:
        query, gallery = query_gallery(dataset.validation)
        words = f"{count(len(dataset.validation), 'validation picture')} of the data set"
        return Divided(dataset, VehicleDataset(name, query=query, gallery=gallery), words)
    pool = (dataset.parts[0].train if dataset.parts else ()) or dataset.train
    held_out = {image.identity for image in pool}
    everyone = {image.identity for image in dataset.train}
    candidates, with_cameras = _searchable(pool)
    wanted = max(_LEAST, round(validation * len(held_out)))
    if len(candidates) < _LEAST or len(everyone) - min(wanted, len(candidates)) < _LEAST:
        raise ReIDError(
            f"data set {dataset.name!r} has {count(len(everyone), 'training identity', 'training identities')}, "
            f"{len(candidates):,} of them with pictures to find each other by: too few to choose the best epoch on "
            "some of them. Set data.validation=test to choose it on the query pictures of the final figures, which "
            "then flatter."
        )
    held_out = set(draw_order(candidates, seed)[:wanted])
    images = [image for image in pool if image.identity in held_out]
    query, gallery = query_gallery(images if with_cameras else [replace(image, camera=None) for image in images])
    train = tuple(image for image in dataset.train if image.identity not in held_out)
    return Divided(
        replace(dataset, train=train),
        VehicleDataset(name, query=query, gallery=gallery),
        f"pictures of {len(held_out):,} of {len(everyone):,} training identities, which were put aside",
    )


def _searchable(images: Sequence[VehicleImage]) -> tuple[set[str], bool]:
    """Identities that have a query with a right answer, and whether that takes another camera."""
    cameras: dict[str, list[str | None]] = defaultdict(list)
    for image in images:
        cameras[image.identity].append(image.camera)
    if all(image.camera is not None for image in images):
        crossing = {identity for identity, seen in cameras.items() if len(set(seen)) > 1}
        if len(crossing) >= _LEAST:
            return crossing, True
    return {identity for identity, seen in cameras.items() if len(seen) > 1}, False
