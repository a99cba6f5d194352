"""Training losses: each a pure function with its formula and a thin module; WeightedSum joins them."""

from reid_lightning.losses.attribute import AttributeLoss, attribute_loss
from reid_lightning.losses.center import CenterLoss, center_loss
from reid_lightning.losses.circle import CircleLoss, circle_loss
from reid_lightning.losses.contrastive import ContrastiveLoss, contrastive_loss
from reid_lightning.losses.cross_batch_memory import CrossBatchMemory
from reid_lightning.losses.cross_rank import gather_across_ranks
from reid_lightning.losses.id import IDLoss, id_loss
from reid_lightning.losses.margin_softmax import (
    ArcFaceLoss,
    CircleSoftmaxLoss,
    CosFaceLoss,
    arcface_logits,
    circle_logits,
    cosface_logits,
)
from reid_lightning.losses.mined import MinedLoss
from reid_lightning.losses.multi_similarity import MultiSimilarityLoss, multi_similarity_loss
from reid_lightning.losses.pairs import Memory, PairLoss
from reid_lightning.losses.supcon import SupConLoss, supcon_loss
from reid_lightning.losses.triplet import TripletLoss, triplet_loss
from reid_lightning.losses.weight_schedules import Ramp
from reid_lightning.losses.weighted_sum import WeightedSum, non_finite_terms

__all__ = [
    "ArcFaceLoss",
    "AttributeLoss",
    "CenterLoss",
    "CircleLoss",
    "CircleSoftmaxLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "CrossBatchMemory",
    "IDLoss",
    "Memory",
    "MinedLoss",
    "MultiSimilarityLoss",
    "PairLoss",
    "Ramp",
    "SupConLoss",
    "TripletLoss",
    "WeightedSum",
    "arcface_logits",
    "attribute_loss",
    "center_loss",
    "circle_logits",
    "circle_loss",
    "contrastive_loss",
    "cosface_logits",
    "gather_across_ranks",
    "id_loss",
    "multi_similarity_loss",
    "non_finite_terms",
    "supcon_loss",
    "triplet_loss",
]
