"""`reid link` and `reid review` as a user types them: from a gallery to vehicles, questions, answers and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run_here
from toy_traffic import DIM, Pass, city, registered

from reid_lightning.search.gallery import open_store
from reid_lightning.search.linking.answers import Answers

TABLE = "from,to,seconds,spread\nnorth,south,40,0.2\nsouth,east,40,0.2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    passes = [*city(6), Pass(9, "north", 1e9 + 900, plate="AB12CDE"), Pass(9, "east", 1e9 + 999)]
    content = registered(tmp_path / "gallery", passes).content
    store = open_store(tmp_path / "gallery/.index", fingerprint="toy", dim=DIM)
    store.upsert([record for record, _ in content.values()], np.stack([row for _, row in content.values()]))
    store.close()
    (tmp_path / "times.csv").write_text(TABLE)
    return tmp_path


def said(folder: Path, *words: str) -> str:
    done = run_here(folder, "reid", *words, f"gallery={folder / 'gallery'}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(folder: Path, *words: str) -> str:
    done = run_here(folder, "reid", *words, f"gallery={folder / 'gallery'}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_a_gallery_is_linked_looked_at_and_undone(folder: Path) -> None:
    out = said(folder, "link", "min_score=0.6", "travel_times=times.csv", "sheet=links.jpg")
    assert "20 sightings: 7 vehicles, 7 of them have 20 sightings together" in out
    assert Image.open(folder / "links.jpg").width > 300
    out = said(folder, "link", "list")
    assert "AB12CDE" in out and "north > south > east" in out
    out = said(folder, "link", "show", "vehicle=AB12CDE", "sheet=one.png")
    assert "a18" in out and "looks 0." in out and "99 s from north to east" in out
    out = said(folder, "link", "undo", "vehicle=AB12CDE", "by=anna")
    assert "1 pair of AB12CDE are different from now on" in out
    assert "8 vehicles, 6 of them" in said(folder, "link", "min_score=0.6")
    (answer,) = Answers(folder / "gallery").all()
    said(folder, "review", "undo", f"answer={answer.id}")
    assert "7 vehicles, 7 of them" in said(folder, "link", "min_score=0.6")


def test_one_sighting_is_taken_out_of_a_vehicle(folder: Path) -> None:
    said(folder, "link", "min_score=0.6")
    said(folder, "link", "undo", "vehicle=a0", "sighting=a1", "by=anna")
    out = said(folder, "link", "min_score=0.6")
    assert "8 vehicles, 7 of them have 19 sightings together" in out
    assert "sighting=a9 is none of" in refused(folder, "link", "undo", "vehicle=a0", "sighting=a9")


def test_questions_are_asked_and_answers_kept(folder: Path) -> None:
    said(folder, "link", "min_score=0.6")
    out = said(folder, "review", "most=3", "sheet=review.jpg")
    pair = next(line.split()[0] for line in out.splitlines() if line.startswith("a"))
    assert (folder / "review.jpg").is_file() and f"answer: reid review answer pair={pair}" in out
    assert "the same vehicle, by anna" in said(folder, "review", "answer", f"pair={pair}", "says=same", "by=anna")
    said(folder, "review", "answer", "pair=[a0,a3]", "says=unsure", "by=ben")
    out = said(folder, "review", "answers")
    assert "2 answers: 1 pairs the same, 0 different, 1 nobody can say" in out and "anna" in out and "ben" in out
    assert pair not in said(folder, "review", "most=50")
    line = json.loads((folder / "gallery/.links/answers.jsonl").read_text().splitlines()[0])
    assert -1 <= line["score"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["link", "min_score=2"], "min_score"),
        (["link", "travel_times=nothing.csv"], "the travel times nothing.csv cannot be read"),
        (["link", "min_scor=0.6"], "min_scor"),
        (["link", "list"], "Nothing in"),
        (["link", "show", "vehicle=x"], "Nothing in"),
        (["review"], "Nothing in"),
        (["review", "answer", "pair=a0", "says=same"], "expected two different sightings"),
        (["review", "answer", "pair=a0,a0", "says=same"], "expected two different sightings"),
        (["review", "answer", "pair=a0,gone", "says=same"], "gone is not in"),
        (["review", "answer", "pair=a0,a1", "says=maybe"], "says"),
        (["review", "undo", "answer=nothing"], "the answer 'nothing' is not known"),
    ],
)
def test_what_is_wrong_is_one_clear_error_and_leaves_nothing(folder: Path, words: list[str], message: str) -> None:
    assert message in refused(folder, *words)
    assert not (folder / "gallery/.links/links.json").exists()
    assert not (folder / "gallery/.links/answers.jsonl").exists()


def test_an_unknown_vehicle_and_a_gallery_that_is_not_there(folder: Path) -> None:
    said(folder, "link", "min_score=0.6")
    assert "no vehicle 'nobody' was linked" in refused(folder, "link", "show", "vehicle=nobody")
    done = run_here(folder, "reid", "link", "gallery=elsewhere", "min_score=0.6")
    assert done.returncode == 1 and "There is no gallery at elsewhere" in done.stderr


def test_what_is_removed_for_good_is_in_no_link_either(folder: Path) -> None:
    said(folder, "link", "min_score=0.6")
    assert "AB12CDE" in (folder / "gallery/.links/links.json").read_text()
    said(folder, "gallery", "delete", "vehicle=AB12CDE", "now=true")
    assert not any(b"AB12CDE" in path.read_bytes() for path in (folder / "gallery/.links").iterdir())
    assert "19 sightings" in said(folder, "link", "min_score=0.6")


def test_answers_that_cannot_be_read_are_named_by_check(folder: Path) -> None:
    said(folder, "review", "answer", "pair=a0,a1", "says=same")
    with (folder / "gallery/.links/answers.jsonl").open("a") as file:
        file.write("nonsense\n")
    done = run_here(folder, "reid", "gallery", "check", f"gallery={folder / 'gallery'}")
    assert done.returncode == 1 and "1 line of" in done.stdout and "what people said there is lost" in done.stdout
    assert "1 line of" in refused(folder, "review", "answers")


def test_a_camera_that_the_table_does_not_know_is_said(folder: Path) -> None:
    (folder / "times.csv").write_text("from,to,seconds\nnorth,south,40\n")
    assert "travel_times has no line for east" in said(folder, "link", "min_score=0.6", "travel_times=times.csv")


def test_the_threshold_of_another_model_is_refused(folder: Path, bundle: Path) -> None:
    assert "a threshold belongs to its model" in refused(folder, "link", f"bundle={bundle}")
