"""Weights out of files from anywhere: read without pickle's code, bounded by their size, and checked against a network
before one of that size is built."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from reid_lightning.errors import ReIDError, count, first_line
from reid_lightning.untrusted.checksums import damage
from reid_lightning.untrusted.torch_files import UnreadableFileError, load_torch_file

if TYPE_CHECKING:
    from reid_lightning.models import ReIDModel

RECORD = "reid"
"""The key of our part of a Lightning checkpoint."""

_PREFIX = "model."
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_logger = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running code from it; ReIDError when it is missing, damaged or not one."""
    if not path.is_file():
        raise ReIDError(f"no checkpoint at {path}; expected a .ckpt file of a training run.")
    reason = damage(path)
    if reason is not None:
        raise ReIDError(f"{path} is not a readable checkpoint ({reason}); it may be cut short.")
    try:
        checkpoint = load_torch_file(path)
    except UnreadableFileError as error:
        raise ReIDError(
            f"{path} is not a readable checkpoint ({error}); expected tensors and plain values, as a training saves "
            "them."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ReIDError(
            f"{path} holds a {type(checkpoint).__name__}; expected the dictionary of a training checkpoint."
        )
    return checkpoint


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The network's weights in a `.safetensors` file, or those and our record in a training checkpoint."""
    if path.suffix == ".safetensors":
        if not path.is_file():
            if (other := path.with_suffix(".onnx")).is_file():
                raise ReIDError(
                    f"no weights at {path}, and {other.name} beside it runs with backend=onnx alone. Export the bundle "
                    "again with formats=[safetensors,onnx]."
                )
            raise ReIDError(f"no weights at {path}; the bundle is incomplete.")
        try:
            return load_file(path), None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ReIDError(
                f"{path} is not a readable safetensors file ({str(error)[:300]}); it may be cut short."
            ) from error
    checkpoint = read_checkpoint(path)
    record, state = checkpoint.get(RECORD), checkpoint.get("state_dict")
    if not isinstance(record, Mapping) or not isinstance(state, Mapping):
        raise ReIDError(
            f"{path} was not written by this project's training. Load other weights with model.pretrained=<file>."
        )
    weights = {str(key).removeprefix(_PREFIX): value for key, value in state.items() if str(key).startswith(_PREFIX)}
    odd = next((key for key, value in weights.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise ReIDError(f"{path} holds a {type(weights[odd]).__name__} as weight {odd[:80]!r}; expected a tensor.")
    return weights, dict(record)


def build_with(weights: Mapping[str, Tensor], architecture: Mapping[str, Any], *, source: str, where: str) -> ReIDModel:
    """The network that `architecture`, named in `source`, describes, with the weights, which came from `where`.

    It is built without memory first and compared with the weights, so that no more is taken than they take.
    Raises ReIDError: it cannot be built, or the weights are others, of other types, or not finite.
    """
    _check_stored(weights, where=where)
    bare = _without_memory(architecture)
    if bare is not None:
        _check_weights(bare, weights, where=where)
    else:
        _check_reduction(architecture, weights, source=source, where=where)
    model = _build(architecture, source=source)
    _check_weights(model, weights, where=where, values=bare is None)
    model.load_state_dict(dict(weights))
    return model


class _Counting(TorchFunctionMode):
    """Keeps the numbers that a network counts with on the CPU, where they have values, while the rest has none."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.arange, torch.linspace, torch.tensor):
            kwargs = {"device": "cpu", **kwargs}
        return func(*args, **kwargs)


def _network() -> type[ReIDModel]:
    from reid_lightning.models import ReIDModel  # here: timm and torchvision are needed by networks of torch alone

    return ReIDModel


def _without_memory(architecture: Mapping[str, Any]) -> ReIDModel | None:
    """The network on torch's meta device, or None for the few that compute with what they build."""
    for counting in (nullcontext(), _Counting()):
        try:
            with torch.device("meta"), counting:
                return _network()(**architecture)
        except Exception as error:  # what has no values here raises many kinds; other mistakes come again
            _logger.debug("not built without memory: %r", error)
    return None


def _check_reduction(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor], *, source: str, where: str
) -> None:
    """ReIDError unless the one layer whose size the architecture is free to name has that size in the weights."""
    dim = architecture.get("embedding_dim")
    if not isinstance(dim, int):
        return
    width = _build({**architecture, "embedding_dim": None}, source=source).embedding_dim
    came = weights.get("reduction.weight")
    if came is None or came.shape != (dim, width):
        raise ReIDError(
            f"{where} is of another architecture than its options say: embedding_dim is {dim}, and the weights of the "
            f"reduction are {'missing' if came is None else f'of shape {tuple(came.shape)}'}."
        )


def _build(architecture: Mapping[str, Any], *, source: str) -> ReIDModel:
    try:
        return _network()(**architecture)
    except TypeError as error:
        raise ReIDError(f"the architecture in {source} is not one of ours: {str(error)[:300]}") from error
    except ReIDError as error:
        raise ReIDError(f"the architecture in {source} cannot be built: {str(error)[:1000]}") from error
    except (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, ValueError) as error:
        raise ReIDError(f"the architecture in {source} cannot be built: {first_line(error)}") from error


def _check_stored(weights: Mapping[str, Tensor], *, where: str) -> None:
    """ReIDError for weights that repeat what is stored: the network would take much more memory than the file."""
    for key, came in weights.items():
        if came.layout != torch.strided:
            continue
        stored = came.untyped_storage().nbytes()
        if came.numel() * came.element_size() > stored:
            raise ReIDError(
                f"{where}: the weight {key[:80]!r} of shape {tuple(came.shape)} repeats {stored:,} stored bytes; "
                "expected all of its numbers. Save a .contiguous() copy."
            )


def _check_weights(model: ReIDModel, weights: Mapping[str, Tensor], *, where: str, values: bool = True) -> None:
    expected = model.state_dict()
    missing = sorted(set(expected) - set(weights))
    unexpected = sorted(set(weights) - set(expected))
    both = sorted(set(expected) & set(weights))
    shapes = [key for key in both if expected[key].shape != weights[key].shape]
    if missing or unexpected or shapes:
        example = (missing or unexpected or shapes)[0]
        raise ReIDError(
            f"{where} is of another architecture than its options say: {count(len(missing), 'weight')} missing, "
            f"{len(unexpected)} unexpected, {len(shapes)} of another shape (the first is {example[:80]!r})."
        )
    for key in both:
        came, wanted = weights[key], expected[key]
        kinds = _FLOATS if wanted.is_floating_point() else _INTEGERS
        if came.dtype not in kinds or came.layout != torch.strided or came.device.type != "cpu":
            raise ReIDError(f"{where}: the weight {key!r} is of type {came.dtype}; expected {wanted.dtype}.")
        if values and not torch.isfinite(came).all():
            raise ReIDError(
                f"{where}: the weight {key!r} holds NaN or infinity: its training had failed, or the file has changed. "
                "Take another checkpoint."
            )
