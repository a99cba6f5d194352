"""Several data sets as one for training, with names that cannot meet, and each evaluated on its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reid_lightning.data.inspection.overlap import Content, Place, content_finder, place_finder
from reid_lightning.data.records import PicturePath, Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # it becomes a folder of the run


def join_datasets(*, sets: Mapping[str, VehicleDataset], validate_on: str | None = None) -> VehicleDataset:
    """All training pictures of `sets`, whose identities, cameras and tracks get the set's name before theirs
    ("veri776/0002"), so that vehicle 0002 of one set is never vehicle 0002 of another.

    `query`, `gallery` and `validation` are those of the set `validate_on`, by which training picks its best epoch; by
    default of the first one that has queries. `parts` are the sets under their new names, for evaluating each by its
    own protocol.

    Raises:
        ReIDError: no sets, names that cannot be folders, sets of which none or not `validate_on` can be evaluated, a
            training picture that another set has too.
    """
    if not sets:
        raise ReIDError(
            "data.sets is empty; name the sets to join: '+data@data.sets.veri776=veri776' "
            "data.sets.veri776.root=<folder>, and so on."
        )
    for name, dataset in sets.items():
        if not _NAME.fullmatch(str(name)):
            raise ReIDError(f"data.sets: {name!r} is no name for a set; use letters, digits, - and _.")
        if not isinstance(dataset, VehicleDataset):
            raise ReIDError(
                f"data.sets.{name} is {type(dataset).__name__}; expected a reader: '+data@data.sets.{name}=<reader>'."
            )
        if dataset.parts:
            raise ReIDError(f"data.sets.{name} is joined itself; name its sets here instead.")
    parts = {name: _namespaced(dataset, name) for name, dataset in sets.items()}
    _check_apart(parts)
    judged = [name for name, part in parts.items() if part.query and part.gallery]
    if validate_on is not None and validate_on not in judged:
        raise ReIDError(_no_judge(validate_on, parts, judged))
    main = parts[validate_on or judged[0]] if judged else VehicleDataset("none")
    return replace(
        main,
        name="+".join(parts),
        train=tuple(image for part in parts.values() for image in part.train),
        skipped=tuple(path for part in parts.values() for path in part.skipped),
        passed_over=tuple(line for part in parts.values() for line in part.passed_over),
        parts=(*([main] if judged else []), *(part for part in parts.values() if part is not main)),
    )


def _no_judge(validate_on: str, names: Collection[str], judged: Sequence[str]) -> str:
    what = "has no query and gallery pictures" if validate_on in names else "is no set of data.sets"
    if judged:
        return f"data.validate_on is {validate_on!r}, which {what}; expected one of {', '.join(judged)}."
    return (
        f"data.validate_on is {validate_on!r}, which {what}; no other set has query and gallery pictures either. Add "
        "one that has, or hold some identities of a set out, such as with data.sets.<name>.test_fraction=0.2."
    )


def _namespaced(dataset: VehicleDataset, name: str) -> VehicleDataset:
    def rename(image: VehicleImage) -> VehicleImage:
        camera, track = (value if value is None else f"{name}/{value}" for value in (image.camera, image.track))
        return replace(image, identity=f"{name}/{image.identity}", camera=camera, track=track)

    def all_of(split: Split) -> Split:
        return tuple(map(rename, split))

    names = ("train", "query", "gallery", "validation")
    splits: dict[str, Any] = {split: all_of(getattr(dataset, split)) for split in names}
    return replace(dataset, name=name, **splits)


def _check_apart(parts: Mapping[str, VehicleDataset]) -> None:
    """No training picture may be in another set: it would be two vehicles at once, or a test picture learned."""
    images = [image.path for part in parts.values() for image in (*part.train, *part.query, *part.gallery)]
    place_of, content_of = place_finder(), content_finder(images)

    def keys(path: PicturePath) -> list[Place | Content]:
        content = content_of(path)
        return [place_of(path)] if content is None else [place_of(path), content]

    trained: dict[Place | Content, tuple[str, PicturePath]] = {}
    for name, part in parts.items():
        for image in part.train:
            for key in keys(image.path):
                other, learned = trained.setdefault(key, (name, image.path))
                if other != name:
                    raise ReIDError(
                        f"{image.path} is a training picture of data.sets.{other} and of data.sets.{name}"
                        f"{_spelled(learned, image.path, other)}. Take it out of one of them."
                    )
    for name, part in parts.items():
        for image in (*part.query, *part.gallery):
            for key in keys(image.path):
                other, learned = trained.get(key, (name, image.path))
                if other != name:
                    raise ReIDError(
                        f"{image.path} is a training picture of data.sets.{other} and a test picture of "
                        f"data.sets.{name}{_spelled(learned, image.path, other)}. Take it out of one of them."
                    )


def _spelled(first: PicturePath, second: PicturePath, name: str) -> str:
    return "" if str(first) == str(second) else f" (in data.sets.{name} as {first})"
