"""What is on both sides of a split: by place, whatever the path says, and by name."""

from __future__ import annotations

import os
from pathlib import Path

from layouts import picture

from reid_lightning.data.inspection.overlap import place_finder, shared_identities, shared_pictures
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import VehicleDataset, VehicleImage


def images(*paths: Path | PackedPicture, identity: str = "car") -> tuple[VehicleImage, ...]:
    return tuple(VehicleImage(path, identity) for path in paths)


def test_a_picture_is_found_under_every_name(tmp_path, monkeypatch):
    real = picture(tmp_path / "pictures" / "1.jpg")
    (tmp_path / "link").symlink_to("pictures")
    (tmp_path / "pictures" / "2.jpg").symlink_to(real)
    (tmp_path / "3.jpg").symlink_to("link/2.jpg")
    monkeypatch.chdir(tmp_path)
    names = ("pictures/1.jpg", "link/1.jpg", "pictures/2.jpg", "3.jpg", "link/../pictures/1.jpg")
    place_of = place_finder()
    assert {place_of(Path(name)) for name in names} == {place_of(real)}
    assert place_of(Path("link/2.jpg")) == place_of(real) != place_of(picture(tmp_path / "pictures" / "4.jpg"))
    dataset = VehicleDataset("x", train=images(real), query=images(Path("3.jpg")), gallery=images(Path("link/1.jpg")))
    assert shared_pictures(dataset) == (Path("link/1.jpg"),), "a file is counted once"


def test_a_folder_is_resolved_once(tmp_path, monkeypatch):
    resolved = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(str(path)) or real(path))
    paths = [tmp_path / folder / f"{number}.jpg" for folder in "ab" for number in range(50)]
    dataset = VehicleDataset("x", train=images(*paths[::2]), query=images(*paths[1::2]))
    assert shared_pictures(dataset) == ()
    assert sorted(resolved) == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_place_in_a_shard_is_its_offset(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    place_of = place_finder()
    here, there = (
        PackedPicture(str(folder / "train-000000.tar"), 512, 9, 1, "a.jpg") for folder in (tmp_path, tmp_path / "link")
    )
    assert place_of(here) == place_of(there) != place_of(PackedPicture(here.shard, 1024, 9, 1, "a.jpg"))
    dataset = VehicleDataset("x", train=images(here), gallery=images(there))
    assert shared_pictures(dataset) == (there,)


def test_of_a_joined_set_every_test_counts():
    parts = tuple(VehicleDataset(name, query=images(Path(f"{name}.jpg"), identity=name)) for name in "abc")
    train = (*images(Path("b.jpg"), identity="x"), *images(Path("y.jpg"), identity="c"))
    joined = VehicleDataset("a+b+c", train=train, query=parts[0].query, parts=parts)
    assert shared_pictures(joined) == (Path("b.jpg"),)
    assert shared_identities(joined) == ("c",)
