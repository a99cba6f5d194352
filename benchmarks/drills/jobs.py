"""The commands that are drilled, as small as does all of their work, and how to tell that they ended right."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import yaml
from PIL import Image

from benchmarks.drills.commands import Command, run
from reid_lightning.bundle.bundle import open_model
from reid_lightning.data.images.reading import find_bad_images
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.files import PIECES, read_embeddings
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.untrusted.checksums import damage

RUN = "hydra.run.dir=run"
TINY_TRAINING = (
    "data.validation=test",  # an epoch of as many steps as there are vehicles for
    "data.size=tiny",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "loader.identities_per_batch=4",
    "loader.num_workers=0",
    "evaluation.num_workers=0",
    "input.height=32",
    "input.width=32",
    "model=timm",
    "model.backbone=test_efficientnet",
    "model.embedding_dim=16",
    "callbacks.last.every_n_steps=2",
    "evaluation.pictures=false",
    "~callbacks.ranked_lists",
    "~callbacks.progress_bar",
    RUN,
)

_LEARNT = ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
_PICTURES = (".jpg", ".png")


@dataclass(frozen=True)
class Job:
    """One kind of command.

    Args:
        command: the command, for the folder that `prepare` has filled.
        differences: what the folder of a run that was finished after interruptions has otherwise than that of one which
            was not, a line each.
        says_done: what the command may say with status 1 when all was done before, if it does say so.
    """

    name: str
    command: Command
    differences: Callable[[Path, Path], list[str]]
    says_done: str | None = None


def prepare(folder: Path) -> None:
    """Draw the fleet, train a model, write a clip and register it into `folder`: what the jobs start from."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "clip.mp4").exists():
        _write_clip(folder / "clip.mp4")
    for name, command in (
        ("fleet", Command("reid", ("data", "fleet", "folder=root", "size=tiny", "workers=1"))),
        ("model", Command("train.py", (f"data.root={folder}/fleet/root", *TINY_TRAINING, "trainer.max_epochs=1"))),
        ("registered", Command("register.py", _registering(folder))),
    ):
        if not (folder / f"{name}.json").exists():
            ended = run(command, folder / name)
            if ended.status != 0:
                raise ReIDError(
                    f"the drills cannot be prepared, {command.script} ended with {ended.status}:\n{ended.output}"
                )
            (folder / f"{name}.json").write_text(json.dumps({"seconds": ended.seconds}))


def _registering(prepared: Path) -> tuple[str, ...]:
    bundle = prepared / "model/run/bundle"
    source = (f"source={prepared}/clip.mp4", "camera=north", f"bundle={bundle}")
    return (*source, "gallery=gallery", "plate_reader=none", "detector.warm_up=3", RUN)


def jobs_of(prepared: Path) -> dict[str, Job]:
    """The jobs, over what `prepare` has made."""
    fleet, bundle = f"data.root={prepared}/fleet/root", prepared / "model/run/bundle"
    found = [
        Job("training", Command("train.py", (fleet, *TINY_TRAINING, "resume=auto")), _other_training),
        Job("export", Command("export.py", (f"checkpoint={bundle}", "formats=[safetensors]", RUN)), _other_bundle),
        Job("drawing", Command("reid", ("data", "fleet", "folder=root", "size=tiny", "workers=2")), differing_files),
        Job(
            "registration",
            Command("register.py", _registering(prepared)),
            _other_gallery,
        ),
        Job(
            "search",
            Command(
                "search.py",
                (
                    f"query={prepared}/clip.mp4",
                    f"gallery={prepared}/registered/gallery",
                    f"bundle={bundle}",
                    "detector.warm_up=3",
                    RUN,
                ),
            ),
            _other_matches,
        ),
        Job(
            "sharding",
            Command("reid", ("data", "shards", fleet, "data.size=tiny", "output=shards", "shard_mib=0.1")),
            differing_files,
            says_done="exists; name a folder that does not",
        ),
    ]
    return {job.name: job for job in found}


def half_written(folder: Path) -> list[str]:
    """What stands in `folder` under the name of a result without being whole, a line each.

    Hidden files and folders are no results. The log of a run grows row by row, as logs do.
    """
    found = []
    files = list(_visible(folder))
    pictures = [path for path in files if path.suffix in _PICTURES]
    found += [
        f"{path.relative_to(folder)}: {reason}" for path, reason in find_bad_images(pictures, decode=True).items()
    ]
    for path in files:
        reason = _damage(path)
        if reason is not None:
            found.append(f"{path.relative_to(folder)}: {reason}")
    return found


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders that a run has left: no locks, notes of an index, records of Hydra."""
    hidden = (path for path in folder.rglob(".*") if not path.name.endswith((".lock", ".state")))
    known = (".hydra", ".index", ".sources", ".lock")
    return sorted(str(path.relative_to(folder)) for path in hidden if not any(part in known for part in path.parts))


def _visible(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _visible(path)
        else:
            yield path


def _damage(path: Path) -> str | None:
    """What is wrong with a file that claims to be whole by its name."""
    try:
        if path.suffix == ".ckpt":
            return damage(path)
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".yaml", ".yml"):
            if not yaml.safe_load(path.read_text()):
                return "empty"
        elif path.suffix == ".safetensors" and (path.parent / PIECES).exists():
            read_embeddings(path)
        elif path.suffix == ".safetensors":
            open_model(path)  # with its opts.yaml, whose fingerprint must be that of the weights
        elif path.suffix == ".tar":
            with tarfile.open(path) as archive:
                archive.getmembers()
    except (ReIDError, ValueError, OSError, EOFError, yaml.YAMLError, tarfile.TarError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every visible file, by its path in `folder`."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in _visible(folder)}


def differing_files(folder: Path, whole: Path) -> list[str]:
    """Visible files that are not the same to the byte in both, a line each."""
    one, other = digests(folder), digests(whole)
    return [f"{name} differs" for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def _other_training(folder: Path, whole: Path) -> list[str]:
    """The checkpoint that the next run would go on from, the log, the figures and the exported model.

    That checkpoint is last.ckpt, of which everything is compared, or best.ckpt where the run was killed between the
    two of its last epoch: then its weights, optimiser, schedule and steps.
    """
    found = []
    newest = [_newest(one / "run/checkpoints") for one in (folder, whole)]
    states = [_without(torch.load(path, weights_only=True), str(path.parents[2])) for path in newest]
    keys = states[0].keys() | states[1].keys() if newest[0].name == newest[1].name else _LEARNT
    differing = [key for key in keys if not _equal(*(state.get(key) for state in states))]
    if differing:
        found.append(f"{newest[0].name} differs in {sorted(differing)}")
    for name in ("logs/metrics.csv", "metrics.json"):
        if (folder / "run" / name).read_bytes() != (whole / "run" / name).read_bytes():
            found.append(f"{name} differs")
    return found + _other_bundle(folder, whole)


def _newest(folder: Path) -> Path:
    steps = {path: torch.load(path, weights_only=True)["global_step"] for path in folder.glob("[!.]*.ckpt")}
    return max(steps, key=lambda path: (steps[path], path.name == "last.ckpt"))


def _other_bundle(folder: Path, whole: Path) -> list[str]:
    one, other = (open_model(place / "run/bundle").options.fingerprint for place in (folder, whole))
    return [] if one == other else [f"the bundle's fingerprint is {one}, not {other}"]


def _other_gallery(folder: Path, whole: Path) -> list[str]:
    """The sightings, their pictures and vectors, and what `check` says once killed processes' leavings are removed."""
    gallery, other = Gallery(folder / "gallery"), Gallery(whole / "gallery")
    gallery.repair(older_than=0.0)
    found = gallery.check()
    if list(gallery.sightings()) != list(other.sightings()):
        found.append("the sightings differ")
    found += [name for name in differing_files(folder / "gallery", whole / "gallery") if name.startswith("unknown-")]
    pictures = sum(len(sighting.crops) for sighting in gallery.sightings())
    synced = GalleryIndex(gallery, open_store(str(folder / "gallery/.index"))).sync()
    if (synced.embedded, synced.removed, synced.changed, synced.total) != (0, 0, 0, pictures):
        found.append(f"the vectors did not agree with the gallery: {synced}")
    registered = [json.loads((place / "run/registered.json").read_text()) for place in (folder, whole)]
    if len(registered[0]) != len(registered[1]):
        found.append("registered.json has another number of sources")
    return found


def _other_matches(folder: Path, whole: Path) -> list[str]:
    names = ("matches.json", "matches.csv", "tracks.csv")
    return [
        f"{name} differs"
        for name in names
        if (folder / "run" / name).read_bytes() != (whole / "run" / name).read_bytes()
    ]


def _without(value: Any, folder: str) -> Any:
    """A checkpoint's content with the run's folder taken out of it."""
    if isinstance(value, str):
        return re.sub(re.escape(folder), "", value)
    if isinstance(value, dict):
        return {_without(key, folder): _without(entry, folder) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without(entry, folder) for entry in value]
    return value


def _equal(one: Any, other: Any) -> bool:
    """To the bit, at every depth."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _write_clip(path: Path) -> None:
    """An empty road, then two cars, one after the other, at 10 frames a second."""
    blank = np.full((120, 160, 3), 90, np.uint8)
    frames = [blank] * 8
    for colour in ((250, 0, 0), (0, 0, 250)):
        for number in range(18):
            frame = blank.copy()
            frame[30:70, 5 * number : 5 * number + 60] = colour
            frame[40:70:10, 5 * number : 5 * number + 60] = 235
            frames.append(frame)
        frames += [blank] * 10
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(Image.fromarray(frame))))
        container.mux(stream.encode())
