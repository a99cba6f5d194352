"""The decoder against every path there is, and numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from reid_lightning.search.plates.decoding import FLOOR, LOOK_ALIKE_SHARE, TextDecoder
from reid_lightning.search.plates.patterns import PlatePatterns

TOKENS = ["", "A", "b", "1", "·", "皖"]


def probabilities(*steps):
    """Rows over TOKENS; what is left of 1 goes to no token."""
    return np.array(steps, dtype=np.float32)


def collapsed(path, texts):
    """CTC: repetitions are one, blanks are dropped."""
    runs = [text for text, _ in itertools.groupby(path)]
    return "".join(texts[run] for run in runs)


def likeliest_by_hand(chances, patterns):
    """Every path over blank and the characters; dots are blanks, b is B."""
    texts = ["", "A", "B", "1", "皖"]
    sums = np.stack([chances[:, [0, 4]].sum(1), chances[:, 1], chances[:, 2], chances[:, 3], chances[:, 5]], axis=1)
    sums = np.maximum(sums, FLOOR)
    best = {}
    for path in itertools.product(range(len(texts)), repeat=len(chances)):
        text = collapsed(path, texts)
        if patterns.accepts(text):
            best[text] = max(best.get(text, 0.0), float(np.prod([sums[step, one] for step, one in enumerate(path)])))
    return max(best.items(), key=lambda item: item[1], default=None)


@pytest.mark.parametrize("expressions", [["AB1"], ["[AB]{2,3}"], ["皖A", "A[AB]1", "[皖B]"], ["AA", "B11"]])
def test_best_form_against_all_paths(expressions):
    patterns = PlatePatterns("test", expressions)
    decoder = TextDecoder(TOKENS, patterns.forms)
    random = np.random.default_rng(0)
    for steps in (1, 2, 3, 4, 5):
        for _ in range(6):
            chances = random.dirichlet(np.full(len(TOKENS), 0.4), size=steps).astype(np.float32)
            expected, found = likeliest_by_hand(chances, patterns), decoder.best_form(chances)
            if expected is None:
                assert found is None
                continue
            text, probability = expected
            assert found is not None and found[0] == text
            assert found[1] == pytest.approx(probability ** (1 / len(text)), rel=1e-4)


def test_a_repeated_character_needs_a_blank_between():
    decoder = TextDecoder(TOKENS, PlatePatterns("test", ["AA"]).forms)
    apart = probabilities([0.1, 0.9, 0, 0, 0, 0], [0.8, 0.2, 0, 0, 0, 0], [0.1, 0.9, 0, 0, 0, 0])
    assert decoder.best_form(apart) == ("AA", pytest.approx((0.9 * 0.8 * 0.9) ** 0.5))
    assert decoder.best_form(apart[:2]) is None  # two steps hold no two of the same


def test_best_text_and_its_confidence_by_hand():
    decoder = TextDecoder(TOKENS, ())
    chances = probabilities(
        [0.9, 0.1, 0, 0, 0, 0],
        [0, 0.8, 0.2, 0, 0, 0],
        [0, 0.5, 0, 0, 0, 0],
        [0, 0, 0, 0, 0.5, 0],
        [0, 0.9, 0, 0, 0, 0],
        [0, 0, 0.7, 0, 0, 0.3],
    )
    text, confidence = decoder.best_text(chances)
    assert text == "AAB"  # the dot separates two A, b is B
    assert confidence == pytest.approx((0.9 * 0.8 * 0.5 * 0.5 * 0.9 * 0.7) ** (1 / 3))
    assert decoder.best_form(chances) is None
    assert decoder.best_text(chances[:1]) == ("", 0.0)


def test_the_form_brings_back_a_character_that_the_best_text_drops():
    decoder = TextDecoder(TOKENS, PlatePatterns("test", ["皖A1"]).forms)
    chances = probabilities([0.7, 0, 0, 0, 0, 0.3], [0, 0.9, 0, 0, 0, 0], [0, 0, 0, 0.8, 0, 0])
    assert decoder.best_text(chances)[0] == "A1"
    assert decoder.best_form(chances) == ("皖A1", pytest.approx((0.3 * 0.9 * 0.8) ** (1 / 3)))


def test_look_alikes_lend_each_other_a_share():
    decoder = TextDecoder(["", "O", "X"], PlatePatterns("test", [r"X\d"]).forms)
    chances = np.array([[0, 0, 1.0], [0, 1.0, 0]], np.float32)
    assert decoder.best_form(chances) == ("X0", pytest.approx(LOOK_ALIKE_SHARE**0.5))


def test_a_character_from_nowhere_costs_nearly_all_confidence():
    decoder = TextDecoder(TOKENS, PlatePatterns("test", ["皖A"]).forms)
    found = decoder.best_form(probabilities([1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]))
    assert found == ("皖A", pytest.approx(FLOOR**0.5))


@pytest.mark.parametrize("expressions", [["AB1"], ["[AB]{2,3}"], ["皖A", "A[AB]1", "[皖B]"], ["AA", "B11"]])
def test_all_texts_of_forms_against_all_paths(expressions):
    patterns = PlatePatterns("test", expressions)
    weights = np.log(np.arange(1, len(patterns.forms) + 1) / 7)
    decoder = TextDecoder(TOKENS, patterns.forms, weights)
    random = np.random.default_rng(1)
    texts = ["", "A", "B", "1", "皖"]
    for steps in (3, 4, 5):
        chances = random.dirichlet(np.full(len(TOKENS), 0.4), size=steps).astype(np.float32)
        sums = np.stack([chances[:, [0, 4]].sum(1), chances[:, 1], chances[:, 2], chances[:, 3], chances[:, 5]], axis=1)
        sums, expected, best = np.maximum(sums, FLOOR), 0.0, {}
        for path in itertools.product(range(len(texts)), repeat=steps):
            text = collapsed(path, texts)
            chance = float(np.prod([sums[step, one] for step, one in enumerate(path)]))
            for form, weight in zip(patterns.forms, weights, strict=True):
                if len(form) == len(text) and all(one in allowed for one, allowed in zip(text, form, strict=True)):
                    expected += np.exp(weight) * chance
                    best[text] = max(best.get(text, 0.0), np.exp(weight) * chance)
        found = decoder.text_of_form(chances)
        assert found.all_texts == pytest.approx(np.log(expected), rel=1e-4)
        assert found.text == max(best, key=best.get), "the weights count"


def test_long_lines_keep_their_numbers():
    decoder = TextDecoder(TOKENS, PlatePatterns("test", ["A1"]).forms)
    chances = np.full((900, len(TOKENS)), 0.01, np.float32)
    assert np.isfinite(decoder.text_of_form(chances).all_texts)
