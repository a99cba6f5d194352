"""The formats that the drill of damaged inputs damages."""

from benchmarks.drills.formats.datasets import DATASETS
from benchmarks.drills.formats.embeddings import EMBEDDINGS
from benchmarks.drills.formats.form import Format, Unsound
from benchmarks.drills.formats.galleries import GALLERIES
from benchmarks.drills.formats.media import MEDIA
from benchmarks.drills.formats.models import MODELS

FORMATS: tuple[Format, ...] = (*MEDIA, *DATASETS, *EMBEDDINGS, *MODELS, *GALLERIES)

__all__ = ["FORMATS", "Format", "Unsound"]
