"""The search side: registers and finds vehicles with a bundle; imports neither Lightning nor Hydra."""

from reid_lightning.bundle.embedder import Embedder, ReIDEmbedder
from reid_lightning.bundle.loading import load_reid_model
from reid_lightning.search.matching.gallery_embeddings import GalleryEmbeddings, load_gallery_embeddings
from reid_lightning.search.matching.scoring import filter_matches, matches_of_hits, score_candidates, score_embeddings
from reid_lightning.search.matching.track_decisions import TrackDecision, decide_tracks
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.search.records import Candidate, Match

__all__ = [
    "Candidate",
    "Embedder",
    "GalleryEmbeddings",
    "Match",
    "ReIDEmbedder",
    "TrackDecision",
    "TravelTimes",
    "decide_tracks",
    "filter_matches",
    "load_gallery_embeddings",
    "load_reid_model",
    "matches_of_hits",
    "score_candidates",
    "score_embeddings",
]
