"""A file of cameras: what is read of it, and that every mistake in it is one clear error that says no password."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.cameras import Camera, Receiver, WatchList, read_site

WHOLE = """
cameras:
  gate: rtsp://admin:${oc.env:GATE}@10.0.0.8:554/1
  yard:
    source: http://10.0.0.9/video
    every: 2
watch:
  stolen:
    plates: [ls15 ebc, LS15EBC, B-XY 123]
  known:
    vehicles: unknown-70e9ecbb01ab23cd
    min_score: calibrated
    cameras: [gate]
hits:
  webhook: https://me:a%20word@10.0.0.2/hits?key=1
  mqtt: mqtt://broker/reid/hits
"""


@pytest.fixture
def read(tmp_path: Path):
    def reading(text: str):
        path = tmp_path / "cameras.yaml"
        path.write_text(text, encoding="utf-8")
        return read_site(path)

    return reading


def test_a_whole_file_is_what_it_says(read, monkeypatch):
    monkeypatch.setenv("GATE", "geheim")
    site = read(WHOLE)
    assert site.cameras == (
        Camera("gate", "rtsp://admin:geheim@10.0.0.8:554/1"),
        Camera("yard", "http://10.0.0.9/video", 2),
    )
    assert site.lists == (
        WatchList("stolen", ("LS15EBC", "BXY123")),
        WatchList("known", (), ("unknown-70e9ecbb01ab23cd",), min_score="calibrated", cameras=("gate",)),
    )
    assert site.receivers == (
        Receiver("webhook", "https", "10.0.0.2", 443, "/hits?key=1", "me", "a word"),
        Receiver("mqtt", "mqtt", "broker", 1883, "reid/hits"),
    )


def test_no_password_is_in_what_is_shown(read, monkeypatch):
    monkeypatch.setenv("GATE", "geheim")
    site = read(WHOLE)
    assert site.cameras[0].shown == "rtsp://10.0.0.8:554/1"
    assert [one.shown for one in site.receivers] == [
        "https://10.0.0.2:443/hits?key=***",
        "mqtt://broker:1883/reid/hits",
    ]
    assert not [word for word in ("geheim", "a word") if word in repr(site)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is missing; expected keys with values: cameras, watch, hits"),
        ("cameras: []", r"cameras is \[\]; expected a name and an address"),
        ("camera: {}", "there is no key 'camera'.* Did you mean cameras"),
        ("cameras: {gate: }", "camera gate is missing"),
        ("cameras: {gate: 7}", "camera gate is 7; expected keys with values: source, every"),
        ("cameras: {gate: {sorce: x}}", "camera gate: there is no key 'sorce'.* Did you mean source"),
        ("cameras: {gate: {source: 'rtsp://a/1', every: 0}}", "camera gate: every is 0; expected a whole number"),
        ("cameras: {gate: {source: 'rtsp://a/1', every: true}}", "camera gate: every is True; expected a whole"),
        ("cameras: {gate: 'rtsp://u:geheim@h:99999/1'}", "camera gate: rtsp://h:.* is no address"),
        ("cameras: {gate: 'ftp://u:geheim@h/1'}", "camera gate: ftp://h/1 is no address that is read"),
        ("cameras: {gate: nowhere.mp4}", "camera gate: nowhere.mp4 does not exist"),
        ("cameras: {gate: '${oc.env:REID_NO_SUCH}'}", "camera gate: the environment has no variable REID_NO_SUCH"),
        ("cameras: {007: 'rtsp://a/1'}", "a camera's name is 7; expected a text: put quotes"),
        ("cameras: {'rtsp://u:geheim@h/1': x}", "a camera's name is 'rtsp://h/1'; expected a name"),
        ("cameras: {\u00e9: 'rtsp://a/1', e\u0301: 'rtsp://a/2'}", "camera \u00e9: it is there twice"),
        ("cameras: {g: 'rtsp://a/1', g: 'rtsp://a/2'}", "the key 'g' twice, in line 1, column 28"),
        ("cameras: {g: 'rtsp://u:geheim@h/1'", "expected ',' or '}', .*in line 1"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: [x]", r"watch is \['x'\]; expected lists by name"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: {s: {}}", "watch list s: it has neither plates nor vehicles"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: {s: {plates: [1]}}", "watch list s: plates holds 1; expected texts"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: {s: {plates: ['--']}}", "watch list s: the plate '--' has no letter"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: {s: {plates: [A], min_score: 2}}", "watch list s: min_score is 2;"),
        ("cameras: {g: 'rtsp://a/1'}\nwatch: {s: {plates: [A], cameras: [h]}}", "watch list s: there is no camera 'h'"),
        ("cameras: {g: 'rtsp://a/1'}\nhits: {webhook: 'http://h/'}", "hits names who is told, but nothing is watched"),
    ],
)
def test_a_mistake_is_one_error_that_names_file_place_and_fix(read, text, said):
    with pytest.raises(ReIDError, match=r"cameras\.yaml( is not readable|: ).*" + said.replace("(", r"\(")) as error:
        read(text)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("webhook", "ftp://me:geheim@h/"),
        ("webhook", "http:///hits"),
        ("webhook", "http://me:geheim@h:99999/"),
        ("webhook", "'http://me:geheim@h/a b'"),
        ("webhook", "[1]"),
        ("mqtt", "mqtt://me:geheim@h"),
        ("mqtt", "mqtt://me:geheim@h/a/#"),
        ("mqtt", "http://h/topic"),
    ],
)
def test_a_receiver_that_is_none_is_named(read, kind, address):
    text = f"cameras: {{g: 'rtsp://a/1'}}\nwatch: {{s: {{plates: [A]}}}}\nhits:\n  {kind}: {address}\n"
    with pytest.raises(ReIDError, match=f"hits: {kind} is .*; expected (an address such as|the topic)") as error:
        read(text)
    assert "geheim" not in str(error.value)
