"""What was read against what a country's plates look like."""

import math

import numpy as np
import pytest

from reid_lightning.search.plates import PlatePatterns
from reid_lightning.search.plates.decoding import FLOOR, TextDecoder
from reid_lightning.search.plates.weighing import PlateWeigher, density_of_others, density_of_plates

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKENS = ["", *LETTERS, *"0123456789"]
US = PlatePatterns(countries={"us": [r"[A-Z]{3}\d{4}", r"\d[A-Z]{3}\d{3}"]}, others={"us": 0.15})
SURE = 0.995


def seen(text, **unsure):
    """Probabilities of a text read surely, with blanks between; `unsure`: of a place (`at3`) other characters'."""
    rows = []
    for place, character in enumerate(text):
        row = np.full(len(TOKENS), FLOOR)
        others = unsure.get(f"at{place}", {})
        row[TOKENS.index(character)] = SURE - sum(others.values())
        for other, share in others.items():
            row[TOKENS.index(other)] = share
        blank = np.full(len(TOKENS), FLOOR)
        blank[0] = SURE
        rows += [row, blank]
    return np.array(rows)


def weighed(probabilities, patterns):
    weigher = PlateWeigher(patterns)
    decoder = TextDecoder(TOKENS, patterns.forms, weigher.weights)
    found = weigher.weigh(decoder.free_text(probabilities), decoder.text_of_form(probabilities))
    return {one.text: one.confidence for one in found}


def best(probabilities, patterns):
    found = weighed(probabilities, patterns)
    return max(found, key=found.get)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ("ABC1234", "ABC1234"),
        ("ABC12O4", "ABC1204"),  # an O is drawn like a 0
        ("8A8C18B", "8A8C18B"),  # a sharp 8 is hardly like a B: too much would have to change
        ("LUV2SKI", "LUV2SKI"),
        ("GR8DAD", "GR8DAD"),
    ],
)
def test_a_form_wins_only_where_its_text_is_nearly_as_likely(read, expected):
    assert best(seen(read), US) == expected


def test_what_the_network_is_in_doubt_of_the_form_decides():
    doubt = seen("7A8C123", at2={"B": 0.3})
    assert best(doubt, US) == "7ABC123" and best(doubt, PlatePatterns()) == "7A8C123"


def test_the_rarer_other_plates_are_the_more_a_form_counts():
    doubt = seen("7A8C123", at2={"B": 0.002})
    shares = [PlatePatterns(countries=US.countries, others={"us": share}) for share in (0.5, 0.00001)]
    assert [best(doubt, one) for one in shares] == ["7A8C123", "7ABC123"]


def test_a_word_made_to_fit_is_hardly_a_plate_beside_a_real_one():
    patterns = PlatePatterns(countries={"gb": [r"[A-Z]{3}\d{2}[A-Z]"]})
    made, real = weighed(seen("TOYOTA"), patterns), weighed(seen("ABC12D"), patterns)
    assert "TOYOTA" not in made and max(made.values(), default=0) < 0.2 < 0.8 < real["ABC12D"]


def test_what_was_read_surely_is_surer_than_what_was_not():
    sure, unsure = seen("ABC1234"), seen("ABC1234", at4={"3": 0.4})
    assert weighed(sure, US)["ABC1234"] > weighed(unsure, US)["ABC1234"] + 0.03
    assert weighed(sure, US)["ABC1234"] > 0.85


def test_a_country_never_hides_what_is_read_without_one():
    for text in ("ABC1234", "LUV2SKI", "AB12CD", "9X8Y7Z"):
        assert text in weighed(seen(text), US) and text in weighed(seen(text), PlatePatterns())


def test_nothing_read_and_what_is_no_plate_give_nothing():
    blank = np.full((6, len(TOKENS)), FLOOR)
    blank[:, 0] = SURE
    assert weighed(blank, PlatePatterns()) == {}
    assert weighed(seen("TAXI"), PlatePatterns()) == {} and weighed(blank, US) == {}


def test_densities_by_hand():
    # of seven characters .38, with two changes .41, which six places allow in 2 * 15 ways
    expected = math.log(0.38 * 0.41 / 30) + 4 * math.log(36 / 10) + 3 * math.log(36 / 26)
    assert density_of_plates("7ABC123") == pytest.approx(expected)
    assert density_of_others("TAXI") == pytest.approx(math.log(0.5) + 4 * (math.log(36 / 26) + 0.5))


def test_forms_that_come_first_weigh_more_and_no_length_is_lost():
    patterns = PlatePatterns(expressions=["[A-Z]{3}1{3}", "1{3}[A-Z]{3}", "1{12}"])
    weigher = PlateWeigher(patterns)
    by_form = dict(zip(patterns.forms, weigher.weights, strict=True))
    first, second = by_form[(LETTERS,) * 3 + ("1",) * 3], by_form[("1",) * 3 + (LETTERS,) * 3]
    assert first - second == pytest.approx(math.log(4 / 3)) and np.isfinite(weigher.weights).all()
