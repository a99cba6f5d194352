"""Training losses: each a pure function with its formula and a thin module; WeightedSum joins them."""

from reid_lightning.losses.circle import CircleLoss, circle_loss
from reid_lightning.losses.contrastive import ContrastiveLoss, contrastive_loss
from reid_lightning.losses.cross_rank import gather_across_ranks
from reid_lightning.losses.id import IDLoss, id_loss
from reid_lightning.losses.triplet import TripletLoss, triplet_loss
from reid_lightning.losses.weighted_sum import WeightedSum

__all__ = [
    "CircleLoss",
    "ContrastiveLoss",
    "IDLoss",
    "TripletLoss",
    "WeightedSum",
    "circle_loss",
    "contrastive_loss",
    "gather_across_ranks",
    "id_loss",
    "triplet_loss",
]
