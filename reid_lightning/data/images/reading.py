"""Opening pictures, and finding the unreadable ones before hours of work depend on them.

A truncated crop otherwise shows up in the third epoch, inside a worker process and without its name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Literal

from PIL import Image

from reid_lightning.data.images.colours import as_seen, upright
from reid_lightning.data.images.formats import DECODE_ERRORS, opened, reason
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import PicturePath, Split, VehicleDataset
from reid_lightning.drawing.progress import progress_bar
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.regular_files import open_regular
from reid_lightning.untrusted.image_limits import is_sensible_size
from reid_lightning.untrusted.jpeg_markers import has_many_scans, jpeg_header
from reid_lightning.untrusted.names import readable

_PROGRESS_FROM = 5_000  # pictures; fewer are checked before a bar could be read
_CHUNK = 128  # pictures per task: one task per picture would cost more than looking at it
_NAMED = 5  # bad files named in an error message
_LONGEST_PATH = 400  # characters of a path in a message
_HEAD_BYTES = 1 << 17  # of a larger file only this much, and its last two bytes, are read

__all__ = ["check_images", "find_bad_images", "in_rgb", "load_image", "upright"]

_logger = logging.getLogger(__name__)


def load_image(path: PicturePath | str) -> Image.Image:
    """The picture of a file as a person sees it (`as_seen`), in RGB.

    Raises `ReIDError` naming the file if it is missing, too costly (`picture_limits`), cannot be decoded to the last
    byte, or stores numbers of which nobody knows which one is white.
    """
    try:
        with opened(_for_pillow(path)) as image:
            return as_seen(image)
    except DECODE_ERRORS as error:
        raise ReIDError(f"The picture {_shown(path)} cannot be read: {reason(error)}. Replace the file.") from error


def in_rgb(image: Image.Image) -> Image.Image:
    """A picture that is open already, as `load_image` gives that of a file; the one that came is not changed.

    Raises `ReIDError` that calls it "the picture".
    """
    try:
        return as_seen(image)
    except DECODE_ERRORS as error:
        raise ReIDError(f"the picture cannot be read: {reason(error)}.") from error


def find_bad_images(paths: Sequence[PicturePath], *, decode: bool = False) -> dict[PicturePath, str]:
    """The files among `paths` that are not whole pictures, each with the reason, in the order of `paths`.

    The quick look (default) reads a JPEG's header and end marker, and decodes only what looks odd and other formats; it
    misses damage in the middle of a JPEG of the right length, which decoders paint over. `decode=True`
    decodes every file, which takes about a millisecond of one core for each small crop.
    """
    distinct = list(dict.fromkeys(paths))
    chunks = [distinct[start : start + _CHUNK] for start in range(0, len(distinct), _CHUNK)]
    workers = (os.cpu_count() or 1) * (1 if decode else 2)
    progress = progress_bar(shown=len(distinct) >= _PROGRESS_FROM)
    bad: dict[PicturePath, str] = {}
    with progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task("decoding every picture" if decode else "checking the pictures", total=len(distinct))
        for chunk, found in zip(chunks, pool.map(_look_at_chunk, chunks, repeat(decode)), strict=True):
            bad.update(found)
            progress.advance(task, len(chunk))
    return bad


def check_images(
    dataset: VehicleDataset, *, on_bad_image: Literal["error", "skip"] = "error", decode: bool = False
) -> VehicleDataset:
    """Every reader's last step: stop at unreadable pictures ("error"), or leave them out and count them ("skip").

    With "skip" the rows of `gt_index` and `jk_index` are renumbered to the gallery that is left, the rows of queries
    that went are dropped, and the files are named in `skipped`. A split that would be left empty is an error in
    either case. `decode` is as in `find_bad_images`.
    """
    if on_bad_image not in ("error", "skip"):
        raise ReIDError(f'data.on_bad_image is {on_bad_image!r}; expected "error" or "skip".')
    for line in dataset.passed_over:
        _logger.warning("%s", line.sentence)
    splits = {
        "training": dataset.train,
        "query": dataset.query,
        "gallery": dataset.gallery,
        "validation": dataset.validation,
    }
    bad = find_bad_images([image.path for split in splits.values() for image in split], decode=decode)
    if not bad:
        return dataset
    count = len({image.path for split in splits.values() for image in split})
    summary = f"{len(bad):,} of the {count:,} pictures of {dataset.name} cannot be read:\n{_list_files(bad)}"
    if on_bad_image == "error":
        raise ReIDError(f"{summary}\nReplace these files, or leave them out with data.on_bad_image=skip.")
    for name, split in splits.items():
        if split and all(image.path in bad for image in split):
            raise ReIDError(f"{summary}\nNo {name} picture would be left; replace these files or check data.root.")
    _logger.warning("%s\nThey are left out (data.on_bad_image=skip).", summary)
    return _without(dataset, bad)


def _without(dataset: VehicleDataset, bad: dict[PicturePath, str]) -> VehicleDataset:
    """`dataset` without the pictures in `bad`; index rows follow the gallery pictures they meant."""
    kept_queries = [row for row, image in enumerate(dataset.query) if image.path not in bad]
    kept_gallery = [row for row, image in enumerate(dataset.gallery) if image.path not in bad]
    new_row = {old: new for new, old in enumerate(kept_gallery)}

    def renumber(index: tuple[tuple[int, ...], ...] | None) -> tuple[tuple[int, ...], ...] | None:
        if index is None:
            return None
        return tuple(tuple(new_row[old] for old in index[query] if old in new_row) for query in kept_queries)

    def readable(split: Split) -> Split:
        return tuple(image for image in split if image.path not in bad)

    return replace(
        dataset,
        train=readable(dataset.train),
        query=readable(dataset.query),
        gallery=readable(dataset.gallery),
        validation=readable(dataset.validation),
        gt_index=renumber(dataset.gt_index),
        jk_index=renumber(dataset.jk_index),
        skipped=(*dataset.skipped, *bad),
    )


def _list_files(bad: dict[PicturePath, str]) -> str:
    lines = [f"  {_shown(path)}: {reason}" for path, reason in list(bad.items())[:_NAMED]]
    if len(bad) > _NAMED:
        lines.append(f"  ... and {len(bad) - _NAMED:,} more")
    return "\n".join(lines)


def _shown(path: PicturePath | str) -> str:
    return shortened(readable(str(path)), _LONGEST_PATH)


def _look_at_chunk(paths: list[PicturePath], decode: bool) -> dict[PicturePath, str]:
    verdicts = ((path, _quick_look(path) or (_why_unreadable(path) if decode else None)) for path in paths)
    return {path: reason for path, reason in verdicts if reason is not None}


def _quick_look(path: PicturePath) -> str | None:
    """Why the file is not a whole picture, or None."""
    try:
        head, tail = _ends(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        return reason(error)
    if not head:
        return "the file is empty"
    header = jpeg_header(head)
    if tail != b"\xff\xd9" or header is None or header.bits != 8 or not is_sensible_size(header.width, header.height):
        return _why_unreadable(path)
    if header.one_scan or (len(head) < _HEAD_BYTES and not has_many_scans(head)):
        return None
    return _why_unreadable(path, decode=False)


def _ends(path: PicturePath) -> tuple[bytes, bytes]:
    """The file's first bytes, and its last two; of one in a shard all is read, because its checksum is of all."""
    if isinstance(path, PackedPicture):
        content = path.read_bytes()
        return content[:_HEAD_BYTES], content[-2:]
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD_BYTES)
        if size <= len(head):
            return head, head[-2:]
        file.seek(-2, os.SEEK_END)
        return head, file.read(2)


def _for_pillow(path: PicturePath | str) -> Path | str | BytesIO:
    return BytesIO(path.read_bytes()) if isinstance(path, PackedPicture) else path


def _why_unreadable(path: PicturePath, *, decode: bool = True) -> str | None:
    """What reading it says; without `decode`, what is said of the header, and what the picture would cost."""
    try:
        with opened(_for_pillow(path)) as image:
            if decode:
                as_seen(image)
    except DECODE_ERRORS as error:
        return reason(error)
    return None
