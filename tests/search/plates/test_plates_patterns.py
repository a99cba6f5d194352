"""Normalising, expressions against Python's own, look-alikes, and what is plausible where no country is given."""

import random
import re

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import ANY, PlatePatterns, is_plausible, normalise
from reid_lightning.search.plates.patterns import expand

COUNTRIES = sorted(path.stem for path in (CONFIG_DIR / "plates").glob("*.yaml"))
EXAMPLES = {
    "cn": ["京A12345", "粤BD12345", "皖A0G826", "粤Z1234港"],
    "gb": ["LS15EBC", "A123BCD", "ABC123A"],
    "vn": ["51G12345", "59X112345", "29LD12345", "51G1234"],
    "ro": ["B123ABC", "CJ12ABC", "B21GSB"],
    "de": ["MAB1234", "BXY12E", "HHA1"],
    "eu": ["AB123CD", "1234BCD", "B123ABC", "MAB1234", "GX1234"],
    "us": ["7ABC123", "ABC1234", "AB12345", "123ABC"],
    "br": ["ABC1D23", "ABC1234"],
}


def patterns_of(country):
    return instantiate(OmegaConf.load(CONFIG_DIR / "plates" / f"{country}.yaml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("京A·12345", "京A12345"),
        (" ls15 ebc\n", "LS15EBC"),
        ("51G-123.45", "51G12345"),
        ("ＡＢ１２", "AB12"),
        ("٣٤ ب", "34ب"),
        ("ﬁ²", "FI2"),
        ("../../x", "X"),
        ("·-– ", ""),
    ],
)
def test_normalising_keeps_letters_and_digits_of_any_script(text, expected):
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize("expression", [r"[A-C]\d{2}X?", r"[AB]{1,2}1{2,3}", r"\d?[京沪]A", r"[A-C1]{0,2}[12]"])
def test_expressions_mean_what_they_mean_to_python(expression):
    patterns = PlatePatterns("test", [expression])
    drawn = random.Random(0)
    texts = {"".join(drawn.choices("ABC12X京", k=drawn.randint(1, 5))) for _ in range(9000)}
    expected = {text for text in texts if re.fullmatch(expression, text)}
    assert {text for text in texts if patterns.accepts(text)} == expected
    assert expected


def test_an_expression_becomes_one_form_for_each_length():
    assert expand(r"[BA]\d?C{1,2}") == [
        ("AB", "C"),
        ("AB", "C", "C"),
        ("AB", "0123456789", "C"),
        ("AB", "0123456789", "C", "C"),
    ]


@pytest.mark.parametrize(
    "expression", ["", "A|B", "(AB)", "[A-Z", "[a-z]", "A+", ".", "A B", r"\w", "[^A]", "A{3,2}", "^A"]
)
def test_other_expressions_are_refused_with_what_is_expected(expression):
    with pytest.raises(ReIDError, match="expected"):
        PlatePatterns("test", [expression])


def test_a_single_text_is_no_list_of_expressions():
    with pytest.raises(ReIDError, match="expected a list"):
        PlatePatterns("test", "AB")


def test_too_many_forms_are_refused():
    with pytest.raises(ReIDError, match="fewer"):
        PlatePatterns("test", [r"A{0,9}B{0,9}C{0,9}"])


@pytest.mark.parametrize(
    ("country", "read", "fitted"),
    [
        ("gb", "LSI5EBC", "LS15EBC"),
        ("gb", "L5I5EBC", "L515EBC"),  # one change beats two
        ("gb", "LS15EBC", "LS15EBC"),
        ("gb", "1515EBC", None),  # I and 1 both: I may not stand at the first place
        ("cn", "京A1234O", "京A12340"),
        ("cn", "A12345", None),
        ("br", "A8C1234", "ABC1234"),
        ("br", "ABC1B23", "ABC1B23"),  # a letter may stand there: nothing is corrected
        ("br", "48C1234", "ABC1234"),
        ("br", "480IZ34", None),  # more than two changes
        ("any", "LSI5EB0", "LSI5EB0"),
        ("any", "HELLO", None),
    ],
)
def test_look_alikes_are_corrected_where_the_form_wants_it(country, read, fitted):
    assert patterns_of(country).fit(read) == fitted


def test_nothing_is_corrected_where_forms_disagree():
    assert PlatePatterns("test", [r"A\d[A-Z]", r"A[A-Z]\d"]).fit("A00") is None
    assert PlatePatterns("test", [r"A\d[A-Z]"]).fit("A00") == "A0O"


def test_every_country_has_examples_here():
    assert set(EXAMPLES) | {"any"} == set(COUNTRIES)


@pytest.mark.parametrize("country", EXAMPLES)
def test_the_plates_of_a_country_are_accepted_and_words_are_not(country):
    patterns = patterns_of(country)
    assert patterns.name == country
    for plate in EXAMPLES[country]:
        assert patterns.accepts(plate) and patterns.fit(plate) == plate and is_plausible(plate) == (len(plate) >= 5)
    for text in ("", "HELLOWORLD", "0912345678901", "京"):
        assert not patterns.accepts(text) and patterns.fit(text) is None


@pytest.mark.parametrize("text", ["LS15EBC", "KA4821", "51G12345", "京A12345", "KA01AB1234", "AB123"])
def test_plausible(text):
    assert is_plausible(text) and ANY.accepts(text)


@pytest.mark.parametrize(
    "text", ["", "TAXI", "SUBARU", "0901234567", "4MATIC", "S500", "ROUTES66", "02079460000", "12345", "PHONE0901234"]
)
def test_signs_badges_and_telephone_numbers_are_not_plausible(text):
    assert not is_plausible(text) and not ANY.accepts(text)
