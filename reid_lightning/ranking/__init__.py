"""Exact ranking of embeddings, in torch alone: importable without Lightning and Hydra."""

from reid_lightning.ranking.average_precision import RetrievalResult, evaluate_retrieval
from reid_lightning.ranking.top_matches import rank_gallery

__all__ = ["RetrievalResult", "evaluate_retrieval", "rank_gallery"]
