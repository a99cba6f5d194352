"""Finding a bundle, and loading the model in it for embedding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from reid_lightning.bundle.bundle import ONNX_NAME, OPTS_NAME, load
from reid_lightning.bundle.embedder import Backend, Embedder, ReIDEmbedder, usable_device
from reid_lightning.bundle.onnx_sessions import AUTO, CPU, ProviderError, named_providers, offered_providers
from reid_lightning.bundle.starter import BETTER, STARTER, starter_bundle
from reid_lightning.errors import ReIDError

LATEST = "latest"
KINDS = ("train", "adapt")
"""Folders of runs that make bundles."""
_logger = logging.getLogger(__name__)


def load_reid_model(
    opts_path: str | Path | None,
    checkpoint_path: str | Path | None = None,
    device: str | torch.device = "cpu",
    *,
    backend: Backend = "torch",
    threads: int | None = None,
    providers: str | Sequence[str] = AUTO,
) -> Embedder:
    """Load a model for embedding. Needs neither a network nor the training configuration.

    Args:
        opts_path: a bundle folder or its `opts.yaml`, or "starter", see `starter_bundle`. None when `checkpoint_path`
            is a training checkpoint, which brings its own options.
        checkpoint_path: the bundle's `model.safetensors` or a training checkpoint (`.ckpt`). None: the weights beside
            `opts_path`.
        device: where to embed ("cpu", "cuda", "cuda:1", "mps").
        backend: "torch", or "onnx" for ONNX Runtime, which runs the bundle's `model.onnx`: on a CPU the same numbers
            in about half of the time. "auto": "onnx" where that file is there and sound, on a CPU or if providers are
            named; what it took is logged.
        threads: processor threads of the "onnx" backend; None: as many as torch takes, which the "torch" backend
            always does.
        providers: what ONNX Runtime computes with: "cpu", "cuda", "tensorrt", "coreml", "openvino", "directml" or a
            list of them in order of preference. "auto": the CPU, or for backend="onnx" and device="cuda" CUDA.

    Raises:
        ReIDError: a file is missing, damaged, or of another architecture; the device or a provider does not exist.
    """
    named = named_providers(providers)
    opts = None if opts_path is None else named_model(opts_path)
    checkpoint = None if checkpoint_path is None else Path(checkpoint_path)
    if backend == "auto":
        return _fastest(opts, checkpoint, device, named)
    if backend == "torch":
        if threads is not None:
            raise ReIDError(f"threads is {threads}, for backend='torch'; set it with torch.set_num_threads instead.")
        if named:
            raise ReIDError(f"providers is {', '.join(named)}, for backend='torch', which takes device instead.")
        return ReIDEmbedder(load(opts, checkpoint), device=device)
    if backend != "onnx":
        raise ReIDError(f"backend is {backend!r}; expected 'auto', 'torch' or 'onnx'.")
    on_gpu = str(device).partition(":")[0] == "cuda" and "cuda" in offered_providers()
    if not named and not on_gpu and usable_device(device).type != "cpu":
        raise ReIDError(
            f"device is {str(device)!r}, but backend='onnx' runs on the CPU with this onnxruntime; take "
            "backend='torch', or name providers."
        )
    if opts is None or (checkpoint is not None and checkpoint.suffix != ".onnx"):
        raise ReIDError(
            f"backend='onnx' was given the options {opts_path} and the weights {checkpoint_path}; expected a bundle "
            "folder that reid export wrote with formats=[safetensors,onnx]."
        )

    from reid_lightning.bundle.onnx_embedder import OnnxEmbedder  # here: ONNX Runtime is needed by it alone

    embedder = OnnxEmbedder(
        opts if checkpoint is None else checkpoint, threads=threads, providers=providers, device=device
    )
    _logger.info("backend=onnx takes %s", ", ".join(embedder.providers))
    return embedder


def _fastest(
    opts: Path | None, checkpoint: Path | None, device: str | torch.device, providers: Sequence[str]
) -> Embedder:
    """By ONNX Runtime, where the bundle has a file for it that is its own; networks with side information need torch,
    if they are to be told cameras."""
    folder = opts if opts is None or opts.is_dir() else opts.parent
    accelerated = set(providers) - {CPU}
    wanted = accelerated or usable_device(device).type == "cpu"
    reason = f"the bundle has no {ONNX_NAME}; `reid export` writes one"
    if wanted and folder is not None and checkpoint is None and (folder / ONNX_NAME).is_file():
        from reid_lightning.bundle.onnx_embedder import OnnxEmbedder

        try:
            embedder = OnnxEmbedder(folder, providers=providers or AUTO, device=device)
        except ProviderError:
            raise
        except ReIDError as error:
            accelerated = set()
            _logger.warning("backend=auto takes torch: %s", error)
        else:
            if "side_information" not in embedder.options.architecture:
                taken = ", ".join(embedder.providers)
                _logger.info("backend=auto takes ONNX Runtime (%s), by the bundle's model.onnx", taken)
                return embedder
            reason = "its network uses the names of cameras, of which the ONNX file knows nothing"
    if accelerated:
        _logger.warning("backend=auto takes torch on %s and not %s: %s", device, ", ".join(providers), reason)
    return ReIDEmbedder(load(opts, checkpoint), device=device)


def load_by_keys(
    bundle: str | Path, *, device: str = AUTO, backend: Backend = "auto", providers: str | Sequence[str] = AUTO
) -> Embedder:
    """The model that the keys `bundle`, `device`, `backend` and `providers` of a command name together. The torch
    backend takes no notice of providers, which are the detector's and the plate reader's, too.

    Raises:
        ReIDError: as `find_bundle` and `load_reid_model`; a provider that is not there before a starter is made.
    """
    named = named_providers(providers)
    folder, device = find_bundle(bundle), best_device(device, backend=backend)
    given = named if named and backend != "torch" else AUTO
    return load_reid_model(folder, device=device, backend=backend, providers=given)


def find_bundle(
    bundle: str | Path, *, runs: str | Path = "runs", or_starter: bool = True, kinds: Sequence[str] = KINDS
) -> Path:
    """The folder of a bundle; `latest` is the newest one that was trained or adapted below `runs`, else the starter.

    Args:
        kinds: of runs that `latest` looks at; those that train alone for whoever does not want one that was adapted.

    Raises:
        ReIDError: there is none.
    """
    if str(bundle) != LATEST:
        folder = named_model(bundle)
        if not (folder / OPTS_NAME).is_file():
            raise ReIDError(f"bundle={bundle} is not the folder of a bundle; expected {OPTS_NAME} in it.")
        return folder
    found = [path.parent for kind in kinds for path in Path(runs).glob(f"{kind}/*/bundle/{OPTS_NAME}")]
    if not found and or_starter:
        where = runs if tuple(kinds) == KINDS else Path(runs, *kinds)
        _logger.warning("no bundle below %s: this is the starter. %s", where, BETTER)
        return starter_bundle()
    if not found:
        raise ReIDError(
            f"there is no model yet: no bundle below {runs}. Train one (make train, some minutes with "
            "the drawn fleet), or name one: bundle=<folder>, or bundle=starter, which needs no training."
        )
    return max(found, key=lambda folder: (folder / OPTS_NAME).stat().st_mtime)


def named_model(path: str | Path) -> Path:
    """The path of a bundle or a checkpoint as it is, or of the starter by its name."""
    return starter_bundle() if str(path) == STARTER else Path(path)


def best_device(name: str, *, backend: str = "torch") -> str:
    """`auto` is the GPU when there is one that the backend can use, else the CPU; any other name is itself."""
    if name != AUTO:
        return name
    if backend == "onnx":
        return "cuda" if "cuda" in offered_providers() else "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
