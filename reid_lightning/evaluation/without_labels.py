"""A threshold where nobody says which pictures show one vehicle."""

from __future__ import annotations

from torch import Tensor

from reid_lightning.ranking.open_set import evaluate_open_set
from reid_lightning.ranking.open_set_result import Calibration, calibrate_threshold

LEAST = 500
"""Pictures that a threshold takes: to fewer than its numbers a model is fitted so well that any two of them differ."""
_MOST = 2000  # that are compared with each other
RATE = 1e-3


def calibrate_without_labels(
    embeddings: Tensor, labels: Tensor, cameras: Tensor | None, *, false_match_rate: float = RATE, least: int = LEAST
) -> Calibration | None:
    """The threshold that lets `false_match_rate` of the pairs through which surely show two vehicles: those of one
    camera that are not of one track. Pairs of one camera are more alike than others, so it is rather too high.

    Pairs of one vehicle are those of one label before two cameras; labels that were found by the model itself
    (`models.adaptation.link`) are of its easy pairs, so their share at the threshold flatters. Without cameras all
    pairs count, and what was not found to be one vehicle is taken for two: too high again.

    Args:
        embeddings: (N, dim); at most the first 2,000 are compared.
        labels: (N,) int64, of tracks and what is known to be one vehicle.
        cameras: (N,) int64, or None.
        least: so many pictures it takes, where `embeddings` are of a model that was fitted to these very pictures.

    Returns:
        None where there are no pairs of one vehicle, or none of two, or fewer than `least` pictures.
    """
    embeddings, labels = embeddings[:_MOST], labels[:_MOST]
    same = (labels[:, None] == labels).fill_diagonal_(False)
    different = labels[:, None] != labels
    if cameras is not None:
        one_camera = cameras[:_MOST, None] == cameras[:_MOST]
        same, different = same & ~one_camera, different & one_camera
    if len(labels) < least or not same.any() or not different.any():
        return None
    junk = ~(same | different)
    names = list(range(len(labels)))
    pairs = evaluate_open_set(
        embeddings.float(),
        embeddings.float(),
        query_ids=names,
        gallery_ids=names,
        gt_index=[row.nonzero().flatten().tolist() for row in same],
        jk_index=[row.nonzero().flatten().tolist() for row in junk],
        jk_name="pairs of which nobody knows whom they show",
        false_match_rates=(false_match_rate,),
    )
    return calibrate_threshold(pairs, false_match_rate=false_match_rate)
