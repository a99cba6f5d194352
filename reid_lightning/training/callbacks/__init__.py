"""What happens around training: retrieval metrics, ranked-list pictures, the exported bundle."""

from reid_lightning.training.callbacks.export_best import ExportBest
from reid_lightning.training.callbacks.ranked_lists import RankedLists
from reid_lightning.training.callbacks.retrieval_metrics import RetrievalMetrics, ValidationMetric

__all__ = ["ExportBest", "RankedLists", "RetrievalMetrics", "ValidationMetric"]
