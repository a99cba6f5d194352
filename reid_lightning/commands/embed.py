"""Embed very many pictures into files: `reid embed bundle=<folder> data=... output=<folder> part=2/8`.

Any number of processes do parts of it, a SLURM array or a loop of a shell for example, or Ray does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from reid_lightning.bundle.bundle import OPTS_NAME, read_options
from reid_lightning.bundle.embedder import Embedder
from reid_lightning.bundle.loading import best_device, find_bundle, load_by_keys
from reid_lightning.bundle.onnx_sessions import AUTO, named_providers
from reid_lightning.commands.entry_point import read_dataset
from reid_lightning.data.images.files import find_pictures
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import PicturePath, Split, VehicleImage
from reid_lightning.drawing.progress import counted
from reid_lightning.errors import ReIDError, count
from reid_lightning.evaluation.pieces import EmbeddingPieces, check_cameras, of_part

GALLERY, PICTURES = "gallery", "pictures"
"""The folders of a registered gallery's crops, and of a folder of pictures, in the output."""


def embed(cfg: DictConfig) -> None:
    """Make the files of one part, but for those that are there already."""
    part, parts = (int(number) for number in cfg.part.split("/"))
    if cfg.ray is not None and parts != 1:
        raise ReIDError(f"part={cfg.part} and ray={cfg.ray}: Ray shares the work out itself; leave part out.")
    providers = named_providers(cfg.providers)
    bundle, output = find_bundle(cfg.bundle), Path(cfg.output).absolute()
    model = read_options(bundle / OPTS_NAME).fingerprint
    lists = [
        EmbeddingPieces(output / name, images, names, cfg.pictures_per_file, model, cfg.flip)
        for name, (images, names) in _pictures(cfg).items()
    ]
    device = best_device(cfg.device, backend=cfg.backend)
    keys = {"device": device, "backend": cfg.backend, "providers": providers or AUTO}
    load = partial(_load, bundle.absolute(), threads=cfg.threads, **keys)
    settings = {"batch_size": cfg.batch_size, "num_workers": cfg.num_workers}
    embedder = load() if cfg.ray is None else None  # its errors come before anything is made
    for one in lists:
        one.begin()
    own = list(of_part(lists, part, parts))
    missing = [piece for piece in own if not piece.is_there]
    if missing and cfg.ray is not None:
        from reid_lightning.evaluation.ray_pieces import embed_on_ray  # here: Ray is needed by it alone

        with counted("files embedded by Ray") as on_progress:
            embed_on_ray(
                missing,
                load,
                address=cfg.ray,
                workers=cfg.ray_workers,
                on_gpu=device.startswith("cuda") or bool({"cuda", "tensorrt"} & set(providers)),
                settings=settings,
                on_progress=on_progress,
            )
    elif embedder is not None:
        shown = Console().is_terminal
        for done, piece in enumerate(missing, start=1):
            title = f"{piece.file.parent.name}/{piece.file.name} ({done:,} of {len(missing):,} to do)"
            piece.embed(embedder, title=title if shown else None, **settings)
    _report(lists, part=cfg.part, new=len(missing), there=len(own) - len(missing))


def _load(bundle: Path, *, threads: int, **keys: Any) -> Embedder:
    """Called in every process that embeds."""
    torch.set_num_threads(threads)
    return load_by_keys(bundle, **keys)


def _pictures(cfg: DictConfig) -> dict[str, tuple[Split, tuple[str, ...]]]:
    """By the name of a folder in the output: the pictures, and their names."""
    if cfg.gallery is not None and cfg.source is not None:
        raise ReIDError("gallery= and source= were given; expected one of them, or data=.")
    if cfg.gallery is not None:
        return {GALLERY: _of_gallery(Path(cfg.gallery))}
    if cfg.source is not None:
        return {PICTURES: _of_folder(Path(cfg.source))}
    dataset = read_dataset(cfg)
    root = Path(str(cfg.data.get("root") or "."))
    found = {}
    for split in dict.fromkeys(cfg.splits):
        images: Split = getattr(dataset, split)
        if images:
            check_cameras(split, images)
            found[split] = images, tuple(_name(image.path, root) for image in images)
    if not found:
        raise ReIDError(f"splits=[{','.join(cfg.splits)}] of {dataset.name} hold no picture.")
    return found


def _name(path: PicturePath, root: Path) -> str:
    """Below the data set's folder, which may lie elsewhere on another machine."""
    whole = Path(path.shard) / path.member if isinstance(path, PackedPicture) else path
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else str(path)


def _of_folder(folder: Path) -> tuple[Split, tuple[str, ...]]:
    """All pictures below it, whoever they show: each is called, and stands for a vehicle, by its path there."""
    if not folder.is_dir():
        raise ReIDError(f"source={folder} is no folder; expected one of crops, one vehicle a picture.")
    names = find_pictures(folder).names
    if not names:
        raise ReIDError(f"source={folder} holds no picture.")
    return tuple(VehicleImage(folder / name, name) for name in names), tuple(names)


def _of_gallery(folder: Path) -> tuple[Split, tuple[str, ...]]:
    """Its crops, which are called as in vector stores."""
    from reid_lightning.search.gallery.crop_embedding import Crops
    from reid_lightning.search.gallery.reader import GalleryReader

    if not folder.is_dir():
        raise ReIDError(f"There is no gallery at {folder}; `reid register` makes one.")
    gallery, problems = GalleryReader(folder), list[str]()
    gallery.locations.index.look(everything=True)
    crops = list(Crops(gallery, None).all(problems))
    if problems:
        raise ReIDError(f"{problems[0]} `reid gallery check` names all that is wrong.")
    if not crops:
        raise ReIDError(f"The gallery {folder} is empty: there is nothing to embed.")
    images = tuple(
        VehicleImage(gallery.crop_path(one.vehicle, name), one.vehicle, one.camera, one.sighting) for one, name in crops
    )
    return images, tuple(one.id for one, _ in crops)


def _report(lists: list[EmbeddingPieces], *, part: str, new: int, there: int) -> None:
    console = Console()
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"part {part}: {count(new, 'file')} written, {there:,} were there.")
    for one in lists:
        done = sum(one.piece(number).is_there for number in range(len(one)))
        pictures = count(len(one.images), "picture")
        say(f"{one.folder}: {done:,} of {count(len(one), 'file')}, {pictures} in all.")
