"""Networks that turn a picture of a vehicle into an embedding: backbone, pooling, neck."""

from reid_lightning.models.pretrained import warn_of_mismatch
from reid_lightning.models.reid_model import ReIDModel, ReIDOutput, check_input_size

__all__ = ["ReIDModel", "ReIDOutput", "check_input_size", "warn_of_mismatch"]
