"""What is ranked against what, and by which distance: each protocol turns two tables of embeddings into one ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.average_precision import APDefinition, Rerank, reranked
from reid_lightning.ranking.checks import Index
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE, IMAGE_TO_TRACK, TRACK_TO_TRACK, RankingProblem
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores, Metric, Scores
from reid_lightning.ranking.table import EmbeddingTable, TrackTable, whole_query_tracks
from reid_lightning.ranking.tracks import Aggregation, TrackMetric, Variant, track_distances


@dataclass(frozen=True)
class Ranking:
    """A ranking problem with the names of its items: pictures, or tracks, each with the name of a picture of it."""

    problem: RankingProblem
    query: Items
    gallery: Items


@dataclass(frozen=True)
class Items:
    """(items,) names, vehicles, cameras where known, and one picture of each."""

    names: tuple[str, ...]
    identities: tuple[str, ...]
    cameras: tuple[str, ...] | None
    pictures: tuple[str, ...]

    @classmethod
    def of_pictures(cls, table: EmbeddingTable) -> Items:
        """Every picture an item; pictures without names are called by identity and row."""
        names = table.names or tuple(f"{identity}_{row}" for row, identity in enumerate(table.identities))
        return cls(names, table.identities, table.cameras, names)

    @classmethod
    def of_tracks(cls, table: TrackTable) -> Items:
        """Every track an item."""
        return cls(table.names, table.identities, table.cameras, table.pictures)


class EvaluationProtocol(Protocol):
    """What evaluation needs of a protocol; its other attributes are its own."""

    ap: APDefinition
    ranks: Sequence[int]
    top_k: int | None

    @property
    def absolute(self) -> bool:
        """Whether scores mean the same in another gallery, as a threshold needs."""

    def queries(self, query: EmbeddingTable, gallery: EmbeddingTable) -> EmbeddingTable:
        """The pictures that make the queries, out of a data set's query and gallery pictures."""

    def rank(
        self,
        query: EmbeddingTable,
        gallery: EmbeddingTable,
        *,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
    ) -> Ranking:
        """The ranking of the gallery for the queries."""

    def describe(self) -> str:
        """Its distance in words."""


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
    expansion: Callable[..., Tensor] | None = None
    rerank: Rerank | None = None

    @property
    def absolute(self) -> bool:
        """Expansion and re-ranking make a pair's score depend on the rest of the gallery."""
        return self.expansion is None and self.rerank is None

    def queries(self, query: EmbeddingTable, gallery: EmbeddingTable) -> EmbeddingTable:
        """The query pictures."""
        return query

    def rank(
        self,
        query: EmbeddingTable,
        gallery: EmbeddingTable,
        *,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
    ) -> Ranking:
        """`gt_index` and `jk_index` are used with junk="index" only."""
        queries = query.embeddings
        if self.expansion is not None:
            queries = self.expansion(queries, gallery.embeddings)
        if self.rerank is None:
            scores: Scores = EmbeddingScores(queries, gallery.embeddings, metric=self.metric)
        else:
            scores = reranked(self.rerank, queries, gallery.embeddings, metric=self.metric)
        scores.metric = self.describe()
        if self.junk == "index":
            if gt_index is None or jk_index is None:
                raise ReIDError("protocol.junk=index, but the data has no gt_index and jk_index; use junk=camera.")
            rules: dict[str, object] = {"gt_index": gt_index, "jk_index": jk_index}
        else:
            rules = _camera_rule(self.junk, query.cameras, gallery.cameras)
            if self.junk == "camera" and not rules:
                rules = {"jk_index": _itself(query, gallery)}
        return _ranking(scores, Items.of_pictures(query), Items.of_pictures(gallery), rules, protocol=IMAGE_TO_IMAGE)

    def describe(self) -> str:
        """Metric, expansion and re-ranking in words."""
        steps = [step.describe() for step in (self.expansion, self.rerank) if step is not None]
        return ", ".join([self.metric, *steps])


@dataclass(frozen=True, kw_only=True)
class ImageToTrack:
    """Every query picture against every gallery track; its CMC at 1 and 5 are VeRi-776's HIT@1 and HIT@5.

    `metric` is "med", "mcd" or "rscr" (arXiv 1910.09458, section 3); the other arguments are as in `ImageToImage`.
    """

    metric: TrackMetric = "mcd"
    ap: APDefinition = "step"
    junk: Literal["camera", "none"] = "camera"
    ranks: Sequence[int] = (1, 5, 10)
    top_k: int | None = None
    absolute: ClassVar[bool] = True

    def queries(self, query: EmbeddingTable, gallery: EmbeddingTable) -> EmbeddingTable:
        """The query pictures."""
        return query

    def rank(
        self,
        query: EmbeddingTable,
        gallery: EmbeddingTable,
        *,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
    ) -> Ranking:
        """The index files name pictures, so they do not apply."""
        tracks = gallery.by_track()
        singles = query.embeddings.split(1)
        scores = DistanceScores(
            track_distances(singles, tracks.embeddings, metric=self.metric, aggregation="min"), metric=self.describe()
        )
        rules = _camera_rule(self.junk, query.cameras, tracks.cameras)
        return _ranking(scores, Items.of_pictures(query), Items.of_tracks(tracks), rules, protocol=IMAGE_TO_TRACK)

    def describe(self) -> str:
        """The metric."""
        return self.metric


@dataclass(frozen=True, kw_only=True)
class TrackToTrack:
    """Every query track against every gallery track (arXiv 1910.09458, section 3).

    Args:
        metric: "med", "mcd" or "rscr".
        aggregation: of the query pictures' distances: "min", "mean", "med", "mean50" or "med50"; `mcd` with `mean50` is
            the paper's meanMCD50. RSCR sums over the query's pictures itself and knows no aggregation.
        variant: "paper", or "released" for the authors' published loop.

    The other arguments are as in `ImageToImage`.
    """

    metric: TrackMetric = "mcd"
    aggregation: Aggregation = "mean50"
    variant: Variant = "paper"
    ap: APDefinition = "step"
    junk: Literal["camera", "none"] = "camera"
    ranks: Sequence[int] = (1, 5, 10)
    top_k: int | None = None
    absolute: ClassVar[bool] = True

    def queries(self, query: EmbeddingTable, gallery: EmbeddingTable) -> EmbeddingTable:
        """All pictures of the query pictures' tracks, which may lie in the gallery."""
        return whole_query_tracks(query, gallery)

    def rank(
        self,
        query: EmbeddingTable,
        gallery: EmbeddingTable,
        *,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
    ) -> Ranking:
        """The index files name pictures, so they do not apply."""
        queries, tracks = query.by_track(), gallery.by_track()
        distances = track_distances(
            queries.embeddings,
            tracks.embeddings,
            metric=self.metric,
            aggregation=self.aggregation,
            variant=self.variant,
        )
        rules = _camera_rule(self.junk, queries.cameras, tracks.cameras)
        scores = DistanceScores(distances, metric=self.describe())
        return _ranking(scores, Items.of_tracks(queries), Items.of_tracks(tracks), rules, protocol=TRACK_TO_TRACK)

    def describe(self) -> str:
        """Metric, aggregation and variant in words."""
        if self.metric == "rscr":
            return self.metric
        return f"{self.metric} {self.aggregation}" + ("" if self.variant == "paper" else f" ({self.variant} variant)")


def _ranking(scores: Scores, query: Items, gallery: Items, rules: Mapping[str, object], *, protocol: str) -> Ranking:
    names = {"query_ids": query.identities, "gallery_ids": gallery.identities}
    return Ranking(RankingProblem(scores, **names, **rules, protocol=protocol), query, gallery)


def _camera_rule(
    junk: str, query_cameras: tuple[str, ...] | None, gallery_cameras: tuple[str, ...] | None
) -> dict[str, object]:
    if junk not in ("camera", "none"):
        raise ReIDError(f"protocol.junk is {junk!r}; expected 'camera' or 'none' ('index' for pictures).")
    if junk == "none" or query_cameras is None or gallery_cameras is None:
        return {}
    return {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras}


def _itself(query: EmbeddingTable, gallery: EmbeddingTable) -> Index | None:
    """For each query the gallery rows of the same name: the query itself; None where no query is in the gallery."""
    if query.names is None or gallery.names is None:
        return None
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(gallery.names):
        rows_of.setdefault(name, []).append(row)
    itself = [rows_of.get(name, []) for name in query.names]
    return itself if any(itself) else None
