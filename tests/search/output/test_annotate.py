"""The annotated video and the contact sheet: read back, looked at pixel by pixel."""

from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image, ImageColor

from reid_lightning.drawing.colours import RIGHT
from reid_lightning.drawing.fonts import fitted, font_for
from reid_lightning.errors import ReIDError
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.output import annotate as annotation
from reid_lightning.search.output import contact_sheet as contact_sheet_module
from reid_lightning.search.output.annotate import AnnotatedVideo, annotate, colour_of
from reid_lightning.search.output.contact_sheet import RegisteredPicture, contact_sheet, registered_sheet, thumbnail
from reid_lightning.search.records import Frame, Match, Sighting

GREY = 90
GREY_FRAME = (168, 168, 168)


def frame(number=0, width=320, height=240):
    return Frame(np.full((height, width, 3), GREY, np.uint8), number, number / 10)


def match(vehicle="51G12345", box=(100.0, 100.0, 200.0, 180.0), **more):
    return Match(vehicle, 0.8, box=box, **more)


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [one.to_ndarray(format="rgb24") for one in container.decode(stream)]
        return frames, stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate)


def test_a_box_is_drawn_in_the_vehicles_colour_and_nowhere_else():
    drawn = np.array(annotate(frame(), [match()]))
    colour = ImageColor.getrgb(colour_of("51G12345"))
    for row, column in ((100, 150), (180, 150), (140, 100), (140, 200)):
        assert tuple(drawn[row, column]) == colour
    assert (drawn[110:170, 110:190] == GREY).all()
    assert (drawn[190:] == GREY).all()
    label = drawn[70:99, 100:200]
    assert (label == colour).all(axis=2).any() and (label > 230).all(axis=2).any()  # white on its colour
    corner = drawn[:20, :80]
    assert (corner < 60).all(axis=2).any() and (corner > 230).all(axis=2).any()  # the time code


def test_the_frame_itself_stays_as_it_is():
    one = frame()
    annotate(one, [match()])
    assert (one.picture == GREY).all()


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 30.0, 30.0),
        (300.0, 220.0, 900.0, 900.0),
        (500.0, 500.0, 600.0, 600.0),
        (9.0, 9.0, 3.0, 3.0),
        None,
    ],
)
def test_boxes_at_and_beyond_the_edges_and_none_at_all_are_drawn(box):
    drawn = np.array(annotate(frame(), [match(box=box), match("other", box=box)]))
    assert drawn.shape == (240, 320, 3)
    assert (drawn != GREY).any()


def test_names_are_drawn_and_never_interpreted():
    for name in ("a\nb\x00", "<b>x</b>", "京A12345", "\udcff", "", "x" * 500):
        annotate(frame(), [match(name)])
    one_line = np.array(annotate(frame(), [match("AB")]))
    broken = np.array(annotate(frame(), [match("A\nB")]))
    rows = [np.flatnonzero((drawn[:100] != GREY).any(axis=(1, 2))) for drawn in (one_line, broken)]
    assert np.array_equal(*rows)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (321, 241)])
@pytest.mark.parametrize("encoders", [("libx264", "mpeg4"), ("mpeg4",)])
def test_the_video_has_every_frame_with_its_matches(tmp_path, monkeypatch, width, height, encoders):
    names = {"libx264": "h264", "mpeg4": "mpeg4"}
    monkeypatch.setattr(annotation, "_ENCODERS", tuple(one for one in annotation._ENCODERS if one[0] in encoders))
    path = tmp_path / "v.mp4"
    with AnnotatedVideo(path, width, height, 12.5) as video:
        for number in range(6):
            video.add(frame(number, width, height), [match()] if number >= 3 else [])
        assert not path.exists()
    frames, codec, pixels, rate = read(path)
    assert (len(frames), codec, pixels, rate) == (
        6,
        names[encoders[0]],
        "yuv420p",
        pytest.approx(6 / 0.58),
    )  # 0.08 s for the last
    assert frames[0].shape == (240, 320, 3)
    assert abs(frames[0][140, 98:103].astype(int) - GREY).max() < 16
    red, green, blue = ImageColor.getrgb(colour_of("51G12345"))
    seen = frames[5][140, 98:103].astype(int)
    assert abs(seen - (red, green, blue)).sum(axis=1).min() < 120  # chroma has half the resolution
    assert [one.name for one in tmp_path.iterdir()] == ["v.mp4"]


def test_an_encoder_that_ffmpeg_lacks_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(annotation, "_ENCODERS", (("no_such_encoder", {}, 1), ("mpeg4", {}, 1)))
    with AnnotatedVideo(tmp_path / "v.mp4", 64, 64, 10) as video:
        video.add(frame(0, 64, 64), [])
    assert read(tmp_path / "v.mp4")[1] == "mpeg4"


def test_an_error_leaves_the_old_video_and_nothing_else(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), AnnotatedVideo(path, 320, 240, 10) as video:
        video.add(frame(), [])
        raise KeyError("elsewhere")
    assert path.read_bytes() == b"old"
    with pytest.raises(ReIDError, match=r"frame 3 is \(240, 64, 3\)"), AnnotatedVideo(path, 320, 240, 10) as video:
        video.add(frame(3, 64), [])
    with AnnotatedVideo(path, 320, 240, 10):
        pass  # no frame
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["v.mp4"]


def test_a_video_of_few_frames_an_hour_and_a_folder_named_by_the_time_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "08:00").mkdir()
    with AnnotatedVideo("08:00/v.mp4", 64, 64, 25 / 100_000) as video:
        for number in range(3):
            video.add(Frame(frame(0, 64, 64).picture, number, 4000.0 * number), [])
    assert times(tmp_path / "08:00" / "v.mp4") == ([0, 4000, 8000], 8010)


DAY = 86_400


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ([0, 0.033, 0.066, 8.0, 8.2, 8.4], [0, 0.033, 0.066, 8.0, 8.2, 8.4]),  # a telephone's rate changes
        ([0.7, 0.8, 0.9], [0, 0.8, 0.9]),  # the sound began earlier: the first frame is shown until the second
        ([0, 1 / 3000, 2 / 3000], [0, 0.0003, 0.0007]),
        ([0, 0.5, 0.5, 0.4, 0.6], [0, 0.5, 0.5001, 0.5002, 0.6]),  # no time may come twice
        ([0, 1e9, 1e9 + 1], [0, 2 * DAY, 2 * DAY + 1]),
        ([10 * number for number in range(40)], [10 * number for number in range(40)]),
    ],
)
def test_every_frame_is_shown_at_its_own_time(tmp_path, seconds, shown):
    """Written at a constant rate, a match at 0.858 s was found at 5.197 s."""
    with AnnotatedVideo(tmp_path / "v.mp4", 64, 64, 12.5) as video:
        for number, at in enumerate(seconds):
            video.add(Frame(frame(0, 64, 64).picture, number, at), [])
    found, end = times(tmp_path / "v.mp4")
    assert found == pytest.approx(shown, abs=1e-6)
    assert end == pytest.approx(shown[-1] + 0.08, abs=1e-3)  # the last one is shown as long as the rate says
    assert (tmp_path / "v.mp4").stat().st_size < 60_000


def times(path):
    """When each frame is shown, and when the last one no longer is."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [one.time for one in container.decode(stream)]
        return found, float((stream.start_time + stream.duration) * stream.time_base)


def test_colours_of_large_videos_are_not_left_to_the_players_guess(tmp_path):
    """Untagged, browsers take them for BT.709 and FFmpeg for BT.601."""
    colour = np.full((64, 64, 3), (30, 160, 60), np.uint8)
    with AnnotatedVideo(tmp_path / "v.mp4", 64, 64, 10) as video:
        video.add(Frame(colour, 0, 0.0), [])
    with av.open(str(tmp_path / "v.mp4")) as container:
        (seen,) = container.decode(video=0)
    assert (seen.colorspace, seen.color_range) == (1, 1)
    assert np.abs(seen.to_ndarray(format="rgb24")[-8:, -8:].astype(int) - colour[-8:, -8:]).max() <= 4


def test_what_cannot_become_a_video_is_named(tmp_path):
    with pytest.raises(ReIDError, match="no folder"), AnnotatedVideo(tmp_path / "nowhere" / "v.mp4", 64, 64, 10):
        pass
    with pytest.raises(ReIDError, match=r"annotated\.mp4"), AnnotatedVideo(tmp_path / "v.nothing", 64, 64, 10):
        pass
    assert list(tmp_path.iterdir()) == []
    for rate in (0, float("nan"), -1):
        with pytest.raises(ReIDError, match="frames_per_second"):
            AnnotatedVideo(tmp_path / "v.mp4", 64, 64, rate)
    with pytest.raises(ReIDError, match="1 x 64"):
        AnnotatedVideo(tmp_path / "v.mp4", 1, 64, 10)


def test_a_contact_sheet_shows_query_and_registered_picture_side_by_side(tmp_path):
    Image.new("RGB", (50, 50), (10, 200, 10)).save(tmp_path / "a.png")
    red = np.full((80, 80, 3), (200, 10, 10), np.uint8)
    path = contact_sheet(
        tmp_path / "sheet.png", [(red, match(picture="a.png", track=3, camera="north"))], gallery=tmp_path
    )
    drawn = np.array(Image.open(path)).astype(int)
    reds, greens = ((abs(drawn - colour).max(axis=2) < 10).nonzero() for colour in ((200, 10, 10), (10, 200, 10)))
    assert len(reds[0]) == len(greens[0]) == 96 * 96
    assert reds[1].max() < greens[1].min()
    assert reds[0].min() == greens[0].min()
    corner = reds[0].min() - 2, reds[1].min()
    assert tuple(drawn[corner]) == GREY_FRAME
    decision = TrackDecision(3, "51G12345", "s", 0.7, True, 1, 0.0, 1.0, 0, 9, 3, "car")
    colours = {}
    for name, decided in (
        ("answer", decision),
        ("another", replace(decision, vehicle="X")),
        ("none", decision.judged(0.9)),
        ("other track", replace(decision, track=4)),
        ("all pictures", replace(decision, track=0)),
    ):
        rows = [(red, match(picture="a.png", track=3, camera="north"))]
        contact_sheet(path, rows, gallery=tmp_path, decisions=[decided])
        drawn = np.array(Image.open(path)).astype(int)
        found = (abs(drawn - (200, 10, 10)).max(axis=2) < 10).nonzero()
        colours[name] = tuple(drawn[found[0].min() - 2, found[1].min()]) == ImageColor.getrgb(RIGHT)
    assert colours == {"answer": True, "another": False, "none": False, "other track": False, "all pictures": True}


def test_the_sheet_of_registered_vehicles_shows_one_picture_of_each_and_no_colours(tmp_path, monkeypatch):
    texts = []
    draw = contact_sheet_module._text
    monkeypatch.setattr(
        contact_sheet_module, "_text", lambda *given, **more: (texts.append(given[2]), draw(*given, **more))
    )
    read = Sighting("a" * 16, "AB12CDE", "north", "f" * 16, "clip.mp4", 1, "car", "motion", (), plate="AB12CDE")
    unread = replace(read, vehicle="unknown-0123456789abcdef", plate=None, confirmed=False)
    picture = Image.new("RGB", (50, 50), (10, 200, 10))
    rows = [
        RegisteredPicture(picture, replace(read, plate_confidence=0.87), 2.5),
        RegisteredPicture(picture, unread, 7.25, is_new=False),
    ]
    path = registered_sheet(tmp_path / "sheet.png", rows, title="Registered: 2 vehicles")
    assert texts[0] == "Registered: 2 vehicles"
    assert {"AB12CDE", "plate AB12CDE (0.87)", "north, 00:00:02.500"} <= set(texts)
    assert {unread.vehicle, "no plate read", "north, 00:00:07.250"} <= set(texts)
    assert "was registered before, unconfirmed" in " ".join(texts)  # over two lines, and not cut
    assert not any("0.00" in text for text in texts)
    drawn = np.array(Image.open(path)).astype(int)
    colourful = np.ptp(drawn, axis=2) > 20
    green = abs(drawn - (10, 200, 10)).max(axis=2) < 10
    assert green.sum() == 2 * 144 * 144 and (colourful == green).all()


def test_contact_sheets_of_nothing_of_much_and_with_missing_pictures(tmp_path):
    crop = Image.new("L", (30, 60), 20)
    rows = [(crop, match(f"V{number}", box=None, picture=None if number else "gone.jpg")) for number in range(30)]
    whole = Image.open(contact_sheet(tmp_path / "all.jpg", rows, title="x" * 900, columns=3))
    part = Image.open(contact_sheet(tmp_path / "part.jpg", rows, columns=3, limit=7))
    nothing = Image.open(contact_sheet(tmp_path / "none.jpg", []))
    assert whole.width == part.width
    assert whole.height > 3 * part.height
    assert nothing.height < part.height
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.jpg", "none.jpg", "part.jpg"]
    with pytest.raises(ReIDError, match="columns is 0"):
        contact_sheet(tmp_path / "sheet.jpg", rows, columns=0)


def test_thumbnails_are_drawn_as_the_pictures_themselves_and_the_title_counts_all(tmp_path):
    crop = np.random.default_rng(0).integers(0, 255, (150, 70, 3), dtype=np.uint8)
    small = thumbnail(crop)
    assert small.size == (96, 96)
    sheets = [contact_sheet(tmp_path / "a.png", [(one, match())]).read_bytes() for one in (crop, small)]
    assert sheets[0] == sheets[1]
    assert contact_sheet(tmp_path / "a.png", [(small, match())], total=900).read_bytes() != sheets[0]


def test_long_texts_are_cut_to_fit():
    assert fitted("short", 11, 200) == "short"
    cut = fitted("a very long name of a vehicle", 11, 60)
    start, end = cut.split("...")
    assert font_for(cut, 11).getlength(cut) <= 60
    assert start and "a very long name".startswith(start) and end and "a vehicle".endswith(end)
    assert fitted("AB", 11, 1) in ("", "...")
