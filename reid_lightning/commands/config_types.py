"""The types of the commands' own keys, one declaration for each command.

What the keys of a group are (detector, data, loss, ...) is said by the signature of its `_target_`. Both decide how a
command line is read (`command_line`) and what is accepted (`config_checks`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from reid_lightning.untrusted.names import NAME, is_name
from reid_lightning.user_messages import Expected, NotNegative, Positive, is_path, is_utf8

Word = Annotated[str, Expected("a name", lambda text: bool(str(text).strip()))]
Name = Annotated[str, Expected(NAME, lambda text: is_name(str(text)))]
Names = Name | list[Name]
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
Seed = Annotated[int, Expected("a whole number from 0 to 4294967295", lambda value: 0 <= value < 1 << 32)]
Share = Annotated[float, Expected("a number from 0 to 1", lambda value: 0 <= value <= 1)]
Cosine = Annotated[float, Expected("a cosine similarity from -1 to 1", lambda value: -1 <= value <= 1)]
Size = Annotated[float, Expected("a number above 0", lambda value: 0 < value < float("inf"))]


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return False
    return True


Time = Annotated[str, Expected("a time such as 2026-01-31T08:00:00+01:00 (ISO 8601)", lambda text: _is_time(str(text)))]


class _Running:
    run_dir: Folder


class _Finding:
    """What register, search and the application share: `conf/shared/finding.yaml`."""

    gallery: GalleryFolder
    bundle: Folder | None
    every: Positive
    allow_redirects: bool
    pictures: Literal["scenes", "crops", "auto"]
    device: Device
    backend: Literal["torch", "onnx"]


class _Keeping(_Finding):
    """What register and the application share: `conf/shared/keeping.yaml`."""

    crops: Positive
    min_frames: Positive
    min_side: Positive
    min_quality: Share
    min_plate_confidence: Share


class _Register(_Running, _Keeping):
    source: Source | list[Source]
    camera: Name
    start: Time | None
    again: bool


class _Search(_Running, _Finding):
    query: Source
    bundle: Folder
    plate: Names | None
    min_score: Cosine | Literal["calibrated"]
    top_k: Positive
    cameras: Names | None
    types: Names | None
    since: Time | None
    until: Time | None
    rerank: bool
    camera: Name | None
    start: Time | None
    travel_times: File | None
    min_quality: Share
    one_vehicle: bool
    draw: bool


class _App(_Keeping):
    bundle: Folder
    min_compared_quality: Share
    max_upload_mib: NotNegative
    max_pictures: Positive
    max_found_mib: Positive


class _Evaluate(_Running):
    data: _TestData
    checkpoint: File | None
    query_embeddings: File | None
    gallery_embeddings: File | None
    ranking: File | None
    device: Device
    store_threshold: bool


class _Adapt(_Running):
    bundle: Folder
    source: Folder | None
    gallery: GalleryFolder | None
    pattern: Word | None
    margin: Share | None
    share: Share
    most: Positive
    device: Device


class _Export(_Running):
    checkpoint: File | list[File]
    formats: list[Literal["safetensors", "onnx", "pt2"]]


HeldOut = Annotated[float, Expected("a share of identities, such as 0.1", lambda value: 0 < value < 1)]


class _TestData(TypedDict):
    """Beside what the reader takes."""

    test_cameras: Names | None


class _TrainData(_TestData):
    """And what training asks for."""

    validation: HeldOut | Literal["test"]


class _Train(_Running):
    data: _TrainData
    seed: Seed
    resume: File | None
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None
    float32_matmul_precision: Literal["high", "highest", "medium"]


class _Report:
    pass


class _Dashboard:
    folder: Folder
    project: Word
    group: Word | None
    entity: Word | None


class _Shard:
    output: Folder
    shard_mib: Size


class _Fleet:
    folder: Folder
    size: Literal["tiny", "small", "veri"]
    seed: Seed
    workers: Positive | None
    sheet: File | None


class _Traffic:
    folder: Folder
    seed: NotNegative
    vehicles: Positive
    seconds: Size
    frames_per_second: Positive
    width: Positive
    height: Positive


class _DetectorList:
    folder: Folder | None


class _DetectorFetch(_DetectorList):
    name: Literal["yolox_nano"]
    address: Word | None


class _Gallery:
    gallery: GalleryFolder


class _Vehicle(_Gallery):
    vehicle: Word


class _Rename(_Vehicle):
    to: Word


class _Merge(_Vehicle):
    into: Word


class _Delete(_Vehicle):
    now: bool


class _Restore(_Vehicle):
    into: Word | None


class _Purge(_Gallery):
    vehicle: Word | list[Word] | None


class _Forget(_Gallery):
    before: Time


class _Check(_Gallery):
    bundle: Folder | None


class _Embed(_Gallery):
    bundle: Folder
    device: Device


class _GalleryExport(_Gallery):
    file: File
    vehicle: Word | list[Word] | None


class _Import(_Gallery):
    file: File
    bundle: Folder | None
    device: Device


class _AugmentationSheet(_Train):
    output: File
    pictures: Positive
    draws: Positive


_DECLARED: Mapping[str, type] = {
    "register": _Register,
    "search": _Search,
    "app": _App,
    "evaluate": _Evaluate,
    "export": _Export,
    "adapt": _Adapt,
    "train": _Train,
    "dashboard": _Dashboard,
    "data report": _Report,
    "data shards": _Shard,
    "data fleet": _Fleet,
    "data traffic": _Traffic,
    "detector list": _DetectorList,
    "detector fetch": _DetectorFetch,
    "gallery list": _Gallery,
    "gallery rename": _Rename,
    "gallery merge": _Merge,
    "gallery delete": _Delete,
    "gallery trash": _Gallery,
    "gallery restore": _Restore,
    "gallery purge": _Purge,
    "gallery forget": _Forget,
    "gallery check": _Check,
    "gallery sync": _Embed,
    "gallery rebuild": _Embed,
    "gallery export": _GalleryExport,
    "gallery import": _Import,
    "data augmentation_sheet": _AugmentationSheet,
}


def declared_for(command: str) -> Mapping[str, Any]:
    """The types of a command's own keys."""
    return get_type_hints(_DECLARED[command], include_extras=True)
