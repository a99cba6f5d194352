"""Published weights: where torchvision's, IBN-Net's and timm's lie, from the caches of both hubs or the network."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import nn

from reid_lightning.errors import ReIDError, first_line
from reid_lightning.untrusted.torch_files import UnreadableFileError, check_torch_file

TIMM = "timm"
TORCHVISION = "torchvision"
IBN_NET = "ibn_net"

OTHER_WAYS = "set model.pretrained=<file>, or start from random weights with model.pretrained=null"

_IBN_NET_RELEASE = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
_IBN_NET_FILES = {
    ("resnet18", "a"): "resnet18_ibn_a-2f571257.pth",
    ("resnet34", "a"): "resnet34_ibn_a-94bc1577.pth",
    ("resnet50", "a"): "resnet50_ibn_a-d9d0bb7b.pth",
    ("resnet101", "a"): "resnet101_ibn_a-59ea0ac6.pth",
    ("resnext101_32x4d", "a"): "resnext101_ibn_a-6ace051d.pth",
    ("seresnet101", "a"): "se_resnet101_ibn_a-fabed4e2.pth",
    ("resnet18", "b"): "resnet18_ibn_b-bc2f3c11.pth",
    ("resnet34", "b"): "resnet34_ibn_b-04134c37.pth",
    ("resnet50", "b"): "resnet50_ibn_b-9ca61e85.pth",
    ("resnet101", "b"): "resnet101_ibn_b-c55f6dba.pth",
}
_SILENCE_S = 20.0  # torch.hub sets no limit: a network that swallows packets would hold a run up for minutes
_PORTS = {"http": 80, "https": 443}
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # timm asks the hub for these, in this order


def ibn_net_url(name: str, ibn: str | None) -> str:
    """Where the IBN-Net authors publish the weights of the network `name`; ReIDError where they do not."""
    file_name = _IBN_NET_FILES.get((name, ibn or ""))
    if file_name is None:
        published = ", ".join(f"{known}-{variant}" for known, variant in sorted(_IBN_NET_FILES))
        raise ReIDError(
            f"pretrained=ibn_net: there are published weights for {published}, not for {name!r} with ibn={ibn!r}; "
            "set model.pretrained=<file> or model.pretrained=null"
        )
    return _IBN_NET_RELEASE + file_name


def download(url: str, *, source: str, check_hash: bool) -> Mapping[str, object]:
    """The state dict at `url`, or the file of that name in the hub folder; `check_hash` of what is downloaded."""
    limit = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        if _torch_hub_file(url).is_file():
            check_torch_file(_torch_hub_file(url))
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=check_hash)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, UnreadableFileError) as error:  # URLError: OSError
        raise ReIDError(
            f"pretrained={source}: {url} could not be had ({first_line(error)}); download it elsewhere and put it at "
            f"{_torch_hub_file(url)}, or {OTHER_WAYS}"
        ) from error
    finally:
        socket.setdefaulttimeout(limit)


def create_with_timm_weights(name: str, published: Mapping[str, object], arguments: Mapping[str, Any]) -> nn.Module:
    """timm's network `name` with its published weights: a cached file needs no network, and without one a missing
    network is an error within HF_HUB_ETAG_TIMEOUT (10 s), where the hub's own client would retry for a minute.

    `published` is the `pretrained_cfg` of the network, `arguments` go to timm.create_model. Raises ReIDError.
    """
    repository, url = published.get("hf_hub_id"), published.get("url")
    if not repository and not url:
        raise ReIDError(f"pretrained=timm: timm publishes no weights of {name!r}; {OTHER_WAYS}")
    file = _cached_hub_file(str(repository)) if repository else None
    where = f"{constants.ENDPOINT}/{repository}" if repository else str(url)
    try:
        if file is None and (repository or not _torch_hub_file(where).is_file()):
            _check_reachable(where)
        overlay = {} if file is None else {"file": str(file)}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    except Exception as error:  # each hub client raises its own kinds: httpx, requests, huggingface_hub, urllib
        raise ReIDError(
            f"pretrained=timm: timm's weights of {name!r} could not be had from {where} ({first_line(error)}); "
            f"download them elsewhere and {OTHER_WAYS}"
        ) from error


def _cached_hub_file(repository: str) -> Path | None:
    repository, _, revision = repository.partition("@")
    for file_name in _WEIGHT_FILES:
        file = try_to_load_from_cache(repository, file_name, revision=revision or None)
        if isinstance(file, str):
            return Path(file)
    return None


def _torch_hub_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]


def _check_reachable(url: str) -> None:
    """OSError when the host of `url`, or the proxy in front of it, takes no connection in time.

    In a thread, because nothing bounds how long a name server keeps silent.
    """
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set and they are not in the cache")
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(str(parts.hostname)):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (str(parts.hostname), parts.port or _PORTS.get(parts.scheme, 443))
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    outcome: SimpleQueue[OSError | None] = SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
        except OSError as error:
            outcome.put(error)
        else:
            outcome.put(None)

    Thread(target=connect, daemon=True).start()
    try:
        refusal = outcome.get(timeout=seconds)
    except Empty:
        refusal = TimeoutError(f"no answer within {seconds} s; HF_HUB_ETAG_TIMEOUT sets another limit")
    if refusal is not None:
        raise OSError(f"no connection to {address[0]}: {refusal}")
