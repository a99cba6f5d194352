"""Loads weights into a backbone by key, from a file or torchvision's or IBN-Net's release, and says what matched."""

from __future__ import annotations

import logging
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid_lightning.errors import ReIDError, first_line
from reid_lightning.models.published import IBN_NET, TIMM, TORCHVISION, download, ibn_net_url
from reid_lightning.models.torchvision_networks import torchvision_weights_url
from reid_lightning.models.weight_names import common_prefix, translated
from reid_lightning.models.wheels import INTERPOLATION, MEAN, STD, WHEEL, wheel_file
from reid_lightning.untrusted.checksums import damage
from reid_lightning.untrusted.plain_yaml import read_plain_yaml
from reid_lightning.untrusted.torch_files import load_torch_file

logger = logging.getLogger(__name__)

FILE = "file"
BUNDLE = "bundle"
_OF_BUNDLE, _BESIDE = "model.safetensors", "opts.yaml"

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_CLASSIFIER = re.compile(
    r"(.*\.)?(fc|classifier(_\w+)?(\.\d+)?|head(_dist)?(\.fc|\.l)?|heads(\.head)?)\.(weight|bias)"
    r"|(.*\.)?(AuxLogits|aux[12])\..*"
)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a backbone took from a set of weights: names of tensors. A backbone keeps it as `weights_report`."""

    source: str
    """"timm", "torchvision", "ibn_net", "wheel", "bundle" or "file"."""
    origin: str
    """timm's name of the weights, the address or the path."""
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Of the backbone; they keep their random values."""
    unused: tuple[str, ...] = ()
    """Of the file, less those of its classifier."""
    classifier: tuple[str, ...] = ()
    """Of the file: the last layer of its own training, left out whatever its number of classes."""

    def __str__(self) -> str:
        return (
            f"pretrained weights from {self.origin}: {len(self.loaded)} tensors loaded, {len(self.missing)} of the "
            f"backbone missing{_some(self.missing)}, {len(self.unused)} in the file unused{_some(self.unused)}"
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """A state dict and where it comes from."""

    state: Mapping[str, object]
    origin: str
    source: str

    @property
    def with_ibn(self) -> bool:
        """Whether they are of an IBN network."""
        return any(name.endswith(".IN.weight") for name in self.state)


def find_weights(source: str | None, *, name: str, ibn: str | None) -> Weights | None:
    """The weights that `source` means for the network `name`; None without a source.

    `source`: None (keep the random weights), "torchvision" (its ImageNet weights for a torchvision network), "ibn_net"
    (the release of the IBN-Net authors for this network), "wheel" (ImageNet weights in an installed package), the
    folder of a bundle, or the path of a local .pth/.pt/.ckpt/.safetensors with the key names of timm, torchvision,
    IBN-Net, torchreid, fast-reid, TransReID, CLIP-ReID or this project. A published file that lies in
    $TORCH_HOME/hub/checkpoints is taken without the network. "timm" is loaded by timm itself.
    Raises ReIDError when the weights cannot be had.
    """
    if not source:
        return None
    if source == TORCHVISION:
        origin = torchvision_weights_url(name)
        return Weights(download(origin, source=source, check_hash=True), origin, source)
    if source == IBN_NET:
        origin = ibn_net_url(name, ibn)
        return Weights(download(origin, source=source, check_hash=False), origin, source)
    if source == WHEEL:
        file = wheel_file(name)
        return Weights(_read(file), f"{WHEEL}/{file.name}", source)
    path = Path(source) / _OF_BUNDLE if Path(source).is_dir() else Path(source)
    return Weights(_read(path), str(path), BUNDLE if path.with_name(_BESIDE).is_file() else FILE)


def load_matching(backbone: nn.Module, state: Mapping[str, object], *, origin: str, source: str = FILE) -> MatchReport:
    """Copies the tensors of `state` whose key the backbone has, after translating names and removing a prefix.

    Position embeddings of another picture size are resampled. `origin` names the weights in messages; what matched is
    logged and returned. Raises ReIDError when a shape differs or fewer than half of the tensors match.
    """
    wanted = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    tensors = translated({key: value for key, value in state.items() if isinstance(value, Tensor)}, wanted)
    prefix = common_prefix(tensors, wanted)
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    found = max((found, _adapted(backbone, found)), key=lambda each: _agreement(each, wanted))
    matched = {key: found[key] for key in wanted if key in found}
    differing = [
        f"{key}: {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in matched.items()
        if value.shape != wanted[key].shape
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ReIDError(f"{origin} is for another network; shapes differ: {'; '.join(differing[:3])}{more}")
    for key, value in matched.items():
        _check_values(value, wanted[key], name=f"{origin}: {key}")
    missing = tuple(key for key in wanted if key not in found)
    if len(matched) * 2 < len(wanted):
        raise ReIDError(
            f"{origin} is for another network: only {len(matched)} of the backbone's {len(wanted)} tensors are in it "
            f"(missing for instance {', '.join(missing[:3])}; it holds {', '.join(list(found)[:3]) or 'no tensor'})"
        )
    backbone.load_state_dict(matched, strict=False)
    rest = [key for key in tensors if not key.startswith(prefix)] + [key for key in found if key not in wanted]
    rest = [key for key in rest if not key.endswith("num_batches_tracked")]
    report = MatchReport(
        source=source,
        origin=origin,
        loaded=tuple(matched),
        missing=missing,
        unused=tuple(key for key in rest if not _CLASSIFIER.fullmatch(key)),
        classifier=tuple(key for key in rest if _CLASSIFIER.fullmatch(key)),
    )
    # A bundle's network may end before the last stage, and has all that it needs.
    logger.log(logging.WARNING if missing and source != BUNDLE else logging.INFO, "%s", report)
    return report


class Normalisation(Protocol):
    """What a network is fed: `Preprocessing` of the data room."""

    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...
    @property
    def interpolation(self) -> str: ...


def warn_of_mismatch(model: nn.Module, preprocessing: Normalisation) -> None:
    """Log what `preprocessing_mismatch` says, if anything."""
    if (warning := preprocessing_mismatch(model, preprocessing)) is not None:
        logger.warning(warning)


def preprocessing_mismatch(model: nn.Module, preprocessing: Normalisation) -> str | None:
    """A warning when the published weights of `model`, a ReIDModel, were trained with pictures of another scale.

    None where mean and deviation agree, for random weights, and for files, which do not say how they were trained. A
    difference in interpolation alone is none: training gets over it.
    """
    backbone: Any = model.backbone
    report: MatchReport | None = backbone.weights_report
    if report is None or report.source == FILE:
        return None
    interpolation = preprocessing.interpolation
    mean, std = _IMAGENET_MEAN, _IMAGENET_STD
    if report.source == WHEEL:
        mean, std, interpolation = MEAN, STD, INTERPOLATION
    elif report.source == TIMM:
        mean, std = tuple(backbone.pretrained_cfg["mean"]), tuple(backbone.pretrained_cfg["std"])
        interpolation = backbone.pretrained_cfg["interpolation"]
    elif report.source == BUNDLE:
        options = read_plain_yaml(Path(report.origin).with_name(_BESIDE))
        try:
            fed = options["preprocessing"]
            mean, std, interpolation = tuple(fed["mean"]), tuple(fed["std"]), fed["interpolation"]
        except (KeyError, TypeError):  # no bundle's after all
            return None
    if np.allclose((*mean, *std), (*preprocessing.mean, *preprocessing.std), atol=1e-3):
        return None
    fix = f"input.mean={_plain(mean)} input.std={_plain(std)}"
    if interpolation != preprocessing.interpolation:
        fix += f" input.interpolation={interpolation}"
    return (
        f"the weights of {report.origin} were trained on pictures normalised with mean {_plain(mean)} and std "
        f"{_plain(std)}; this run gives mean {_plain(preprocessing.mean)} and std {_plain(preprocessing.std)}. "
        f"Set {fix}"
    )


def _adapted(backbone: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """`found` as timm would adapt it to this network: the original authors' names, another size of picture."""
    adapt = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if adapt is None:
        return found
    try:
        return adapt(dict(found), backbone)
    except Exception as error:  # it expects weights of its own family, and fails in many ways on others
        logger.debug("timm could not adapt the weights: %r", error)
        return found


def _agreement(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> int:
    return sum(key in found and found[key].shape == value.shape for key, value in wanted.items())


def _check_values(value: Tensor, wanted: Tensor, *, name: str) -> None:
    if value.layout != torch.strided:
        raise ReIDError(f"{name} is a sparse tensor; expected a dense one.")
    if value.is_floating_point() != wanted.is_floating_point():
        raise ReIDError(f"{name} is of {value.dtype}; expected {wanted.dtype}. Take weights that are not quantised.")
    if not torch.isfinite(value).all():
        raise ReIDError(f"{name} holds NaN or infinity: its training had failed, or the file has changed.")


def _read(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        raise ReIDError(
            f"pretrained={str(path)!r} is no file; expected the path of a weights file or of a bundle, "
            "'timm', 'torchvision', 'ibn_net', 'wheel', 'drawn' or null"
        )
    reason = damage(path) if zipfile.is_zipfile(path) else None
    if reason is not None:
        raise ReIDError(f"{path} is damaged: {reason}. Get the weights again.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = load_torch_file(path)
    except (ReIDError, SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ReIDError(
            f"{path} holds no plain weights ({first_line(error)}); expected a state dict saved by torch.save or "
            "safetensors"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ReIDError(f"{path} holds a {type(content).__name__}; expected a state dict (name: tensor)")
    return content


def _some(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def _plain(values: tuple[float, ...]) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"
