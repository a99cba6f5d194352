"""The registered vehicles: crops and sidecars on disk, which are the truth, and vectors derived from them."""

from reid_lightning.search.gallery.folder import Gallery, VehicleSummary
from reid_lightning.search.gallery.index import GalleryIndex, IndexReport, records_of
from reid_lightning.search.gallery.stores import VectorStore, open_store

__all__ = ["Gallery", "GalleryIndex", "IndexReport", "VectorStore", "VehicleSummary", "open_store", "records_of"]
