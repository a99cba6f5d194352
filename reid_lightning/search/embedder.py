"""Pictures in, embeddings out: a loaded model together with its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from reid_lightning.bundle import BundleOptions, LoadedModel, load
from reid_lightning.data.transforms import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE


class ReIDEmbedder:
    """A model ready to embed; `options` says everything known of it (metrics, data, fingerprint)."""

    def __init__(self, loaded: LoadedModel, *, device: str | torch.device = "cpu") -> None:
        self.device = _usable_device(device)
        self.model = loaded.model.to(self.device).eval()
        self.options: BundleOptions = loaded.options

    @property
    def preprocessing(self) -> Preprocessing:
        """What `embed` does to PIL pictures."""
        return self.options.preprocessing

    @property
    def embedding_dim(self) -> int:
        """Numbers in one embedding."""
        return self.options.embedding_dim

    @property
    def threshold(self) -> float | None:
        """The calibrated cosine similarity from which on two pictures count as one vehicle; None: none was stored."""
        return self._threshold("cosine")

    @property
    def flip_threshold(self) -> float | None:
        """The same for pictures embedded with `flip=True`, whose similarities are others."""
        return self._threshold(with_flip("cosine"))

    def _threshold(self, metric: str) -> float | None:
        return self.options.calibration.get(f"{IMAGE_TO_IMAGE}, {metric}", {}).get("threshold")

    @torch.inference_mode()
    def embed(
        self,
        images: Sequence[Image.Image] | Tensor,
        *,
        batch_size: int = 32,
        normalize: bool = True,
        flip: bool = False,
        cameras: Sequence[str | None] | None = None,
        viewpoints: Sequence[str | None] | None = None,
    ) -> Tensor:
        """Embed pictures.

        Args:
            images: PIL pictures of any size and mode (preprocessed as in training), or a preprocessed tensor
                (N, 3, height, width).
            batch_size: pictures a forward pass.
            normalize: False gives the embeddings as the network does, whose lengths matter to MED and RSCR.
            flip: the mean of what the network gives for a picture and for its mirror image, normalised only then; takes
                twice the time. Compare such embeddings with their like only, and by `flip_threshold`.
            cameras: names of the cameras of the pictures, for a model that was trained with side information; names
                that it has not been trained with, and None, are unknown cameras. Others take no notice.
            viewpoints: likewise.

        Returns:
            (N, dim) float32 on the CPU, each row of length 1. Their dot products are cosine similarities.
        """
        if batch_size < 1:
            raise ReIDError(f"batch_size is {batch_size}; expected 1 or more.")
        if isinstance(images, Tensor):
            expected = (3, self.preprocessing.height, self.preprocessing.width)
            if images.ndim != 4 or tuple(images.shape[1:]) != expected:
                raise ReIDError(
                    f"images has shape {tuple(images.shape)}; expected (N, {', '.join(map(str, expected))})."
                )
        else:
            wrong = next((image for image in images if not isinstance(image, Image.Image)), None)
            if isinstance(images, Image.Image) or wrong is not None:
                came = type(images if wrong is None else wrong).__name__
                raise ReIDError(f"images holds a {came}; expected a list of PIL pictures or a tensor (N, 3, H, W).")
        unknown: list[str | None] = [None] * len(images)
        sides = self.model.side_positions(cameras or unknown, viewpoints or unknown)
        if any(len(positions) != len(images) for positions in sides):
            raise ReIDError(
                f"{len(images)} pictures came with {len(sides[0])} cameras and {len(sides[1])} viewpoints; expected "
                "one for each picture."
            )
        parts = []
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            parts.append(self._embed_batch(images[rows], *(positions[rows] for positions in sides), flip=flip))
        embeddings = torch.cat(parts) if parts else torch.empty(0, self.embedding_dim)
        return functional.normalize(embeddings, dim=1) if normalize else embeddings

    def _embed_batch(
        self, images: Sequence[Image.Image] | Tensor, cameras: Tensor, viewpoints: Tensor, *, flip: bool
    ) -> Tensor:
        batch = images if isinstance(images, Tensor) else torch.stack([self.preprocessing(image) for image in images])
        batch, sides = batch.to(self.device), (cameras.to(self.device), viewpoints.to(self.device))
        embeddings = self.model(batch, *sides).embeddings.float()
        if flip:
            embeddings = (embeddings + self.model(batch.flip(-1), *sides).embeddings.float()) / 2
        return embeddings.cpu()


def with_flip(name: str) -> str:
    """What a metric or a model is called where pictures were embedded with `flip=True`: no figure and no threshold of
    theirs holds without."""
    return f"{name}, flip"


def load_reid_model(
    opts_path: str | Path | None, checkpoint_path: str | Path | None = None, device: str | torch.device = "cpu"
) -> ReIDEmbedder:
    """Load a model for embedding. Needs neither a network nor the training configuration.

    Args:
        opts_path: a bundle folder or its `opts.yaml`. None when `checkpoint_path` is a training checkpoint, which
            brings its own options.
        checkpoint_path: the bundle's `model.safetensors` or a training checkpoint (`.ckpt`). None: the weights beside
            `opts_path`.
        device: where to embed ("cpu", "cuda", "cuda:1", "mps").

    Raises:
        ReIDError: a file is missing, damaged, or of another architecture; the device does not exist.
    """
    opts = None if opts_path is None else Path(opts_path)
    checkpoint = None if checkpoint_path is None else Path(checkpoint_path)
    return ReIDEmbedder(load(opts, checkpoint), device=device)


def _usable_device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ReIDError(
            f"device is {str(device)!r}, which cannot be used here ({reason}); device=cpu always works."
        ) from error
    return found
