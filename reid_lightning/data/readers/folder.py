r"""A folder of pictures whose names say what they show: a regular expression takes identity and camera from them.

So that a user's own crops need no code. On the command line the expression goes in double quotes for Hydra inside
single quotes for the shell. A folder with its own lists, and one whose folders name the split:

    reid train data=folder data.root=../shared/data/twocam_train \
        'data.pattern="(?P<identity>(?P<type>[a-z]+)_\d+)_cam(?P<camera>\d+)"' \
        data.train_list=train.txt data.test_list=val.txt 'data.query_cameras=[1]' 'data.gallery_cameras=[2]'

    reid evaluate checkpoint=<bundle> data=folder data.root=../shared/data/veri_sample/image_sample \
        'data.pattern="(?P<split>query|test)_tracks/(?P<track>(?P<identity>\d+)_c(?P<camera>\d+))/"'
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from reid_lightning.data.images.files import PictureFiles, find_pictures, no_pictures
from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.splits import SPLITS, Cameras, build_dataset
from reid_lightning.data.records import NAMES, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, count
from reid_lightning.regular_files import read_text
from reid_lightning.untrusted.names import composed, name_of_file, readable, stored_path

GROUPS = (*NAMES, "split")
"""Names a pattern's groups may have; identity is required."""

_logger = logging.getLogger(__name__)

_EXAMPLE = r"""'data.pattern="(?P<identity>[^/_]+)_c(?P<camera>\d+)"'"""


def read_folder(
    *,
    root: Path | str,
    pattern: str,
    train_list: str | None = None,
    test_list: str | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
    fold: str | None = None,
    query_cameras: Cameras = None,
    gallery_cameras: Cameras = None,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read every picture below `root`, in the order of their names; hidden files and folders are passed over.

    `pattern` is searched (`re.search`) in each picture's path below `root`, written with "/"; its named groups are
    some of `GROUPS`. Which pictures train is said by the split group (train, query, gallery, test or val); or by
    `train_list` and `test_list`, text files below `root` with a path or a unique file name a line (pictures on
    neither are left out; with one list only, all others belong to the other side); or else `test_fraction` of the
    identities, drawn by `seed`, are test, or the part `fold` of them ("1/5" to "5/5"). Test pictures become queries and
    gallery as `query_cameras` and `gallery_cameras` say; see `reid_lightning.data.readers.splits.build_dataset`.

    Raises `ReIDError` for a missing folder, a pattern that is wrong or does not match a picture, and lists that do
    not fit the folder; and, as `on_bad_image` says, for unreadable pictures.
    """
    root = Path(root).expanduser()
    expression = _compile(pattern)
    found = _walk(root, apart_from=[name for name in (train_list, test_list) if name is not None])
    names = found.names
    _tell_doubles(names)
    split_of = _read_lists(root, names, train_list, test_list)
    if split_of and "split" in expression.groupindex:
        raise ReIDError("data.pattern has a split group and data.train_list or test_list is set; use one of the two.")
    wanted = [name for name in names if name in split_of] if split_of else names
    images: list[VehicleImage] = []
    splits: list[str | None] = []
    for name, groups in _groups(expression, wanted).items():
        split = groups.pop("split", None)
        if split is not None and split.lower() not in SPLITS:
            raise ReIDError(
                f"{name}: the split group of data.pattern took {split!r}; expected one of {', '.join(SPLITS)}."
            )
        identity = groups.pop("identity") or ""
        images.append(VehicleImage(root / name, identity, **groups))
        splits.append(split_of.get(name, split))
    dataset = build_dataset(
        readable(root.resolve().name),
        images,
        splits=splits,
        test_fraction=test_fraction,
        seed=seed,
        fold=fold,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )
    return check_images(replace(dataset, passed_over=found.reported()), on_bad_image=on_bad_image)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(composed(pattern))
    except (re.error, TypeError) as error:
        raise ReIDError(f"data.pattern {pattern} is not a regular expression: {error}. Example: {_EXAMPLE}.") from error
    unknown = [group for group in expression.groupindex if group not in GROUPS]
    if unknown or "identity" not in expression.groupindex:
        problem = f"has a group named {unknown[0]}" if unknown else "has no group named identity"
        raise ReIDError(
            f"data.pattern {pattern} {problem}; expected (?P<identity>...) and, where names tell them, "
            f"{', '.join(GROUPS[1:])}. Example: {_EXAMPLE}."
        )
    return expression


def _refuse(error: OSError) -> None:
    raise ReIDError(f"data.root: the folder {error.filename} cannot be read: {error.strerror}. Give read access to it.")


def _walk(root: Path, *, apart_from: Collection[str]) -> PictureFiles:
    """The pictures below `root`; links are followed, each folder once."""
    if not root.is_dir():
        raise ReIDError(
            f"data.root: there is no folder {root} (seen from {Path.cwd()}); set data.root=<your pictures>."
        )
    found = find_pictures(root, follow_links=True, apart_from=apart_from, on_unreadable=_refuse)
    if not found.names:
        raise ReIDError(f"data.root: {no_pictures(found)}")
    return found


def _groups(expression: re.Pattern[str], names: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """What the pattern finds in each name, None for nothing; an identity in all of them."""
    matches = {name: match for name in names if (match := expression.search(name_of_file(name))) and match["identity"]}
    failed = [name for name in names if name not in matches]
    if failed:
        raise ReIDError(
            f"{len(failed):,} of {len(names):,} picture names do not match data.pattern, such as {failed[0]!r} with "
            f"{expression.pattern}\nThe pattern must find an identity in every path below data.root; example for "
            f"names such as 0002_c003_x.jpg: {_EXAMPLE}. Pictures that do not belong here go into another folder."
        )
    return {
        name: {group: value or None for group, value in match.groupdict().items()} for name, match in matches.items()
    }


def _read_lists(root: Path, names: Sequence[str], train_list: str | None, test_list: str | None) -> dict[str, str]:
    """Picture -> "train" or "test" as the lists say; empty without lists."""
    listed = {
        split: _read_list(stored_path(root, file), names, setting=f"data.{split}_list")
        for split, file in (("train", train_list), ("test", test_list))
        if file is not None
    }
    if len(listed) == 1:
        split, chosen = next(iter(listed.items()))
        listed["test" if split == "train" else "train"] = set(names) - chosen
    both = listed["train"] & listed["test"] if listed else set()
    if both:
        raise ReIDError(
            f"{count(len(both), 'picture is', 'pictures are')} in data.train_list and in data.test_list, such as "
            f"{min(both)}; expected each "
            "in one of them."
        )
    return {name: split for split, chosen in listed.items() for name in chosen}


def _read_list(path: Path, names: Sequence[str], *, setting: str) -> set[str]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReIDError(
            f"{setting}: {path} cannot be read: {error}. Expected a text file below data.root with a picture a line."
        ) from error
    known = _by_name(names, name_of_file)
    paths_of = _by_name(names, lambda name: name_of_file(PurePosixPath(name).name))
    chosen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        entry = composed(line.strip().removeprefix("./"))
        if not entry:
            continue
        found = known.get(entry) or paths_of.get(entry, [])
        if len(found) != 1:
            problem = f"is the name of {len(found)} pictures" if found else "is no picture below data.root"
            raise ReIDError(
                f"{path}, line {number}: {entry!r} {problem}. Write the path below data.root, such as {names[0]!r}."
            )
        chosen.add(found[0])
    if not chosen:
        raise ReIDError(f"{setting}: {path} names no picture; expected one a line.")
    return chosen


def _tell_doubles(names: Iterable[str]) -> None:
    """Two files of one name are two pictures all the same, but hardly on purpose."""
    doubles = [same for same in _by_name(names, name_of_file).values() if len(same) > 1]
    if doubles:
        _logger.warning(
            "%s is the name of %d files, which differ only in how their letters are composed (%d such names).",
            *(name_of_file(doubles[0][0]), len(doubles[0]), len(doubles)),
        )


def _by_name(names: Iterable[str], name_of: Callable[[str], str]) -> dict[str, list[str]]:
    paths_of: dict[str, list[str]] = defaultdict(list)
    for name in names:
        paths_of[name_of(name)].append(name)
    return paths_of
