"""The exported model: `opts.yaml` + `model.safetensors` + a model card, all that search needs and nothing else.

A bundle rebuilds the network from plain values (no network, no training configuration, no number of classes, no code
in it). Weights load without pickle from a bundle and with `weights_only=True` from a training checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reid_lightning.atomic import replacing
from reid_lightning.data.transforms import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.model_card import model_card
from reid_lightning.models import ReIDModel
from reid_lightning.ranking.open_set_result import Calibration

FORMAT = 1
OPTS_NAME = "opts.yaml"
WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "model_card.md"

_RECORD = "reid"  # the key of our part of a Lightning checkpoint


@dataclass(frozen=True)
class BundleOptions:
    """What `opts.yaml` says.

    `architecture` are the constructor arguments of `ReIDModel`; `metrics` and `data` describe how the model was
    measured and trained; `calibration` holds thresholds as `ranking.Calibration.as_dict` gives them, by protocol and
    metric;
    `fingerprint` changes whenever embeddings would.
    """

    architecture: Mapping[str, Any]
    preprocessing: Preprocessing
    embedding_dim: int
    fingerprint: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "architecture": dict(self.architecture),
            "preprocessing": self.preprocessing.as_dict(),
            "embedding_dim": self.embedding_dim,
            "metrics": dict(self.metrics),
            "data": dict(self.data),
            "calibration": {protocol: dict(values) for protocol, values in self.calibration.items()},
        }


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode with everything that `opts.yaml` says of it."""

    model: ReIDModel
    options: BundleOptions

    @property
    def weight_bytes(self) -> int:
        """Size of the weights."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.model.state_dict().values())


def training_record(model: ReIDModel, preprocessing: Preprocessing) -> dict[str, Any]:
    """What a training checkpoint must carry so that it can be loaded without its configuration."""
    return {
        "format": FORMAT,
        "architecture": dict(model.architecture),
        "preprocessing": preprocessing.as_dict(),
        "embedding_dim": model.embedding_dim,
    }


def fingerprint(model: ReIDModel, preprocessing: Preprocessing) -> str:
    """16 hexadecimal digits over architecture, preprocessing and every weight: equal means equal embeddings."""
    digest = hashlib.sha256()
    described = {"architecture": dict(model.architecture), "preprocessing": preprocessing.as_dict()}
    digest.update(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_bundle(
    folder: Path,
    model: ReIDModel,
    preprocessing: Preprocessing,
    *,
    metrics: Mapping[str, Any],
    data: Mapping[str, Any],
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a bundle into `folder`, replacing an older one only when the new one is complete."""
    options = BundleOptions(
        architecture=model.architecture,
        preprocessing=preprocessing,
        embedding_dim=model.embedding_dim,
        fingerprint=fingerprint(model, preprocessing),
        metrics=metrics,
        data=data,
        calibration=calibration or {},
    )
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        try:
            save_file(weights, unfinished / WEIGHTS_NAME, metadata={"fingerprint": options.fingerprint})
        except SafetensorError as error:  # its I/O errors are no OSError
            raise ReIDError(f"cannot write the bundle to {folder}: {error}. Free some space there.") from error
        _write_options(unfinished, options)
        if folder.exists():
            replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(replaced)
            unfinished.rename(folder)
            shutil.rmtree(replaced)
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a threshold into a bundle, in place of an older one of the same protocol and metric."""
    options = read_options(folder)
    stored = {**options.calibration, f"{calibration.protocol}, {calibration.metric}": calibration.as_dict()}
    _write_options(folder, replace(options, calibration=stored))


def read_options(path: Path) -> BundleOptions:
    """Read `opts.yaml` (or the one inside a bundle folder); ReIDError when it is missing, damaged or not ours."""
    path = path / OPTS_NAME if path.is_dir() else path
    if not path.is_file():
        raise ReIDError(f"no {OPTS_NAME} at {path}; expected a bundle folder, as train.py and export.py write it.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReIDError(f"{path} is not readable as YAML: {error}") from error
    return _options(values, where=str(path))


def load(opts_path: Path | None, checkpoint_path: Path | None) -> LoadedModel:
    """Rebuild a model on the CPU from options and weights.

    Args:
        opts_path: `opts.yaml` or the bundle folder that holds it. None: the checkpoint brings its own options.
        checkpoint_path: `model.safetensors` or a training checkpoint (`.ckpt`). None: the weights beside `opts_path`.
    """
    if opts_path is None and checkpoint_path is None:
        raise ReIDError("neither a bundle nor a checkpoint was named.")
    options = None if opts_path is None else read_options(opts_path)
    if checkpoint_path is None:
        checkpoint_path = (opts_path if opts_path.is_dir() else opts_path.parent) / WEIGHTS_NAME
    weights, record = _read_weights(checkpoint_path)
    if options is None:
        if record is None:
            raise ReIDError(f"{checkpoint_path} holds weights only; name the bundle's {OPTS_NAME} beside it as well.")
        options = _options(record, where=str(checkpoint_path))
    if "pretrained" in options.architecture:  # would read a file or the network of its choice
        raise ReIDError(f"the architecture in {opts_path or checkpoint_path} is not one of ours: it names pretrained.")
    try:
        model = ReIDModel(**options.architecture)
    except TypeError as error:
        raise ReIDError(f"the architecture in {opts_path or checkpoint_path} is not one of ours: {error}") from error
    _load_state(model, weights, where=str(checkpoint_path))
    model.eval()
    found = fingerprint(model, options.preprocessing)
    if record is None and options.fingerprint not in ("", found):
        raise ReIDError(
            f"{checkpoint_path} does not belong to its {OPTS_NAME}: fingerprint {found}, expected "
            f"{options.fingerprint}. One of the two files was changed; export the bundle again."
        )
    return LoadedModel(model, replace(options, fingerprint=found))


def open_model(path: str | Path) -> LoadedModel:
    """Load from one path: a bundle folder, its `opts.yaml` or `model.safetensors`, or a training checkpoint."""
    path = Path(path)
    if not path.exists():
        raise ReIDError(f"nothing at checkpoint={path}; expected a bundle folder or a .ckpt file of a training run.")
    if path.is_dir() or path.name == OPTS_NAME:
        return load(path, None)
    if path.suffix == ".safetensors":
        return load(path.parent, path)
    return load(None, path)


def check_architecture(checkpoint: Mapping[str, Any], model: ReIDModel) -> None:
    """ReIDError when a training checkpoint was made with another architecture than `model`."""
    record = checkpoint.get(_RECORD)
    if not isinstance(record, Mapping) or "architecture" not in record:
        raise ReIDError("the checkpoint was not written by this project: it does not say which model it holds.")
    came, expected = dict(record["architecture"]), dict(model.architecture)
    if came != expected:
        keys = [key for key in sorted({*came, *expected}) if came.get(key) != expected.get(key)]
        differences = ", ".join(
            f"{key}: {came.get(key)!r} in the checkpoint, {expected.get(key)!r} here" for key in keys
        )
        raise ReIDError(
            f"the checkpoint is of another architecture ({differences}). Choose the same model=..., or leave it out."
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without running code from it; ReIDError when it is missing, damaged or not one."""
    if not path.is_file():
        raise ReIDError(f"no checkpoint at {path}; expected a .ckpt file of a training run.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReIDError(f"{path} is not a readable checkpoint ({reason}); it may be cut short.") from error
    if not isinstance(checkpoint, dict):
        raise ReIDError(
            f"{path} holds a {type(checkpoint).__name__}; expected the dictionary of a training checkpoint."
        )
    return checkpoint


class _Readable(yaml.SafeDumper):
    """Plain values only; numbers of a list side by side."""

    def represent_list(self, values: list[Any] | tuple[Any, ...]) -> yaml.Node:
        numbers = all(isinstance(value, int | float) for value in values)
        return self.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=numbers or None)


_Readable.add_representer(list, _Readable.represent_list)
_Readable.add_representer(tuple, _Readable.represent_list)


def _write_options(folder: Path, options: BundleOptions) -> None:
    with replacing(folder / CARD_NAME) as unfinished:
        unfinished.write_text(model_card(options.as_dict()), encoding="utf-8")
    with replacing(folder / OPTS_NAME) as unfinished:
        unfinished.write_text(yaml.dump(options.as_dict(), Dumper=_Readable, sort_keys=False), encoding="utf-8")


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ReIDError(f"no weights at {path}; the bundle is incomplete.")
        try:
            return load_file(path), None
        except SafetensorError as error:
            raise ReIDError(f"{path} is not a readable safetensors file ({error}); it may be cut short.") from error
    checkpoint = read_checkpoint(path)
    record = checkpoint.get(_RECORD)
    if record is None or "state_dict" not in checkpoint:
        raise ReIDError(
            f"{path} was not written by this project's training. Load other weights with model.pretrained=<file>."
        )
    prefix = "model."
    state = checkpoint["state_dict"]
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}, record


def _load_state(model: ReIDModel, weights: Mapping[str, Tensor], *, where: str) -> None:
    expected = model.state_dict()
    missing = sorted(set(expected) - set(weights))
    unexpected = sorted(set(weights) - set(expected))
    shapes = sorted(key for key in set(expected) & set(weights) if expected[key].shape != weights[key].shape)
    if missing or unexpected or shapes:
        example = (missing or unexpected or shapes)[0]
        raise ReIDError(
            f"{where} is of another architecture than its options say: {len(missing)} weights missing, "
            f"{len(unexpected)} unexpected, {len(shapes)} of another shape (the first is {example!r})."
        )
    model.load_state_dict(dict(weights))


def _options(values: Any, *, where: str) -> BundleOptions:
    if not isinstance(values, Mapping):
        raise ReIDError(f"{where} holds a {type(values).__name__}; expected the keys of a bundle's options.")
    if values.get("format") != FORMAT:
        raise ReIDError(f"{where} has format {values.get('format')!r}; this version reads format {FORMAT}.")
    for key, kind in (("architecture", Mapping), ("preprocessing", Mapping), ("embedding_dim", int)):
        if not isinstance(values.get(key), kind):
            raise ReIDError(f"{where}: key {key!r} is {values.get(key)!r}; expected a {kind.__name__.lower()}.")
    try:
        preprocessing = Preprocessing(**values["preprocessing"])
    except (TypeError, ValueError) as error:
        raise ReIDError(f"{where}: preprocessing is not one of ours: {error}") from error
    return BundleOptions(
        architecture=dict(values["architecture"]),
        preprocessing=preprocessing,
        embedding_dim=values["embedding_dim"],
        fingerprint=str(values.get("fingerprint", "")),
        metrics=dict(values.get("metrics") or {}),
        data=dict(values.get("data") or {}),
        calibration=_calibrations(values.get("calibration") or {}, where=where),
    )


def _calibrations(values: Any, *, where: str) -> dict[str, dict[str, Any]]:
    try:
        calibrations = {name: Calibration(**entry) for name, entry in values.items()}
        for calibration in calibrations.values():
            rates = (calibration.threshold, calibration.measured_false_match_rate, calibration.true_match_rate)
            if not all(isinstance(rate, float | int) and math.isfinite(rate) for rate in rates):
                raise TypeError(f"threshold and rates are {rates}; expected finite numbers")
        return {name: calibration.as_dict() for name, calibration in calibrations.items()}
    except (AttributeError, TypeError, ReIDError) as error:
        raise ReIDError(f"{where}: calibration is not one of ours: {error}") from error
