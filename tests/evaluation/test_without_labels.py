"""Thresholds of pictures without labels."""

from __future__ import annotations

import pytest
import torch

from reid_lightning.evaluation.without_labels import calibrate_without_labels


def test_pairs_of_one_camera_say_how_alike_two_vehicles_can_be() -> None:
    angles = torch.tensor([0.0, 0.5, 1.2, 0.1, 0.9, 1.4])  # three vehicles before two cameras
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels, cameras = torch.tensor([0, 1, 2, 0, 3, 4]), torch.tensor([0, 0, 0, 1, 1, 1])
    found = calibrate_without_labels(embeddings, labels, cameras, false_match_rate=0.2, least=6)
    assert found is not None
    assert (found.same_pairs, found.different_pairs) == (2, 12), "each pair from both sides"
    # different: angles .5, 1.2, .7 and .8, 1.3, .5 apart; two of twelve, the pairs .5 apart are four: none may pass
    assert found.threshold > float(torch.tensor(0.5).cos())
    assert found.true_match_rate == 1.0
    assert found.warning, "so few pairs are not to be trusted"
    assert found.junk == "pairs of which nobody knows whom they show"


def test_without_cameras_all_pairs_count() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(40, 8), torch.arange(20).repeat(2)
    found = calibrate_without_labels(embeddings, labels, None, least=40)
    assert calibrate_without_labels(embeddings, labels, None) is None, "too few, if the model was fitted to them"
    assert found is not None and (found.same_pairs, found.different_pairs) == (40, 40 * 38)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]])
def test_no_pairs_no_threshold(labels: list[int]) -> None:
    assert calibrate_without_labels(torch.randn(4, 3), torch.tensor(labels), None, least=1) is None
