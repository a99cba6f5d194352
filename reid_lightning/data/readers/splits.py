"""Dividing other people's pictures into training, query and gallery where the data set brings no protocol.

Identities never cross from training to test, and every choice is a function of the pictures and the seed alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from reid_lightning.data.readers.layout import check_seed
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import composed

Cameras = Sequence[str | int] | str | int | None

SPLITS = ("train", "query", "gallery", "test", "val")
"""What a split column or group may say; "val" means "test" where there are no other test pictures."""


def build_dataset(
    name: str,
    images: Sequence[VehicleImage],
    *,
    splits: Sequence[str | None] | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
    fold: str | None = None,
    query_cameras: Cameras = None,
    gallery_cameras: Cameras = None,
) -> VehicleDataset:
    """A data set of `images`, of which `splits`, where given, says what each picture is for.

    Without `splits`, `split_by_identity` draws the test identities (with `fold` "2/5" `fold_by_identity` does: the
    second of five parts) and `query_gallery` divides their pictures. With
    it, "test" pictures go through `query_gallery`, unless pictures are marked "query": then "test" means the gallery,
    as in VeRi-776. "val" pictures choose the best epoch, or are test pictures where there are no others. Words are
    compared in lower case.
    """
    if splits is None or all(split is None for split in splits):
        if fold is None:
            train, test = split_by_identity(images, test_fraction=test_fraction, seed=seed)
        else:
            train, test = fold_by_identity(images, fold, seed=seed)
        query, gallery = query_gallery(test, query_cameras=query_cameras, gallery_cameras=gallery_cameras)
        return VehicleDataset(name=name, train=train, query=query, gallery=gallery)
    if fold is not None:
        raise ReIDError(
            f"{name}: data.fold={fold} divides the identities, and the pictures already say their split; remove the "
            "lists (data.train_list=null data.test_list=null), the split column or the split group."
        )
    parts = _by_split(images, splits)
    if parts["query"]:
        gallery = (*parts["gallery"], *parts["test"])
        if not gallery:
            raise ReIDError(f'{name}: pictures are marked "query" but none "gallery" or "test"; mark those to search.')
        if query_cameras is not None or gallery_cameras is not None:
            raise ReIDError(
                f"{name}: the pictures say themselves which are queries; remove data.query_cameras and "
                'data.gallery_cameras, or mark the pictures "test" instead of "query" and "gallery".'
            )
        return VehicleDataset(name, parts["train"], parts["query"], gallery, validation=parts["val"])
    if parts["gallery"]:
        raise ReIDError(f'{name}: pictures are marked "gallery" but none "query"; mark queries, or say "test" for all.')
    test, validation = (parts["test"], parts["val"]) if parts["test"] else (parts["val"], ())
    query, gallery = query_gallery(test, query_cameras=query_cameras, gallery_cameras=gallery_cameras)
    return VehicleDataset(name, parts["train"], query, gallery, validation=validation)


def split_by_identity(images: Sequence[VehicleImage], *, test_fraction: float, seed: int) -> tuple[Split, Split]:
    """(train, test) with no identity in both; `test_fraction` of the identities, rounded, are test.

    The identities with the smallest SHA-256 of "seed:identity" are test, so that the choice depends on neither the
    order of the pictures nor the random generators of a library version. Unless the fraction is 0 or 1, both sides
    get at least one identity.
    """
    number = isinstance(test_fraction, int | float) and not isinstance(test_fraction, bool)
    if not number or not 0 <= test_fraction <= 1:
        raise ReIDError(f"data.test_fraction is {test_fraction!r}; expected a number from 0 to 1, such as 0.5.")
    check_seed("data.seed", seed)
    identities = draw_order({image.identity for image in images}, seed)
    count = round(test_fraction * len(identities))
    if 0 < test_fraction < 1:
        if len(identities) < 2:
            raise ReIDError(
                f"{len(identities)} identity cannot be divided into training and test; expected at least 2. Check how "
                "identities are read, or set data.test_fraction=0 (all training) or 1 (all test)."
            )
        count = min(max(count, 1), len(identities) - 1)
    test = set(identities[:count])
    return (
        tuple(image for image in images if image.identity not in test),
        tuple(image for image in images if image.identity in test),
    )


def fold_by_identity(images: Sequence[VehicleImage], fold: str, *, seed: int) -> tuple[Split, Split]:
    """(train, test) of cross-validation: with `fold` "2/5" the second of five parts of the identities is test.

    The parts are drawn by `seed` (`draw_order`), differ by at most one identity, and each identity is test in one of
    them.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", str(fold))
    number, folds = (int(match[1]), int(match[2])) if match else (0, 0)
    identities = draw_order({image.identity for image in images}, seed)
    if not 1 <= number <= folds or not 2 <= folds <= len(identities):
        raise ReIDError(
            f"data.fold is {fold!r}; expected the part that is the test out of so many, such as 1/5, and at most as "
            f"many parts as there are identities ({len(identities):,})."
        )
    check_seed("data.seed", seed)
    test = set(identities[number - 1 :: folds])
    return (
        tuple(image for image in images if image.identity not in test),
        tuple(image for image in images if image.identity in test),
    )


def query_gallery(
    images: Sequence[VehicleImage], *, query_cameras: Cameras = None, gallery_cameras: Cameras = None
) -> tuple[Split, Split]:
    """(query, gallery) out of test pictures, in their order.

    - With camera lists, the pictures of these cameras; if one list is missing it means all other cameras.
    - Without, VeRi-776's way: the gallery is all pictures, and the first picture of each identity under each camera
      is a query, provided that another camera sees the identity too. The evaluation's junk rule (same identity, same
      camera) keeps a query from finding itself.
    - Where no picture has a camera there is no such rule: the first picture of each identity that has several is a
      query and all other pictures are the gallery.
    """
    if not images:
        return (), ()
    without_camera = [image for image in images if image.camera is None]
    if query_cameras is not None or gallery_cameras is not None:
        return _by_camera(images, query_cameras, gallery_cameras, known=not without_camera)
    if not without_camera:
        return _first_of_each_camera(images), tuple(images)
    if len(without_camera) < len(images):
        raise ReIDError(
            f"{len(without_camera):,} of {len(images):,} test pictures have no camera, such as "
            f"{without_camera[0].path}; expected all or none of them. Give every picture its camera."
        )
    counts: dict[str, int] = defaultdict(int)
    for image in images:
        counts[image.identity] += 1
    query: list[VehicleImage] = []
    gallery: list[VehicleImage] = []
    seen: set[str] = set()
    for image in images:
        first = image.identity not in seen and counts[image.identity] > 1
        seen.add(image.identity)
        (query if first else gallery).append(image)
    if not query:
        raise ReIDError(
            f"None of the {len(seen):,} test identities has a second picture, so no query has a match. Check how "
            "identities are read from the names or the table."
        )
    return tuple(query), tuple(gallery)


def _first_of_each_camera(images: Sequence[VehicleImage]) -> Split:
    cameras_of: dict[str, set[str | None]] = defaultdict(set)
    for image in images:
        cameras_of[image.identity].add(image.camera)
    first: dict[tuple[str, str | None], VehicleImage] = {}
    for image in images:
        if len(cameras_of[image.identity]) > 1:
            first.setdefault((image.identity, image.camera), image)
    if not first:
        raise ReIDError(
            f"None of the {len(cameras_of):,} test identities is seen by two cameras, so under the usual rule (same "
            "identity, other camera) no query has a match. Check how identity and camera are read from the names or "
            "the table; if there is one camera only, leave the camera out."
        )
    return tuple(first.values())


def _by_camera(
    images: Sequence[VehicleImage], query_cameras: Cameras, gallery_cameras: Cameras, *, known: bool
) -> tuple[Split, Split]:
    cameras = sorted({image.camera for image in images if image.camera is not None})
    if not known:
        raise ReIDError(
            "data.query_cameras and data.gallery_cameras need a camera for every test picture; read it with a "
            "(?P<camera>...) group or a camera column, or remove both settings."
        )
    wanted = {"query": camera_names(query_cameras), "gallery": camera_names(gallery_cameras)}
    for part, names in wanted.items():
        unknown = sorted((names or set()) - set(cameras))
        if unknown or names == set():
            raise ReIDError(
                f"data.{part}_cameras: {', '.join(unknown) or 'the empty list'} is not a camera of the test pictures; "
                f"expected some of {', '.join(cameras)} (names with leading zeros need quotes: "
                f"'data.{part}_cameras=[\"01\"]')."
            )
    query = wanted["query"] or set(cameras) - (wanted["gallery"] or set())
    gallery = wanted["gallery"] or set(cameras) - query
    if not (query and gallery):
        raise ReIDError(
            f"data.query_cameras and data.gallery_cameras leave no {'gallery' if query else 'query'}: the test "
            f"pictures have only the cameras {', '.join(cameras)}. Name both lists."
        )
    return (
        tuple(image for image in images if image.camera in query),
        tuple(image for image in images if image.camera in gallery),
    )


def _by_split(images: Sequence[VehicleImage], splits: Sequence[str | None]) -> dict[str, Split]:
    parts: dict[str, list[VehicleImage]] = {split: [] for split in SPLITS}
    for image, split in zip(images, splits, strict=True):
        word = (split or "").lower()
        if word not in SPLITS:
            raise ReIDError(f"{image.path}: its split is {split!r}; expected one of {', '.join(SPLITS)}.")
        parts[word].append(image)
    return {name: tuple(part) for name, part in parts.items()}


def camera_names(cameras: Cameras) -> set[str] | None:
    """As records have them, from what a configuration says; None for None."""
    if cameras is None:
        return None
    return {composed(str(camera)) for camera in ([cameras] if isinstance(cameras, str | int) else cameras)}


def draw_order(identities: Iterable[str], seed: int) -> list[str]:
    """Identities in an order that is drawn by the seed, and depends on nothing else."""
    return sorted(identities, key=lambda identity: (hashlib.sha256(f"{seed}:{identity}".encode()).digest(), identity))
