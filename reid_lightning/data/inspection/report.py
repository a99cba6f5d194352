"""What a data set holds, and what is wrong with it, reported before a night of training finds out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median

from rich.console import Group, RenderableType
from rich.text import Text

from reid_lightning.data.images.reading import find_bad_images
from reid_lightning.data.inspection.overlap import shared_identities, shared_pictures
from reid_lightning.data.records import PicturePath, Split, VehicleDataset
from reid_lightning.drawing.tables import Name, new_table, titled
from reid_lightning.errors import count
from reid_lightning.untrusted.names import readable

_NAMED = 5  # examples shown with a problem


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Counts of one split. `per_identity` is (fewest, median, most) pictures; pictures without camera count as "?"."""

    name: str
    pictures: int
    identities: int
    tracks: int
    per_identity: tuple[int, float, int]
    per_camera: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: `what` was found, the `consequence` if nothing is done, the `fix`, and some `examples`."""

    what: str
    consequence: str
    fix: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What `describe_dataset` found; names are sorted, paths in the order of the data set."""

    name: str
    splits: tuple[SplitReport, ...]
    unreadable: Mapping[PicturePath, str]
    shared_identities: tuple[str, ...]  # in training as well as in query or gallery
    shared_pictures: tuple[PicturePath, ...]  # the same for files
    repeated_pictures: tuple[PicturePath, ...]  # more than once in one split
    unmatched_queries: tuple[PicturePath, ...]  # no right answer in the gallery
    index_differs: tuple[PicturePath, ...]  # queries for which gt_index or jk_index is not what the camera rule says
    lone_identities: tuple[str, ...]  # one training picture
    one_camera_identities: tuple[str, ...]  # several training pictures, all from one camera
    passed_over: tuple[str, ...]  # sentences about what lies beside the pictures
    unread_formats: tuple[str, ...]  # those of them with pictures that nothing here decodes
    problems: tuple[Problem, ...]


def describe_dataset(dataset: VehicleDataset, *, unreadable: Mapping[PicturePath, str] | None = None) -> DatasetReport:
    """Count and check `dataset` without opening a file; `unreadable` is what `find_bad_images` said about its files."""
    splits = {"train": dataset.train, "query": dataset.query, "gallery": dataset.gallery}
    if dataset.validation:
        splits["validation"] = dataset.validation
    cameras_of: dict[str, set[str | None]] = defaultdict(set)
    for image in dataset.train:
        cameras_of[image.identity].add(image.camera)
    counts = Counter(image.identity for image in dataset.train)
    repeated = (path for split in splits.values() for path, count in _count_paths(split).items() if count > 1)
    unmatched, differs = _check_queries(dataset)
    report = DatasetReport(
        name=dataset.name,
        splits=tuple(_describe_split(name, split) for name, split in splits.items()),
        unreadable=dict(unreadable or {}),
        shared_identities=shared_identities(dataset),
        shared_pictures=shared_pictures(dataset),
        repeated_pictures=tuple(dict.fromkeys(repeated)),
        unmatched_queries=unmatched,
        index_differs=differs,
        lone_identities=tuple(sorted(identity for identity, count in counts.items() if count == 1)),
        one_camera_identities=tuple(
            sorted(
                identity
                for identity, cameras in cameras_of.items()
                if counts[identity] > 1 and len(cameras) == 1 and None not in cameras
            )
        ),
        passed_over=tuple(line.sentence for line in dataset.passed_over),
        unread_formats=tuple(line.sentence for line in dataset.passed_over if line.formats),
        problems=(*_empty_splits(splits), *_missing_cameras(splits)),
    )
    return replace(report, problems=(*report.problems, *_problems(report)))


def render_report(report: DatasetReport) -> RenderableType:
    """Tables of counts and the list of problems, for `rich.console.Console.print`."""
    headings = ("split", "pictures", "identities", "cameras", "tracks", "pictures of an identity *")
    counts = new_table(*headings, names=headings[:1])
    for split in report.splits:
        least, middle, most = split.per_identity
        numbers = (split.pictures, split.identities, len(split.per_camera.keys() - {"?"}), split.tracks)
        counts.add_row(split.name, *(f"{number:,}" for number in numbers), f"{least:,} / {middle:,g} / {most:,}")
    splits = [split.name for split in report.splits]
    cameras = new_table("camera", *splits, names=("camera",))
    for camera in sorted({camera for split in report.splits for camera in split.per_camera}):
        cameras.add_row(Name(camera), *(f"{split.per_camera.get(camera, 0):,}" for split in report.splits))
    lines = Text("".join(f"{line}\n" for line in report.passed_over))
    if not report.problems:
        lines.append("No problem found.", style="bold green")
    for number, problem in enumerate(report.problems, start=1):
        lines.append(f"\n{number}. {problem.what}\n", style="bold yellow")
        for example in problem.examples:
            lines.append(f"     {example}\n", style="dim")
        lines.append(f"   Consequence: {problem.consequence}\n   Fix: {problem.fix}\n")
    return Group(
        titled(counts, f"Data set {report.name}", "* least / median / most"),
        titled(cameras, "Pictures per camera"),
        lines,
    )


def report_on(read: Callable[..., VehicleDataset]) -> DatasetReport:
    """Read with `read(on_bad_image="skip")`, decode every picture, and describe what came."""
    dataset = read(on_bad_image="skip")
    paths = [
        image.path for split in (dataset.train, dataset.query, dataset.gallery, dataset.validation) for image in split
    ]
    return describe_dataset(dataset, unreadable=find_bad_images([*dataset.skipped, *paths], decode=True))


def _describe_split(name: str, split: Split) -> SplitReport:
    sizes = sorted(Counter(image.identity for image in split).values()) or [0]
    return SplitReport(
        name=name,
        pictures=len(split),
        identities=len({image.identity for image in split}),
        tracks=len({image.track for image in split} - {None}),
        per_identity=(sizes[0], median(sizes), sizes[-1]),
        per_camera=dict(sorted(Counter(image.camera or "?" for image in split).items())),
    )


def _check_queries(dataset: VehicleDataset) -> tuple[tuple[PicturePath, ...], tuple[PicturePath, ...]]:
    """(queries without a right answer, queries for which the index files differ from the rule).

    The rule: a gallery picture of the same identity is right under another camera and junk under the same one.
    Without cameras every other picture of the identity is right.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(dataset.gallery):
        rows_of[image.identity].append(row)
    unmatched: list[PicturePath] = []
    differs: list[PicturePath] = []
    for number, query in enumerate(dataset.query):
        rows = rows_of[query.identity]
        junk = {
            row
            for row in rows
            if (
                dataset.gallery[row].camera == query.camera
                if query.camera is not None
                else dataset.gallery[row].path == query.path
            )
        }
        right = set(rows) - junk
        if dataset.gt_index is not None and dataset.jk_index is not None:
            listed = set(dataset.gt_index[number])
            if listed != right or set(dataset.jk_index[number]) != junk:
                differs.append(query.path)
            right = listed
        if not right:
            unmatched.append(query.path)
    return tuple(unmatched), tuple(differs)


def _count_paths(split: Split) -> Counter[PicturePath]:
    return Counter(image.path for image in split)


def _empty_splits(splits: Mapping[str, Split]) -> Iterable[Problem]:
    needed_for = {"train": "training", "query": "evaluation", "gallery": "evaluation"}
    for name, split in splits.items():
        if not split:
            yield Problem(
                f"There are no {name} pictures.",
                f"Nothing can be used for {needed_for[name]}; reid train needs all three splits.",
                "Check the split: data.test_fraction, the lists, or the split column or group.",
            )


def _missing_cameras(splits: Mapping[str, Split]) -> Iterable[Problem]:
    images = [image for split in splits.values() for image in split]
    without = [image for image in images if image.camera is None]
    if without:
        yield Problem(
            f"{len(without):,} of {len(images):,} pictures {'has' if len(without) == 1 else 'have'} no camera.",
            "Pictures of one moment count as right answers, so the numbers look better than with several cameras; "
            "batches cannot prefer different cameras.",
            "Read the camera from the names (a camera group or column) if it is known.",
        )


def _problems(report: DatasetReport) -> Iterable[Problem]:
    """One problem for each kind of finding that is not empty."""
    texts = {
        "unreadable": (
            "picture cannot be read.",
            "pictures cannot be read.",
            "Training stops before it starts; with data.on_bad_image=skip it goes on without them.",
            "Replace these files, or set data.on_bad_image=skip.",
        ),
        "unread_formats": (
            "folder holds pictures in formats that cannot be decoded here.",
            "folders hold pictures in formats that cannot be decoded here.",
            "They are in no split.",
            "Save these pictures as JPEG or PNG.",
        ),
        "shared_identities": (
            "identity is in training and in query or gallery.",
            "identities are in training and in query or gallery.",
            "The evaluation rewards remembering these vehicles and says less about new ones.",
            "Keep each vehicle on one side; data.test_fraction does so when no split is given.",
        ),
        "shared_pictures": (
            "picture is in training and in query or gallery.",
            "pictures are in training and in query or gallery.",
            "The model has seen the very pictures it is judged on.",
            "Remove them from one side.",
        ),
        "repeated_pictures": (
            "picture is more than once in one split.",
            "pictures are more than once in one split.",
            "In the gallery they count as several answers; in training they make pairs without a difference.",
            "Remove the repeated lines from the list or the table.",
        ),
        "unmatched_queries": (
            "query has no right answer in the gallery.",
            "queries have no right answer in the gallery.",
            "They cannot be scored and are left out of mAP and CMC.",
            "Add pictures of these vehicles from another camera to the gallery, or remove the queries.",
        ),
        "index_differs": (
            "query has rows in gt_index and jk_index that differ from the rule (same identity, other camera).",
            "queries have rows in gt_index and jk_index that differ from the rule (same identity, other camera).",
            "Numbers by index file and numbers by rule cannot be compared.",
            "Say which protocol is used with every number; remove both index files to use the rule.",
        ),
        "lone_identities": (
            "training identity has a single picture.",
            "training identities have a single picture.",
            "In a batch they are paired with themselves; they teach only what other vehicles are not.",
            "Add pictures of them, or leave them out.",
        ),
        "one_camera_identities": (
            "training identity is seen by one camera only.",
            "training identities are seen by one camera only.",
            "They teach nothing about the change between cameras.",
            "Nothing has to be done if they are few; otherwise add pictures from other cameras.",
        ),
    }
    for kind, (one, several, consequence, fix) in texts.items():
        found = getattr(report, kind)
        if found:
            shown = found.items() if isinstance(found, Mapping) else ((entry, "") for entry in found)
            lines = [readable(f"{entry}: {reason}" if reason else str(entry)) for entry, reason in shown]
            more = [f"... and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED and kind != "unreadable" else []
            examples = lines if kind == "unreadable" else lines[:_NAMED] + more
            yield Problem(count(len(found), one, several), consequence, fix, tuple(examples))
