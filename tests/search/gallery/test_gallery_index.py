"""Disk and vectors as one: whatever happened to either, a sync makes them agree; and the commands do what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import gallery_command
from toy_gallery import pictures, sighting

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store, records_of
from reid_lightning.search.records import Filter, Sighting

DIM = 4


class Colours:
    """Embeds a picture by its mean colour, and counts."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.pictures += len(pictures)
        means = np.array([[*np.asarray(picture).reshape(-1, 3).mean(axis=0), 1.0] for picture in pictures], np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


@pytest.fixture
def embed() -> Colours:
    return Colours()


@pytest.fixture
def index(tmp_path: Path, embed: Colours) -> GalleryIndex:
    store = open_store(tmp_path / "gallery" / ".index", fingerprint="colours", dim=DIM)
    return GalleryIndex(Gallery(tmp_path / "gallery"), store, embed)


def fill(index: GalleryIndex, vehicles: str = "AABC") -> None:
    for number, vehicle in enumerate(vehicles):
        assert index.gallery.add(sighting(number, vehicle), pictures(number))
        assert index.add(sighting(number, vehicle))


def in_store(index: GalleryIndex) -> dict[str, str]:
    return {record.id: record.vehicle for part in index.store.records() for record in part}


def assert_agree(index: GalleryIndex) -> None:
    """Every crop on disk is in the store once, with what the disk says of it and the vector of its picture."""
    expected = {record: path for one in index.gallery.sightings() for record, path in _pairs(index, one)}
    found = {record: row for part, rows in index.store.scan() for record, row in zip(part, rows, strict=True)}
    assert set(found) == set(expected) and index.store.count() == len(expected)
    for record, path in expected.items():
        np.testing.assert_allclose(found[record], Colours()([Image.open(path)])[0], atol=1e-2)


def _pairs(index: GalleryIndex, one: Sighting):
    return zip(records_of(one), index.gallery.crop_paths(one), strict=True)


def test_add_embeds_or_takes_vectors_and_does_it_once(index: GalleryIndex, embed: Colours) -> None:
    fill(index, "A")
    assert embed.pictures == 2 and not index.add(sighting(0, "A")) and embed.pictures == 2
    index.gallery.add(sighting(1, "B"), pictures(1))
    assert index.add(sighting(1, "B"), embed([Image.fromarray(one) for one in pictures(1)]))
    assert_agree(index)
    assert not index.add(sighting(1, "elsewhere"))  # what counts is where it is
    with pytest.raises(ReIDError, match="a7 is not in"):
        index.add(sighting(7, "A"))
    index.gallery.add(sighting(2, "B"), pictures(2))
    with pytest.raises(ReIDError, match="give a bundle"):
        GalleryIndex(index.gallery, index.store).add(sighting(2, "B"))


def test_changes_follow_without_embedding(index: GalleryIndex, embed: Colours) -> None:
    fill(index)
    (index.gallery.root / "MINE").mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (9, 9), "red").save(index.gallery.root / "MINE" / f"{name}.png")
    index.sync()
    before = embed.pictures
    index.rename("a", "D")
    index.merge("b", "d")
    index.merge("mine", "D")
    index.delete("C")
    index.delete_sighting(index.gallery.find("a1"))
    assert set(in_store(index).values()) == {"D"} and len(in_store(index)) == 6
    assert embed.pictures == before
    assert_agree(index)
    with pytest.raises(ReIDError, match="no vehicle"):
        index.delete("C")


def test_sync_repairs_whatever_happened(index: GalleryIndex, embed: Colours) -> None:
    fill(index)
    index.gallery.add(sighting(8, "E"), pictures(8))  # killed before its vectors were stored
    index.gallery.rename("A", "R")  # killed before the store followed
    index.gallery.delete("B")
    before = embed.pictures
    progress: list[tuple[int, int]] = []
    report = index.sync(on_progress=lambda *step: progress.append(step))
    assert (report.embedded, report.removed, report.changed, report.total) == (2, 2, 4, 8)
    assert embed.pictures == before + 2 and progress == [(2, 2)]
    assert_agree(index)
    again = index.sync()
    assert (again.embedded, again.removed, again.changed, again.total, again.problems) == (0, 0, 0, 8, ())


def test_damaged_files_are_left_out_and_named(index: GalleryIndex) -> None:
    fill(index)
    (index.gallery.root / "C/a3-0.jpg").write_bytes(b"no picture")
    (index.gallery.root / "B/a2.json").write_text("{")
    report = index.rebuild()
    assert report.total == 5 and len(report.problems) == 2
    assert "a3-0.jpg" in "".join(report.problems) and "a2.json" in "".join(report.problems)


def test_sync_keeps_the_vectors_of_what_cannot_be_read(index: GalleryIndex, embed: Colours) -> None:
    fill(index)
    path = index.gallery.root / "B/a2.json"
    text, before = path.read_text(), embed.pictures
    path.write_text(text.replace('"format": 1', '"format": 2'))
    report = index.sync()
    assert (report.removed, report.total, len(report.problems)) == (0, 8, 1)
    path.write_text(text)
    assert index.sync().problems == () and embed.pictures == before
    assert_agree(index)


@pytest.mark.parametrize("change", ["rename", "merge", "delete", "delete_sighting"])
def test_a_change_while_a_sighting_is_embedded_is_followed(index: GalleryIndex, embed: Colours, change: str) -> None:
    fill(index, "BB")
    index.gallery.add(sighting(9, "A"), pictures(9))
    keeper = GalleryIndex(Gallery(index.gallery.root), index.store)
    given = {"rename": ("A", "NEW"), "merge": ("A", "B"), "delete": ("A",)}.get(change, (keeper.gallery.find("a9"),))

    def slow(pictures: Sequence[Image.Image]) -> np.ndarray:
        getattr(keeper, change)(*given)
        return embed(pictures)

    assert GalleryIndex(index.gallery, index.store, slow).add(sighting(9, "A")) == (not change.startswith("delete"))
    assert_agree(index)


def test_rebuild_changes_the_model(index: GalleryIndex, embed: Colours) -> None:
    fill(index)
    uri = index.gallery.root / ".index"
    store = open_store(uri, fingerprint="other", dim=DIM + 1, any_model=True)
    other = GalleryIndex(index.gallery, store, lambda pictures: np.eye(DIM + 1, dtype=np.float32)[[0] * len(pictures)])
    report = other.rebuild()
    assert (report.embedded, report.total) == (8, 8)
    assert open_store(uri).fingerprint == "other"
    with pytest.raises(ReIDError, match=r"other .*colours"):
        index.store.search(np.eye(DIM, dtype=np.float32)[:1], top_k=1)


def test_a_rebuild_that_fails_keeps_the_old_vectors(index: GalleryIndex) -> None:
    fill(index)

    def broken(pictures: Sequence[Image.Image]) -> np.ndarray:
        raise ReIDError("the device is gone")

    with pytest.raises(ReIDError, match="device is gone"):
        GalleryIndex(index.gallery, index.store, broken).rebuild()
    assert_agree(index)


def test_a_registration_during_a_rebuild_is_not_lost(index: GalleryIndex, embed: Colours) -> None:
    fill(index)
    camera = GalleryIndex(
        index.gallery, open_store(index.gallery.root / ".index", fingerprint="colours", dim=DIM), embed
    )

    def slow(pictures: Sequence[Image.Image]) -> np.ndarray:
        if camera.gallery.add(sighting(9, "Z"), np.array(pictures_of_9)):
            camera.add(sighting(9, "Z"))
        return embed(pictures)

    pictures_of_9 = pictures(9)
    GalleryIndex(index.gallery, index.store, slow).rebuild()
    assert index.store.count(Filter(vehicles=("Z",))) == 2
    assert_agree(index)


@pytest.fixture
def bundle(tmp_path: Path, small_model) -> Path:
    save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})
    return tmp_path / "bundle"


def test_commands(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    gallery = Gallery(tmp_path / "gallery")
    at = [f"gallery={gallery.root}"]
    assert gallery_command("list", *at) == 1 and "no gallery at" in capsys.readouterr().err
    for number, vehicle in enumerate("ABC"):
        gallery.add(sighting(number, vehicle), pictures(number))
    assert gallery_command("rename", "vehicle=A", "to=A2", *at) == 0  # without an index
    assert "rename: A is A2 now; no vectors followed" in capsys.readouterr().out
    assert gallery_command("sync", *at) == 1 and "bundle is missing: the model" in capsys.readouterr().err
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    assert "6 vectors: 6 embedded" in capsys.readouterr().out
    assert gallery_command("merge", "vehicle=B", "into=A2", *at) == 0
    output = capsys.readouterr().out
    followed = f"the vectors at {gallery.root / '.index'} followed; a store elsewhere follows with stores.uri"
    assert f"B is with A2 now; {followed}" in output
    assert gallery_command("delete", "vehicle=C", *at, f"stores.uri={gallery.root / '.index'}") == 0
    assert f"trash for seven days (`restore`, `purge`); {followed}" in capsys.readouterr().out
    assert gallery_command("delete", "vehicle=C", *at) == 1 and "no vehicle 'C'" in capsys.readouterr().err
    store = open_store(gallery.root / ".index")
    assert store.count() == store.count(Filter(vehicles=("A2",))) == 4
    assert gallery_command("list", *at) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "A2" in line]
    assert row.split() == ["A2", "2", "4", "north", "car", "2001-09-09", "01:46"]
    assert gallery_command("check", *at) == 0
    (gallery.root / "A2/a0.json").write_text("{")
    assert gallery_command("check", *at) == 1 and "a0.json is damaged" in capsys.readouterr().out
    assert gallery_command("rebuild", *at, f"bundle={bundle}") == 0
    output = capsys.readouterr().out
    assert "left out" in output and "2 vectors: 2 embedded" in output


def test_a_deletion_that_leaves_files_fails_and_takes_the_vectors(tmp_path, bundle, capsys, monkeypatch) -> None:
    gallery = Gallery(tmp_path / "gallery")
    for number, vehicle in enumerate("AB"):
        gallery.add(sighting(number, vehicle), pictures(number))
    at = [f"gallery={gallery.root}"]
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    assert gallery_command("sync", *at, f"bundle={bundle}", "stores.name=other") == 0
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, **_: None)
        assert gallery_command("delete", "vehicle=A", "now=true", *at) == 1
    assert "A is out of the gallery, but" in capsys.readouterr().err.replace("\n", " ")
    assert open_store(gallery.root / ".index").count(Filter(vehicles=("A",))) == 0
    assert gallery_command("delete", "vehicle=B", *at) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "not those of other, which follow at their next `sync stores.name=<table>`" in said


def test_a_list_can_be_piped_and_cannot_steer_the_terminal(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    gallery = Gallery(tmp_path / "gallery")
    for number in range(3):
        gallery.add(sighting(number, "A", camera=f"\x1b[2J{'long name ' * 4}{number}"), pictures(number))
    assert gallery_command("list", f"gallery={gallery.root}") == 0
    output = capsys.readouterr().out
    (row,) = [line for line in output.splitlines() if line.startswith("A ")]
    assert "\x1b" not in output and "?[2Jlong name" in row and "long name 2" in row


def test_forget_removes_what_is_older_with_its_vectors(tmp_path, bundle, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    gallery = Gallery(tmp_path / "gallery")
    day = 86_400.0
    for number, (vehicle, end) in enumerate((("A", 10 * day), ("A", 20 * day), ("B", 10 * day), ("C", None))):
        start = None if end is None else end - 5
        gallery.add(sighting(number, vehicle, start=start, end=end), pictures(number))
    at = [f"gallery={gallery.root}"]
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    capsys.readouterr()
    assert gallery_command("forget", *at, "before=soon") == 1 and "ISO 8601" in capsys.readouterr().err
    assert gallery_command("forget", *at, "before=1970-01-21T00:00:00Z") == 0
    assert "2 sightings removed, 0 left out" in capsys.readouterr().out
    assert {(one.vehicle, one.end) for one in gallery.sightings()} == {("A", 20 * day), ("C", None)}  # C is of today
    assert not (gallery.root / "B").exists() and len(list((gallery.root / "A").iterdir())) == 3
    assert open_store(gallery.root / ".index").count() == 4
    assert gallery_command("forget", *at, "before=2999-01-01") == 0
    assert "2 sightings removed" in capsys.readouterr().out and not list(gallery.sightings())


def test_nothing_of_a_deleted_vehicle_stays_on_the_disk(tmp_path, bundle) -> None:
    gallery = Gallery(tmp_path / "gallery")
    for number, vehicle in enumerate(("AB12CDE", "LS15EBC")):
        gallery.add(sighting(number, vehicle), pictures(number))
    at = [f"gallery={gallery.root}"]
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    ((_, vectors),) = open_store(gallery.root / ".index").scan(Filter(vehicles=("LS15EBC",)))
    indexed = [b"LS15EBC", *(row.astype(np.float16).tobytes() for row in vectors)]
    kept = [b"LS15EBC", *(row.tobytes() for row in vectors)]

    def found(traces: list[bytes]) -> list[bool]:
        contents = [path.read_bytes() for path in gallery.root.rglob("*") if path.is_file()]
        return [any(trace in content for content in contents) for trace in traces]

    assert all(found(indexed))
    assert gallery_command("delete", "vehicle=LS15EBC", *at) == 0
    assert all(found(kept)) and not any(found(indexed[1:]))  # in the trash, from which it can come back
    assert gallery_command("restore", "vehicle=LS15EBC", *at) == 0
    assert all(found(indexed)) and not any(found(kept[1:]))
    assert gallery_command("delete", "vehicle=LS15EBC", "now=true", *at) == 0
    assert not any(found([*indexed, *kept]))
    assert open_store(gallery.root / ".index").count() == 2
