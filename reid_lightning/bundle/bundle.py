"""The exported model: `opts.yaml` + `model.safetensors` + a model card, all that search needs and nothing else.

A bundle rebuilds the network from plain values (no network, no training configuration, no number of classes, no code
in it). Weights load without pickle from a bundle and with `weights_only=True` from a training checkpoint.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file

from reid_lightning.atomic import exchange, is_alive, write_atomically
from reid_lightning.bundle.model_card import model_card
from reid_lightning.bundle.weights import RECORD, build_with, read_weights
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.untrusted.plain_yaml import read_plain_yaml

if TYPE_CHECKING:
    from reid_lightning.models import ReIDModel

FORMAT = 1
OPTS_NAME = "opts.yaml"
WEIGHTS_NAME = "model.safetensors"
ONNX_NAME = "model.onnx"
CARD_NAME = "model_card.md"


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
    _restore(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed and had the same number
    unfinished.mkdir(parents=True)
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        try:
            save_file(weights, unfinished / WEIGHTS_NAME, metadata={"fingerprint": options.fingerprint})
        except SafetensorError as error:  # its I/O errors are no OSError
            raise ReIDError(f"cannot write the bundle to {folder}: {error}. Free some space there.") from error
        _write_options(unfinished, options)
        if not folder.exists():
            unfinished.rename(folder)
        elif not exchange(unfinished, folder):
            replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(replaced)
            unfinished.rename(folder)
            shutil.rmtree(replaced)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # the old bundle, where the two were exchanged
    _remove_leftovers(folder)
    return folder


def _restore(folder: Path) -> None:
    """Give an old bundle its name back that a killed process had moved away, where two names cannot be exchanged."""
    if not folder.exists():
        for replaced in folder.parent.glob(f".{glob.escape(folder.name)}.*.old"):
            replaced.rename(folder)
            return


def _remove_leftovers(folder: Path) -> None:
    """Remove bundles that were being written, or replaced, when their process was killed."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        number = re.fullmatch(r"(\d+)(\.old)?", left.name.removeprefix(f".{folder.name}."))
        if number is not None and (int(number[1]) == os.getpid() or not is_alive(int(number[1]))):
            shutil.rmtree(left, ignore_errors=True)


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a threshold into a bundle, in place of an older one of the same protocol and metric."""
    options = read_options(folder)
    stored = {**options.calibration, f"{calibration.protocol}, {calibration.metric}": calibration.as_dict()}
    _write_options(folder, replace(options, calibration=stored))


def store_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Put the final figures of a training into its bundle."""
    _write_options(folder, replace(read_options(folder), metrics=metrics))


def read_options(path: Path) -> BundleOptions:
    """Read `opts.yaml` (or the one inside a bundle folder); ReIDError when it is missing, damaged or not ours."""
    path = path / OPTS_NAME if path.is_dir() else path
    if not path.is_file():
        raise ReIDError(f"no {OPTS_NAME} at {path}; expected a bundle folder, as reid train and reid export write it.")
    return _options(read_plain_yaml(path), where=str(path))


def load(opts_path: Path | None, checkpoint_path: Path | None) -> LoadedModel:
    """Rebuild a model on the CPU from options and weights.

    Args:
        opts_path: `opts.yaml` or the bundle folder that holds it. None: the checkpoint brings its own options.
        checkpoint_path: `model.safetensors` or a training checkpoint (`.ckpt`). None: the weights beside `opts_path`.
    """
    options = None if opts_path is None else read_options(opts_path)
    if checkpoint_path is None:
        if opts_path is None:
            raise ReIDError("neither a bundle nor a checkpoint was named.")
        checkpoint_path = (opts_path if opts_path.is_dir() else opts_path.parent) / WEIGHTS_NAME
    weights, record = read_weights(checkpoint_path)
    if options is None:
        if record is None:
            raise ReIDError(f"{checkpoint_path} holds weights only; name the bundle's {OPTS_NAME} beside it as well.")
        options = _options(record, where=str(checkpoint_path))
    source = str(opts_path or checkpoint_path)
    if "pretrained" in options.architecture:  # would read a file or the network of its choice
        raise ReIDError(f"the architecture in {source} is not one of ours: it names pretrained.")
    model = build_with(weights, options.architecture, source=source, where=str(checkpoint_path))
    if model.embedding_dim != options.embedding_dim:
        raise ReIDError(
            f"{source} says embeddings of {options.embedding_dim} numbers, and its network gives {model.embedding_dim}."
        )
    model.eval()
    found = fingerprint(model, options.preprocessing)
    if record is None and options.fingerprint not in ("", found):
        raise ReIDError(
            f"{checkpoint_path} does not belong to its {OPTS_NAME}: fingerprint {found}, expected "
            f"{shortened(options.fingerprint)}. One of the two files was changed; export the bundle again."
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
    record = checkpoint.get(RECORD)
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


class _ReadableDumper(yaml.SafeDumper):
    """Plain values only; numbers of a list side by side."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything out: `read_plain_yaml` takes no aliases."""
        return True

    def sequence(self, values: list[Any] | tuple[Any, ...]) -> yaml.Node:
        numbers = all(isinstance(value, int | float) for value in values)
        return self.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=numbers or None)


_ReadableDumper.add_representer(list, _ReadableDumper.sequence)
_ReadableDumper.add_representer(tuple, _ReadableDumper.sequence)


def _write_options(folder: Path, options: BundleOptions) -> None:
    write_atomically(folder / CARD_NAME, model_card(options.as_dict()))
    write_atomically(folder / OPTS_NAME, yaml.dump(options.as_dict(), Dumper=_ReadableDumper, sort_keys=False))


def _options(values: Any, *, where: str) -> BundleOptions:
    if not isinstance(values, Mapping):
        raise ReIDError(f"{where} holds a {type(values).__name__}; expected the keys of a bundle's options.")
    if values.get("format") != FORMAT:
        raise ReIDError(f"{where} has format {_shown(values.get('format'))}; this version reads format {FORMAT}.")
    for key, kind in (("architecture", Mapping), ("preprocessing", Mapping), ("embedding_dim", int)):
        if not isinstance(values.get(key), kind) or isinstance(values[key], bool):
            raise ReIDError(f"{where}: key {key!r} is {_shown(values.get(key))}; expected a {kind.__name__.lower()}.")
    described = {key: values.get(key) or {} for key in ("metrics", "data", "calibration")}
    for key, value in described.items():
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ReIDError(f"{where}: key {key!r} is {_shown(value)}; expected a mapping from names.")
    if not isinstance(values.get("fingerprint", ""), str) or not values.get("fingerprint", "").isprintable():
        raise ReIDError(f"{where}: the fingerprint is {_shown(values['fingerprint'])}; expected a text.")
    try:
        preprocessing = Preprocessing(**values["preprocessing"])
    except (TypeError, ValueError, OverflowError, ReIDError) as error:
        raise ReIDError(f"{where}: preprocessing is not one of ours: {str(error)[:300]}") from error
    return BundleOptions(
        architecture=dict(values["architecture"]),
        preprocessing=preprocessing,
        embedding_dim=values["embedding_dim"],
        fingerprint=values.get("fingerprint", ""),
        metrics=dict(described["metrics"]),
        data=dict(described["data"]),
        calibration=_calibrations(described["calibration"], where=where),
    )


def _shown(value: object) -> str:
    return shortened(repr(value))


def _calibrations(values: Mapping[str, Any], *, where: str) -> dict[str, dict[str, Any]]:
    try:
        calibrations = {name: Calibration(**entry) for name, entry in values.items()}
        for calibration in calibrations.values():
            rates = (calibration.threshold, calibration.measured_false_match_rate, calibration.true_match_rate)
            if not all(_is_finite(rate) for rate in rates):
                raise TypeError(f"threshold and rates are {_shown(rates)}; expected finite numbers")
            pairs = (calibration.same_pairs, calibration.different_pairs)
            if not all(isinstance(count, int) and 0 <= count < 1 << 63 for count in pairs):
                raise TypeError(f"the numbers of pairs are {_shown(pairs)}; expected whole numbers")
        return {name: calibration.as_dict() for name, calibration in calibrations.items()}
    except (AttributeError, TypeError, ValueError, OverflowError, ReIDError) as error:
        raise ReIDError(f"{where}: calibration is not one of ours: {str(error)[:300]}") from error


def _is_finite(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < 1e300
