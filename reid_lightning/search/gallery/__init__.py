"""The registered vehicles: crops and sidecars on disk, which are the truth, and vectors derived from them."""

from reid_lightning.search.gallery.crop_embedding import records_of
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.index import GalleryIndex, IndexReport
from reid_lightning.search.gallery.source_marks import SourceMark
from reid_lightning.search.gallery.summary import VehicleSummary
from reid_lightning.search.stores.base import VectorStore
from reid_lightning.search.stores.opening import open_store

__all__ = [
    "Gallery",
    "GalleryIndex",
    "IndexReport",
    "SourceMark",
    "VectorStore",
    "VehicleSummary",
    "open_store",
    "records_of",
]
