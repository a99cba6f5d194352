"""The curves and tables of a report: mAP by camera pair, precision over recall, CMC at every rank.

One number hides where a model fails; these say between which cameras, and how deep in the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.average_precision import APDefinition, no_match, score_chunk
from reid_lightning.ranking.checks import Names
from reid_lightning.ranking.problem import Chunk, RankingProblem
from reid_lightning.ranking.ranks import places_of_matches

_LEVELS = 100  # recall is read at 0/100, 1/100 ... 100/100


@dataclass(frozen=True)
class CameraPairMap:
    """mAP for every pair of a query camera and a gallery camera.

    `mAP` is (query cameras, gallery cameras) float64, NaN where no query has a right answer, and `queries` the numbers
    of queries that have one, int64 of the same shape. Both are on the CPU.
    """

    query_cameras: tuple[str, ...]
    gallery_cameras: tuple[str, ...]
    mAP: Tensor
    queries: Tensor
    metric: str
    ap: str
    junk: str
    protocol: str

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML; None where no query has a right answer."""
        return {
            "query_cameras": list(self.query_cameras),
            "gallery_cameras": list(self.gallery_cameras),
            "mAP": [[None if value != value else value for value in row] for row in self.mAP.tolist()],
            "queries": self.queries.tolist(),
            "protocol": self.protocol,
            "metric": self.metric,
            "ap": self.ap,
            "junk": self.junk,
        }


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Interpolated `precision` (101,) float64 at `recall` (101,) 0, 0.01 ... 1, the mean over `queries` queries."""

    recall: Tensor
    precision: Tensor
    queries: int


def camera_pair_map(
    problem: RankingProblem, *, query_cameras: Names, gallery_cameras: Names, ap: APDefinition = "step"
) -> CameraPairMap:
    """mAP of the queries of one camera against the gallery pictures of one camera, for all pairs of cameras.

    A cell's gallery is that one camera's pictures, fewer than the whole gallery: values compare with each other, not
    with the mAP over all cameras. Junk is as in `problem`. Where same-camera pictures are junk the diagonal is empty;
    make the problem without cameras to fill it.

    Args:
        problem: queries, gallery and junk rule.
        query_cameras: (queries,) cameras that name the rows; `gallery_cameras` (gallery,) those that name the columns.
        ap: as in `evaluate_retrieval`.

    Raises:
        ReIDError: a list has not one camera for every picture, `ap` is unknown, or no query has a right answer.
    """
    rows = _Cameras.of("query_cameras", query_cameras, problem.sizes[0])
    columns = _Cameras.of("gallery_cameras", gallery_cameras, problem.sizes[1])
    shape = len(rows.names), len(columns.names)
    total = torch.zeros(shape, dtype=torch.float64)
    queries = torch.zeros(shape, dtype=torch.long)
    for chunk in problem:
        row_of_query = rows.numbers[chunk.start : chunk.start + len(chunk.scores)]
        for column, members, restricted in _by_gallery_camera(chunk, columns):
            precision = score_chunk(restricted, ap)[0]
            total[:, column].index_add_(0, row_of_query[members], precision)
            queries[:, column] += torch.bincount(row_of_query[members], minlength=shape[0])
    if not queries.any():
        raise no_match(problem)
    mAP = torch.where(queries > 0, total / queries.clamp(min=1), torch.nan)
    return CameraPairMap(
        query_cameras=rows.names,
        gallery_cameras=columns.names,
        mAP=mAP,
        queries=queries,
        metric=problem.scores.metric,
        ap=ap,
        junk=problem.junk_rule,
        protocol=problem.protocol,
    )


def precision_recall_curve(problem: RankingProblem) -> PrecisionRecallCurve:
    """The mean over queries of the highest precision that the ranking has at recall r or above, for r = 0, 0.01 ... 1.

    With k right answers, the j-th of them at place p_j, a query has precision j / p_j at recall j / k. A query without
    a right answer is in no mean. Manning et al., "Introduction to Information Retrieval", 2008, section 8.4.

    Raises:
        ReIDError: no query has a right answer.
    """
    levels = torch.arange(_LEVELS + 1)
    total = torch.zeros(_LEVELS + 1, dtype=torch.float64)
    queries = 0
    for chunk in problem:
        places, counts = places_of_matches(chunk)
        found = torch.arange(1, places.shape[1] + 1)
        precision = (found / places.double()).masked_fill(found > counts[:, None], 0.0)
        highest = precision.flip(1).cummax(dim=1).values.flip(1)  # from this right answer on
        for level in levels.tolist():
            needed = (level * counts + _LEVELS - 1) // _LEVELS  # right answers that make the recall: a ceiling
            total[level] += highest.gather(1, (needed - 1).clamp(min=0)[:, None]).sum()
        queries += int((counts > 0).sum())
    if not queries:
        raise no_match(problem)
    return PrecisionRecallCurve(levels.double() / _LEVELS, total / queries, queries)


def cmc_curve(first_match: Tensor, *, ranks: int = 50) -> Tensor:
    """Share of the queries that have their first right answer at place 1, 2 ... `ranks` or before: (ranks,) float64.

    Args:
        first_match: (queries,) places from 1, as in `RetrievalResult`; 0 without a right answer, which is not counted.
        ranks: how far the curve goes.

    Raises:
        ReIDError: `ranks` is below 1, or no query has a right answer.
    """
    if ranks < 1:
        raise ReIDError(f"ranks is {ranks}; expected 1 or more.")
    first = first_match[first_match > 0].cpu()
    if not len(first):
        queries = count(len(first_match), "query", "queries")
        raise ReIDError(f"none of {queries} has a right answer, so there is no CMC curve.")
    return torch.bincount(first.clamp(max=ranks + 1), minlength=ranks + 1)[1 : ranks + 1].cumsum(0).double() / len(
        first
    )


@dataclass(frozen=True)
class _Cameras:
    """Sorted `names`, and for each picture the position of its camera among them: `numbers` (pictures,) on the CPU."""

    names: tuple[str, ...]
    numbers: Tensor

    @classmethod
    def of(cls, argument: str, cameras: Names, pictures: int) -> _Cameras:
        listed = [str(camera) for camera in (cameras.tolist() if isinstance(cameras, Tensor) else cameras)]
        if len(listed) != pictures:
            raise ReIDError(f"{argument} has {len(listed)} entries for {pictures} pictures; expected one for each.")
        names = sorted(set(listed), key=_natural)
        number = {name: position for position, name in enumerate(names)}
        return cls(tuple(names), torch.tensor([number[name] for name in listed]))


def _by_gallery_camera(chunk: Chunk, cameras: _Cameras) -> Iterator[tuple[int, Tensor, Chunk]]:
    """Each camera that has right answers, the queries of `chunk` that have them, (queries,) on the CPU, and the chunk
    of these queries and of the camera's gallery pictures alone."""
    camera_of_row = cameras.numbers.to(chunk.scores.device)
    camera_of_match = camera_of_row[chunk.match_row]
    place = torch.empty_like(camera_of_row)
    for camera in camera_of_match.unique().tolist():
        rows = (camera_of_row == camera).nonzero().squeeze(1)
        place[rows] = torch.arange(len(rows), device=rows.device)
        here = camera_of_match == camera
        members, match_query = chunk.match_query[here].unique_consecutive(return_inverse=True)
        scores = chunk.scores[members[:, None], rows]
        yield camera, members.cpu(), Chunk(0, scores, match_query, place[chunk.match_row[here]])


def _natural(name: str) -> list[str | int]:
    """Sorts c2 before c10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
