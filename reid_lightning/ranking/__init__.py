"""Exact ranking of embeddings, in torch and numpy alone: importable without Lightning and Hydra."""

from reid_lightning.ranking.average_precision import evaluate_distances, evaluate_retrieval
from reid_lightning.ranking.curves import camera_pair_map, cmc_curve, precision_recall_curve
from reid_lightning.ranking.expansion import QueryExpansion, alpha_query_expansion, average_query_expansion
from reid_lightning.ranking.open_set import evaluate_open_set
from reid_lightning.ranking.open_set_result import Calibration, OpenSetResult, calibrate_threshold
from reid_lightning.ranking.problem import RankingLabels, RankingProblem
from reid_lightning.ranking.rerank import KReciprocal, k_reciprocal_rerank
from reid_lightning.ranking.result import RetrievalResult
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores
from reid_lightning.ranking.top_matches import rank_gallery
from reid_lightning.ranking.tracks import track_distances, track_distances_all

__all__ = [
    "Calibration",
    "DistanceScores",
    "EmbeddingScores",
    "KReciprocal",
    "OpenSetResult",
    "QueryExpansion",
    "RankingLabels",
    "RankingProblem",
    "RetrievalResult",
    "alpha_query_expansion",
    "average_query_expansion",
    "calibrate_threshold",
    "camera_pair_map",
    "cmc_curve",
    "evaluate_distances",
    "evaluate_open_set",
    "evaluate_retrieval",
    "k_reciprocal_rerank",
    "precision_recall_curve",
    "rank_gallery",
    "track_distances",
    "track_distances_all",
]
