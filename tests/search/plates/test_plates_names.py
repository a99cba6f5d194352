"""No text, whatever it holds, becomes a name that leaves its folder, hides, or changes when it is named again."""

import random
import unicodedata

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import folder_name, normalise, unknown_name, vehicle_name
from reid_lightning.search.plates.names import MAX_BYTES

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


def is_safe(name):
    return (
        0 < len(name.encode()) <= MAX_BYTES
        and not set(name) & set('/\\:*?"<>|.%~ \0')
        and name[0] not in "-_."
        and name.isprintable()
        and name not in RESERVED
        and name == unicodedata.normalize("NFC", name)
        and folder_name(name) == name
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("51G12345", "51G12345"),
        ("京A12345", "京A12345"),
        ("../../x", "X"),
        ("a/b", "A_B"),
        ("C:\\x", "C_X"),
        ("%2e%2e/", "2E_2E"),
        ("abc\u202ecba", "ABCCBA"),
        ("a\u200bb\0c\n", "ABC"),
        ("a\u3164b\ufe0f", "AB"),
        ("my van", "MY_VAN"),
        ("  My - van_2 . ", "MY-VAN_2"),
        ("．．／ｘ", "X"),
        ("e\u0301", "É"),
        ("con", "VEHICLE_CON"),
        ("Nul.txt", "NUL_TXT"),
        ("com1", "VEHICLE_COM1"),
        ("COM¹", "VEHICLE_COM1"),
        ("-rf", "RF"),
        (".hidden", "HIDDEN"),
        ("~", None),
        (".", None),
        ("..", None),
        ("", None),
        (" \u202e\0/", None),
        ("\ud800", None),
    ],
)
def test_names_by_hand(text, expected):
    if expected is None:
        with pytest.raises(ReIDError, match="expected at least one"):
            folder_name(text)
    else:
        assert folder_name(text) == expected
        assert is_safe(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LS15 EBC", "LS15EBC"),
        ("ls15-ebc", "LS15EBC"),
        ("LS15_EBC", "LS15_EBC"),
        ("京A·12345", "京A12345"),
        ("京Ａ・１２３４５", "京A12345"),
        ("B-XY 123", "BXY123"),
        ("MÜ - AB 123", "MÜAB123"),
        ("29-T1\n234.56", "29T123456"),  # two lines, as on a motorcycle
        ("٢٣٤ ب س ص", "234بسص"),
        ("my van/2", "MY_VAN_2"),
        ("my van 2", "MY_VAN_2"),
        ("car 1", "CAR_1"),
        ("A/12345", "A_12345"),
        ("B-X 1", "B-X_1"),
        ("con", "VEHICLE_CON"),
        ("UNKNOWN-70e9ecbb01ab23cd", "unknown-70e9ecbb01ab23cd"),
    ],
)
def test_a_vehicle_is_called_by_its_plate_however_it_is_written(text, expected):
    assert vehicle_name(text) == vehicle_name(expected) == expected
    assert is_safe(expected)


def test_any_text_becomes_a_safe_name_or_an_error():
    drawn = random.Random(0)
    signs = "./\\:%~-_ \0\n\u202e\u200b\u0301\ud83dAa1京ßİ\u1e9eﬁ．／"
    nasty = [*signs, "..", "CON", "unknown-", "%2e"]
    safe = 0
    for _ in range(4000):
        length = drawn.randint(0, 40)
        pieces = [drawn.choice(nasty) if drawn.random() < 0.6 else chr(drawn.randrange(0x3000)) for _ in range(length)]
        try:
            name = folder_name("".join(pieces))
        except ReIDError:
            continue
        safe += 1
        assert is_safe(name), ascii("".join(pieces))
    assert safe > 3000


def test_any_single_character_is_safe_and_stays_as_it_is_named():
    parts = [(0, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000), (0x10400, 0x10600), (0x1D400, 0x1D800)]
    for number in (number for part in parts for number in range(*part)):  # the others are like their neighbours
        if unicodedata.category(chr(number))[0] in "LN":
            assert is_safe(folder_name(f"A{chr(number)}"))


def test_random_bytes_become_safe_names():
    drawn = random.Random(1)
    for _ in range(500):
        assert is_safe(folder_name("v" + drawn.randbytes(drawn.randint(0, 300)).decode("utf-8", "replace")))
        assert is_safe(folder_name("v" + drawn.randbytes(drawn.randint(0, 300)).decode("utf-8", "surrogateescape")))


def test_names_that_a_file_system_may_take_for_one_are_one():
    assert folder_name("My Van") == folder_name("MY VAN") == folder_name("my_van")
    assert folder_name("straße") == folder_name("STRASSE") == folder_name("STRAẞE")
    assert folder_name("e\u0301") == folder_name("\u00e9") == folder_name("É")


def test_long_names_are_cut_and_stay_two():
    one, other = folder_name("京" * 100), folder_name("京" * 101)
    assert one != other and is_safe(one) and is_safe(other)
    assert folder_name("A" * MAX_BYTES) == "A" * MAX_BYTES
    assert len(folder_name("A" * (MAX_BYTES + 1))) == MAX_BYTES


def test_unknown_names_are_stable_and_nothing_else_becomes_one():
    name = unknown_name("camera/12")
    assert name == unknown_name("camera/12") == "unknown-" + name[-16:]
    assert unknown_name("16d708fb91280778") == "unknown-16d708fb91280778"  # two ids of one source stay two
    assert name != unknown_name("camera/13")
    assert folder_name(name) == folder_name(name.upper()) == name  # a case-insensitive file system knows one folder
    assert folder_name("unknown-van") == "UNKNOWN-VAN"
    assert folder_name(normalise(name)) == normalise(name) == name.upper().replace("-", "")  # as text of a plate
