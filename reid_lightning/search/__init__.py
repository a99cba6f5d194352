"""The search side: consumes a bundle, imports neither Lightning nor Hydra."""

from reid_lightning.search.embedder import ReIDEmbedder, load_reid_model

__all__ = ["ReIDEmbedder", "load_reid_model"]
