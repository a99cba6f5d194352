"""What was deleted, merged or renamed comes back for some days, and nothing else does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import gallery_command
from toy_store import ToyStore

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, records_of, trash
from reid_lightning.search.gallery.archive import export_gallery
from reid_lightning.search.gallery.forgetting import forget, forget_vehicle
from reid_lightning.search.records import Crop, Sighting

DAY = 86_400.0


def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
    rows = np.array([[*np.asarray(one.convert("RGB"))[0, 0], 99.0] for one in pictures], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def refuse(pictures: Sequence[Image.Image]) -> np.ndarray:
    raise AssertionError("nothing has to be embedded")


def sighting(number: int, vehicle: str) -> Sighting:
    crop = Crop("", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0)
    return Sighting(f"a{number}", vehicle, "n", "f0", "x", number, "car", "d", (crop,), start=1.0, end=number * DAY)


def add(gallery: Gallery, number: int, vehicle: str) -> bool:
    return gallery.add(sighting(number, vehicle), [np.full((8, 8, 3), 20 * number, np.uint8)])


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GalleryIndex:
    """Vehicle A of two sightings and a user's picture, B of one and a picture of that name; all of it embedded."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    gallery = Gallery(tmp_path / "gallery")
    for number, vehicle in enumerate("AAB", start=1):
        add(gallery, number, vehicle)
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(gallery.root / vehicle / "mine.png")
    GalleryIndex(gallery, store := ToyStore(), embed).sync()
    return GalleryIndex(gallery, store, refuse)


def state(index: GalleryIndex) -> tuple[dict, dict]:
    """What lies on the disk, and what the vectors are of, which must be the same."""
    disk = {record.id: record for one in index.gallery.sightings() for record in records_of(one)}
    assert {identifier: record for identifier, (record, _) in index.store.content.items()} == disk
    visible = [path for path in index.gallery.root.rglob("*") if path.is_file()]
    names = [str(path.relative_to(index.gallery.root)) for path in visible]
    return disk, {name: (index.gallery.root / name).read_bytes() for name in names if not name.startswith(".")}


CHANGES = {
    "delete": lambda some: some.delete("A", undoable=True),
    "merge": lambda some: some.merge("A", "B", undoable=True),
    "rename": lambda some: some.rename("A", "C", undoable=True),
    "delete a sighting": lambda some: some.delete_sighting(some.gallery.find("a1"), undoable=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_is_taken_back_with_its_vectors(index: GalleryIndex, change: str) -> None:
    before, rows = state(index), {name: row.tolist() for name, (_, row) in index.store.content.items()}
    CHANGES[change](index)
    assert state(index) != before
    assert index.gallery.check() == [] and index.gallery.repair(older_than=-1) == []
    (entry,) = index.gallery.trash()
    assert (entry.action, entry.vehicle) == (change.split()[0], "A") and entry.until - time.time() > 6.9 * DAY
    done = index.restore("A", into="A" if change == "delete a sighting" else None)
    assert (done.vehicle, done.left, len(done.moved)) == ("A", 0, 1 if change == "delete a sighting" else 3)
    assert state(index) == before and {name: row.tolist() for name, (_, row) in index.store.content.items()} == rows
    assert index.gallery.trash() == [] and index.gallery.check() == []
    assert os.listdir(index.gallery.root / ".deleted") == []
    with pytest.raises(ReIDError, match="holds nothing called 'A'; `trash` shows"):
        index.restore("A")


@pytest.mark.parametrize("change", ["delete", "merge", "rename"])
def test_a_vehicle_that_exists_again_is_joined_or_kept_apart_as_is_said(index: GalleryIndex, change: str) -> None:
    CHANGES[change](index)
    add(index.gallery, 7, "A")
    with pytest.raises(ReIDError, match=r"A exists again. `restore vehicle=\S+ into=A` puts both together"):
        index.restore("A")
    done = index.restore("A", into="X")
    assert done.vehicle == "X" and sorted(one.id for one in index.gallery.sightings_of("X"))[-2:] == ["a1", "a2"]
    assert [one.id for one in index.gallery.sightings_of("A")] == ["a7"]


def test_what_was_registered_anew_stays_and_is_not_doubled(index: GalleryIndex) -> None:
    index.delete("A", undoable=True)
    assert add(index.gallery, 1, "D")
    done = index.restore("A")
    assert "a2" in done.moved and "a1" not in done.moved and done.left == 1
    assert {one.id: one.vehicle for one in index.gallery.sightings() if one.source} == {"a1": "D", "a2": "A", "a3": "B"}
    assert len(index.gallery.trash()) == 1  # the older one of a1 is there until its time is over


def test_a_merge_is_taken_back_from_wherever_its_sightings_are_now(index: GalleryIndex) -> None:
    index.merge("A", "B", undoable=True)
    index.rename("B", "C")
    index.delete_sighting(index.gallery.find("a2"))
    done = index.restore("A")
    assert "a1" in done.moved and len(done.moved) == 2 and done.left == 1
    assert {one.id: one.vehicle for one in index.gallery.sightings() if one.source} == {"a1": "A", "a3": "C"}
    state(index)


def test_nobody_sees_what_is_in_the_trash(index: GalleryIndex, tmp_path: Path) -> None:
    index.delete("A", undoable=True)
    gallery = Gallery(index.gallery.root)
    assert gallery.vehicle_names() == ["B"] and gallery.folder_of("A") is gallery.folder_of(".deleted") is None
    assert gallery.find("a1") is None and export_gallery(gallery, tmp_path / "g.zip").vehicles == 1
    assert gallery.picture_path("a1-0") is None
    with pytest.raises(ReIDError, match="no vehicle 'A'"):
        gallery.rename("A", "C")


@pytest.mark.parametrize("by", ["delete", "repair", "add"])
def test_the_trash_is_emptied_when_its_time_is_over(index: GalleryIndex, by: str) -> None:
    index.delete("A", undoable=True)
    (entry,) = index.gallery.trash()
    note = index.gallery.root / ".deleted" / entry.id / "note.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "when": time.time() - 7 * DAY - 1}))
    if by == "delete":
        index.delete("B")
    elif by == "repair":
        assert index.gallery.repair() == [note.parent]
    else:
        add(index.gallery, 5, "E")
        assert note.exists()  # which looks after sightings alone
        return
    assert os.listdir(index.gallery.root / ".deleted") == []


def test_forget_and_delete_now_reach_into_the_trash(index: GalleryIndex) -> None:
    root = index.gallery.root
    index.delete("A", undoable=True)
    add(index.gallery, 9, "A")
    assert forget(index.gallery, 1.5 * DAY, index=index) == (1, (), 0)
    assert not list(root.rglob("a1*")) and len(list(root.rglob("a2*"))) == 2 and not list(root.rglob("*.npz"))
    assert forget(index.gallery, 2.5 * DAY, index=index) == (1, (), 0)
    assert not list(root.rglob("a2*")) and len(index.gallery.trash()) == 1  # a user's picture, which is new
    index.merge("B", "A", undoable=True)
    assert forget(index.gallery, 3.5 * DAY, index=index) == (1, (), 0)
    assert [entry.action for entry in index.gallery.trash()] == ["delete"]  # nothing of the merge is left to undo
    forget_vehicle(index.gallery, "A", index=index)
    assert index.gallery.trash() == [] and not list(root.rglob("*.png")) and index.store.content == {}
    with pytest.raises(ReIDError, match="no vehicle 'A'"):
        forget_vehicle(index.gallery, "A")


def test_what_is_no_entry_is_a_leftover(index: GalleryIndex) -> None:
    index.delete("A", undoable=True)
    index.delete("B", undoable=True)
    one, other = index.gallery.trash()
    (index.gallery.root / ".deleted" / one.id / "note.json").write_text('{"format": 1, "id": "../x"}')
    (index.gallery.root / ".deleted/old").mkdir()
    os.symlink(index.gallery.root.parent, index.gallery.root / f".deleted/{one.id[:-8]}00000000")
    assert index.gallery.trash() == [other] and len(index.gallery.check()) == 3
    assert len(index.gallery.repair(older_than=-1)) == 3 and index.gallery.trash() == [other]
    assert index.gallery.root.parent.exists()


def test_a_link_in_the_trash_is_not_followed(index: GalleryIndex, tmp_path: Path) -> None:
    other = tmp_path / "other"
    index.delete("A", undoable=True)
    (folder,) = index.gallery.root.glob(".deleted/*/A")
    folder.rename(other)
    folder.symlink_to(other)
    assert index.gallery.trash() == [] and index.gallery.damaged_trash() == [folder.parent]
    assert index.gallery.purge_damaged() == 1 and not folder.parent.exists() and len(os.listdir(other)) > 2


NOTES = {
    "cut off": b'{"format": "x',
    "deep": b"[" * 70_000,
    "no text": b"\xff",
    "long": b"x" * 70_000,
    "a long name": {"vehicle": "x" * 70_000},
    "elsewhere": {"vehicle": "../../x"},
    "into elsewhere": {"action": "merge", "into": "../../x"},
    "no action": {"action": "x"},
    "never over": {"when": 1e308},
    "a number of many digits": {"when": 10**400},
    "no time": {"when": float("nan")},
    "in a week": {"when": time.time() + 7 * DAY},
}


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("command", ["purge", "forget"])
def test_a_damaged_note_keeps_nothing_on_the_disk(
    index: GalleryIndex, capsys: pytest.CaptureFixture[str], note: str, command: str
) -> None:
    root = index.gallery.root
    index.delete("A", undoable=True)
    (path,) = root.glob(".deleted/*/note.json")
    wrong = NOTES[note]
    path.write_bytes(
        wrong if isinstance(wrong, bytes) else json.dumps({**json.loads(path.read_text()), **wrong}).encode()
    )
    at = [f"gallery={root}"]
    assert gallery_command("trash", *at) == 0
    assert f"{path.parent} cannot be read" in capsys.readouterr().out.replace("\n", "")
    assert gallery_command("delete", "vehicle=A", "now=true", *at) == gallery_command("purge", "vehicle=A", *at) == 1
    assert path.exists()
    shown = capsys.readouterr()
    assert shown.err.count("cannot be read") == shown.out.count("cannot be read") == 1
    assert gallery_command(command, *([] if command == "purge" else ["before=1960-01-01"]), *at) == 0
    assert not os.listdir(root / ".deleted")
    said = "1 entry removed for good, 1 of which could not be read" if command == "purge" else "1 unreadable entry"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("change", ["merge", "rename", "merge, then rename", "merge, then delete"])
def test_delete_now_says_where_else_the_pictures_are(
    index: GalleryIndex, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    CHANGES[change.split(",")[0]](index)
    other = {"rename": "C", "merge, then rename": "D"}.get(change, "B")
    if change == "merge, then rename":
        index.rename("B", "D", undoable=True)
    elif change == "merge, then delete":
        index.delete("B", undoable=True)
    at = [f"gallery={index.gallery.root}"]
    assert gallery_command("delete", "vehicle=A", "now=true", *at) == 1
    assert f"its pictures are in {other} now: `delete vehicle={other} now=true`" in capsys.readouterr().err
    assert list(index.gallery.root.rglob("a1-0.*"))
    assert gallery_command("delete", f"vehicle={other}", "now=true", *at) == 0
    assert not list(index.gallery.root.rglob("a1-0.*")) and index.gallery.trash() == []


def test_delete_now_removes_the_names_that_a_vehicle_had_before(index: GalleryIndex) -> None:
    index.delete_sighting(index.gallery.find("a1"), undoable=True)
    index.rename("A", "C", undoable=True)
    index.rename("C", "D", undoable=True)
    add(index.gallery, 7, "C")
    index.rename("C", "E", undoable=True)  # another one, which was called so later
    forget_vehicle(index.gallery, "D", index=index)
    assert [(one.vehicle, one.into) for one in index.gallery.trash()] == [("C", "E")]


def test_the_trash_fits_a_terminal(index: GalleryIndex, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    one, other = "unknown-0123456789abcdef", "unknown-fedcba9876543210"
    index.rename("A", one)
    index.rename("B", other)
    index.merge(one, other, undoable=True)
    assert gallery_command("trash", f"gallery={index.gallery.root}") == 0
    output = capsys.readouterr().out
    assert index.gallery.trash()[0].id in output and max(map(len, output.splitlines())) <= 80
    assert "unk" in output and "def" in output and output.count("...") == 2


def test_commands(index: GalleryIndex, capsys: pytest.CaptureFixture[str]) -> None:
    at = [f"gallery={index.gallery.root}"]
    assert gallery_command("delete", "vehicle=A", *at) == 0
    assert "A is in the trash for seven days" in capsys.readouterr().out
    (entry,) = index.gallery.trash()
    assert gallery_command("trash", *at) == 0
    output = capsys.readouterr().out
    assert all(
        word in output for word in (entry.id, "delete", " A ", time.strftime("%Y-%m-%d", time.gmtime(entry.until)))
    )
    assert gallery_command("restore", *at) == 1 and "`trash` shows" in capsys.readouterr().err
    assert gallery_command("restore", "vehicle=nobody", *at) == 1
    assert "holds nothing called 'nobody'" in capsys.readouterr().err
    assert gallery_command("restore", f"vehicle={entry.id}", "into=B", *at) == 0
    assert "B is back with 3 sightings" in capsys.readouterr().out
    assert gallery_command("merge", "vehicle=B", "into=B2", *at) == 1 and index.gallery.trash() == []
    assert gallery_command("rename", "vehicle=B", "to=B2", *at) == gallery_command("purge", "vehicle=B", *at) == 0
    assert "purge: 1 entry removed" in capsys.readouterr().out
    assert gallery_command("delete", "vehicle=B2", *at) == gallery_command("delete", "vehicle=B2", "now=true", *at) == 0
    assert index.gallery.trash() == [] and trash.entries(index.gallery.root / "nowhere") == []
