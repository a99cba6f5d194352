"""The pictures of registered vehicles, embedded: what a small gallery is searched in, without a vector store."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.bundle.module_embedder import as_embedder
from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.reader import GalleryReader

_LONGEST_NAME = 255  # of a folder, in most file systems
_READ = 8  # batches of pictures in memory at a time


@dataclass(frozen=True)
class GalleryEmbeddings:
    """Embedded pictures of registered vehicles, by vehicle.

    `embeddings` (N, dim) float32, of length 1; of each picture the vehicle, the file (or another name for it), and
    where they are known the camera, the sighting and the time in seconds since 1970. `model` is the fingerprint of what
    embedded them, "" for a module without a bundle.
    """

    embeddings: Tensor
    vehicles: tuple[str, ...]
    paths: tuple[Path | str, ...]
    cameras: tuple[str | None, ...] = ()
    sightings: tuple[str | None, ...] = ()
    times: tuple[float | None, ...] = ()
    model: str = ""

    def __post_init__(self) -> None:
        count = len(self.embeddings)
        for name in ("cameras", "sightings", "times"):
            object.__setattr__(self, name, getattr(self, name) or (None,) * count)
        sizes = {name: len(getattr(self, name)) for name in ("vehicles", "paths", "cameras", "sightings", "times")}
        if self.embeddings.ndim != 2 or count == 0 or set(sizes.values()) != {count}:
            raise ReIDError(
                f"a gallery of embeddings {tuple(self.embeddings.shape)} came with {sizes}; expected (N, dim) and N of "
                "each, at least one."
            )

    def __len__(self) -> int:
        return len(self.vehicles)

    def tracks(self) -> dict[tuple[str, str], Tensor]:
        """(vehicle, sighting) -> embeddings (pictures, dim), as `decide_tracks` takes them. Pictures of a vehicle that
        belong to no sighting are one together, called ""."""
        rows: dict[tuple[str, str], list[int]] = {}
        for row, (vehicle, sighting) in enumerate(zip(self.vehicles, self.sightings, strict=True)):
            rows.setdefault((vehicle, sighting or ""), []).append(row)
        return {key: self.embeddings[numbers] for key, numbers in rows.items()}


def load_gallery_embeddings(
    gallery_dir: str | Path,
    plate_id: str | None,
    model: Embedder | nn.Module,
    input_size: int = 224,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
    flip: bool = False,
) -> GalleryEmbeddings:
    """Embed the pictures of registered vehicles, read from `gallery_dir/<vehicle>/`: those that registration saved, or
    any pictures that were put there.

    Args:
        gallery_dir: the folder of the gallery.
        plate_id: the vehicle, by its folder's name or its plate; None: all vehicles.
        model: what `load_reid_model` gives, which brings its own preprocessing and device: `input_size` and `device`
            are not looked at. Or any module that maps (B, 3, H, W) to (B, dim).
        input_size: height and width in pixels of a module's pictures, normalised with ImageNet's mean and std.
        device: where a module runs.
        batch_size: pictures a forward pass.
        flip: as in `Embedder.embed`; candidates must be embedded alike.

    Raises:
        ReIDError: there is no such folder or vehicle, it holds no picture, or one cannot be read (it is named).
    """
    embedder = as_embedder(model, input_size, device)
    root = Path(gallery_dir)
    if not root.is_dir():
        raise ReIDError(f"no gallery at {root}; expected a folder with one folder of pictures for each vehicle.")
    gallery = GalleryReader(root)
    vehicle = None if plate_id is None else known_vehicle(gallery, plate_id)
    sightings = list(gallery.sightings()) if vehicle is None else gallery.sightings_of(vehicle)
    if not sightings:
        raise ReIDError(f"{root if vehicle is None else root / vehicle} holds no picture of a vehicle.")
    sightings.sort(key=lambda sighting: sighting.vehicle)
    crops = [(sighting, path) for sighting in sightings for path in gallery.crop_paths(sighting)]
    paths = tuple(path for _, path in crops)
    parts = []
    for start in range(0, len(paths), _READ * batch_size):
        pictures = [load_image(path) for path in paths[start : start + _READ * batch_size]]
        parts.append(embedder.embed(pictures, batch_size=batch_size, flip=flip))
    return GalleryEmbeddings(
        torch.cat(parts),
        vehicles=tuple(sighting.vehicle for sighting, _ in crops),
        paths=paths,
        cameras=tuple(sighting.camera or None for sighting, _ in crops),
        sightings=tuple(sighting.id for sighting, _ in crops),
        times=tuple(sighting.start for sighting, _ in crops),
        model=embedder.options.fingerprint,
    )


def known_vehicle(gallery: GalleryReader, vehicle: str) -> str:
    """The vehicle's folder name; ReIDError with the most similar names where there is none."""
    folder = gallery.folder_of(vehicle) if len(vehicle) <= _LONGEST_NAME else None
    if folder is not None:
        return folder.name
    names = gallery.vehicle_names()
    near = difflib.get_close_matches(vehicle.upper(), names, n=5, cutoff=0.5) or names[:5]
    more = f" and {len(names) - len(near):,} more" if len(names) > len(near) else ""
    known = f"there are {', '.join(near)}{more}" if names else "it has no vehicle yet"
    raise ReIDError(f"no vehicle {vehicle!r} in the gallery {gallery.root}; {known}.")
