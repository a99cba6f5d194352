"""What is ranked against what, and by which distance: each protocol turns two tables of embeddings into one ranking."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, get_args

from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.average_precision import APDefinition, check_ranks, reranked
from reid_lightning.ranking.checks import Index
from reid_lightning.ranking.problem import (
    IMAGE_TO_IMAGE,
    IMAGE_TO_TRACK,
    JUNK_ITSELF,
    TRACK_TO_TRACK,
    RankingProblem,
    RankingRules,
)
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores, Metric, Scores
from reid_lightning.ranking.table import EmbeddingTable, TrackTable, whole_query_tracks
from reid_lightning.ranking.tracks import Aggregation, TrackMetric, Variant, track_distances


@dataclass(frozen=True)
class Items:
    """(items,) names, vehicles, cameras where known, and the name of a picture of each: pictures, or tracks."""

    names: tuple[str, ...]
    identities: tuple[str, ...]
    cameras: tuple[str, ...] | None
    pictures: tuple[str, ...]

    @classmethod
    def of_pictures(cls, table: EmbeddingTable) -> Items:
        """Every picture an item; pictures without names are called by identity and row."""
        names = table.names or tuple(f"{identity}/{row}" for row, identity in enumerate(table.identities))
        return cls(names, table.identities, table.cameras, names)

    @classmethod
    def of_tracks(cls, table: TrackTable) -> Items:
        """Every track an item."""
        return cls(table.names, table.identities, table.cameras, table.pictures)


@dataclass(frozen=True)
class Ranking:
    """A ranking problem with the names of its items, and of the distance and aggregation that it ranks by."""

    problem: RankingProblem
    query: Items
    gallery: Items
    metric: str
    aggregation: str | None


class ProtocolSettings(Protocol):
    """How a protocol reads its ranking."""

    @property
    def ap(self) -> APDefinition:
        """How average precision is defined."""

    @property
    def junk(self) -> str:
        """The junk rule."""

    @property
    def ranks(self) -> Sequence[int]:
        """Of the CMC."""

    @property
    def top_k(self) -> int | None:
        """Gallery items kept of each ranking in ranking.json; None: all."""

    @property
    def absolute(self) -> bool:
        """Whether scores mean the same in another gallery, as a threshold needs."""


class EvaluationProtocol(ProtocolSettings, Protocol):
    """What evaluation needs of a protocol; its other attributes are its own."""

    def check(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> None:
        """ReIDError for tables that `rank` would refuse, whatever their embeddings are."""

    def rank(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> Ranking:
        """The ranking of the gallery for the queries; `index` may hold `gt_index` and `jk_index`."""


class Expansion(Protocol):
    """Changes the queries by what they find."""

    def __call__(self, query: Tensor, gallery: Tensor, /) -> Tensor:
        """The queries that are ranked instead, (queries, dim)."""

    def describe(self) -> str:
        """In words, for everything that prints a result."""


class DescribedRerank(Protocol):
    """A `Rerank` that says in words what it does."""

    def __call__(self, query: Tensor, gallery: Tensor, /, *, metric: Metric) -> Tensor:
        """Distances (queries, gallery)."""

    def describe(self) -> str:
        """In words, for everything that prints a result."""


@dataclass(frozen=True, kw_only=True)
class ImageToImage:
    """Every query picture against every gallery picture.

    Args:
        metric: "cosine" or "euclidean".
        ap: "step" or "trapezoid", as in `evaluate_retrieval`.
        junk: "camera": gallery pictures of the query's vehicle and camera are as if they were not there (where cameras
            are unknown, only the query itself is); "index": what the data set's gt_index and jk_index say; "none".
        ranks: of the CMC.
        top_k: gallery items kept of each ranking in ranking.json; None: all.
        expansion: changes the queries by what they find: `QueryExpansion`.
        rerank: changes the distances: `KReciprocal`.
    """

    metric: Metric = "cosine"
    ap: APDefinition = "step"
    junk: Literal["camera", "index", "none"] = "camera"
    ranks: Sequence[int] = (1, 5, 10)
    top_k: int | None = 50
    expansion: Expansion | None = None
    rerank: DescribedRerank | None = None

    def __post_init__(self) -> None:
        _check(self, metric=("cosine", "euclidean"), junk=("camera", "index", "none"))

    @property
    def absolute(self) -> bool:
        """Expansion and re-ranking make a pair's score depend on the rest of the gallery."""
        return self.expansion is None and self.rerank is None

    def check(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> None:
        """The junk rule must be known."""
        self._rules(query, gallery, **index)

    def rank(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> Ranking:
        """`gt_index` and `jk_index` are used with junk="index" only."""
        rules = self._rules(query, gallery, **index)
        queries = query.embeddings
        if self.expansion is not None:
            queries = self.expansion(queries, gallery.embeddings)
        if self.rerank is None:
            scores: Scores = EmbeddingScores(queries, gallery.embeddings, metric=self.metric)
        else:
            scores = reranked(self.rerank, queries, gallery.embeddings, metric=self.metric)
        steps = [step.describe() for step in (self.expansion, self.rerank) if step is not None]
        scores.metric = ", ".join([self.metric, *steps])
        sides = Items.of_pictures(query), Items.of_pictures(gallery)
        return _ranking(scores, *sides, rules, protocol=IMAGE_TO_IMAGE, metric=self.metric)

    def _rules(
        self,
        query: EmbeddingTable,
        gallery: EmbeddingTable,
        *,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
    ) -> RankingRules:
        if self.junk != "index":
            rules = _camera_rule(self.junk, query.cameras, gallery.cameras)
            if rules or self.junk == "none" or query.names is None or gallery.names is None:
                return rules
            found = rows_of_queries(query.names, gallery.names)
            return {"jk_index": found, "jk_name": JUNK_ITSELF} if any(found) else {}
        if gt_index is None or jk_index is None:
            raise ReIDError("protocol.junk=index, but the data has no gt_index and jk_index; use junk=camera.")
        return {"gt_index": gt_index, "jk_index": jk_index}


@dataclass(frozen=True, kw_only=True)
class _OfTracks:
    """What the protocols of tracks have in common. Index files name pictures, so they do not apply."""

    metric: TrackMetric = "mcd"
    ap: APDefinition = "step"
    junk: Literal["camera", "none"] = "camera"
    ranks: Sequence[int] = (1, 5, 10)
    top_k: int | None = None
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self, metric=get_args(TrackMetric), junk=("camera", "none"))


@dataclass(frozen=True, kw_only=True)
class ImageToTrack(_OfTracks):
    """Every query picture against every gallery track; its CMC at 1 and 5 are VeRi-776's HIT@1 and HIT@5.

    `metric` is "med", "mcd" or "rscr" (arXiv 1910.09458, section 3); the other arguments are as in `ImageToImage`.
    """

    def check(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> None:
        """The gallery needs tracks."""
        _camera_rule(self.junk, query.cameras, gallery.by_track().cameras)

    def rank(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> Ranking:
        """As `EvaluationProtocol.rank`."""
        tracks = gallery.by_track()
        rules = _camera_rule(self.junk, query.cameras, tracks.cameras)
        singles = query.embeddings.split(1)
        distances = track_distances(singles, tracks.embeddings, metric=self.metric, aggregation="min")
        scores = DistanceScores(distances, metric=self.metric)
        sides = Items.of_pictures(query), Items.of_tracks(tracks)
        return _ranking(scores, *sides, rules, protocol=IMAGE_TO_TRACK, metric=self.metric)


@dataclass(frozen=True, kw_only=True)
class TrackToTrack(_OfTracks):
    """Every query track against every gallery track (arXiv 1910.09458, section 3). A query track takes in the gallery's
    pictures of it, see `whole_query_tracks`.

    Args:
        metric: "med", "mcd" or "rscr".
        aggregation: of the query pictures' distances: "min", "mean", "med", "mean50" or "med50"; `mcd` with `mean50` is
            the paper's meanMCD50. RSCR sums over the query's pictures itself and knows no aggregation.
        variant: "paper", or "released" for the authors' published loop.

    The other arguments are as in `ImageToImage`.
    """

    aggregation: Aggregation = "mean50"
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, aggregation=get_args(Aggregation), variant=get_args(Variant))

    def check(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> None:
        """Both sides need tracks."""
        _camera_rule(self.junk, query.by_track().cameras, gallery.by_track().cameras)

    def rank(self, query: EmbeddingTable, gallery: EmbeddingTable, **index: Index | None) -> Ranking:
        """As `EvaluationProtocol.rank`."""
        _camera_rule(self.junk, query.cameras, gallery.cameras)
        queries, tracks = whole_query_tracks(query, gallery).by_track(), gallery.by_track()
        rules = _camera_rule(self.junk, queries.cameras, tracks.cameras)
        distances = track_distances(
            queries.embeddings,
            tracks.embeddings,
            metric=self.metric,
            aggregation=self.aggregation,
            variant=self.variant,
        )
        aggregation = None if self.metric == "rscr" else self.aggregation
        variant = "" if self.variant == "paper" or aggregation is None else f"({self.variant} variant)"
        scores = DistanceScores(distances, metric=" ".join(filter(None, (self.metric, aggregation, variant))))
        sides = Items.of_tracks(queries), Items.of_tracks(tracks)
        return _ranking(scores, *sides, rules, protocol=TRACK_TO_TRACK, metric=self.metric, aggregation=aggregation)


def _ranking(
    scores: Scores,
    query: Items,
    gallery: Items,
    rules: RankingRules,
    *,
    protocol: str,
    metric: str,
    aggregation: str | None = None,
) -> Ranking:
    problem = RankingProblem(
        scores, query_ids=query.identities, gallery_ids=gallery.identities, protocol=protocol, **rules
    )
    return Ranking(problem, query, gallery, metric, aggregation)


def _check(protocol: ProtocolSettings, **choices: Sequence[str]) -> None:
    """Mistakes in a protocol's settings, before anything is embedded."""
    for name, allowed in {**choices, "ap": get_args(APDefinition)}.items():
        came = getattr(protocol, name)
        if came not in allowed:
            raise ReIDError(f"protocol.{name} is {came!r}; expected one of {', '.join(allowed)}.")
    check_ranks(protocol.ranks)
    if protocol.top_k is not None and (not isinstance(protocol.top_k, int) or protocol.top_k < 1):
        raise ReIDError(
            f"protocol.top_k is {protocol.top_k!r}; expected a whole number from 1 upwards, or null for all."
        )


def _camera_rule(
    junk: str, query_cameras: tuple[str, ...] | None, gallery_cameras: tuple[str, ...] | None
) -> RankingRules:
    if junk == "none":
        return {}
    if (query_cameras is None) != (gallery_cameras is None):
        side = "queries" if query_cameras is None else "gallery"
        raise ReIDError(
            f"the cameras of the {side} are unknown, those of the other side are known, so junk cannot be known. Give "
            "both, or use protocol.junk=none. In JSON every track needs a name such as 0002_c002."
        )
    return {} if query_cameras is None else {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras}


def rows_of_queries(query: Sequence[Hashable], gallery: Sequence[Hashable]) -> list[list[int]]:
    """For each query the gallery rows of the same name: the query itself."""
    rows_of: dict[Hashable, list[int]] = {}
    for row, name in enumerate(gallery):
        rows_of.setdefault(name, []).append(row)
    return [rows_of.get(name, []) for name in query]
