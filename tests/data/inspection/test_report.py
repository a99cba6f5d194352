"""The report finds what is planted, and its command prints it without leaving a file behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from reid_lightning.data.inspection.report import DatasetReport, describe_dataset, render_report, report_on
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage


def pictures(*names: str) -> Split:
    """Records from "identity/camera/number", or "identity/-/number" where the camera is unknown."""
    fields = [name.split("/") for name in names]
    return tuple(
        VehicleImage(Path(name), identity, None if camera == "-" else camera, track=f"{identity}/{camera}")
        for name, (identity, camera, _) in zip(names, fields, strict=True)
    )


GOOD = VehicleDataset(
    name="cars",
    train=pictures("a/1/1", "a/1/2", "a/2/1", "b/1/1", "b/2/1"),
    query=pictures("x/1/1", "y/2/1"),
    gallery=pictures("x/1/2", "x/2/1", "y/1/1", "y/1/2", "z/1/1"),
)


def found(report: DatasetReport) -> list[str]:
    return [problem.what for problem in report.problems]


def shown(report: DatasetReport) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(render_report(report))
    return capture.get()


def test_counts():
    report = describe_dataset(GOOD)
    train, query, gallery = report.splits
    assert (train.name, train.pictures, train.identities, train.tracks) == ("train", 5, 2, 4)
    assert train.per_identity == (2, 2.5, 3)
    assert train.per_camera == {"1": 3, "2": 2}
    assert (query.pictures, query.identities, query.per_identity) == (2, 2, (1, 1, 1))
    assert (gallery.pictures, gallery.identities, gallery.per_identity) == (5, 3, (1, 2, 2))
    assert report.problems == ()


def test_a_clean_data_set_is_shown_as_such():
    text = shown(describe_dataset(GOOD))
    assert "Data set cars" in text and "No problem found." in text
    (row,) = (line for line in text.splitlines() if line.startswith("gallery "))
    assert re.split(r"\s{2,}", row.strip()) == ["gallery", "5", "3", "2", "4", "1 / 2 / 2"]
    (row,) = (line for line in text.splitlines() if line.startswith("2 "))
    assert re.split(r"\s{2,}", row.strip()) == ["2", "2", "1", "1"]


@pytest.mark.parametrize(
    ("changes", "field", "entries", "what"),
    [
        (
            {"query": ("a/1/9", "x/1/1"), "gallery": ("a/2/9", "x/2/9")},
            "shared_identities",
            ["a"],
            "1 identity is in",
        ),
        ({"gallery": ("x/2/1", "y/1/1", "b/1/1")}, "shared_pictures", ["b/1/1"], "1 picture is in training and"),
        ({"gallery": ("x/2/1", "y/1/1", "y/1/1")}, "repeated_pictures", ["y/1/1"], "1 picture is more than once"),
        ({"query": ("x/1/1", "y/2/1", "y/1/1")}, "unmatched_queries", ["y/1/1"], "1 query has no right answer"),
        ({"train": ("a/1/1", "a/2/2", "b/1/1")}, "lone_identities", ["b"], "1 training identity has a single"),
        ({"train": ("a/1/1", "a/1/2", "b/-/1", "b/-/2")}, "one_camera_identities", ["a"], "1 training identity is"),
    ],
)
def test_each_problem_is_found_and_shown_with_its_fix(changes: dict[str, Sequence[str]], field, entries, what):
    report = describe_dataset(replace(GOOD, **{split: pictures(*names) for split, names in changes.items()}))
    assert [str(entry) for entry in getattr(report, field)] == entries
    (problem,) = (problem for problem in report.problems if problem.what.startswith(what))
    assert problem.examples == tuple(entries)
    text = shown(report)
    for part in (problem.what, problem.consequence, problem.fix, entries[0]):
        assert part in text


def test_queries_without_cameras_match_other_pictures_of_the_identity():
    dataset = replace(
        GOOD, query=pictures("x/-/1", "y/-/1", "z/-/1"), gallery=pictures("x/-/1", "x/-/2", "y/-/1", "z/1/2")
    )
    report = describe_dataset(dataset)
    assert [str(path) for path in report.unmatched_queries] == ["y/-/1"]
    assert any(what.startswith("6 of 12 pictures have no camera") for what in found(report))


def test_the_index_files_count_where_there_are_some():
    dataset = replace(GOOD, gt_index=((1,), (2, 3)), jk_index=((0,), ()))
    assert describe_dataset(dataset).problems == ()
    report = describe_dataset(replace(dataset, gt_index=((), (2, 3))))
    assert [str(path) for path in report.unmatched_queries] == ["x/1/1"]
    assert [str(path) for path in report.index_differs] == ["x/1/1"]
    report = describe_dataset(replace(dataset, jk_index=((0,), (4,))))
    assert [str(path) for path in report.index_differs] == ["y/2/1"] and report.unmatched_queries == ()


def test_empty_splits_and_an_empty_data_set():
    report = describe_dataset(replace(GOOD, query=(), gallery=()))
    assert found(report) == ["There are no query pictures.", "There are no gallery pictures."]
    assert len(describe_dataset(VehicleDataset(name="nothing")).problems) == 3
    assert "0 / 0 / 0" in shown(report)


def test_examples_are_few_except_for_unreadable_files():
    many = pictures(*(f"v{number:02d}/1/1" for number in range(12)))
    (problem,) = describe_dataset(replace(GOOD, train=many)).problems
    assert problem.examples[-2:] == ("v04", "... and 7 more")
    bad = {Path(f"{number}.jpg"): "the file is empty" for number in range(12)}
    (problem,) = describe_dataset(GOOD, unreadable=bad).problems
    assert len(problem.examples) == 12 and problem.examples[11] == "11.jpg: the file is empty"


def test_brackets_in_names_are_shown_as_they_are():
    report = describe_dataset(replace(GOOD, name="[red]cars", train=pictures("[bold]x/1/1", "b/1/1", "b/2/1")))
    assert "[bold]x" in shown(report) and "[red]cars" in shown(report)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Identities a to d under two cameras; a1 is empty, b1 is cut, and c1 is damaged in the middle."""
    lines = ["path,identity,camera,split"]
    for identity in "abcd":
        for camera in "12":
            Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / f"{identity}{camera}.jpg", quality=90)
            lines.append(f"{identity}{camera}.jpg,{identity},{camera},{'train' if identity in 'ab' else 'test'}")
    (tmp_path / "a1.jpg").write_bytes(b"")
    whole = (tmp_path / "b1.jpg").read_bytes()
    (tmp_path / "b1.jpg").write_bytes(whole[: len(whole) // 2])
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "c1.jpg", "PNG")
    content = bytearray((tmp_path / "c1.jpg").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "c1.jpg").write_bytes(content)
    path = tmp_path / "cars.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_unreadable_pictures_are_listed_and_not_fatal(table):
    report = report_on(lambda on_bad_image: read_csv(path=table, on_bad_image=on_bad_image))
    assert [path.name for path in report.unreadable] == ["a1.jpg", "b1.jpg", "c1.jpg"]
    assert report.splits[0].pictures == 2
    assert found(report)[0] == "3 pictures cannot be read."


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reid_lightning.commands", "data", "report", *words],
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def test_the_command_prints_the_report_and_writes_nothing(table, project):
    before = {path.name for path in project.iterdir()}
    done = run(project, "data=csv", f"data.path={table}", "data.on_bad_image=error")
    assert done.returncode == 0, done.stderr
    assert "Data set cars" in done.stdout and "3 pictures cannot be read." in done.stdout
    assert "a1.jpg: the file is empty" in done.stdout
    assert {path.name for path in project.iterdir()} == before


def test_what_the_report_says_is_not_said_beside_it_as_well(table, tmp_path, project):
    (tmp_path / "notes.txt").write_text("none of the pictures")
    done = run(project, "data=folder", f"data.root={tmp_path}", r"data.pattern=(?P<identity>.)(?P<camera>.)\.jpg")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("were passed over") == said.count("a1.jpg: the file is empty") == 1


def test_columns_and_camera_lists_arrive_from_the_command_line(table, project):
    text = table.read_text(encoding="utf-8").replace("identity", "vid").replace("camera", "cam no")
    table.write_text(text, encoding="utf-8")
    settings = ("data.columns={identity: vid, camera: cam no}", "data.gallery_cameras=[2]")
    done = run(project, "data=csv", f"data.path={table}", *settings)
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("gallery "))
    assert re.split(r"\s{2,}", row)[1:4] == ["2", "2", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data=veri776", "data.root=absent"), "there is no folder absent"),
        (("data=folder", "data.root=conf"), "holds no pictures"),
        (("data=csv", "data.path=x.csv", "data.rot=y"), "rot"),
        (("data=martian",), "martian"),
    ],
)
def test_mistakes_end_with_one_message_and_status_1(project, words, message):
    done = run(project, *words)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_real_pictures_have_no_problem(shared_data):
    report = report_on(
        lambda on_bad_image: read_folder(
            root=shared_data / "twocam_train",
            pattern=r"(?P<identity>[a-z]+_\d+)_cam(?P<camera>\d+)",
            train_list="train.txt",
            test_list="val.txt",
            query_cameras=[1],
            gallery_cameras=[2],
            on_bad_image=on_bad_image,
        )
    )
    assert [split.pictures for split in report.splits] == [810, 102, 102]
    assert report.problems == ()
