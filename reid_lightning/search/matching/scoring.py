"""Which registered vehicle is this: candidates against the pictures of a gallery, by cosine similarity.

What a vector store has found becomes matches here as well, so that everything behind knows matches only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from reid_lightning.bundle.embedder import Embedder, describe, is_picture
from reid_lightning.bundle.module_embedder import as_embedder
from reid_lightning.data.images.reading import in_rgb
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.expansion import QueryExpansion
from reid_lightning.ranking.rerank import KReciprocal
from reid_lightning.search.matching.gallery_embeddings import GalleryEmbeddings
from reid_lightning.search.matching.vehicle_scores import best_pictures
from reid_lightning.search.records import Candidate, Hit, Match, by_frame


def score_candidates(
    gallery: GalleryEmbeddings,
    candidates: Sequence[Candidate | Image.Image | np.ndarray],
    model: Embedder | nn.Module,
    input_size: int = 224,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
    flip: bool = False,
    top_k: int | None = None,
    expansion: QueryExpansion | None = None,
    rerank: KReciprocal | None = None,
) -> list[Match]:
    """Compare candidates with registered vehicles: one match for each pair, best first within a candidate.

    Args:
        gallery: what `load_gallery_embeddings` gives with the same model.
        candidates: candidates, PIL pictures or arrays (height, width, 3) uint8 RGB. Mere pictures are frames of their
            own, by their position in the sequence.
        model: like `input_size`, `device`, `batch_size` and `flip` as in `load_gallery_embeddings`.
        top_k: like `expansion` and `rerank` as in `score_embeddings`.

    Raises:
        ReIDError: something is no picture, or the gallery was embedded by another model.
    """
    embedder = as_embedder(model, input_size, device)
    if gallery.model != embedder.options.fingerprint:
        raise ReIDError(
            f"the gallery was embedded by model {gallery.model or '(no bundle)'}, the candidates would be by "
            f"{embedder.options.fingerprint or '(no bundle)'}; vectors of two models say nothing of each other. Embed "
            "the gallery again."
        )
    found = [_candidate(number, candidate) for number, candidate in enumerate(candidates)]
    embeddings = embedder.embed([candidate.picture for candidate in found], batch_size=batch_size, flip=flip)
    return score_embeddings(gallery, found, embeddings, top_k=top_k, expansion=expansion, rerank=rerank)


def score_embeddings(
    gallery: GalleryEmbeddings,
    candidates: Sequence[Candidate],
    embeddings: Tensor,
    *,
    top_k: int | None = None,
    expansion: QueryExpansion | None = None,
    rerank: KReciprocal | None = None,
) -> list[Match]:
    """The same for candidates that are embedded already: embeddings (candidates, dim).

    The score of a vehicle is the greatest of its pictures' cosine similarities, and `picture` that picture's path.
    Memory beside the matches: 32 MiB, whatever the number of candidates, and a copy of the gallery where pictures of a
    vehicle do not follow each other.

    Args:
        top_k: only so many vehicles of each candidate, the best ones; None: all. Equal ones go by name.
        expansion: move the candidates towards their best matches before they are compared.
        rerank: the score is 1 - the re-ranked distance, from 0 to 1. Needs memory for (candidates, pictures) numbers
            and takes all candidates into account: give all of a query at once.

    With `expansion` and `rerank` the score is no cosine similarity to be held against a threshold; `details["cosine"]`
    keeps the greatest one of the plain candidate, which `filter_matches` looks at.
    """
    if len(candidates) != len(embeddings):
        raise ReIDError(f"{len(candidates)} candidates came with {len(embeddings)} embeddings; expected one for each.")
    if top_k is not None and top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more, or None for all vehicles.")
    if not len(candidates):
        return []
    found = best_pictures(
        embeddings, gallery.embeddings, gallery.vehicles, top_k=top_k, expansion=expansion, rerank=rerank
    )
    plain = expansion is None and rerank is None
    return [
        _match(
            candidates[best.candidate],
            gallery.vehicles[best.picture],
            best.score,
            picture=str(gallery.paths[best.picture]),
            camera=gallery.cameras[best.picture],
            time=gallery.times[best.picture],
            details={} if plain else {"cosine": best.cosine},
        )
        for best in found
    ]


def matches_of_hits(
    candidates: Sequence[Candidate], hits: Sequence[Sequence[Hit]], *, one_per_vehicle: bool = True
) -> list[Match]:
    """What a vector store has found for each candidate, as matches, best first; `picture` is the vector's id.

    `one_per_vehicle=False` keeps a match for every hit, for priors that judge each sighting by its time; afterwards
    `best_of_vehicles` leaves the best.
    """
    if len(candidates) != len(hits):
        raise ReIDError(f"{len(candidates)} candidates came with {len(hits)} lists of hits; expected one for each.")
    matches: list[Match] = []
    for candidate, found in zip(candidates, hits, strict=True):
        ordered = sorted(found, key=lambda hit: (-hit.score, hit.record.vehicle))
        of_candidate = [
            _match(
                candidate,
                hit.record.vehicle,
                hit.score,
                picture=hit.record.id,
                camera=hit.record.camera or None,
                time=hit.record.time,
            )
            for hit in ordered
        ]
        matches.extend(best_of_vehicles(of_candidate) if one_per_vehicle else of_candidate)
    return matches


def best_of_vehicles(matches: Sequence[Match]) -> list[Match]:
    """Of the matches of one candidate (frame, box and track) with one vehicle the best, in the order of their first."""
    best: dict[tuple[object, ...], Match] = {}
    for match in matches:
        key = (match.frame, match.seconds, match.box, match.track, match.vehicle)
        if key not in best or match.score > best[key].score:
            best[key] = match
    return list(best.values())


def filter_matches(matches: Sequence[Match], min_score: float = 0.6, top_k: int = 5) -> list[Match]:
    """Of each frame the `top_k` best matches whose score is `min_score` or more.

    Where re-ranking or expansion made the score, `min_score` is held against the cosine similarity before; where a
    prior of travel times did, against what it left of that.

    Args:
        matches: of any number of frames, in any order.
        min_score: a cosine similarity, -1 to 1.
        top_k: matches of a frame.

    Returns:
        Frames ascending, scores descending; equal ones by vehicle, then as they came. A score that is NaN never passes.
    """
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not -1 <= min_score <= 1:
        raise ReIDError(f"min_score is {min_score!r}; expected a cosine similarity from -1 to 1.")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ReIDError(f"top_k is {top_k!r}; expected a whole number of 1 or more.")
    kept = []
    for _, of_frame in by_frame(list(matches)):
        passing = [match for match in of_frame if match.score == match.score and _similarity(match) >= min_score]
        kept.extend(sorted(passing, key=lambda match: (-match.score, match.vehicle))[:top_k])
    return kept


def _similarity(match: Match) -> float:
    """What a threshold of cosine similarities can be held against."""
    if "cosine" not in match.details:
        return match.score
    cosine = match.details["cosine"]
    return cosine * match.details.get("prior", 1.0) if cosine > 0 else cosine


def _candidate(number: int, candidate: Candidate | Image.Image | np.ndarray) -> Candidate:
    """A candidate with an RGB array; mere pictures get their position as the number of their frame."""
    picture = candidate.picture if isinstance(candidate, Candidate) else candidate
    if isinstance(picture, Image.Image):
        try:
            picture = np.asarray(in_rgb(picture))
        except ReIDError as error:
            raise ReIDError(f"candidate {number}: {error}") from error
    if not is_picture(picture):
        raise ReIDError(
            f"candidate {number} is {describe(picture)}; expected a Candidate, a PIL picture or a uint8 array "
            "(H, W, 3) in RGB."
        )
    return replace(candidate, picture=picture) if isinstance(candidate, Candidate) else Candidate(picture, number)


def _match(candidate: Candidate, vehicle: str, score: float, **registered: Any) -> Match:
    """`registered`: what is known of the registered picture."""
    seen = {name: getattr(candidate, name) for name in ("frame", "seconds", "box", "track", "type")}
    return Match(vehicle, score, **seen, **registered)
