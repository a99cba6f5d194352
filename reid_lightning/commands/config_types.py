"""The types of the commands' own keys, one declaration for each command.

What the keys of a group are (detector, data, loss, ...) is said by the signature of its `_target_`. Both decide how a
command line is read (`command_line`) and what is accepted (`config_checks`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from reid_lightning.bundle.onnx_sessions import AUTO, PROVIDERS
from reid_lightning.untrusted.names import NAME, is_name
from reid_lightning.user_messages import Expected, NotNegative, Positive, is_path, is_utf8

Word = Annotated[str, Expected("a name", lambda text: bool(str(text).strip()))]
Name = Annotated[str, Expected(NAME, lambda text: is_name(str(text)))]
Names = Name | list[Name]
_TYPES = ("car", "motorcycle", "bus", "truck", "vehicle")
Type = Annotated[str, Expected(f"some of {', '.join(_TYPES)}", lambda text: text in _TYPES)]
Source = Annotated[
    str,
    Expected(
        "a picture, a folder of pictures, a video or a camera's address",
        lambda text: "://" in str(text) or is_path(text),
    ),
]
Folder = Annotated[Path, Expected("a folder", lambda path: is_path(path))]
GalleryFolder = Annotated[Path, Expected("a folder", lambda path: is_path(path) and is_utf8(str(path)))]
"""The vector stores have no names in other encodings."""
File = Annotated[Path, Expected("a file", lambda path: is_path(path))]
Device = Annotated[
    str,
    Expected(
        "auto, cpu, cuda, cuda:1 or mps",
        lambda text: re.fullmatch(r"auto|(cpu|cuda|mps|xpu|hpu)(:\d+)?", str(text)) is not None,
    ),
]
Provider = Annotated[
    str, Expected(f"auto, {', '.join(PROVIDERS)}", lambda text: str(text).lower() in (AUTO, *PROVIDERS))
]
Seed = Annotated[int, Expected("a whole number from 0 to 4294967295", lambda value: 0 <= value < 1 << 32)]
Share = Annotated[float, Expected("a number from 0 to 1", lambda value: 0 <= value <= 1)]
Cosine = Annotated[float, Expected("a cosine similarity from -1 to 1", lambda value: -1 <= value <= 1)]
HeldOut = Annotated[float, Expected("a share of identities, such as 0.1", lambda value: 0 < value < 1)]
Port = Annotated[int, Expected("a port from 0 (a free one) to 65535", lambda value: 0 <= value <= 65535)]
Part = Annotated[str, Expected("a part such as 2/8, the second of eight", lambda text: _is_part(str(text)))]
PictureBox = Annotated[list[float], Expected("four numbers, [x1,y1,x2,y2] in pixels", lambda box: len(box) == 4)]
Size = Annotated[float, Expected("a number above 0", lambda value: 0 < value < float("inf"))]


def _is_part(text: str) -> bool:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    return found is not None and 1 <= int(found[1]) <= int(found[2])


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return False
    return True


Time = Annotated[str, Expected("a time such as 2026-01-31T08:00:00+01:00 (ISO 8601)", lambda text: _is_time(str(text)))]

_Keys = Mapping[str, Any]
"""Types by key; those of keys below one are a mapping of their own."""

_RUNNING: _Keys = {"run_dir": Folder}
_MODEL: _Keys = {  # what runs a model
    "device": Device,
    "backend": Literal["auto", "torch", "onnx"],
    "providers": Provider | list[Provider],
}
_FINDING: _Keys = {  # what register, search and the application share: `conf/shared/finding.yaml`
    **_MODEL,
    "gallery": GalleryFolder,
    "bundle": Folder | None,
    "every": Positive,
    "allow_redirects": bool,
    "pictures": Literal["scenes", "crops", "auto"],
}
_KEEPING: _Keys = {  # what register and the application share: `conf/shared/keeping.yaml`
    **_FINDING,
    "crops": Positive,
    "min_frames": Positive,
    "min_side": Positive,
    "min_quality": Share,
    "min_plate_confidence": Share,
}
_TEST_DATA: _Keys = {"test_cameras": Names | None}  # beside what the reader takes
_TRAIN: _Keys = {
    **_RUNNING,
    "data": {**_TEST_DATA, "validation": HeldOut | Literal["test"]},
    "seed": Seed,
    "resume": File | None,
    "onnx": bool,
    "compile": Literal["default", "reduce-overhead", "max-autotune"] | None,
    "float32_matmul_precision": Literal["high", "highest", "medium"],
}
_GALLERY: _Keys = {"gallery": GalleryFolder}
_VEHICLE: _Keys = {**_GALLERY, "vehicle": Word}
_SOME: _Keys = {**_GALLERY, "vehicle": Word | list[Word] | None}
_EMBED: _Keys = {**_GALLERY, **_MODEL, "bundle": Folder}
_LINKED: _Keys = {**_GALLERY, "sheet": File | None}
_BY: _Keys = {**_GALLERY, "by": Word | None}
_DETECTORS: _Keys = {"folder": Folder | None}
_DECLARED: Mapping[str, _Keys] = {
    "register": {
        **_RUNNING,
        **_KEEPING,
        "source": Source | list[Source],
        "camera": Name,
        "start": Time | None,
        "again": bool,
    },
    "search": {
        **_RUNNING,
        **_FINDING,
        "query": Source,
        "bundle": Folder,
        "box": PictureBox | None,
        "plate": Names | None,
        "min_score": Cosine | Literal["calibrated"],
        "top_k": Positive,
        "cameras": Names | None,
        "types": Type | list[Type] | None,
        "since": Time | None,
        "until": Time | None,
        "rerank": bool,
        "camera": Name | None,
        "start": Time | None,
        "travel_times": File | None,
        "min_quality": Share,
        "one_vehicle": bool,
        "draw": bool,
    },
    "watch": {
        **_RUNNING,
        **_KEEPING,
        "cameras": File,
        "processes": Positive,
        "threads": Positive,
        "min_score": Cosine | Literal["calibrated"],
        "spool": Folder,
        "most_hits": Positive,
        "metrics_host": Word,
        "metrics_port": Port | None,
    },
    "app": {
        **_KEEPING,
        "bundle": Folder,
        "min_compared_quality": Share,
        "max_upload_mib": NotNegative,
        "max_pictures": Positive,
        "max_found_mib": Positive,
    },
    "evaluate": {
        **_RUNNING,
        "data": _TEST_DATA,
        "checkpoint": File | None,
        "query_embeddings": File | None,
        "gallery_embeddings": File | None,
        "ranking": File | None,
        **_MODEL,
        "store_threshold": bool,
    },
    "export": {
        **_RUNNING,
        "checkpoint": File | list[File],
        "formats": list[Literal["safetensors", "onnx", "pt2"]],
    },
    "embed": {
        "data": _TEST_DATA,
        "output": Folder,
        "bundle": Folder,
        "source": Folder | None,
        "gallery": GalleryFolder | None,
        "splits": list[Literal["train", "query", "gallery", "validation"]],
        "part": Part,
        "pictures_per_file": Positive,
        "batch_size": Positive,
        "num_workers": NotNegative,
        "threads": Positive,
        "flip": bool,
        **_MODEL,
        "ray": Word | None,
        "ray_workers": Positive | None,
    },
    "adapt": {
        **_RUNNING,
        "bundle": Folder,
        "source": Folder | None,
        "gallery": GalleryFolder | None,
        "pattern": Word | None,
        "margin": Share | None,
        "share": Share,
        "most": Positive,
        "onnx": bool,
        "device": Device,
    },
    "train": _TRAIN,
    "dashboard": {"folder": Folder, "project": Word, "group": Word | None, "entity": Word | None},
    "data report": {},
    "data shards": {"output": Folder, "shard_mib": Size},
    "data fleet": {
        "folder": Folder,
        "size": Literal["tiny", "small", "veri"],
        "seed": Seed,
        "workers": Positive | None,
        "sheet": File | None,
    },
    "data traffic": {
        "folder": Folder,
        "seed": NotNegative,
        "vehicles": Positive,
        "cameras": Positive,
        "seconds": Size,
        "frames_per_second": Positive,
        "width": Positive,
        "height": Positive,
    },
    "data augmentation_sheet": {**_TRAIN, "output": File, "pictures": Positive, "draws": Positive},
    "detector list": _DETECTORS,
    "detector fetch": {**_DETECTORS, "name": Literal["yolox_nano"], "address": Word | None},
    "link": {
        **_LINKED,
        "bundle": Folder,
        "min_score": Cosine | Literal["auto", "calibrated"],
        "travel_times": File | None,
        "use_plates": bool,
        "again": bool,
    },
    "link list": _LINKED,
    "link show": {**_LINKED, "vehicle": Word},
    "link undo": {**_BY, "vehicle": Word, "sighting": Word | None},
    "review": {**_LINKED, "most": Positive},
    "review answer": {**_BY, "pair": Word | list[Word], "says": Literal["same", "different", "unsure"]},
    "review answers": _GALLERY,
    "review undo": {**_BY, "answer": Word},
    "gallery list": _GALLERY,
    "gallery rename": {**_VEHICLE, "to": Word},
    "gallery merge": {**_VEHICLE, "into": Word},
    "gallery delete": {**_VEHICLE, "now": bool},
    "gallery trash": _GALLERY,
    "gallery restore": {**_VEHICLE, "into": Word | None},
    "gallery purge": _SOME,
    "gallery forget": {**_GALLERY, "before": Time},
    "gallery check": {**_GALLERY, "bundle": Folder | None},
    "gallery sync": {**_EMBED, "embeddings": Folder | None},
    "gallery rebuild": _EMBED,
    "gallery export": {**_SOME, "file": File},
    "gallery import": {**_EMBED, "file": File, "bundle": Folder | None, "max_gib": Positive},
}


def declared_for(command: str) -> Mapping[str, Any]:
    """The types of a command's own keys."""
    return _DECLARED[command]
