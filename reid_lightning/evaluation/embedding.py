"""The pictures of a data set as embeddings with the names of what they show, ready to be ranked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.data.batches.dataset import PictureDataset, whole_batch
from reid_lightning.data.records import Split, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.table import EmbeddingTable


def embed_pictures(
    embedder: Embedder,
    images: Split,
    *,
    batch_size: int = 64,
    num_workers: int = 0,
    flip: bool = False,
    title: str | None = "embedding",
) -> Tensor:
    """Embed the pictures of records, in order: (len(images), dim) float32 on the CPU, as the network gives them, not
    normalised: lengths matter to Euclidean distances and to RSCR. `flip` as in `ReIDEmbedder.embed`. Shows progress
    under `title`, if there is one."""
    preprocessing = embedder.preprocessing
    pictures = PictureDataset(images, preprocessing.load, numbering={})
    loader = DataLoader(pictures, batch_size=batch_size, num_workers=num_workers, collate_fn=whole_batch)
    parts = []
    for batch in track(loader, title or "", transient=True, disable=title is None):
        shown = [images[row] for row in batch.rows.tolist()]
        parts.append(
            embedder.embed(
                preprocessing.finish(batch.images),
                batch_size=batch_size,
                normalize=False,
                flip=flip,
                cameras=[image.camera for image in shown],
                viewpoints=[image.viewpoint for image in shown],
            )
        )
    return torch.cat(parts)


def table_of(images: Sequence[VehicleImage], embeddings: Tensor, *, model: str = "") -> EmbeddingTable:
    """Embeddings (images, dim) with the names that the records give; a picture is called by its path. Where only some
    pictures have a track, the others are tracks of one picture.

    Raises:
        ReIDError: some pictures have a camera and some have none.
    """
    names = tuple(str(image.path) for image in images)
    identities = tuple(image.identity for image in images)
    unknown = [image for image in images if image.camera is None]
    if 0 < len(unknown) < len(images):
        raise ReIDError(
            f"{len(unknown):,} of {len(images):,} pictures have no camera, such as {unknown[0].path}; the rest have "
            "one. Give all of them a camera, or none."
        )
    cameras = None if unknown else tuple(str(image.camera) for image in images)
    tracked = any(image.track is not None for image in images)
    tracks = tuple(image.track or str(image.path) for image in images) if tracked else None
    return EmbeddingTable(embeddings, identities, cameras, tracks, names, model)
