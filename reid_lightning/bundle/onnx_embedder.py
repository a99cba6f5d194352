"""The bundle's `model.onnx` in ONNX Runtime: the numbers of the torch backend in about half of its time on a CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_lightning.bundle import bundle
from reid_lightning.bundle.embedder import Embedder
from reid_lightning.bundle.onnx_sessions import open_session, providers_of
from reid_lightning.errors import ReIDError, extra, first_line
from reid_lightning.untrusted.checksums import onnx_damage

_ADVICE = "Write it with: reid export checkpoint=<bundle folder> formats=[safetensors,onnx]"


class OnnxEmbedder(Embedder):
    """A bundle's ONNX model ready to embed, as `ReIDEmbedder`.

    Args:
        path: a bundle folder, its `opts.yaml` or its `model.onnx`.
        threads: of the processor, for one forward pass; None: as many as torch takes.
        providers: what ONNX Runtime computes with, see `open_session`; those that it took stand in `providers`.
        device: for the provider `auto` and the number of a GPU, as `open_session` takes it.

    Raises:
        ReIDError: onnxruntime is not installed; `model.onnx` is missing, damaged, or belongs to another bundle.
        ProviderError: a provider that was named is not there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        providers: str | Sequence[str] = "auto",
        device: str | torch.device = "cpu",
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ReIDError(f"threads is {threads!r}; expected a whole number of 1 or more, or None.")
        path = Path(path)
        file = path if path.suffix == ".onnx" else (path if path.is_dir() else path.parent) / bundle.ONNX_NAME
        options = bundle.read_options(file.parent if path == file else path)
        if not file.is_file():
            raise ReIDError(f"no {file.name} in the bundle {file.parent}. {_ADVICE}")
        reason = onnx_damage(file)
        if reason is not None:
            raise ReIDError(
                f"{file} is damaged, changed by another tool, or older than this version: {reason}. {_ADVICE}"
            )
        self._file = file
        self._session = _open(
            file,
            threads=torch.get_num_threads() if threads is None else threads,
            providers=providers,
            device=str(device),
        )
        self.providers = providers_of(self._session)
        _check(file, self._session, options)
        super().__init__(options, device=torch.device("cpu"))

    def _run(self, images: Tensor, cameras: Tensor, viewpoints: Tensor) -> Tensor:
        pictures = np.ascontiguousarray(images.numpy(), dtype=np.float32)
        try:
            embeddings = self._session.run(["raw_embeddings"], {"images": pictures})[0]
        except Exception as error:  # the classes of onnxruntime have no common base
            raise ReIDError(
                f"{self._file} cannot be run ({first_line(error)}); it may be damaged. {_ADVICE}"
            ) from error
        return torch.from_numpy(embeddings).float()

    def _positions_of(self, cameras: Sequence[str | None], viewpoints: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        if "side_information" in self.options.architecture and any(map(_is_known, (*cameras, *viewpoints))):
            raise ReIDError(
                "this model uses the names of cameras or viewpoints, of which its ONNX file knows nothing; take "
                "backend='torch', or leave the names out."
            )
        return super()._positions_of(cameras, viewpoints)


def _is_known(name: str | None) -> bool:
    return name is not None


def _open(file: Path, *, threads: int, providers: str | Sequence[str], device: str) -> Any:
    """An `onnxruntime.InferenceSession`."""
    with extra("export"):
        import onnxruntime
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3  # errors: warnings about the graph help no user
    try:
        return open_session(file, settings, what=file.name, providers=providers, device=device, said=False)
    except ReIDError:
        raise
    except Exception as error:  # the classes of onnxruntime have no common base
        raise ReIDError(
            f"{file} is not a readable ONNX model ({first_line(error)}); it may be cut short. {_ADVICE}"
        ) from error


def _check(file: Path, session: Any, options: bundle.BundleOptions) -> None:
    """ReIDError unless the file says that it was exported from this bundle."""
    known = session.get_modelmeta().custom_metadata_map
    if "fingerprint" not in known or "raw_embeddings" not in [output.name for output in session.get_outputs()]:
        raise ReIDError(f"{file} does not say which bundle it belongs to, or is older than this version. {_ADVICE}")
    came, expected = known["fingerprint"], options.fingerprint
    preprocessing = json.dumps(options.preprocessing.as_dict(), sort_keys=True)
    if came != expected or known.get("preprocessing") != preprocessing:
        raise ReIDError(
            f"{file} does not belong to its {bundle.OPTS_NAME}: fingerprint {came}, expected {expected}, or another "
            f"preprocessing. One of the two files was changed. {_ADVICE}"
        )
