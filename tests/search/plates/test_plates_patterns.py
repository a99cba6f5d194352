"""Normalising, expressions against Python's own, look-alikes, and what is plausible where no country is given."""

import random
import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import ANY, PlatePatterns, is_plausible, normalise
from reid_lightning.search.plates.patterns import expand

COUNTRIES = sorted(path.stem for path in (CONFIG_DIR / "plates").glob("*.yaml"))
EXAMPLES = {
    "cn": ["京A12345", "粤BD12345", "皖A0G826", "粤Z1234港"],
    "gb": ["LS15EBC", "A123BCD", "ABC123A", "AIZ1234", "BNZ1234"],
    "vn": ["51G12345", "59X112345", "29LD12345", "51G1234"],
    "ro": ["B123ABC", "CJ12ABC", "B21GSB"],
    "de": ["MAB1234", "BXY12E", "HHA1"],
    "eu": ["AB123CD", "1234BCD", "B123ABC", "MAB1234", "GX1234"],
    "us": ["7ABC123", "ABC1234", "AB12345", "123ABC", "AB1C2D", "A12BCD", "ABCD12", "1AB2345", "123AB4"],
    "br": ["ABC1D23", "ABC1234"],
    "ca": ["ABCD123", "ABC1234", "A12BCD", "AB123C"],
    "ar": ["AB123CD", "ABC123"],
    "at": ["W12345X", "GU123AB"],
    "au": ["ABC12D", "AB12CD", "1AB2CD", "123AB4", "1ABC123", "S123ABC"],
    "be": ["1ABC234", "ABC123"],
    "bg": ["CB1234AB", "E1234AB"],
    "ch": ["ZH123456", "GE1234"],
    "cl": ["BCDF12", "AB1234"],
    "co": ["ABC123", "ABC12D"],
    "cy": ["ABC123"],
    "cz": ["1AB2345", "1A23456", "EL123AB"],
    "dk": ["AB12345"],
    "ee": ["123ABC"],
    "es": ["1234BCD", "M1234AB"],
    "fi": ["ABC123", "AB12"],
    "fr": ["AB123CD", "1234AB75"],
    "gr": ["ABE1234"],
    "hr": ["ZG1234AB", "ŽU123A"],
    "hu": ["AABC123", "ABC123"],
    "id": ["B1234ABC", "AB1234CD"],
    "ie": ["191D12345", "12KE345"],
    "in": ["MH12AB1234", "DL8CAF5031", "22BH1234AA"],
    "it": ["AB123CD", "AB12345"],
    "lt": ["ABC123", "EA1234"],
    "lu": ["AB1234"],
    "lv": ["AB1234"],
    "mt": ["ABC123"],
    "mx": ["ABC123D", "ABC1234", "A12BCD"],
    "my": ["WXY1234", "BJK12A"],
    "nl": ["AB12CD", "12BBD3", "B123BD", "GB001B", "12BB34"],
    "no": ["AB12345"],
    "nz": ["ABC123", "AB1234"],
    "pe": ["A1B234", "ABC123"],
    "ph": ["ABC1234", "123ABC"],
    "pl": ["WA12345", "KR1234A", "WPI12AB"],
    "pt": ["AB12CD", "12AB34", "1234AB", "AB1234"],
    "rs": ["BG1234AB"],
    "ru": ["A123BC77", "A123BC177"],
    "se": ["ABC123", "ABC12D"],
    "sg": ["SBA1234A"],
    "si": ["LJ123AB", "LJAB123", "LJ12ABC"],
    "sk": ["BA123CD"],
    "tr": ["34ABC12", "06AB123", "35A1234"],
    "ua": ["AA1234BC"],
    "za": ["AB12CDGP", "ABC123GP", "CA123456", "ND12345"],
    "il": ["1234567", "12345678"],
}
COUNTRY_OF_DIGITS = "il"


def patterns_of(countries):
    """Of a choice of the group, as a command gets it."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("register", overrides=["source=x", "camera=x", f"plates={countries}"])
    return instantiate(cfg.plates)


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
        PlatePatterns("test", [r"A{0,9}B{0,9}C{0,9}D?"])


def test_the_forms_of_several_countries_are_looked_for_together():
    both = patterns_of("[us,ca]")
    assert both.name == "us+ca" and both.share_of_others == 0.15
    assert set(both.forms) == {*patterns_of("us").forms, *patterns_of("ca").forms}
    assert patterns_of("[any,gb]") == patterns_of("gb")


def test_own_expressions_come_beside_those_of_a_country():
    patterns = PlatePatterns(countries={"br": [r"[A-Z]{3}\d{4}"]}, expressions=["TAXI[1-9]"])
    assert patterns.accepts("TAXI4") and patterns.accepts("ABC1234") and patterns.name == "br"


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ReIDError, match=r"plates\.others\.us"):
        PlatePatterns(countries={"us": ["A"]}, others={"us": share})


def test_a_single_text_is_no_list_of_a_countrys_expressions():
    with pytest.raises(ReIDError, match=r"plates\.countries\.us"):
        PlatePatterns(countries={"us": "AB"})


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
    assert patterns.name == country or country == "eu"
    for plate in EXAMPLES[country]:
        assert patterns.accepts(plate) and patterns.fit(plate) == plate
        assert is_plausible(plate) == (len(plate) >= 5 and country != COUNTRY_OF_DIGITS)
    for text in ("", "HELLOWORLD", "0912345678901", "京"):
        assert not patterns.accepts(text) and patterns.fit(text) is None


@pytest.mark.parametrize(
    "text", ["LS15EBC", "KA4821", "51G12345", "京A12345", "KA01AB1234", "AB123", "NANA5", "LUV2SKI"]
)
def test_plausible(text):
    assert is_plausible(text) and ANY.accepts(text)


@pytest.mark.parametrize(
    "text", ["", "TAXI", "SUBARU", "0901234567", "4MATIC", "S500", "ROUTES66", "02079460000", "12345", "PHONE0901234"]
)
def test_signs_badges_and_telephone_numbers_are_not_plausible(text):
    assert not is_plausible(text) and not ANY.accepts(text)
