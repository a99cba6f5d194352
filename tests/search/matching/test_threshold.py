"""What the least score of a search means, in words and for files."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from toy_calibration import calibration

from reid_lightning.ranking import KReciprocal
from reid_lightning.search import TravelTimes
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.threshold import Threshold, share_in_words
from reid_lightning.search.matching.travel_times import TravelTime

# 10 bins of .1 from 0: of 1,000 different pairs 40 score .6 or more, 1 from .9 on
DIFFERENT = (300, 200, 200, 160, 60, 40, 30, 6, 3, 1)
CALIBRATED = calibration(0.9382, (0, 0, 0, 0, 0, 0, 1, 2, 3, 4), DIFFERENT, false_match_rate=0.001)


def test_the_score_used_stands_beside_the_calibrated_one():
    threshold = Threshold(0.6, CALIBRATED)
    said = "from 0.60 on; this bundle's calibrated threshold is 0.94 (one false match in 1,000 pairs)"
    assert threshold.describe() == said
    assert threshold.short() == "from 0.60 on (calibrated: 0.94)"
    assert threshold.warning() == (
        "At 0.60 about 4 % (1 in 25) of different pairs of its calibration pass: expect wrong matches; "
        "min_score=calibrated is one word away."
    )
    assert ", and each vehicle is compared with 1,234 pictures: expect wrong" in threshold.warning(pictures=1234)
    assert threshold.as_dict() == {
        "used": 0.6,
        "calibrated": 0.9382,
        "false_match_rate": 0.001,
        "used_false_match_rate": 0.04,
    }


@pytest.mark.parametrize("used", [0.9382, 0.94, 0.9379, 1.0])  # 0.94 is what is shown: whoever types it follows it
def test_nothing_is_warned_of_from_the_calibrated_threshold_on(used):
    threshold = Threshold(used, CALIBRATED)
    assert not threshold.is_below and threshold.warning() == ""


def test_a_bundle_without_a_calibration_says_so_and_how_to_get_one():
    threshold = Threshold(0.6, None)
    assert threshold.describe() == "from 0.60 on; this bundle has no calibrated threshold"
    assert "is not known" in threshold.warning() and "store_threshold=true" in threshold.warning()
    assert threshold.as_dict() == {
        "used": 0.6,
        "calibrated": None,
        "false_match_rate": None,
        "used_false_match_rate": None,
    }


def test_what_the_calibration_cannot_say_is_not_made_up():
    old = Threshold(0.6, replace(CALIBRATED, histogram=None))  # of a bundle from before there were histograms
    assert old.used_false_match_rate is None
    assert old.warning().startswith("At 0.60, below the calibrated threshold: expect wrong matches")
    few = Threshold(0.95, replace(CALIBRATED, warning="12 pairs are too few."))
    assert few.warning() == "The calibrated threshold is not to be trusted: 12 pairs are too few."
    strict = Threshold(0.9, replace(CALIBRATED, threshold=1.0000001, false_match_rate=0.0))
    assert "is 1.00 (no false match)" in strict.describe()


def test_what_is_compared_is_named_where_it_is_no_plain_cosine_similarity():
    embedder = SimpleNamespace(calibration=CALIBRATED)
    plain = SearchOptions().threshold(embedder)
    assert plain == Threshold(0.6, CALIBRATED)
    reranked = SearchOptions(rerank=KReciprocal()).threshold(embedder)
    assert reranked.describe().startswith("cosine similarity before re-ranking, from 0.60 on; ")
    assert reranked.short().startswith("cosine from 0.60 on")
    times = TravelTimes({("a", "b"): TravelTime(60.0, 0.5)})
    weighed = SearchOptions(travel_times=times, camera="b").threshold(embedder)
    assert weighed.describe().startswith("cosine similarity times the plausibility of its travel time, from 0.60 on; ")
    assert weighed.warning().startswith("At 0.60 at most about 4 % (1 in 25) of different pairs")


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "none"), (0.24, "about 24 %"), (0.001, "about 0.1 % (1 in 1,000)"), (0.0005, "about 0.05 % (1 in 2,000)")],
)
def test_shares_in_words(share, words):
    assert share_in_words(share) == words
