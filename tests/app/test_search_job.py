"""What a running search collects: in bounded memory, and with the numbers of a slow count."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_lightning.app.search.found import MOST_BINS, Found
from reid_lightning.app.search.results import MOST_VEHICLES, timeline_table
from reid_lightning.app.search.score_chart import default_min_score, in_words, score_chart, score_table
from reid_lightning.ranking.open_set_result import CompactHistogram
from reid_lightning.search.matching.vehicle_search import SearchedFrame
from reid_lightning.search.records import Frame, Match

GREY = np.full((90, 160, 3), 90, np.uint8)


def frame_with(number, seconds, *found, picture=GREY):
    """found: (vehicle, score, track)."""
    matches = tuple(
        Match(
            name, score, frame=number, seconds=seconds, box=(10.0, 20.0, 60.0, 50.0), track=track, picture=f"{name}-0"
        )
        for name, score, track in found
    )
    return SearchedFrame(Frame(picture, number, seconds), (), matches)


def drawn_search(frames, *, rate=10.0, seed=0):
    """Frames in which vehicles a to e are found now and then, as tracks that change every 40 frames."""
    generator = np.random.default_rng(seed)
    for number in range(frames):
        found = [
            (name, round(float(generator.uniform(0.6, 1)), 3), number // 40 * 5 + row)
            for row, name in enumerate("abcde")
            if generator.random() < 0.3
        ]
        yield frame_with(number, number / rate, *found)


def kept_pictures(found):
    return len(found._pictures)


def test_cards_are_the_best_pairs_of_a_slow_count():
    found = Found(lambda match: None, most_cards=7)
    everything = []
    for searched in drawn_search(600):
        found.add(searched, best=max(searched.matches, key=lambda match: match.score, default=None))
        everything += searched.matches
        assert len(found.snapshot().cards) <= 7 and kept_pictures(found) <= 7
    pairs = {}
    for match in everything:
        pairs.setdefault((match.track, match.vehicle), []).append(match)
    snapshot = found.snapshot()
    assert snapshot.frames == 600 and snapshot.pairs == len(pairs) > 60
    best = sorted((max(match.score for match in matches) for matches in pairs.values()), reverse=True)[:7]
    assert [card.match.score for card in snapshot.cards] == best
    for card in snapshot.cards:
        matches = pairs[card.match.track, card.match.vehicle]
        assert card.match.score == max(match.score for match in matches) and card.match in matches
        assert (card.first, card.last) == (matches[0].seconds, matches[-1].seconds)
        assert card.frames == len(matches)
    assert snapshot.best_seen.score == max(match.score for match in everything)


def test_the_timeline_is_that_of_a_slow_count():
    found = Found(lambda match: None)
    everything = []
    for searched in drawn_search(900):
        found.add(searched)
        everything += searched.matches
    points = found.snapshot().timeline
    width = points[0].end - points[0].start
    assert width == pytest.approx(0.8)  # 90 seconds in at most 200 pieces of 0.1 times a power of two
    expected = {}
    for match in everything:
        expected.setdefault((match.vehicle, math.floor(match.seconds / width)), []).append(match.score)
    assert {(point.vehicle, round(point.start / width)): (point.score, point.frames) for point in points} == {
        key: (max(scores), len(scores)) for key, scores in expected.items()
    }
    assert sum(point.frames for point in points) == len(everything)


def test_a_clip_of_ten_thousand_frames_keeps_numbers_and_sixty_pictures():
    found = Found(lambda match: None)
    for number in range(10_000):
        score = 0.6 + 0.4 * (number * 7919 % 10_000) / 10_000
        found.add(frame_with(number, number / 25, ("a", score, number // 20), picture=GREY[:9, :16]))
    snapshot = found.snapshot()
    assert len(snapshot.cards) == kept_pictures(found) == 60 and snapshot.pairs == 500
    assert len(snapshot.timeline) <= MOST_BINS
    assert sum(len(card.picture) for card in snapshot.cards) < 60 * 3000
    assert not any(isinstance(value, np.ndarray) for value in vars(found).values())


def test_a_card_shows_the_best_frame_with_its_box_beside_the_registered_picture(tmp_path):
    picture = tmp_path / "registered.png"
    Image.fromarray(np.full((900, 600, 3), (0, 0, 250), np.uint8)).save(picture)
    found = Found(lambda match: picture if match.vehicle == "a" else None)
    large = np.full((1080, 1920, 3), 90, np.uint8)
    found.add(frame_with(0, 0.0, ("a", 0.7, 1), ("b", 0.65, 1), picture=large))
    bright = np.full((1080, 1920, 3), 200, np.uint8)
    found.add(frame_with(1, 0.1, ("a", 0.9, 1), picture=bright))
    found.add(frame_with(2, 0.2, ("a", 0.8, 1), picture=large))
    first, second = found.snapshot().cards
    assert (first.match.frame, first.frames, first.first, first.last) == (1, 3, 0.0, 0.2)
    shown = np.asarray(Image.open(io.BytesIO(first.picture)))
    assert shown.shape == (360, 640, 3) and shown[300, 400].tolist() == [200, 200, 200]
    assert np.abs(shown[12, 4].astype(int) - 200).max() > 60  # the box is (10, 20, 60, 50) / 3
    assert shown[25:, :].min() > 150 and shown[:, 30:].min() > 150
    registered = Image.open(io.BytesIO(first.registered))
    assert registered.size == (171, 256)
    assert second.registered is None


def test_a_registered_picture_that_is_damaged_is_none(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    found = Found(lambda match: tmp_path / "x.jpg")
    found.add(frame_with(0, 0.0, ("a", 0.7, 1)))
    assert found.snapshot().cards[0].registered is None


def test_the_timeline_shows_the_best_vehicles_only():
    found = Found(lambda match: None)
    for number in range(30):
        found.add(frame_with(number, number / 10, (f"v{number:02d}", 0.6 + number / 100, number)))
    table = timeline_table(found.snapshot().timeline)
    assert sorted(set(table["vehicle"])) == [f"v{number:02d}" for number in range(30 - MOST_VEHICLES, 30)]
    assert table.loc[table["vehicle"] == "v29", "row"].tolist() == [0]


def test_scores_as_shares():
    histogram = CompactHistogram(0.0, 1.0, (0, 1, 1, 2), (6, 2, 0, 0))
    table = score_table(histogram)
    same, different = (table[table["pairs"] == kind] for kind in ("the same vehicle", "different vehicles"))
    assert same["share"].tolist() == [0, 0.25, 0.25, 0.5] and different["share"].tolist() == [0.75, 0.25, 0, 0]
    assert same["low"].tolist() == [0, 0.25, 0.5, 0.75] and same["high"].tolist() == [0.25, 0.5, 0.75, 1]
    chart = score_chart(histogram, 0.6).to_dict()
    assert any(row == [{"score": 0.6}] for row in chart["datasets"].values())
    assert in_words(histogram, 0.5) == (
        "From 0.50 on, about 75 % of the pairs of pictures of the same vehicle are found, "
        "and none of the pairs of different vehicles are taken for one."
    )
    thin = CompactHistogram(0.0, 1.0, (0, 4), (1999, 1))
    assert "and about 0.05 % (1 in 2,000) of the pairs" in in_words(thin, 0.5)
    assert default_min_score(None)[0] == 0.6
    assert isinstance(table, pd.DataFrame)
