"""Which registered vehicle is this, and where in this video is that one: a source against a gallery, frame by frame.

Matches come while the source is read; decisions over whole tracks stand beside them at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import VectorStore
from reid_lightning.search.matching.gallery_embeddings import GalleryEmbeddings
from reid_lightning.search.matching.scoring import best_of_vehicles, filter_matches, matches_of_hits, score_embeddings
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.track_decisions import ALL_PICTURES, TrackDecision, decide_tracks
from reid_lightning.search.matching.vehicle_hits import VehicleHits
from reid_lightning.search.records import Candidate, Frame, Match, TrackedBox, VectorRecord, box_of
from reid_lightning.search.stores.base import read_whole
from reid_lightning.search.video.best_crops import crop_quality
from reid_lightning.search.video.detectors import Detector
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.track_source import Step, detects_in_pictures, follow
from reid_lightning.search.video.tracking import VehicleTracker

FRAMES_AT_ONCE = 16
"""Frames in memory at a time; their vehicles are embedded together."""
PICTURES_OF_A_TRACK = 64
"""Embeddings kept of a track for its decision, spread evenly over its length."""


@dataclass(frozen=True)
class SearchedFrame:
    """A frame, the vehicles in it, and the matches of it that passed."""

    frame: Frame
    boxes: tuple[TrackedBox, ...]
    matches: tuple[Match, ...]


@dataclass
class _Track:
    """Some embeddings of a track, evenly spread, however long it becomes."""

    seen_as: list[tuple[Candidate, Tensor]] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, candidate: Candidate, embedding: Tensor) -> None:
        if self.seen % self.every == 0:
            self.seen_as.append((replace(candidate, picture=np.empty((0, 0, 3), np.uint8)), embedding))
            if len(self.seen_as) >= PICTURES_OF_A_TRACK:
                del self.seen_as[1::2]
                self.every *= 2
        self.seen += 1


@dataclass
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

    store: VectorStore
    embedder: Embedder
    _: KW_ONLY
    detector: Detector
    build_tracker: Callable[..., VehicleTracker]
    options: SearchOptions = field(default_factory=SearchOptions)
    tracks: int = field(init=False, default=0)
    """Tracks seen so far; those without a picture of `min_quality` are not compared and not decided about."""
    candidates: int = field(init=False, default=0)
    """Vehicles looked at so far, one for each frame that shows it."""

    def __post_init__(self) -> None:
        if self.store.fingerprint != self.embedder.options.fingerprint:
            raise ReIDError(
                f"the gallery's vectors are of model {self.store.fingerprint}, the query's would be of "
                f"{self.embedder.options.fingerprint}; vectors of two models say nothing of each other. Give "
                "bundle=<the other one>, or rebuild the index: reid gallery rebuild."
            )
        self._hits = VehicleHits(self.store, top_k=self.options.top_k, where=self.options.where)
        self.registered = self._hits.registered
        """Pictures that each vehicle is compared with."""
        if self.registered == 0:
            empty = "the gallery is empty; register vehicles first: reid register source=<clip> camera=<name>."
            filtered = "no registered picture meets the filter (plate, cameras, types, since, until); ask for less."
            raise ReIDError(empty if self.options.where.is_empty or self.store.count() == 0 else filtered)
        self._tracks: dict[int, _Track] = {}
        self._decided: list[TrackDecision] = []
        self._whole: GalleryEmbeddings | None = None
        self._start: float | None = None
        self._in_video = False

    def run(
        self, source: Source, *, on_step: Callable[[Step], None] | None = None
    ) -> Generator[SearchedFrame, None, None]:
        """Every frame with its matches, in order; `on_step` is called as soon as its vehicles are detected.

        Raises:
            ReIDError: there are travel times, and nobody says when the source began.
        """
        self._tracks, self._decided, self.tracks, self.candidates = {}, [], 0, 0
        self._in_video = source.in_video
        self._start = source.start if self.options.start is None else self.options.start
        if self.options.travel_times is not None and self._start is None:
            raise ReIDError(
                f"travel_times needs the time at which {source.name} began, which it does not say itself: give "
                "start=<time>, such as 2026-01-31T08:00:00+01:00."
            )
        steps: list[Step] = []
        options = self.options
        followed = follow(
            source,
            self.detector,
            self.build_tracker,
            pictures=options.pictures,
            whole_if_none=True,
            box=options.box,
        )
        with closing(followed):
            for step in followed:
                if on_step is not None:
                    on_step(step)
                steps.append(step)
                self.tracks = max([self.tracks, *(box.track for box in step.boxes)])
                if len(steps) >= FRAMES_AT_ONCE:
                    yield from self._search(steps)
                    steps = []
        yield from self._search(steps)

    def taken_whole(self, source: Source) -> str | None:
        """What to say where nothing can be detected in a picture and nobody has said that it is one vehicle."""
        options = self.options
        if source.in_video or options.pictures != "auto" or options.box is not None or options.one_vehicle:
            return None
        if detects_in_pictures(self.detector, options.pictures):
            return None
        what, box = f"{source.name} was taken as one vehicle", ", or one by box=[x1,y1,x2,y2]"
        if source.kind == "folder":
            what, box = f"Each picture of {source.name} was taken as one vehicle", ""
        return (
            f"{what}: the {self.detector.name} detector finds nothing in a picture. Vehicles of a scene are found "
            f"by detector=yolox detector.path=<yolox_nano.onnx>{box}; pictures=crops says that it is one."
        )

    def decisions(self) -> list[TrackDecision]:
        """Which vehicle each track is: mean MCD of the better half (arXiv 1910.09458) to each sighting, times the prior
        of travel times where there are some. Tracks that have not ended yet are judged by what was seen of them."""
        return sorted([*self._decided, *self._decide(self._tracks)], key=lambda one: (one.track, one.rank))

    def _decide(self, tracks: Mapping[int, _Track]) -> list[TrackDecision]:
        if not tracks:
            return []
        rows = [row for track in tracks.values() for row in track.seen_as]
        candidates, embeddings = [candidate for candidate, _ in rows], torch.stack([vector for _, vector in rows])
        names = {hit.record.vehicle for found in self._hits(embeddings) for hit in found}
        where = replace(self.options.where, vehicles=tuple(sorted(names)))
        sightings: dict[tuple[str, str], list[Tensor]] = {}
        taken: dict[tuple[str, str], VectorRecord] = {}
        for records, vectors in read_whole(lambda: self.store.scan(where)):
            for record, vector in zip(records, torch.from_numpy(np.asarray(vectors, np.float32)), strict=True):
                key = record.vehicle, record.sighting
                sightings.setdefault(key, []).append(vector)
                taken[key] = record
        gallery = {key: torch.stack(vectors) for key, vectors in sightings.items()}
        options, times, start, prior = self.options, self.options.travel_times, self._start, None
        if times is not None:

            def prior(key: tuple[str, str], seconds: float) -> float:
                camera, time = taken[key].camera or None, taken[key].time
                return times.prior(camera, time, options.camera, None if start is None else start + seconds)

        return decide_tracks(
            candidates, embeddings, gallery, min_score=options.min_score, top_k=options.top_k, prior=prior
        )

    def _search(self, steps: Sequence[Step]) -> Iterator[SearchedFrame]:
        candidates = [_candidate(step.frame, box) for step in steps for box in self._worth_comparing(step)]
        self.candidates += len(candidates)
        matches: list[Match] = []
        if candidates:
            pictures = [candidate.picture for candidate in candidates]
            embeddings = self.embedder.embed(pictures, batch_size=self.options.batch_size)
            for candidate, embedding in zip(candidates, embeddings, strict=True):
                number = ALL_PICTURES if self.options.one_vehicle or candidate.track is None else candidate.track
                kept = replace(candidate, track=number)
                self._tracks.setdefault(number, _Track()).add(kept, embedding)
            matches = self._matches(candidates, embeddings)
        if not self.options.one_vehicle:  # what is over need not be remembered
            ended = {track: self._tracks[track] for step in steps for track in step.ended if track in self._tracks}
            self._decided += self._decide(ended)
            for track in (*ended, *(track for step in steps for track in step.left_out)):
                self._tracks.pop(track, None)
        passed = filter_matches(matches, min_score=self.options.min_score, top_k=self.options.top_k)
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
            >= self.options.min_quality
        ]

    def _matches(self, candidates: Sequence[Candidate], embeddings: Tensor) -> list[Match]:
        if self.options.rerank is not None:
            return score_embeddings(self._gallery(), candidates, embeddings, rerank=self.options.rerank)
        hits = self._hits(embeddings)
        if self.options.travel_times is None:
            return matches_of_hits(candidates, hits)
        found = matches_of_hits(candidates, hits, one_per_vehicle=False)
        weighed = self.options.travel_times.reweigh(found, camera=self.options.camera, start=self._start)
        return best_of_vehicles(sorted(weighed, key=lambda match: (match.frame, -match.score)))

    def _gallery(self) -> GalleryEmbeddings:
        """All that is compared, in memory."""
        if self._whole is None:
            parts = read_whole(lambda: self.store.scan(self.options.where))
            records = [record for part, _ in parts for record in part]
            self._whole = GalleryEmbeddings(
                torch.from_numpy(np.concatenate([np.asarray(vectors, np.float32) for _, vectors in parts])),
                vehicles=tuple(record.vehicle for record in records),
                paths=tuple(record.id for record in records),
                cameras=tuple(record.camera or None for record in records),
                sightings=tuple(record.sighting for record in records),
                times=tuple(record.time for record in records),
                model=self.store.fingerprint,
            )
        return self._whole


def _candidate(frame: Frame, box: TrackedBox) -> Candidate:
    return Candidate(
        np.ascontiguousarray(frame.crop(box.box, margin=0.05)),
        frame=frame.number,
        seconds=frame.seconds,
        box=box_of(box.box),
        track=box.track,
        type=box.type,
    )
