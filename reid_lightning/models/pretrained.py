"""Loads weights into a backbone by key, from a file or torchvision's or IBN-Net's release, and says what matched."""

from __future__ import annotations

import logging
import pickle
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.torchvision_networks import torchvision_weights_url

logger = logging.getLogger(__name__)

TIMM = "timm"
TORCHVISION = "torchvision"
IBN_NET = "ibn_net"

_IBN_NET_RELEASE = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
_IBN_NET_FILES = {
    ("resnet18", "a"): "resnet18_ibn_a-2f571257.pth",
    ("resnet34", "a"): "resnet34_ibn_a-94bc1577.pth",
    ("resnet50", "a"): "resnet50_ibn_a-d9d0bb7b.pth",
    ("resnet101", "a"): "resnet101_ibn_a-59ea0ac6.pth",
    ("resnet18", "b"): "resnet18_ibn_b-bc2f3c11.pth",
    ("resnet34", "b"): "resnet34_ibn_b-04134c37.pth",
    ("resnet50", "b"): "resnet50_ibn_b-9ca61e85.pth",
    ("resnet101", "b"): "resnet101_ibn_b-c55f6dba.pth",
}
_OTHER_WAYS = "set model.pretrained=<file>, or start from random weights with model.pretrained=null"
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("", "module.", "backbone.", "model.", "model.backbone.", "module.backbone.")
_CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")
# torchvision's published DenseNets have keys of a time when module names could hold dots.
_OLD_DENSENET_KEY = re.compile(r"(\bdenselayer\d+\.(?:norm|conv))\.([12]\.)")
_SILENCE_S = 20.0  # torch.hub sets no limit: a network that swallows packets would hold a run up for minutes


def load_pretrained(backbone: nn.Module, source: str | None, *, name: str, ibn: str | None) -> None:
    """Loads `source` into `backbone`, in place, and logs how many tensors matched.

    `source`: None (keep the random weights), "torchvision" (its ImageNet weights for a torchvision network), "ibn_net"
    (the release of the IBN-Net authors for this network) or the path of a local .pth/.pt/.ckpt/.safetensors with
    timm's, torchvision's or IBN-Net's key names. A published file that lies in $TORCH_HOME/hub/checkpoints is taken
    without the network. "timm" is loaded by timm itself.
    Raises ReIDError when the weights cannot be had, a shape differs or fewer than half of the tensors match.
    """
    if not source:
        return
    if source == TORCHVISION:
        origin = torchvision_weights_url(name)
        state = _download(origin, source=source, check_hash=True)
    elif source == IBN_NET:
        origin = _ibn_net_url(name, ibn)
        state = _download(origin, source=source, check_hash=False)
    else:
        origin = str(source)
        state = _read(Path(source))
    load_matching(backbone, state, origin=origin)


def load_matching(backbone: nn.Module, state: Mapping[str, object], *, origin: str) -> None:
    """Copies the tensors of `state` whose key the backbone has, after removing wrappers and prefixes.

    Classifier keys are ignored, whatever their number of classes. `origin` names the source in messages.
    """
    wanted = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = _strip(state, wanted)
    matched = {key: found[key] for key in wanted if key in found}
    differing = [
        f"{key}: {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in matched.items()
        if value.shape != wanted[key].shape
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ReIDError(f"{origin} is for another network; shapes differ: {'; '.join(differing[:3])}{more}")
    missing = [key for key in wanted if key not in found]
    if len(matched) * 2 < len(wanted):
        raise ReIDError(
            f"{origin} is for another network: only {len(matched)} of the backbone's {len(wanted)} tensors are in it "
            f"(missing for instance {', '.join(missing[:3])}; it holds {', '.join(list(found)[:3]) or 'no tensor'})"
        )
    backbone.load_state_dict(matched, strict=False)
    unexpected = [
        key
        for key in found
        if key not in wanted and not key.startswith(_CLASSIFIERS) and not key.endswith("num_batches_tracked")
    ]
    level = logging.WARNING if missing else logging.INFO
    logger.log(
        level,
        "pretrained weights from %s: %d tensors loaded, %d of the backbone missing%s, %d in the file unused",
        origin,
        len(matched),
        len(missing),
        f" ({', '.join(missing[:3])}, ...)" if missing else "",
        len(unexpected),
    )


def timm_weights_error(name: str, error: Exception) -> ReIDError:
    """The one message for pretrained=timm when the hub, the network or the weights are missing."""
    return ReIDError(
        f"pretrained=timm: timm's weights of {name!r} could not be had ({_first_line(error)}); download the file "
        f"elsewhere and {_OTHER_WAYS}"
    )


def _ibn_net_url(name: str, ibn: str | None) -> str:
    file_name = _IBN_NET_FILES.get((name, ibn or ""))
    if file_name is None:
        published = ", ".join(sorted({known for known, _ in _IBN_NET_FILES}))
        raise ReIDError(
            f"pretrained=ibn_net: there are published weights for {published} with ibn a or "
            f"b, not for {name!r} with ibn={ibn!r}; set model.pretrained=<file> or model.pretrained=null"
        )
    return _IBN_NET_RELEASE + file_name


def _download(url: str, *, source: str, check_hash: bool) -> Mapping[str, object]:
    """The state dict at `url`, or the file of that name in the hub folder; `check_hash` of what is downloaded."""
    limit = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=check_hash)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:  # URLError is an OSError
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        raise ReIDError(
            f"pretrained={source}: {url} could not be had ({_first_line(error)}); download it elsewhere and put it at "
            f"{file}, or {_OTHER_WAYS}"
        ) from error
    finally:
        socket.setdefaulttimeout(limit)


def _read(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        raise ReIDError(
            f"pretrained={str(path)!r} is no file; expected the path of a weights file, 'timm', 'torchvision', "
            "'ibn_net' or null"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ReIDError(
            f"{path} holds no plain weights ({_first_line(error)}); expected a state dict saved by torch.save or "
            "safetensors"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ReIDError(f"{path} holds a {type(content).__name__}; expected a state dict (name: tensor)")
    return content


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _strip(state: Mapping[str, object], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without the prefix that lets most keys match."""
    tensors = {_OLD_DENSENET_KEY.sub(r"\1\2", key): value for key, value in state.items() if isinstance(value, Tensor)}
    prefix = max(_PREFIXES, key=lambda prefix: sum(prefix + key in tensors for key in wanted))
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
