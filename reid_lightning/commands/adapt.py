"""Adapt a bundle to pictures without labels: `reid adapt source=<folder of crops> [bundle=starter]`."""

import csv
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from reid_lightning.atomic import check_writable, write_atomically
from reid_lightning.bundle import exporters
from reid_lightning.bundle.bundle import load, save_bundle
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.bundle.loading import best_device, find_bundle
from reid_lightning.bundle.model_card import VALIDATION_MAP
from reid_lightning.bundle.starter import MEASURED
from reid_lightning.commands.entry_point import save_config
from reid_lightning.data.images.files import find_pictures
from reid_lightning.data.images.reading import find_bad_images
from reid_lightning.data.readers.csv_table import FOUND_BY
from reid_lightning.data.records import Split, VehicleImage
from reid_lightning.drawing.tables import print_written
from reid_lightning.errors import ReIDError, count, printable, shortened
from reid_lightning.evaluation.embedding import embed_pictures
from reid_lightning.evaluation.without_labels import LEAST, calibrate_without_labels
from reid_lightning.models.adaptation import adapted, strangeness
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking.confirmed import confirmed_vehicles

_FEW = 100
_WORTH_TRAINING = 20
_UNSURE = "of pictures without labels, rather too high"
_PATTERN = r"for names such as 17_cam2.jpg: 'pattern=_cam(?P<camera>\d+)'."
_OF_BEFORE = ("adaptation", "better", MEASURED, VALIDATION_MAP)


def adapt(cfg: DictConfig) -> None:
    """Embed the pictures, move the model to them and write it as a bundle into the run directory."""
    run_dir, console = Path(cfg.run_dir), Console()
    check_writable(run_dir)
    known = _known(cfg)
    from_bundle = find_bundle(cfg.bundle, kinds=("train",))
    source = load(from_bundle, None)
    embedder = ReIDEmbedder(source, device=best_device(cfg.device))
    save_config(cfg, run_dir)
    if (moved_before := source.options.data.get("adaptation")) is not None:
        said = f"{from_bundle} was adapted before ({shortened(moved_before)}) and is moved once more: name its first"
        console.print(Text(printable(f"{said} bundle to start from that.")), soft_wrap=True)
    unreadable = find_bad_images([one.path for one in known], decode=True)
    kept = tuple(one for one in known if one.path not in unreadable)
    if len(kept) < 2:
        path, reason = next(iter(unreadable.items()))
        raise ReIDError(
            f"{len(unreadable):,} of {len(known):,} pictures cannot be read, such as {path}: {reason}; expected two "
            "that can."
        )
    unnamed = tuple(VehicleImage(one.path, one.identity) for one in kept)  # a search says no cameras either
    title = f"embedding {count(len(kept), 'picture')}"
    if not console.is_terminal:  # where no bar is drawn
        console.print(title)
    embedded = embed_pictures(embedder, unnamed, title=title)
    cameras = None if any(one.camera is None for one in kept) else _numbers([one.camera for one in kept])
    vehicles = _numbers([one.identity for one in kept])
    share = cfg.share * strangeness(embedded)
    moved = adapted(
        source.model.cpu(),
        embedded,
        share=share,
        vehicles=vehicles,
        cameras=cameras,
        margin=cfg.margin,
    )
    options, links = source.options, count(moved.links, "pair")
    adaptation = f"moved to {count(len(kept), 'picture')} without labels, share {share:.2g}, {links} linked"
    history = {key: value for key, value in options.data.items() if key not in _OF_BEFORE}
    calibration = calibrate_without_labels(moved.embeddings, moved.labels, cameras)
    folder = save_bundle(
        run_dir / "bundle",
        moved.model,
        options.preprocessing,
        metrics={},
        data={**history, "adaptation": adaptation, "before": options.fingerprint, **_said_of(calibration)},
        calibration={} if calibration is None else {f"{IMAGE_TO_IMAGE}, cosine": calibration.as_dict()},
    )
    if cfg.onnx:
        writing = "writing model.onnx, for searches on a CPU"
        if not console.is_terminal:
            console.print(writing)
        with console.status(writing):
            exporters.add_onnx(folder)
    left_out = f", {count(len(unreadable), 'unreadable one')} left out" if unreadable else ""
    console.print(f"{count(len(kept), 'picture')}{left_out}: a new model, {options.fingerprint} before.")
    groups = count(int(vehicles.max()) + 1, "track or single picture", "tracks or single pictures")
    where = "cameras unknown" if cameras is None else count(int(cameras.max()) + 1, "camera")
    console.print(f"{groups}, {where}; {links} taken for one vehicle each.")
    if cameras is None and cfg.margin is not None:
        console.print("Cameras in the names make such pairs surer: pattern=..., see reid adapt --help.")
    if len(kept) < _FEW:
        console.print(f"Fewer than {_FEW} pictures say little of a place; some hundred of all cameras are better.")
    if calibration is not None:
        console.print(
            f"Threshold {calibration.threshold:.2f}: {_UNSURE}. With labels: reid evaluate store_threshold=true."
        )
    else:
        console.print(
            f"No threshold: fewer than {LEAST} pictures, or no pairs. With labels: reid evaluate store_threshold=true."
        )
    bundle = shlex.quote(f"bundle={folder}")
    console.print(f"A gallery needs its vectors again: reid gallery rebuild {bundle}", soft_wrap=True, highlight=False)
    table, identities = _write_pseudo_labels(run_dir / "pseudo_labels.csv", kept, moved.labels)
    if identities >= _WORTH_TRAINING:
        console.print(
            f"{identities:,} vehicles have two pictures and more: train on them with\n"
            f"reid train experiment=pseudo_labels data.path={shlex.quote(str(table))}",
            soft_wrap=True,
            highlight=False,
        )
    print_written(console, [folder, table, run_dir / "config.yaml"])


def _said_of(calibration: Calibration | None) -> dict[str, str]:
    return {} if calibration is None else {"threshold": _UNSURE}


def _write_pseudo_labels(path: Path, known: Split, labels: torch.Tensor) -> tuple[Path, int]:
    """A table for `data=csv` of the pictures that others show the same vehicle as, and how many vehicles these are."""
    several = labels.bincount()[labels] > 1
    rows = [(one, label) for one, label, is_one in zip(known, labels.tolist(), several.tolist(), strict=True) if is_one]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "identity", "camera", FOUND_BY])
    writer.writerows(
        [str(Path(str(one.path)).resolve()), f"v{label}", one.camera or "", "reid adapt"] for one, label in rows
    )
    return write_atomically(path, text.getvalue()), len({label for _, label in rows})


def _known(cfg: DictConfig) -> Split:
    """The pictures, with what is known of them (a vehicle as identity, the camera): of the folder or the gallery, at
    most cfg.most. ReIDError: none or both are named, or there are too few."""
    if (cfg.source is None) == (cfg.gallery is None):
        raise ReIDError("expected one of source=<folder of crops> and gallery=<folder>, whose crops are looked at")
    if cfg.gallery is not None and cfg.pattern is not None:
        raise ReIDError("pattern= reads the names of source=<folder>; a gallery knows its cameras. Leave it out.")
    found = list(_of_gallery(cfg.gallery) if cfg.source is None else _of_folder(Path(cfg.source), cfg.pattern))
    if min(len(found), cfg.most) < 2:
        where = cfg.source or cfg.gallery
        there = count(len(found), "picture")
        raise ReIDError(f"{where} holds {there}, most={cfg.most}; expected two, better hundreds.")
    chosen = np.random.default_rng(0).permutation(len(found))[: cfg.most]
    return tuple(found[position] for position in sorted(chosen))


def _of_folder(folder: Path, pattern: str | None) -> Iterator[VehicleImage]:
    """What names say by the groups camera and track of `pattern`; without a track, every picture is a vehicle."""
    if not folder.is_dir():
        raise ReIDError(f"source={folder} is no folder; expected one of crops, one vehicle a picture.")
    expression, names = _compiled(pattern), find_pictures(folder).names
    said = {name: match.groupdict() for name in names if expression is not None and (match := expression.search(name))}
    if expression is not None and len(said) < len(names):
        other = next(name for name in names if name not in said)
        raise ReIDError(
            f"pattern={pattern} is found in {len(said):,} of {len(names):,} names, and not in {other}; every picture "
            "needs what it says. Put others elsewhere, or leave pattern out."
        )
    for name in names:
        found = said.get(name, {})
        yield VehicleImage(folder / name, found.get("track") or name, found.get("camera"))


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        expression = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ReIDError(f"pattern={pattern} is no regular expression: {error}; {_PATTERN}") from error
    if expression is not None and not {"camera", "track"} >= set(expression.groupindex) > set():
        raise ReIDError(f"pattern={pattern}: expected the groups camera and track, or one of them; {_PATTERN}")
    return expression


def _of_gallery(folder: Path) -> Iterator[VehicleImage]:
    """The crops of its sightings. Those of a vehicle that people or plates confirm are one; of the rest the folder says
    the vehicle, which is that of a plate or of one track."""
    reader = GalleryReader(folder)
    confirmed = {one.id: name for name, sightings in confirmed_vehicles(reader).items() for one in sightings}
    for one in reader.sightings():
        for path in reader.crop_paths(one):
            yield VehicleImage(path, confirmed.get(one.id, one.vehicle), one.camera or None)


def _numbers(names: list[str | None]) -> torch.Tensor:
    """(N,) int64 from 0, the same for the same name."""
    numbers: dict[str | None, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])
