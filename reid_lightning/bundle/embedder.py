"""Pictures in, embeddings out: a loaded model together with its preprocessing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from reid_lightning.bundle.bundle import BundleOptions, LoadedModel
from reid_lightning.data.images.decoding import resize, resize_exactly
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import in_rgb
from reid_lightning.errors import ReIDError, first_line
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE

if TYPE_CHECKING:
    from reid_lightning.models.reid_model import ReIDOutput

Backend = Literal["auto", "torch", "onnx"]


class Embedder(ABC):
    """What search asks of a model. Subclasses run the network, all else is here, so that backends cannot differ.

    `options` says everything known of the model (metrics, data, fingerprint), `device` is where it runs.
    """

    def __init__(self, options: BundleOptions, *, device: torch.device) -> None:
        self.options = options
        self.device = device

    @property
    def preprocessing(self) -> Preprocessing:
        """What `embed` does to pictures."""
        return self.options.preprocessing

    @property
    def embedding_dim(self) -> int:
        """Numbers in one embedding."""
        return self.options.embedding_dim

    @property
    def calibration(self) -> Calibration | None:
        """What was measured on pairs of pictures, image to image: the threshold, its rates of false and of true
        matches, and how the pairs scored; None: none was stored."""
        return self._calibration("cosine")

    @property
    def threshold(self) -> float | None:
        """The calibrated cosine similarity from which on two pictures count as one vehicle; None: none was stored."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def flip_threshold(self) -> float | None:
        """The same for pictures embedded with `flip=True`, whose similarities are others."""
        calibration = self._calibration(with_flip("cosine"))
        return None if calibration is None else calibration.threshold

    def _calibration(self, metric: str) -> Calibration | None:
        values = self.options.calibration.get(f"{IMAGE_TO_IMAGE}, {metric}")
        return None if values is None else Calibration(**values)

    @torch.inference_mode()
    def embed(
        self,
        images: Sequence[Image.Image | np.ndarray] | Tensor,
        *,
        batch_size: int = 32,
        normalize: bool = True,
        flip: bool = False,
        cameras: Sequence[str | None] | None = None,
        viewpoints: Sequence[str | None] | None = None,
    ) -> Tensor:
        """Embed pictures.

        Args:
            images: PIL pictures of any size and mode or arrays (height, width, 3) uint8 RGB (preprocessed as in
                training), or a preprocessed tensor (N, 3, height, width). PIL pictures as opened, not loaded or copied:
                Pillow forgets with it how many bits a PNG has (`data.picture_colours.as_seen`).
            batch_size: pictures a forward pass.
            normalize: False gives the embeddings as the network does, whose lengths matter to MED and RSCR.
            flip: the mean of what the network gives for a picture and for its mirror image, normalised only then; takes
                twice the time. Compare such embeddings with their like only, and by `flip_threshold`.
            cameras: names of the cameras of the pictures, for a model that was trained with side information; names
                that it has not been trained with, and None, are unknown cameras. Others take no notice.
            viewpoints: likewise.

        Returns:
            (N, dim) float32 on the CPU, each row of length 1. Their dot products are cosine similarities.

        Raises:
            ReIDError: what came is no list of pictures, or the model gives no embeddings for them: NaN or infinity.
        """
        if batch_size < 1:
            raise ReIDError(f"batch_size is {batch_size}; expected 1 or more.")
        self._check(images)
        unknown: list[str | None] = [None] * len(images)
        sides = self._positions_of(cameras or unknown, viewpoints or unknown)
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
        self._check_embeddings(embeddings, len(images))
        return functional.normalize(embeddings, dim=1) if normalize else embeddings

    @abstractmethod
    def _run(self, images: Tensor, cameras: Tensor, viewpoints: Tensor) -> Tensor:
        """Preprocessed (B, 3, height, width) and positions (B,), (B,), all on `device` -> (B, dim), not normalised."""

    def _positions_of(self, cameras: Sequence[str | None], viewpoints: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Names (N,), (N,) -> positions (N,), (N,) as `ReIDModel.positions_of` gives them; here: all unknown."""
        return torch.full((len(cameras),), -1), torch.full((len(viewpoints),), -1)

    def _embed_batch(
        self, images: Sequence[Image.Image | np.ndarray] | Tensor, cameras: Tensor, viewpoints: Tensor, *, flip: bool
    ) -> Tensor:
        batch = (images if isinstance(images, Tensor) else self._preprocessed(images)).to(self.device)
        sides = cameras.to(self.device), viewpoints.to(self.device)
        embeddings = self._run(batch, *sides)
        if flip:
            embeddings = (embeddings + self._run(batch.flip(-1), *sides)) / 2
        return embeddings.cpu()

    def _preprocessed(self, images: Sequence[Image.Image | np.ndarray]) -> Tensor:
        """The numbers of `Preprocessing.__call__`; normalising them all at once halves the time of small crops."""
        levels = np.stack([_levels(image, self.preprocessing) for image in images])
        return self.preprocessing.finish(torch.from_numpy(levels))

    def _check(self, images: Sequence[Image.Image | np.ndarray] | Tensor) -> None:
        if isinstance(images, Tensor):
            expected = (3, self.preprocessing.height, self.preprocessing.width)
            if images.ndim != 4 or tuple(images.shape[1:]) != expected:
                raise ReIDError(
                    f"images has shape {tuple(images.shape)}; expected (N, {', '.join(map(str, expected))})."
                )
            return
        listed = isinstance(images, Sequence) and not isinstance(images, str | bytes)
        listed = listed or (isinstance(images, np.ndarray) and images.ndim == 4)
        wrong = [image for image in images if not is_picture(image)] if listed else [images]
        if wrong:
            came = describe(wrong[0])
            raise ReIDError(
                f"images holds {came}; expected a list of PIL pictures or of uint8 arrays (H, W, 3), or a tensor "
                "(N, 3, H, W)."
            )

    def _check_embeddings(self, embeddings: Tensor, count: int) -> None:
        if tuple(embeddings.shape) != (count, self.embedding_dim):
            raise ReIDError(
                f"the model gave embeddings {tuple(embeddings.shape)} for {count} pictures; its options say "
                f"{(count, self.embedding_dim)}. Its file has changed: export the bundle again."
            )
        if not embeddings.isfinite().all():
            row = int((~embeddings.isfinite()).any(dim=1).nonzero()[0])
            raise ReIDError(
                f"the model gave NaN or infinity for picture {row}: its weights are damaged or too large, or the "
                "tensor that came holds such values."
            )


class ReIDEmbedder(Embedder):
    """A model ready to embed; `options` says everything known of it (metrics, data, fingerprint)."""

    def __init__(self, loaded: LoadedModel, *, device: str | torch.device = "cpu") -> None:
        super().__init__(loaded.options, device=usable_device(device))
        self.model = loaded.model.to(self.device).eval()

    def _run(self, images: Tensor, cameras: Tensor, viewpoints: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)  # as training and evaluation: up to twice as fast
        output: ReIDOutput = self.model(images, cameras, viewpoints)
        return output.embeddings.float()

    def _positions_of(self, cameras: Sequence[str | None], viewpoints: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        return self.model.positions_of(cameras, viewpoints)


def with_flip(name: str) -> str:
    """What a metric or a model is called where pictures were embedded with `flip=True`: no figure and no threshold of
    theirs holds without."""
    return f"{name}, flip"


def is_picture(image: object) -> bool:
    """Whether it is a PIL picture or a uint8 array (H, W, 3) with at least one pixel."""
    if isinstance(image, np.ndarray):
        return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    return isinstance(image, Image.Image)


def describe(image: object) -> str:
    """What it is, for messages about what is no picture."""
    if isinstance(image, np.ndarray):
        return f"an array {image.shape} of {image.dtype}"
    return f"a {type(image).__name__}"


def usable_device(device: str | torch.device) -> torch.device:
    """The device; ReIDError where it does not exist here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ReIDError(
            f"device is {str(device)!r}, which cannot be used here ({first_line(error)}); device=cpu always works."
        ) from error
    return found


def _levels(image: Image.Image | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """A picture -> uint8 (height, width, 3), as `Preprocessing.__call__` has it before normalising."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else in_rgb(image)
    height, width, interpolation = preprocessing.height, preprocessing.width, preprocessing.interpolation
    if preprocessing.resize == "fast":
        return resize(np.array(image), height, width, interpolation=interpolation)
    return resize_exactly(image, height, width, interpolation=interpolation)
