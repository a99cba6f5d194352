"""Reading drawn and real plates, without a network, in whatever cut they come."""

import socket

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from onnx_providers import OPENVINO, stand_in
from PIL import Image, ImageDraw, ImageFont

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import NoPlateReader, PlatePatterns

rapidocr = pytest.importorskip("reid_lightning.search.plates.rapidocr", reason="rapidocr is not installed")

GB = PlatePatterns("gb", [r"[A-Z]{2}\d{2}[A-Z]{3}"])
VN = PlatePatterns("vn", [r"\d{2}[A-Z]\d{5}"])


@pytest.fixture(scope="module")
def reader():
    """Under any pattern, made and used where every connection fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
        made = rapidocr.RapidOcrReader()
        made.read(np.zeros((64, 64, 3), np.uint8))  # its networks are loaded when they are needed
        return made


@pytest.fixture(scope="module")
def british_reader():
    return rapidocr.RapidOcrReader(GB)


@pytest.fixture(scope="module")
def vietnamese_reader():
    return rapidocr.RapidOcrReader(VN)


def vehicle(*lines, size=(240, 180), letters=26, sign=None):
    """A dark vehicle with a white plate of one or two lines, and something else written above."""
    image = Image.new("RGB", size, (60, 70, 90))
    pencil, font = ImageDraw.Draw(image), ImageFont.load_default(letters)
    if sign is not None:
        pencil.text((30, 20), sign, fill=(240, 200, 40), font=font)
    widths = [pencil.textlength(line, font=font) for line in lines]
    left, top = (size[0] - max(widths)) / 2, size[1] - 30 - 1.2 * letters * len(lines)
    pencil.rectangle((left - 8, top - 5, left + max(widths) + 8, top + 1.2 * letters * len(lines) + 5), fill="white")
    for number, (line, width) in enumerate(zip(lines, widths, strict=True)):
        pencil.text((size[0] / 2 - width / 2, top + 1.2 * letters * number), line, fill="black", font=font)
    return np.asarray(image)


@pytest.mark.parametrize(
    ("text", "letters", "size"),
    [
        ("KA 4821", 26, (240, 180)),
        ("QX 73905", 16, (150, 110)),
        ("LS15 EBC", 30, (300, 220)),
        ("MN 20416", 90, (1400, 900)),
    ],
)
def test_plates_on_drawn_vehicles_are_read_exactly(reader, text, letters, size):
    readings = reader.read(vehicle(text, letters=letters, size=size))
    assert readings[0].text == text.replace(" ", "")
    assert 0.6 < readings[0].confidence <= 1
    x1, y1, x2, y2 = readings[0].box
    assert 0 <= x1 < size[0] / 2 < x2 <= size[0] and size[1] / 2 < y1 < y2 <= size[1]


def test_what_else_is_written_on_a_vehicle_is_no_plate(reader):
    assert reader.read(vehicle("TAXI")) == []
    assert [one.text for one in reader.read(vehicle("KA 4821", sign="0912345678"))] == ["KA4821"]


def test_a_plate_of_two_pieces_is_read_as_one(vietnamese_reader):
    assert vietnamese_reader.read(vehicle("51G      123.45", size=(300, 180)))[0].text == "51G12345"


def test_a_plate_of_two_lines_is_read_from_above(vietnamese_reader):
    assert vietnamese_reader.read(vehicle("51G", "123.45", size=(220, 200), letters=34))[0].text == "51G12345"


def test_a_text_that_fits_the_country_comes_before_others(british_reader):
    texts = [one.text for one in british_reader.read(vehicle("LS15 EBC", sign="ROOM 237"))]
    assert texts[0] == "LS15EBC" and "ROOM237" in texts


def test_pictures_of_plates_alone(reader):
    picture = vehicle("KA 4821", size=(118, 60), letters=24)[6:44]
    assert picture.shape[0] < 64
    assert reader.read(picture)[0].text == "KA4821"
    assert reader.read(picture)[0].box == (0, 0, 118, 38)
    tight = rapidocr.RapidOcrReader(tight=True)
    assert tight.read(np.asarray(Image.fromarray(picture).resize((354, 114))))[0].text == "KA4821"


def test_pictures_too_small_or_too_blurred_for_a_plate_are_known(reader):
    sharp = vehicle("KA 4821", letters=16, size=(150, 110))
    flat = np.full((200, 300, 3), 90, np.uint8)
    assert reader.may_hold_plate(sharp) and not reader.may_hold_plate(flat)
    assert not reader.may_hold_plate(sharp[:70, :70]) and reader.may_hold_plate(flat[:24, :94])  # low and wide: a plate


def test_nothing_to_read_gives_nothing(reader):
    for shape in ((1, 1, 3), (1, 500, 3), (500, 8, 3), (8, 500, 3), (200, 300, 3)):
        assert reader.read(np.zeros(shape, np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    assert reader.read(noise) == []


def test_reading_is_deterministic_and_leaves_the_picture_as_it_was(reader):
    picture = vehicle("KA 4821")
    before = picture.copy()
    picture.setflags(write=False)
    assert reader.read(picture) == reader.read(picture[:, :])
    np.testing.assert_array_equal(picture, before)


def test_nothing_is_written_to_the_terminal(reader, capfd):
    reader.read(np.zeros((100, 100, 3), np.uint8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "picture",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(reader, picture):
    with pytest.raises(ReIDError, match="expected"):
        reader.read(picture)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ReIDError, match=r"plate_reader\.side"):
        rapidocr.RapidOcrReader(side=0)
    with pytest.raises(ReIDError, match="expected one"):
        rapidocr.RapidOcrReader(models=tmp_path)


def test_both_networks_run_on_the_provider_that_is_asked_for(reader, monkeypatch):
    picture = vehicle("KA 4821")
    expected = reader.read(picture)
    asked = stand_in(monkeypatch, [OPENVINO], missing=[])
    other = rapidocr.RapidOcrReader(providers="openvino")
    assert [providers[0][0] for providers in asked] == [OPENVINO, OPENVINO]
    assert other.read(picture) == expected and len(expected) > 0
    used = other._detector.text_det.session.session
    assert len(asked) == 2 and used.get_providers()[0] == OPENVINO, "and no session of RapidOCR's own"
    stand_in(monkeypatch, [OPENVINO], missing=[OPENVINO])
    with pytest.raises(ReIDError, match=r"plate reader \(rec\) cannot be run by providers=openvino"):
        rapidocr.RapidOcrReader(providers="openvino")


def test_the_configured_readers_take_the_configured_patterns():
    cfg = OmegaConf.create(
        {
            "plates": OmegaConf.load(CONFIG_DIR / "plates" / "vn.yaml"),
            "plate_reader": OmegaConf.load(CONFIG_DIR / "plate_reader" / "rapidocr.yaml"),
            "providers": "cpu",
            "device": "auto",
        }
    )
    reader = instantiate(cfg.plate_reader)
    assert reader.name == "rapidocr" and reader.patterns.name == "vn"
    nobody = instantiate(OmegaConf.load(CONFIG_DIR / "plate_reader" / "none.yaml"))
    assert isinstance(nobody, NoPlateReader) and nobody.read(vehicle("KA 4821")) == []


def test_real_plates_of_a_country(shared_data):
    reader = instantiate(
        {
            "_target_": "reid_lightning.search.plates.rapidocr.RapidOcrReader",
            "patterns": OmegaConf.load(CONFIG_DIR / "plates" / "cn.yaml"),
        }
    )
    files = sorted((shared_data / "plates_cn" / "img").glob("*.jpg"))[::20]
    read = [reader.read(np.asarray(Image.open(file).convert("RGB"))) for file in files]
    right = sum(bool(found) and found[0].text == file.stem for found, file in zip(read, files, strict=True))
    assert len(files) == 10 and right >= 8
