"""Every printed table at 80 columns: rows in one line, long names shortened in their middle, numbers whole."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from running import gallery_command

from reid_lightning.data.inspection.report import describe_dataset, render_report
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.drawing.tables import Name, middle_shortened, new_table, print_written
from reid_lightning.evaluation.report import result_table
from reid_lightning.evaluation.result import EvaluationResult
from reid_lightning.evaluation.sets_table import sets_table
from reid_lightning.ranking import evaluate_retrieval
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.output.console import RegisteredFiles, print_found
from reid_lightning.search.plates import folder_name
from reid_lightning.search.records import Crop, Match, Sighting
from reid_lightning.search.registration import Registered
from reid_lightning.search.video.best_crops import KeptCrop
from reid_lightning.search.video.vehicle_finder import FoundVehicle, TrackCounts
from reid_lightning.sweeps.jobs import SweepJob
from reid_lightning.sweeps.results import Choice
from reid_lightning.sweeps.table import _printed

LONG = "unknown-" + "0123456789abcdef" * 4
PICTURE = np.full((40, 60, 3), 90, np.uint8)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def is_shortened(line):
    """Whether the line has a name of which only the beginning and the end are left."""
    return re.search(r"unk\w*-?\w*\.\.\.\w+", line) is not None


def drawn(renderable):
    console = Console()
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def rows_with(lines, *texts):
    return [line for line in lines if all(text in line for text in texts)]


def assert_fits(lines):
    assert lines and max(map(cell_len, lines)) <= 80, max(lines, key=cell_len)


def source(kind="video", name="clip.mp4"):
    return SimpleNamespace(in_video=kind == "video", name=name, fingerprint="f" * 16, warning=None)


def decision(track=123456, vehicle=LONG, accepted=True, rank=1):
    return TrackDecision(track, vehicle, "s", 0.87654, accepted, rank, 3600.5, 36000.25, 7, 99, 64, "motorcycle")


@pytest.mark.parametrize(("width", "expected"), [(80, "abcdefghij"), (10, "abcdefghij"), (9, "abc...hij"), (2, "ab")])
def test_a_name_gives_way_in_its_middle(width, expected):
    assert middle_shortened("abcdefghij", width) == expected


@pytest.mark.parametrize("width", range(1, 14))
def test_a_name_of_wide_letters_keeps_to_the_width(width):
    assert cell_len(middle_shortened("京A12345京沪粤", width)) <= width


def test_names_are_no_markup_and_what_was_not_written_is_not_claimed(tmp_path, capsys):
    table = new_table("name", "number", names=("name",))
    table.add_row(Name("[red]A[/red]"), "1")
    assert rows_with(drawn(table), "[red]A[/red]", "1")
    (tmp_path / ("x" * 90)).touch()
    print_written(Console(), [tmp_path / ("x" * 90), tmp_path / "y"])
    assert capsys.readouterr().out.splitlines() == [f"wrote {tmp_path / ('x' * 90)}"]


def test_what_was_registered(tmp_path, capsys):
    sighting = Sighting(
        *("a" * 16, LONG, "a camera of a long name", "f" * 16, "clip.mp4", 1, "motorcycle", "motion"),
        (Crop("a-0.jpg", 3, 1.5, (0.0, 0.0, 9.0, 9.0), 0.9, 0.8),),
        plate="AB12CDE",
        plate_confidence=0.987,
    )
    crop = KeptCrop(PICTURE, 3, 1.5, np.zeros(4), 0.9, 0.8)
    found = FoundVehicle(1, "motorcycle", (crop,), 3600.0, 36000.0, 5, None)
    files = RegisteredFiles(tmp_path, tmp_path / "gallery")
    files.begin(source(), camera="north", known=False)
    files.add(Registered(sighting, found, is_new=False))
    files.add(Registered(replace(sighting, vehicle="B", plate=None, confirmed=False), found, is_new=True))
    files.end(source(), TrackCounts(found=2, short=3, poor=1))
    files.write()
    lines = capsys.readouterr().out.splitlines()
    assert "clip.mp4, 6 tracks: 2 registered, 4 left out: 3 too short, 1 poor pictures" in lines
    assert "2 vehicles registered in" in lines[-3] and lines[-2:] == [
        f"wrote {tmp_path / name}" for name in ("registered.json", "registered.jpg")
    ]
    assert_fits(lines[:-3])
    (row,) = rows_with(lines, "AB12CDE (0.99)", "motorcycle", "01:00:00-10:00:00", "known")
    assert is_shortened(row)
    (row,) = rows_with(lines, "B ", "unconfirmed")
    assert "0.0" not in row  # no plate was read


@pytest.mark.parametrize("kind", ["video", "folder"])
@pytest.mark.parametrize("accepted", [True, False])
def test_what_a_search_found(kind, accepted, capsys):
    matches = [Match(LONG, 0.654321, 123456, 36000.5, camera="a camera of a very long name" * 2) for _ in range(2)]
    decisions = [decision(accepted=accepted), decision(vehicle="B", accepted=False, rank=2)]
    print_found(source(kind), matches, decisions, threshold=Threshold(0.6, None), tracks=3)
    lines = capsys.readouterr().out.splitlines()
    assert_fits(lines)
    title = "Whole tracks" if kind == "video" else "Vehicles on pictures"
    assert f"{title}: {int(accepted)} of 1 found again (3 seen, 2 left out: poor pictures)" in lines
    (row,) = rows_with(lines, "0.877")
    assert is_shortened(row) and ("below 0.60" in row) != accepted
    assert ("01:00:00-10:00:00" in row and "123456" in row) == (kind == "video")
    shown = rows_with(lines, "0.654", "123456")
    assert len(shown) == 2 and all(is_shortened(row) and "a ca" in row for row in shown)
    assert all(("10:00:00.500" in row) == (kind == "video") for row in shown)
    assert not rows_with(lines, " B ")  # the second vehicle of a track is not what it is
    assert "Scores from 0.60 on; this bundle has no calibrated threshold." in lines


def test_a_search_that_compared_nothing_says_why(capsys):
    print_found(source(), [], [], threshold=Threshold(0.6, None), tracks=2)
    said = "2 vehicles were seen, none of them compared: their pictures are too poor (min_quality)."
    assert said in capsys.readouterr().out.splitlines()


def test_a_search_without_a_match_says_how_close_it_came(capsys):
    hint = "a lower min_score shows more"
    print_found(source(), [], [decision(accepted=False)], threshold=Threshold(0.9, None), tracks=1)
    assert f"The closest has 0.88: {hint}, and more that are wrong." in capsys.readouterr().out.splitlines()
    print_found(source(), [], [decision(accepted=True)], threshold=Threshold(0.9, None), tracks=1)
    assert hint not in capsys.readouterr().out


def test_all_pictures_of_one_vehicle_have_one_answer(capsys):
    decisions = [decision(track=0), decision(track=0, vehicle="B", accepted=False, rank=2)]
    print_found(source("folder"), [], decisions, threshold=Threshold(0.6, None), tracks=9, one_vehicle=True)
    lines = capsys.readouterr().out.splitlines()
    assert_fits(lines)
    assert lines[:2] == ["All pictures together: ", LONG]  # a text goes over two lines
    (row,) = rows_with(lines, "the answer")
    assert row.strip().startswith("1 ") and rows_with(lines, "2  B")
    assert "no picture shows a registered vehicle with a score of 0.60 or more." in lines


def test_scores_that_are_not_what_the_threshold_is_held_against_stand_beside_it(capsys):
    matches = [Match(LONG, 0.3, 5, 0.5, camera="north", details={"cosine": 0.812})]
    print_found(source(), matches, [], threshold=Threshold(0.6, None, reranked=True), tracks=0)
    lines = capsys.readouterr().out.splitlines()
    assert rows_with(lines, "re-ranked", "cosine") and rows_with(lines, "0.300", "0.812")
    assert any(line.startswith("Scores cosine similarity before re-ranking, from 0.60 on") for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_list_of_a_gallery(tmp_path, capsys, monkeypatch, terminal):
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))
    gallery = Gallery(tmp_path / "gallery")
    crops = (Crop("a" * 16 + "-0.jpg", 3, 1.5, (0.0, 0.0, 9.0, 9.0), 0.9, 0.8),)
    for number, (vehicle, hours) in enumerate(((LONG, 2), ("B", 200))):
        vehicle = folder_name(vehicle)
        one = Sighting(str(number) * 16, vehicle, "a camera of a long name", "f" * 16, "c", 1, "truck", "motion", crops)
        crop = (replace(crops[0], file=f"{one.id}-0.jpg"),)
        gallery.add(replace(one, start=1e9, end=1e9 + 3600 * hours, crops=crop), [PICTURE])
    assert gallery_command("list", f"gallery={gallery.root}") == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    (row,) = rows_with(lines, "2001-09-09 01:46-03:46")
    assert rows_with(lines, "B ", "2001-09-09 - 2001-09-17")
    if terminal:
        assert_fits(lines)
        assert is_shortened(row.lower())
    else:  # a pipe takes names whole
        assert folder_name(LONG) in row and "a camera of a long name" in row


@pytest.fixture
def result():
    embeddings = torch.eye(4)
    return evaluate_retrieval(embeddings, embeddings, query_ids=list(range(4)), gallery_ids=list(range(4)))


def test_the_figures_of_an_evaluation_however_many_ranks(result):
    cmc = {rank: 1.0 for rank in range(1, 30)}
    lines = drawn(result_table(replace(result, cmc=cmc), title="t" * 100))
    assert_fits(lines)
    for name in ("mAP", *(f"rank-{rank}" for rank in cmc), "mINP"):
        assert rows_with(lines, name, "100.00", "100.0 - 100.0")


def test_the_figures_of_several_sets(result, monkeypatch):
    spreads = {name: 0.1234 for name in ("mAP", "rank-1", "rank-5", "rank-10", "mINP")}
    calibration = SimpleNamespace(threshold=0.93821)
    one = replace(EvaluationResult(result), repeats=SimpleNamespace(spreads=spreads), calibration=calibration)
    lines = drawn(sets_table({LONG: one, "b": one}))
    assert_fits(lines)
    (row,) = rows_with(lines, "100.00 ± 12.34  ", "0.9382", "unk", "...")
    assert row.count("100.00 ± 12.34") == 3


def test_the_figures_of_a_sweep():
    jobs = tuple(SweepJob(number, str(number), (), "completed") for number in range(12))
    settings = {f"loss.terms.{word}.weight": "0.125" for word in ("circle", "contrastive", "triplet")}
    scores = {"mAP": (99.5,) * 12, "rank-1": (98.25,) * 12, "mINP": (97.125,) * 12}
    choice = Choice(settings, jobs, scores)
    lines = drawn(_printed([choice], title="12 jobs", notes=["image to image, cosine"]))
    assert_fits(lines)
    assert rows_with(lines, "99.50 ± 0.00", "98.25 ± 0.00", "97.12 ± 0.00", "12")
    column = "".join(line[:32].strip() for line in lines[3:-3])
    assert column == choice.name.replace(" ", "")  # settings go over several lines, and are not cut


def test_the_report_of_a_data_set():
    images = tuple(
        VehicleImage(f"{number}.jpg", f"v{number // 2}", f"a camera of a long name, number {number % 3}", f"t{number}")
        for number in range(1200)
    )
    report = describe_dataset(VehicleDataset("cars", train=images, query=images, gallery=images))
    lines = drawn(render_report(replace(report, problems=())))
    assert_fits(lines)
    assert len(rows_with(lines, "1,200", "600", "2 / 2 / 2")) == 3
    assert len(rows_with(lines, "number 1", "400")) == 1
