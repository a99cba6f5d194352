"""ONNX Runtime's sessions for all that runs a network in it (model, detector, plate reader), on the provider asked for.

A provider is what computes: the CPU, CUDA, ... Which there are is a matter of the package that is installed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.errors import ReIDError, extra, first_line

AUTO = "auto"
CPU = "cpu"


@dataclass(frozen=True)
class _Provider:
    name: str
    """As ONNX Runtime calls it."""
    package: str
    """What brings it."""


_CUDA = "onnxruntime-gpu in place of onnxruntime"
PROVIDERS: Mapping[str, _Provider] = {
    CPU: _Provider("CPUExecutionProvider", "onnxruntime"),
    "cuda": _Provider("CUDAExecutionProvider", _CUDA),
    "tensorrt": _Provider("TensorrtExecutionProvider", f"{_CUDA}, and TensorRT"),
    "coreml": _Provider("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "openvino": _Provider("OpenVINOExecutionProvider", "onnxruntime-openvino in place of onnxruntime"),
    "directml": _Provider("DmlExecutionProvider", "onnxruntime-directml in place of onnxruntime, on Windows"),
}
"""By the short names that users write."""
_logger = logging.getLogger(__name__)


class ProviderError(ReIDError):
    """A provider that was asked for is not there, or cannot be loaded."""


def named_providers(providers: str | Sequence[str]) -> tuple[str, ...]:
    """`auto`, a short name or a list of them in order of preference, whatever their case -> the names, each once; none
    for `auto`. The CPU computes what those before it cannot, named or not.

    Raises:
        ProviderError: a name that is not known or that onnxruntime does not offer here, or `auto` among others.
    """
    listed = [providers] if isinstance(providers, str) else list(providers)
    names = tuple(dict.fromkeys(str(name).lower() for name in listed))
    if names == (AUTO,):
        return ()
    if not names or any(name not in PROVIDERS for name in names):
        raise ProviderError(
            f"providers is {', '.join(map(str, listed)) or 'empty'}; expected auto, or one or a list of "
            f"{', '.join(PROVIDERS)}."
        )
    offered = offered_providers()
    for name in names:
        if name not in offered:
            raise ProviderError(
                f"providers names {name}, but the onnxruntime that is installed offers {', '.join(offered)} only. "
                f"What brings {name}: {PROVIDERS[name].package}."
            )
    return names


def offered_providers() -> tuple[str, ...]:
    """The short names of those that the installed onnxruntime was built with; their libraries may still be missing."""
    with extra("export"):
        import onnxruntime
    built_with = onnxruntime.get_available_providers()
    return tuple(short for short, provider in PROVIDERS.items() if provider.name in built_with)


def open_session(
    file: Path,
    settings: Any,
    *,
    what: str,
    providers: str | Sequence[str] = AUTO,
    device: str = AUTO,
    said: bool = True,
) -> Any:
    """An `onnxruntime.InferenceSession`.

    Args:
        settings: the `onnxruntime.SessionOptions`.
        what: that which is run, for messages.
        providers: see `named_providers`. `auto`: CUDA where `device` is auto or cuda, onnxruntime has it and it can be
            loaded; else the CPU.
        device: of torch, or auto; `cuda:1` is the second GPU, also for providers that are named.
        said: whether it logs what another provider than the CPU runs; False for whoever says it himself.

    Raises:
        ProviderError: as `named_providers`; or one that was named cannot be loaded, of which ONNX Runtime says nothing.
        Exception: of ONNX Runtime, for a file that it cannot read on the CPU.
    """
    names = named_providers(providers)
    chosen = names or _by_device(device)
    try:
        session = _session(file, settings, chosen, device=device)
        lost = [name for name in chosen if name not in providers_of(session)]
        reason = "its libraries are missing or do not fit"
    except Exception as error:  # the classes of onnxruntime have no common base
        if set(chosen) == {CPU}:
            raise
        lost, reason = list(chosen), first_line(error)
    if lost and names:
        raise ProviderError(
            f"{what} cannot be run by providers={','.join(names)}: ONNX Runtime could not load {', '.join(lost)} "
            f"({reason}). What brings it: {PROVIDERS[lost[0]].package}; providers=cpu always works."
        )
    if lost:
        _note(
            f"the CPU is taken: ONNX Runtime has {lost[0]} but could not load it ({reason}); providers=cpu asks for it"
        )
        session = _session(file, settings, (CPU,), device=device)
    if said and providers_of(session) != (CPU,):
        _logger.info("%s runs on %s, by ONNX Runtime", what, ", ".join(providers_of(session)))
    return session


def providers_of(session: Any) -> tuple[str, ...]:
    """The short names of a session's providers, the preferred one first."""
    short = {provider.name: name for name, provider in PROVIDERS.items()}
    return tuple(short.get(name, name) for name in session.get_providers())


def _by_device(device: str) -> tuple[str, ...]:
    on_gpu = str(device).partition(":")[0] in (AUTO, "cuda")
    return ("cuda",) if on_gpu and "cuda" in offered_providers() else (CPU,)


def _session(file: Path, settings: Any, names: Sequence[str], *, device: str) -> Any:
    with extra("export"):
        import onnxruntime

    if {"cuda", "tensorrt"} & set(names):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()  # CUDA's libraries, out of torch's packages
    options = {name: _options(name, settings, device=device) for name in dict.fromkeys([*names, CPU])}
    chosen = [(PROVIDERS[name].name, given) if given else PROVIDERS[name].name for name, given in options.items()]
    return onnxruntime.InferenceSession(str(file), settings, providers=chosen, enable_fallback=0)


def _options(name: str, settings: Any, *, device: str) -> dict[str, str]:
    number = str(device).partition(":")[2] or "0"
    if name == "cuda":  # numbers as on a CPU, and no search for the fastest algorithm at each new size of a picture
        return {"device_id": number, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if name == "tensorrt":
        return {"device_id": number}
    if name == "openvino" and settings.intra_op_num_threads > 0:
        return {"num_of_threads": str(settings.intra_op_num_threads)}
    return {}


@functools.cache
def _note(message: str) -> None:
    """Once a process: every network that is opened would say it."""
    _logger.warning("%s", message)
