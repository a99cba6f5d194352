"""The identities and cameras of a data set's query and gallery pictures, as rankings take them."""

from __future__ import annotations

from reid_lightning.data.records import VehicleDataset


def protocol_of(dataset: VehicleDataset) -> dict[str, list[str] | None]:
    """Keyword arguments for `ranking.evaluate_retrieval` and its kin; no cameras unless every picture has one."""
    known = all(image.camera is not None for image in (*dataset.query, *dataset.gallery))
    return {
        "query_ids": [image.identity for image in dataset.query],
        "gallery_ids": [image.identity for image in dataset.gallery],
        "query_cameras": [str(image.camera) for image in dataset.query] if known else None,
        "gallery_cameras": [str(image.camera) for image in dataset.gallery] if known else None,
    }
