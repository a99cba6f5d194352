"""Any torch module as an embedder, with square pictures and ImageNet's mean and std.

For models that come without a bundle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_lightning.bundle.bundle import BundleOptions
from reid_lightning.bundle.embedder import Embedder, usable_device
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError, first_line


class ModuleEmbedder(Embedder):
    """A module that maps pictures (B, 3, H, W) to embeddings (B, dim).

    The module is moved to `device` and put into evaluation mode. It has no fingerprint and no threshold.

    Args:
        module: is tried on one black picture at once, so that one that does not fit is noticed before any work.
        input_size: height and width of its pictures in pixels.
        device: where it runs.
    """

    def __init__(self, module: nn.Module, input_size: int = 224, *, device: str | torch.device = "cpu") -> None:
        usable = usable_device(device)
        preprocessing = Preprocessing(input_size, input_size)
        self.module = module.to(usable).eval()
        with torch.inference_mode():
            try:
                output = self.module(torch.zeros(1, 3, input_size, input_size, device=usable))
            except (AssertionError, RuntimeError, TypeError, ValueError) as error:
                raise ReIDError(
                    f"the model cannot embed a picture (1, 3, {input_size}, {input_size}): {first_line(error)}. Give "
                    "the input_size that it was made for."
                ) from error
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 1 or not output.is_floating_point():
            came = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise ReIDError(f"the model gives {came} for one picture; expected a tensor (1, dim) of real numbers.")
        super().__init__(BundleOptions({}, preprocessing, embedding_dim=output.shape[1]), device=usable)

    def _run(self, images: Tensor, cameras: Tensor, viewpoints: Tensor) -> Tensor:
        embeddings: Tensor = self.module(images)
        return embeddings.float()


def as_embedder(model: Embedder | nn.Module, input_size: int = 224, device: str | torch.device = "cpu") -> Embedder:
    """An embedder as it is, whatever size and device are named; a module as `ModuleEmbedder`."""
    if isinstance(model, Embedder):
        return model
    if isinstance(model, nn.Module):
        return ModuleEmbedder(model, input_size, device=device)
    raise ReIDError(
        f"model is a {type(model).__name__}; expected what load_reid_model gives, or a torch.nn.Module that maps "
        "pictures (B, 3, H, W) to embeddings (B, dim)."
    )
