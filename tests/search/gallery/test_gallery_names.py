"""Names of vehicles and ids: they are found as people write them, and none leads out of the gallery."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gallery_files import ids, pictures, sighting
from PIL import Image

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.plates.names import folder_name


@pytest.mark.parametrize("vehicle", ["../../x", "/etc/x", "..\\x", "a/../../x", "x\0y", ".x"])
def test_no_name_leaves_the_gallery(gallery: Gallery, vehicle: str) -> None:
    gallery.add(sighting(vehicle=vehicle), pictures())
    (folder,) = [entry for entry in gallery.root.iterdir() if entry.name not in (".lock", ".index", ".adding")]
    assert {entry.name for entry in gallery.root.parent.iterdir()} == {"gallery"}
    assert [one.vehicle for one in gallery.sightings_of(vehicle)] == [folder.name]


@pytest.mark.parametrize("identifier", ["", "../a", "a/b", ".a", "a" * 101])
def test_an_id_that_is_no_file_name_is_an_error(gallery: Gallery, identifier: str) -> None:
    with pytest.raises(ReIDError, match="id is"):
        gallery.add(sighting(identifier), pictures())
    assert not gallery.root.exists()


def test_links_are_not_followed(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add(sighting(), pictures())
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (30, 20)).save(secret / "x.jpg")
    (gallery.root / "LINKED").symlink_to(secret)
    (gallery.root / "51G12345" / "linked.jpg").symlink_to(secret / "x.jpg")
    assert ids(gallery) == {"a1": "51G12345"}
    with pytest.raises(ReIDError, match="links in a gallery"):
        gallery.add(sighting("a2", "linked"), pictures())
    with pytest.raises(ReIDError, match="no vehicle"):
        gallery.delete("LINKED")
    (gallery.root / "51G12345" / "a1-0.jpg").unlink()
    (gallery.root / "51G12345" / "a1-0.jpg").symlink_to(secret / "x.jpg")
    with pytest.raises(ReIDError, match=r"a1-0.jpg is missing"):
        list(gallery.sightings())
    assert os.listdir(secret) == ["x.jpg"]


@pytest.mark.parametrize("name", [".deleted", ".sources", ".index"])
def test_hidden_folders_that_are_links_are_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/precious").write_text("mine")
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / name).symlink_to(tmp_path / "victim")
    with pytest.raises(ReIDError, match=rf"gallery/\{name} is a link, and links in a gallery are not followed"):
        Gallery(tmp_path / "gallery").repair(older_than=-1)
    assert (tmp_path / "victim/precious").read_text() == "mine"


def test_a_plate_is_found_as_people_write_it(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "LS15EBC"), pictures())
    for written in ("LS15 EBC", "ls15 ebc", "LS-15-EBC", "ls15·ebc"):
        assert gallery.folder_of(written) == gallery.root / "LS15EBC"
    gallery.add(sighting("b1", "LS15 EBC"), pictures())
    assert ids(gallery) == {"a1": "LS15EBC", "b1": "LS15EBC"}
    gallery.add(sighting("c1", "BX1"), pictures())  # too short for a plate of no country in particular
    assert gallery.folder_of("b-x 1") == gallery.root / "BX1"


def test_a_folder_of_the_very_name_goes_before(gallery: Gallery) -> None:
    """Galleries of before have plates in groups, as they were typed then."""
    for identifier, name in (("a1", "LS15_EBC"), ("b1", "BUS-4021"), ("c1", "my van")):
        (gallery.root / name).mkdir(parents=True)
        gallery.add(sighting(identifier, name), pictures())
    assert ids(gallery) == {"a1": "LS15_EBC", "b1": "BUS-4021", "c1": "my van"}
    assert gallery.vehicle_names() == ["BUS-4021", "LS15_EBC", "my van"]
    assert gallery.place_of("LS15 EBC").name == gallery.folder_of("ls15 ebc").name == "LS15_EBC"
    assert gallery.place_of("BUS-4021").name == "BUS-4021" and gallery.place_of("bus 4021").name == "BUS4021"
    gallery.add(sighting("a2", "LS15EBC"), pictures())  # as it was read
    assert gallery.folder_of("LS15 EBC").name == "LS15EBC" and gallery.folder_of("LS15_EBC").name == "LS15_EBC"
    gallery.merge("LS15_EBC", "LS15 EBC")
    assert [one.id for one in gallery.sightings_of("LS15EBC")] == ["a1", "a2"]


def test_an_older_folder_is_renamed_to_its_plate(gallery: Gallery) -> None:
    (gallery.root / "LS15_EBC").mkdir(parents=True)
    gallery.add(sighting("a1", "LS15_EBC"), pictures())
    gallery.rename("LS15 EBC", "LS15 EBC", undoable=True)
    assert ids(gallery) == {"a1": "LS15EBC"}
    assert gallery.restore("ls15_ebc").vehicle == "LS15_EBC"
    gallery.rename("LS15_EBC", "LS15_EBC")
    assert ids(gallery) == {"a1": "LS15_EBC"}


@pytest.mark.parametrize("written", ["LS15 EBC", "ls15-ebc", "LS15.EBC", "LS15\nEBC"])
def test_no_second_folder_is_made_of_a_plate_as_printed(gallery: Gallery, tmp_path: Path, written: str) -> None:
    gallery.add(sighting("a1", "LS15EBC"), pictures())
    gallery.add(sighting("b1", "V1"), pictures())
    with pytest.raises(ReIDError, match="LS15EBC, which exists"):
        gallery.rename("V1", written)
    gallery.delete("V1", undoable=True)
    assert gallery.restore("v1", into=written).vehicle == "LS15EBC"
    other = Gallery(tmp_path / "other")
    (other.root / "LS15 EBC").mkdir(parents=True)
    other.add(sighting("c1", "LS15 EBC"), pictures())
    Image.new("RGB", (40, 30), (3, 80, 9)).save(other.root / "LS15 EBC/own.jpg")
    export_gallery(other, tmp_path / "g.zip")
    assert import_gallery(gallery, tmp_path / "g.zip").added == 2
    assert gallery.vehicle_names() == ["LS15EBC"] and len(gallery.sightings_of(written)) == 4


def test_names_that_are_no_plates_stay_two(gallery: Gallery) -> None:
    for identifier, name in (("a1", "my van/2"), ("b1", "MYVAN2"), ("c1", "car 1"), ("d1", "car-1")):
        gallery.add(sighting(identifier, name), pictures())
    assert ids(gallery) == {"a1": "MY_VAN_2", "b1": "MYVAN2", "c1": "CAR_1", "d1": "CAR-1"}


@pytest.mark.parametrize("name", ["a" * 300, "é" * 200])
def test_a_name_that_is_too_long_for_a_folder(gallery: Gallery, name: str) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    assert gallery.folder_of(name) is None and gallery.sightings_of(name) == []
    gallery.rename("V1", name)
    assert gallery.folder_of(name).name == gallery.vehicle_names()[0] and ids(gallery) == {"a1": folder_name(name)}
    with pytest.raises(ReIDError, match="There is no vehicle"):
        gallery.delete("b" * 300)
