"""ONNX and torch.export files of a model, each reloaded and compared with eager before it is kept."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.atomic import replacing
from reid_lightning.bundle import bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError, extra, first_line
from reid_lightning.untrusted.checksums import write_checksum

if TYPE_CHECKING:
    from reid_lightning.models import ReIDModel

_log = logging.getLogger(__name__)

FILE_NAMES: Mapping[str, str] = {"safetensors": bundle.WEIGHTS_NAME, "onnx": bundle.ONNX_NAME, "pt2": "model.pt2"}
BATCH_SIZES = (1, 2, 5)
TOLERANCE = 1e-4  # largest difference allowed in one number of an L2-normalised embedding


class _Embed(nn.Module):
    """`ReIDModel.embed` as a forward: preprocessed pictures in, normalised embeddings out."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


class _EmbedBothWays(_Embed):
    """The same with a second output, the embeddings before they are normalised: MED and flipping need their lengths."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        embeddings = self.model(images).embeddings.float()
        return functional.normalize(embeddings, dim=1), embeddings


def check_formats(formats: list[str]) -> None:
    """ReIDError for a format that does not exist or whose packages are not installed."""
    if isinstance(formats, str) or not formats or any(name not in FILE_NAMES for name in formats):
        raise ReIDError(f"formats is {formats}; expected a list of some of {', '.join(FILE_NAMES)}.")
    if "onnx" in formats:
        with extra("export"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401


@torch.no_grad()
def export_file(model: ReIDModel, preprocessing: Preprocessing, *, kind: str, folder: Path) -> float:
    """Write `model.onnx` or `model.pt2` with a dynamic batch into `folder`.

    Input `images`: preprocessed pictures (batch, 3, height, width) float32. Output `embeddings`: (batch, dim) float32,
    L2-normalised: consumers must not normalise pictures or embeddings a second time. `model.onnx` has another output,
    `raw_embeddings`: the same before they are normalised. Both files carry `fingerprint` (that of the bundle) and
    `preprocessing` (JSON), as metadata of the ONNX model and as extra files of the .pt2 archive. Beside each is its
    checksum, `model.onnx.sha256`.

    Returns:
        The largest absolute difference to eager over batches of 1, 2 and 5.

    Raises:
        ReIDError: the file differs from eager by more than 1e-4; nothing is kept then.
    """
    embed = _Embed(model.cpu().eval().to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
    shape = (3, preprocessing.height, preprocessing.width)
    write, reload = {"onnx": (_write_onnx, _reload_onnx), "pt2": (_write_pt2, _reload_pt2)}[kind]
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    metadata = {
        "fingerprint": bundle.fingerprint(model, preprocessing),
        "preprocessing": json.dumps(preprocessing.as_dict(), sort_keys=True),
    }
    with replacing(folder / FILE_NAMES[kind]) as unfinished:
        with _quiet():
            write(embed, example, unfinished, metadata)
            run = reload(unfinished)
        difference = _largest_difference(run, embed, shape)
        if not difference <= TOLERANCE:
            raise ReIDError(
                f"{FILE_NAMES[kind]} differs from eager by {difference:.2g}; at most {TOLERANCE:g} is accepted, so the "
                "file was not kept."
            )
    write_checksum(folder / FILE_NAMES[kind])
    return difference


def add_onnx(folder: Path) -> bool:
    """Write `model.onnx` into a bundle that is there, by `export_file`; returns whether it could be done.

    If it cannot (the packages of the extra `export` are missing, a network that ONNX does not know), that is said, and
    the bundle is what it was.
    """
    name = FILE_NAMES["onnx"]
    try:
        check_formats(["onnx"])
        loaded = bundle.open_model(folder)
        export_file(loaded.model, loaded.options.preprocessing, kind="onnx", folder=folder)
    except Exception as error:  # of torch's exporter, whatever it is
        _log.warning("no %s beside the weights, so searches embed with torch: %s", name, first_line(error))
        return False
    return True


@torch.no_grad()
def compare_bundle(model: ReIDModel, folder: Path) -> float:
    """The largest absolute difference between `model` and the bundle in `folder`, reloaded, as in `export_file`."""
    loaded = bundle.open_model(folder)
    shape = (3, loaded.options.preprocessing.height, loaded.options.preprocessing.width)
    difference = _largest_difference(loaded.model.embed, _Embed(model.cpu().eval()), shape)
    if not difference <= TOLERANCE:
        raise ReIDError(f"{folder} differs from eager by {difference:.2g}; at most {TOLERANCE:g} is accepted.")
    return difference


def _largest_difference(run: Callable[[Tensor], Tensor], eager: nn.Module, shape: tuple[int, int, int]) -> float:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(size, *shape, generator=generator) for size in BATCH_SIZES]
    return max(float((run(images) - eager(images)).abs().max()) for images in batches)


def _write_onnx(embed: _Embed, example: Tensor, path: Path, metadata: dict[str, str]) -> None:
    program = torch.onnx.export(
        _EmbedBothWays(embed.model).eval(),
        (example,),
        dynamo=True,
        input_names=["images"],
        output_names=["embeddings", "raw_embeddings"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    assert program is not None, "dynamo gives one"
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def _reload_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    with extra("export"):
        import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["embeddings"], {"images": images.numpy()})[0])


def _write_pt2(embed: _Embed, example: Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    program = torch.export.export(embed, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}})
    torch.export.save(program, path, extra_files=dict(metadata))


def _reload_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk at length; what matters is the comparison afterwards."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
