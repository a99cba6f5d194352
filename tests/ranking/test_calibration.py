"""A threshold calibrated for a false match rate, and the histogram of scores that it carries."""

import pytest
import torch
import yaml

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.open_set import evaluate_open_set
from reid_lightning.ranking.open_set_result import (
    Calibration,
    CompactHistogram,
    ScoreHistogram,
    calibrate_threshold,
)


def test_calibration():
    generator = torch.Generator().manual_seed(4)
    query, gallery = torch.randn(40, 8, generator=generator), torch.randn(60, 8, generator=generator)
    names = {"query_ids": [row % 10 for row in range(40)], "gallery_ids": [row % 10 for row in range(60)]}
    for metric in ("cosine", "euclidean"):
        result = evaluate_open_set(query, gallery, **names, metric=metric, false_match_rates=(1e-3, 1e-1))
        calibration = calibrate_threshold(result, false_match_rate=0.1)
        point = result.match_points[1]
        assert (calibration.threshold, calibration.true_match_rate) == (point.threshold, point.true_match_rate)
        assert calibration.measured_false_match_rate == point.false_match_rate <= 0.1 == calibration.false_match_rate
        assert (calibration.same_pairs, calibration.different_pairs) == (240, 2160)
        assert (calibration.metric, calibration.similarity) == (metric, metric == "cosine")
        assert calibration.junk == "none" and calibration.protocol == "image to image" and calibration.warning == ""
        assert Calibration(**yaml.safe_load(yaml.safe_dump(calibration.as_dict()))) == calibration
        scarce = calibrate_threshold(result, false_match_rate=1e-3)
        assert "2,160 different-vehicle pairs are too few" in scarce.warning and "0.005 or more" in scarce.warning
        with pytest.raises(ReIDError, match=r"false_match_rate is 0\.5; the evaluation was asked for 0\.001, 0\.1"):
            calibrate_threshold(result, false_match_rate=0.5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_calibration_carries_the_scores_of_its_pairs(metric):
    generator = torch.Generator().manual_seed(5)
    query, gallery = torch.randn(40, 8, generator=generator), torch.randn(60, 8, generator=generator)
    query_ids, gallery_ids = [row % 10 for row in range(40)], [row % 10 for row in range(60)]
    result = evaluate_open_set(query, gallery, query_ids=query_ids, gallery_ids=gallery_ids, metric=metric)
    calibration = calibrate_threshold(result, false_match_rate=0.1)
    histogram = calibration.histogram
    bins = len(histogram.same)
    assert bins <= 64 and histogram.low < histogram.high
    edges = [histogram.low + number * histogram.step for number in range(bins + 1)]
    counted = {True: [0] * bins, False: [0] * bins}
    for one, identity in zip(query.double(), query_ids, strict=True):
        for other, same in zip(gallery.double(), [name == identity for name in gallery_ids], strict=True):
            score = (one @ other / one.norm() / other.norm() if metric == "cosine" else (one - other).norm()).item()
            counted[same][sum(edge <= score for edge in edges) - 1] += 1
    assert list(histogram.same) == counted[True] and list(histogram.different) == counted[False]
    assert (sum(histogram.same), sum(histogram.different)) == (calibration.same_pairs, calibration.different_pairs)
    assert histogram.same[0] + histogram.different[0] and histogram.same[-1] + histogram.different[-1]
    assert Calibration(**yaml.safe_load(yaml.safe_dump(calibration.as_dict()))) == calibration
    without = {name: value for name, value in calibration.as_dict().items() if name != "histogram"}
    assert Calibration(**without).histogram is None  # as older bundles have it


def test_bins_are_put_together_and_empty_ends_left_out():
    same, different = torch.zeros(12, dtype=torch.int64), torch.zeros(12, dtype=torch.int64)
    same[9], different[2], different[3], different[8] = 5, 1, 2, 4
    histogram = ScoreHistogram(torch.arange(13) / 4, same, different)
    assert histogram.compact(8) == CompactHistogram(0.5, 2.5, (0, 0, 0, 0, 0, 0, 0, 5), (1, 2, 0, 0, 0, 0, 4, 0))
    assert histogram.compact(7) == CompactHistogram(0.5, 2.5, (0, 0, 0, 5), (3, 0, 0, 4))
    assert histogram.compact(1) == CompactHistogram(0.0, 4.0, (5,), (7,))


def test_shares_above_a_score_are_read_from_a_histogram():
    histogram = CompactHistogram(0.0, 1.0, (0, 1, 1, 2), (6, 2, 0, 0))
    assert histogram.shares_from(0.5) == (3 / 4, 0)
    assert histogram.shares_from(0.25) == (1, 2 / 8)
    assert histogram.shares_from(0.375) == (3.5 / 4, 1 / 8)
    assert histogram.shares_from(-3) == (1, 1) and histogram.shares_from(1.0) == (0, 0)
    assert CompactHistogram(0.0, 1.0, (0,), (3,)).shares_from(0) == (0, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"same": [1, -1]}, "same of a histogram"),
        ({"same": "12"}, "same of a histogram"),
        ({"different": [1.5, 2]}, "different of a histogram"),
        ({"different": []}, "different of a histogram"),
        ({"same": [1]}, "1 bins of same pairs and 2"),
        ({"high": 0.0}, "goes from 0.0 to 0.0"),
        ({"low": float("nan")}, "goes from nan"),
        ({"low": None}, "goes from None"),
    ],
)
def test_a_histogram_that_is_none_is_refused(values, words):
    with pytest.raises(ReIDError, match=words):
        CompactHistogram(**{"low": 0.0, "high": 1.0, "same": [1, 2], "different": [3, 4], **values})
