"""Which registered vehicle is this, and where in this video is that one: a source against a gallery, frame by frame.

Matches come while the source is read; decisions over whole tracks stand beside them at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.rerank import KReciprocal
from reid_lightning.search.best_crops import crop_quality
from reid_lightning.search.detectors import Detector
from reid_lightning.search.embedder import Embedder
from reid_lightning.search.following import Pictures, Step, follow
from reid_lightning.search.gallery import VectorStore
from reid_lightning.search.matching import (
    GalleryEmbeddings,
    best_of_vehicles,
    filter_matches,
    matches_of_hits,
    score_embeddings,
)
from reid_lightning.search.records import Candidate, Filter, Frame, Match, TrackedBox
from reid_lightning.search.sources import Source
from reid_lightning.search.track_decisions import TrackDecision, decide_tracks
from reid_lightning.search.tracking import VehicleTracker
from reid_lightning.search.travel_times import TravelTimes

FRAMES_AT_ONCE = 16
"""Frames in memory at a time; their vehicles are embedded together."""
PICTURES_OF_A_TRACK = 64
"""Embeddings kept of a track for its decision, spread evenly over its length."""
_HITS_PER_VEHICLE = 8


@dataclass(frozen=True)
class SearchedFrame:
    """A frame, the vehicles in it, and the matches of it that passed."""

    frame: Frame
    boxes: tuple[TrackedBox, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class SearchOptions:
    """What counts as found.

    Args:
        min_score: the least cosine similarity.
        top_k: matches of a frame, and vehicles named for a track.
        where: which registered pictures are compared.
        rerank: re-rank the vehicles of each batch of frames against the gallery; takes the gallery into memory.
        travel_times: reweigh by the time it takes from the sighting's camera to `camera`.
        camera: where the query was taken.
        start: when it began, in seconds since 1970; None: what the source says.
        one_vehicle: all pictures are of one vehicle, and decided about together.
        pictures: what a picture is, see `follow`.
        min_quality: vehicles of a video whose picture is worse are not compared, see `crop_quality`.
        batch_size: crops a forward pass.
    """

    min_score: float = 0.6
    top_k: int = 5
    where: Filter = field(default_factory=Filter)
    rerank: KReciprocal | None = None
    travel_times: TravelTimes | None = None
    camera: str | None = None
    start: float | None = None
    one_vehicle: bool = False
    pictures: Pictures = "auto"
    min_quality: float = 0.05
    batch_size: int = 32

    def __post_init__(self) -> None:
        filter_matches([], min_score=self.min_score, top_k=self.top_k)  # refuses what is out of range
        if self.travel_times is not None and self.camera is None:
            raise ReIDError("travel_times needs the query's camera: give camera=<its name in the table>.")


@dataclass
class _Track:
    """Some embeddings of a track, evenly spread, however long it becomes."""

    candidates: list[Candidate] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, candidate: Candidate, embedding: Tensor) -> None:
        if self.seen % self.every == 0:
            self.candidates.append(replace(candidate, picture=np.empty((0, 0, 3), np.uint8)))
            self.embeddings.append(embedding)
            if len(self.candidates) >= PICTURES_OF_A_TRACK:
                del self.candidates[1::2], self.embeddings[1::2]
                self.every *= 2
        self.seen += 1


class VehicleSearch:
    """A source's vehicles against the registered ones.

    Iterate over `run(source)`, then ask for `decisions()`.

    Args:
        store: the gallery's vectors.
        embedder: the model they were made with.
        detector: finds vehicles in a frame.
        build_tracker: makes a tracker, given `frame_rate`.
        options: what counts as found.

    Raises:
        ReIDError: the gallery is empty, nothing in it meets the filter, or another model embedded it.
    """

    def __init__(
        self,
        store: VectorStore,
        embedder: Embedder,
        *,
        detector: Detector,
        build_tracker: Callable[..., VehicleTracker],
        options: SearchOptions | None = None,
    ) -> None:
        options = options or SearchOptions()
        if store.fingerprint != embedder.options.fingerprint:
            raise ReIDError(
                f"the gallery's vectors are of model {store.fingerprint}, the query's would be of "
                f"{embedder.options.fingerprint}; vectors of two models say nothing of each other. Give bundle=<the "
                "other one>, or rebuild the index: python -m reid_lightning.search.gallery rebuild."
            )
        if store.count(options.where) == 0:
            empty = "the gallery is empty; register vehicles first: python register.py source=<clip> camera=<name>."
            filtered = "no registered picture meets the filter (plate, cameras, types, since, until); ask for less."
            raise ReIDError(empty if options.where.is_empty or store.count() == 0 else filtered)
        self._store = store
        self._embedder = embedder
        self._detector = detector
        self._build_tracker = build_tracker
        self._options = options
        self._tracks: dict[int, _Track] = {}
        self._decided: list[TrackDecision] = []
        self._whole: GalleryEmbeddings | None = None
        self._start: float | None = None
        self._in_video = False
        self.candidates = 0
        """Vehicles looked at so far, one for each frame that shows it."""

    def run(self, source: Source, *, on_step: Callable[[Step], None] | None = None) -> Iterator[SearchedFrame]:
        """Every frame with its matches, in order; `on_step` is called as soon as its vehicles are detected."""
        self._tracks, self._decided, self.candidates = {}, [], 0
        self._in_video = source.kind in ("video", "stream")
        self._start = source.start if self._options.start is None else self._options.start
        steps: list[Step] = []
        options = self._options
        for step in follow(source, self._detector, self._build_tracker, pictures=options.pictures, whole_if_none=True):
            if on_step is not None:
                on_step(step)
            steps.append(step)
            if len(steps) >= FRAMES_AT_ONCE:
                yield from self._search(steps)
                steps = []
        yield from self._search(steps)

    def decisions(self) -> list[TrackDecision]:
        """Which vehicle each track is: mean MCD of the better half (arXiv 1910.09458) to each sighting. Tracks that
        have not ended yet are judged by what was seen of them."""
        return sorted([*self._decided, *self._decide(self._tracks)], key=lambda one: (one.track, one.place))

    def _decide(self, tracks: Mapping[int, _Track]) -> list[TrackDecision]:
        if not tracks:
            return []
        candidates = [candidate for track in tracks.values() for candidate in track.candidates]
        embeddings = torch.stack([embedding for track in tracks.values() for embedding in track.embeddings])
        names = {hit.record.vehicle for found in self._hits(embeddings) for hit in found}
        where = replace(self._options.where, vehicles=tuple(sorted(names)))
        sightings: dict[tuple[str, str], list[Tensor]] = {}
        for records, vectors in self._store.scan(where):
            for record, vector in zip(records, torch.from_numpy(np.asarray(vectors, np.float32)), strict=True):
                sightings.setdefault((record.vehicle, record.sighting), []).append(vector)
        gallery = {key: torch.stack(rows) for key, rows in sightings.items()}
        options = self._options
        return decide_tracks(candidates, embeddings, gallery, min_score=options.min_score, top_k=options.top_k)

    def _search(self, steps: Sequence[Step]) -> Iterator[SearchedFrame]:
        candidates = [_candidate(step.frame, box) for step in steps for box in self._worth_comparing(step)]
        self.candidates += len(candidates)
        matches: list[Match] = []
        if candidates:
            pictures = [candidate.picture for candidate in candidates]
            embeddings = self._embedder.embed(pictures, batch_size=self._options.batch_size)
            for candidate, embedding in zip(candidates, embeddings, strict=True):
                number = 0 if self._options.one_vehicle else candidate.track
                kept = replace(candidate, track=number)
                self._tracks.setdefault(number, _Track()).add(kept, embedding)
            matches = self._matches(candidates, embeddings)
        if not self._options.one_vehicle:  # what is over need not be remembered
            ended = [track for step in steps for track in step.ended if track in self._tracks]
            self._decided += self._decide({track: self._tracks.pop(track) for track in ended})
        passed = filter_matches(matches, min_score=self._options.min_score, top_k=self._options.top_k)
        of_frame: dict[int, list[Match]] = {}
        for match in passed:
            of_frame.setdefault(match.frame, []).append(match)
        for step in steps:
            yield SearchedFrame(step.frame, step.boxes, tuple(of_frame.pop(step.frame.number, ())))

    def _worth_comparing(self, step: Step) -> list[TrackedBox]:
        if not self._in_video:
            return list(step.boxes)
        return [
            box
            for box in step.boxes
            if crop_quality(step.frame, box.box, [other.box for other in step.boxes if other is not box])
            >= self._options.min_quality
        ]

    def _matches(self, candidates: Sequence[Candidate], embeddings: Tensor) -> list[Match]:
        if self._options.rerank is not None:
            found = score_embeddings(self._gallery(), candidates, embeddings, rerank=self._options.rerank)
        else:
            found = matches_of_hits(
                candidates, self._hits(embeddings), one_per_vehicle=self._options.travel_times is None
            )
        if self._options.travel_times is None:
            return found
        weighed = self._options.travel_times.reweigh(found, camera=self._options.camera, start=self._start)
        return best_of_vehicles(sorted(weighed, key=lambda match: (match.frame, -match.score)))

    def _hits(self, embeddings: Tensor) -> list[list]:
        """The best pictures of at least `top_k` vehicles for each embedding, or all there are."""
        vectors = embeddings.numpy()
        wanted, asked = self._options.top_k, self._options.top_k * _HITS_PER_VEHICLE
        while True:
            hits = self._store.search(vectors, top_k=asked, where=self._options.where)
            short = any(len(found) == asked and len({hit.record.vehicle for hit in found}) < wanted for found in hits)
            if not short:
                return hits
            asked *= 4

    def _gallery(self) -> GalleryEmbeddings:
        """All that is compared, in memory."""
        if self._whole is None:
            parts = list(self._store.scan(self._options.where))
            records = [record for part, _ in parts for record in part]
            self._whole = GalleryEmbeddings(
                torch.from_numpy(np.concatenate([np.asarray(vectors, np.float32) for _, vectors in parts])),
                vehicles=tuple(record.vehicle for record in records),
                paths=tuple(record.id for record in records),
                cameras=tuple(record.camera or None for record in records),
                sightings=tuple(record.sighting for record in records),
                times=tuple(record.time for record in records),
                model=self._store.fingerprint,
            )
        return self._whole


def _candidate(frame: Frame, box: TrackedBox) -> Candidate:
    return Candidate(
        np.ascontiguousarray(frame.crop(box.box, margin=0.05)),
        frame=frame.number,
        seconds=frame.seconds,
        box=tuple(float(side) for side in box.box),
        track=box.track,
        type=box.type,
    )
