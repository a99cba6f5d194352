"""Names, plates, times and sidecars from anywhere: whatever is typed, read or unpacked stays in its place."""

from __future__ import annotations

import io
import json
import tempfile
import unicodedata
import zipfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from properties import drawn

from reid_lightning.app.uploads import harmless_name
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.archive import import_gallery
from reid_lightning.search.gallery.sidecar import from_json, is_plain_name, to_json
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.search.plates.names import MAX_BYTES, folder_name, unknown_name, vehicle_name
from reid_lightning.search.plates.patterns import MAX_CORRECTIONS, PlatePatterns, is_plausible, normalise
from reid_lightning.search.records import Crop, Sighting, time_code
from reid_lightning.search.settings import seconds_since_1970

ANYTHING = st.text(max_size=90)
TRICKY = st.text("./\\:~- _aA1\0\n\u202e\u200bßŁ京Ａ", max_size=40)


@drawn(120)
@given(text=ANYTHING | TRICKY)
def test_a_folder_name_stays_in_the_gallery(text: str) -> None:
    try:
        name = folder_name(text)
    except ReIDError:
        assert not any(unicodedata.category(sign)[0] in "N" and sign.isascii() for sign in text)
        return
    assert is_plain_name(name) and PurePosixPath(name).name == name and "." not in name
    assert 0 < len(name.encode()) <= MAX_BYTES and name.isprintable() and " " not in name
    assert folder_name(name) == name
    assert folder_name(name.lower()) == name or name.startswith("unknown-")


@drawn(200)
@given(text=ANYTHING | TRICKY | st.text("AB12 .-_/·京Ü٣ー", max_size=14))
def test_the_name_of_a_vehicle_is_a_folder_name_and_stays_as_it_is(text: str) -> None:
    try:
        folder = folder_name(text)
    except ReIDError:
        with pytest.raises(ReIDError):
            vehicle_name(text)
        return
    name = vehicle_name(text)
    assert vehicle_name(name) == folder_name(name) == name and is_plain_name(name)
    assert name == folder or name.isalnum()
    assert vehicle_name(folder) in (name, folder)


@drawn(150)
@given(
    plate=st.text("ABKXZÄÜ京ГЖ0123456789", min_size=5, max_size=10)
    .filter(is_plausible)
    .filter(lambda plate: sum(map(str.isdigit, plate)) >= 2),
    between=st.lists(st.sampled_from(["", " ", "-", "·", ".", "  ", "\n", " - ", "\u2013", "\u3000"]), max_size=9),
)
def test_a_plate_in_groups_is_that_plate(plate: str, between: list[str]) -> None:
    written = "".join(sign + (between[at] if at < len(between) else "") for at, sign in enumerate(plate))
    assert vehicle_name(written) == vehicle_name(written.lower()) == plate == vehicle_name(plate)


@drawn(50)
@given(text=st.text(max_size=200), other=st.text(max_size=200))
def test_long_names_that_differ_stay_two(text: str, other: str) -> None:
    first, second = (f"{'A' * 70}{normalise(part)}" for part in (text, other))
    assert (folder_name(first) == folder_name(second)) == (folder_name(first) == folder_name(second + " "))
    assume(first.isascii() and second.isascii())
    assert (folder_name(first) == folder_name(second)) == (first == second)


@drawn(40)
@given(identifier=ANYTHING.filter(lambda text: text.isprintable()))
def test_an_unknown_vehicle_has_a_name_of_its_own_that_lasts(identifier: str) -> None:
    name = unknown_name(identifier)
    assert folder_name(name) == name == unknown_name(identifier) and is_plain_name(name)


@drawn(120)
@given(name=ANYTHING | TRICKY)
def test_an_upload_gets_a_harmless_name(name: str) -> None:
    harmless = harmless_name(name)
    assert PurePosixPath(harmless).name == harmless and not harmless.startswith(".") and len(harmless.encode()) <= 120
    assert harmless.isprintable() and not set(harmless) & set("/\\: <>|?*\"'")


@drawn(50)
@given(text=ANYTHING)
def test_normal_plates_are_letters_and_digits_and_stay_normal(text: str) -> None:
    plate = normalise(text)
    assert plate.isalnum() or plate == ""
    assert normalise(plate) == plate


@drawn(80)
@given(text=st.text("ABDGILOQSTZ0123456789", max_size=9))
def test_a_fitted_plate_is_one_and_few_characters_changed(text: str) -> None:
    patterns = PlatePatterns("test", (r"[A-Z]{2}\d{3,4}", r"\d{2}[A-Z]{3}\d?"))
    fitted = patterns.fit(text)
    assert patterns.accepts(text) <= (fitted == text)
    if fitted is not None:
        assert patterns.accepts(fitted) and patterns.fit(fitted) == fitted
        assert sum(was != now for was, now in zip(text, fitted, strict=True)) <= MAX_CORRECTIONS


@drawn(80)
@given(seconds=st.floats(allow_nan=True, allow_infinity=True, width=64))
def test_a_time_code_reads_back_to_the_thousandth(seconds: float) -> None:
    code = time_code(seconds)
    assume(abs(seconds) < 1e9)
    hours, minutes, rest = code.removeprefix("-").split(":")
    assert int(minutes) < 60 and float(rest) < 60 and len(rest) == 6
    read = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    assert read == pytest.approx(abs(seconds), abs=6e-4)
    assert code.startswith("-") == (seconds < 0 and read > 0)


@drawn(50)
@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),
    offset=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_times_in_words_come_back(moment: datetime, offset: timezone) -> None:
    there = moment.replace(tzinfo=offset)
    seconds = seconds_since_1970(there.isoformat(), key="since")
    assert datetime.fromtimestamp(seconds, UTC) - there < timedelta(milliseconds=1)


@drawn(80)
@given(text=ANYTHING | st.text("0123456789-:T+Z. ", max_size=30))
def test_any_words_are_a_time_or_refused(text: str) -> None:
    try:
        assert isinstance(seconds_since_1970(text, key="since"), float)
    except ReIDError as error:
        assert str(error).startswith("since is ")


PARTS = st.lists(st.sampled_from(["..", ".", "", "V1", "a.jpg", "a1.json", "~", "C:"]), max_size=4)
NAMES = st.one_of(TRICKY, ANYTHING, PARTS.map("/".join))


@drawn(40)
@given(names=st.lists(NAMES.filter(lambda name: name.isascii() or name.isprintable()), max_size=5, unique=True))
def test_no_name_in_an_archive_leaves_the_gallery(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with zipfile.ZipFile(root / "g.zip", "w") as archive:
            archive.writestr("manifest.json", json.dumps({"format": 1, "kind": "reid_lightning gallery"}))
            for name in names:
                if name != "manifest.json":
                    archive.writestr(zipfile.ZipInfo(name), PICTURE)
        with suppress(ReIDError):
            import_gallery(Gallery(root / "inner/gallery"), root / "g.zip")
        outside = [file for file in root.rglob("*") if file.is_file() and file.name != "g.zip"]
        assert all(file.resolve().is_relative_to(root / "inner/gallery") for file in outside)
        kept = [file.relative_to(root / "inner/gallery") for file in outside]
        assert all(len(file.parts) == 2 or str(file).startswith(".") for file in kept)


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 90, 200)).save(file, "JPEG")
    return file.getvalue()


PICTURE = _picture()

FINITE = st.floats(-1e12, 1e12)
CROPS = st.builds(
    Crop,
    file=st.from_regex(r"[a-z0-9]{1,8}-[0-9]\.jpg", fullmatch=True),
    frame=st.integers(0, 10**9),
    seconds=FINITE,
    box=st.tuples(FINITE, FINITE, FINITE, FINITE),
    score=st.floats(0, 1),
    quality=st.floats(0, 1),
)
VALID = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIGHTINGS = st.builds(
    Sighting,
    id=st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True),
    vehicle=st.just("V1"),
    camera=VALID,
    source=VALID,
    source_name=st.text(max_size=20),
    track=st.integers(0, 10**9),
    type=VALID,
    detector=VALID,
    crops=st.lists(CROPS, min_size=1, max_size=3).map(tuple),
    start=FINITE | st.none(),
    end=FINITE | st.none(),
    plate=VALID | st.none(),
    plate_confidence=st.floats(0, 1),
)


@drawn(50)
@given(sighting=SIGHTINGS)
def test_a_sidecar_comes_back_as_it_was_written(sighting: Sighting) -> None:
    text = to_json(sighting).encode()
    assert from_json(text, vehicle="V1", name=f"{sighting.id}.json") == sighting
    assert from_json(text, vehicle="V2", name=f"{sighting.id}.json") == replace(sighting, vehicle="V2")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@drawn(80)
@given(
    sighting=SIGHTINGS, key=st.sampled_from(["format", "id", "camera", "crops", "start", "track", "plate"]), value=JSON
)
def test_a_sidecar_with_another_value_is_read_or_refused(sighting: Sighting, key: str, value: object) -> None:
    values = json.loads(to_json(sighting)) | {key: value}
    content = json.dumps(values).encode()
    try:
        read = from_json(content, vehicle="V1", name=f"{sighting.id}.json")
    except ReIDError:
        return
    assert to_json(read) and read.camera.encode() is not None and read.id == sighting.id


@drawn(50)
@given(text=st.text("from,tsecnd0123456789.-\n\r\"' ", max_size=60), header=st.booleans())
def test_any_table_of_travel_times_is_read_or_refused(text: str, header: bool, tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_bytes(("from,to,seconds\n" * header + text).encode())
    try:
        TravelTimes.read(tmp_path / "times.csv")
    except ReIDError as error:
        assert str(error)
