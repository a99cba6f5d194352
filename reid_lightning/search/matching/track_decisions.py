"""Which vehicle is a whole track: the pictures of a track against those of a sighting, steadier than frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.tracks import Aggregation, track_distances
from reid_lightning.search.records import Candidate, Match

ALL_PICTURES = 0
"""The track of all pictures where they are searched for as one vehicle."""


@dataclass(frozen=True)
class TrackDecision:
    """A track of the query and a registered vehicle, by the most similar of its sightings.

    `similarity` is 1 - the distance of the two tracks, at most 1, or what a prior left of it; `rank` is the vehicle's
    among the track's, from 1, most similar first. `accepted`: this is the track's answer, the vehicle at rank 1
    if its similarity reaches the threshold. A track has one answer or none; what comes after rank 1 is there to be
    looked at. Seconds are since the query's start, `crops` is the number of pictures that decided, `type` what the
    detector took most of them for. `confirmed` is as in `Match`.
    """

    track: int
    vehicle: str
    sighting: str
    similarity: float
    accepted: bool
    rank: int
    first_seconds: float
    last_seconds: float
    first_frame: int
    last_frame: int
    crops: int
    type: str
    confirmed: bool = True

    def judged(self, min_score: float) -> TrackDecision:
        """The same, accepted or not by this threshold."""
        return replace(self, accepted=self.rank == 1 and self.similarity >= min_score)


def answers_of(decisions: Sequence[TrackDecision]) -> dict[int, TrackDecision]:
    """What tracks were decided to be; those without an answer are left out."""
    return {one.track: one for one in decisions if one.accepted}


def answer_of(match: Match, answers: Mapping[int, TrackDecision]) -> TrackDecision | None:
    """What the track of a match was decided to be; None: no registered vehicle."""
    return answers.get(ALL_PICTURES if ALL_PICTURES in answers or match.track is None else match.track)


def decide_tracks(
    candidates: Sequence[Candidate],
    embeddings: Tensor,
    gallery: Mapping[tuple[str, str], Tensor],
    *,
    min_score: float = 0.6,
    top_k: int = 5,
    aggregation: Aggregation = "mean50",
    prior: Callable[[tuple[str, str], float], float] | None = None,
) -> list[TrackDecision]:
    """Compare each track of the query with each sighting of the gallery by MCD (arXiv 1910.09458; `track_distances`).

    A picture of the track is as far from a sighting (1 - cosine) as from its closest picture; with "mean50", the best
    of the paper, the mean of the n // 2 + 1 smallest of these n numbers counts: blurred and hidden crops have no say.

    Args:
        candidates: the query's crops; those without a track are left out.
        embeddings: (candidates, dim), as they come from the embedder.
        gallery: (vehicle, sighting) -> embeddings (pictures, dim), such as `GalleryEmbeddings.tracks()`.
        min_score: the least similarity of a track's answer, on the scale of the cosine.
        top_k: vehicles named for a track: its answer, if it has one, and the next ones.
        aggregation: another one of the paper's.
        prior: the weight, from 0 to 1, of a sighting (its key in `gallery`) for a track whose middle is at so many
            seconds; similarities above 0 are multiplied by it before they are ranked.

    Returns:
        Tracks ascending, then the most similar first, equal ones by vehicle; a vehicle's best sighting is the first of
        equals by name.

    Raises:
        ReIDError: the gallery is empty, or numbers do not fit or are not finite.
    """
    if not -1 <= min_score <= 1:
        raise ReIDError(f"min_score is {min_score}; expected a cosine similarity from -1 to 1.")
    if top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more vehicles.")
    if len(candidates) != len(embeddings):
        raise ReIDError(f"{len(candidates)} candidates came with {len(embeddings)} embeddings; expected one for each.")
    if not gallery:
        raise ReIDError("the gallery has no sighting to compare tracks with.")
    rows: dict[int, list[int]] = {}
    for row, candidate in enumerate(candidates):
        if candidate.track is not None:
            rows.setdefault(candidate.track, []).append(row)
    if not rows:
        return []
    tracks, keys = sorted(rows), sorted(gallery)
    distances = track_distances(
        [embeddings[rows[track]] for track in tracks],
        [gallery[key] for key in keys],
        metric="mcd",
        aggregation=aggregation,
    )
    similarities = 1 - distances
    if prior is not None:
        middles = [_middle([candidates[row] for row in rows[track]]) for track in tracks]
        weights = similarities.new_tensor([[prior(key, middle) for key in keys] for middle in middles])
        similarities = torch.where(similarities > 0, similarities * weights, similarities)
    decisions = []
    for track, of_track in zip(tracks, similarities.tolist(), strict=True):
        seen = [candidates[row] for row in rows[track]]
        best = _best_sightings(keys, of_track)
        for rank, (similarity, vehicle, sighting) in enumerate(best[:top_k], start=1):
            decisions.append(_decision(track, vehicle, sighting, similarity, rank, seen).judged(min_score))
    return decisions


def _middle(seen: Sequence[Candidate]) -> float:
    """Half way between a track's first and last picture, in seconds."""
    seconds = [candidate.seconds for candidate in seen]
    return (min(seconds) + max(seconds)) / 2


def _best_sightings(keys: Sequence[tuple[str, str]], similarities: Sequence[float]) -> list[tuple[float, str, str]]:
    """(similarity, vehicle, sighting) of each vehicle's best sighting, best first."""
    best: dict[str, tuple[float, str]] = {}
    for (vehicle, sighting), similarity in zip(keys, similarities, strict=True):
        if vehicle not in best or similarity > best[vehicle][0]:
            best[vehicle] = similarity, sighting
    found = [(similarity, vehicle, sighting) for vehicle, (similarity, sighting) in best.items()]
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


def _decision(
    track: int, vehicle: str, sighting: str, similarity: float, rank: int, seen: Sequence[Candidate]
) -> TrackDecision:
    types = sorted(candidate.type for candidate in seen)
    return TrackDecision(
        track=track,
        vehicle=vehicle,
        sighting=sighting,
        similarity=similarity,
        accepted=False,
        rank=rank,
        first_seconds=min(candidate.seconds for candidate in seen),
        last_seconds=max(candidate.seconds for candidate in seen),
        first_frame=min(candidate.frame for candidate in seen),
        last_frame=max(candidate.frame for candidate in seen),
        crops=len(seen),
        type=max(types, key=types.count),
    )
