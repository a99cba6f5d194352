"""What happens around training: retrieval metrics, ranked-list pictures, the exported bundle."""

from reid_lightning.callbacks.export_best import ExportBest
from reid_lightning.callbacks.ranked_lists import RankedLists
from reid_lightning.callbacks.retrieval_metrics import RetrievalMetrics

__all__ = ["ExportBest", "RankedLists", "RetrievalMetrics"]
