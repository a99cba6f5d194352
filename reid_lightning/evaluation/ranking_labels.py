"""The identities, cameras and junk of a data set's query and gallery pictures, as rankings take them."""

from __future__ import annotations

from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import RankingLabels
from reid_lightning.ranking.protocols import rows_of_queries


def ranking_labels(dataset: VehicleDataset) -> RankingLabels:
    """With cameras, pictures of the query's identity and camera are junk. Without them only the query itself is, where
    it is in the gallery too (`jk_index`).

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
    labels: RankingLabels = {
        "query_ids": [image.identity for image in dataset.query],
        "gallery_ids": [image.identity for image in dataset.gallery],
    }
    if not unknown:
        labels["query_cameras"] = [str(image.camera) for image in dataset.query]
        labels["gallery_cameras"] = [str(image.camera) for image in dataset.gallery]
    else:
        itself = rows_of_queries([image.path for image in dataset.query], [image.path for image in dataset.gallery])
        labels["jk_index"] = itself if any(itself) else None
    return labels
