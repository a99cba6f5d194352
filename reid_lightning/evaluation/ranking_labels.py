"""The identities, cameras and junk of a data set's query and gallery pictures, as rankings take them."""

from __future__ import annotations

from typing import Any

from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError


def ranking_labels(dataset: VehicleDataset) -> dict[str, Any]:
    """Keyword arguments for `ranking.evaluate_retrieval` and its kin.

    With cameras, pictures of the query's identity and camera are junk. Without them only the query itself is, where it
    is in the gallery too (`jk_index`).

    Raises:
        ReIDError: some pictures have a camera and some have none.
    """
    images = (*dataset.query, *dataset.gallery)
    unknown = [image for image in images if image.camera is None]
    if 0 < len(unknown) < len(images):
        raise ReIDError(
            f"{len(unknown):,} of {len(images):,} query and gallery pictures of {dataset.name} have no camera, such as "
            f"{unknown[0].path}; the rest have one. Give all of them a camera, or none."
        )
    labels: dict[str, Any] = {
        "query_ids": [image.identity for image in dataset.query],
        "gallery_ids": [image.identity for image in dataset.gallery],
        "query_cameras": None,
        "gallery_cameras": None,
        "jk_index": None,
    }
    if not unknown:
        labels["query_cameras"] = [str(image.camera) for image in dataset.query]
        labels["gallery_cameras"] = [str(image.camera) for image in dataset.gallery]
    else:
        rows_of: dict[Any, list[int]] = {}
        for row, image in enumerate(dataset.gallery):
            rows_of.setdefault(image.path, []).append(row)
        itself = [rows_of.get(image.path, []) for image in dataset.query]
        labels["jk_index"] = itself if any(itself) else None
    return labels
