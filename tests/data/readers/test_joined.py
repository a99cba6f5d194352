"""Joined data sets: names that never meet, in records, in batches and in what is evaluated."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from layouts import draw_cityflow, draw_vehicleid, draw_vehiclex, draw_veri_wild, picture
from running import run_here

from reid_lightning.data.batches.sampler import PKBatchSampler
from reid_lightning.data.inspection.report import describe_dataset
from reid_lightning.data.readers.cityflow import read_cityflow
from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.data.readers.veri_wild import read_veri_wild
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError


@pytest.fixture
def sets(tmp_path):
    return {
        "sim": read_vehiclex(root=draw_vehiclex(tmp_path / "x")),
        "wild": read_veri_wild(root=draw_veri_wild(tmp_path / "w")),
        "city": read_cityflow(root=draw_cityflow(tmp_path / "c")),
        "vid": read_vehicleid(root=draw_vehicleid(tmp_path / "v"), repeats=3),
    }


def toy(name: str, *, identities: int, pictures: int, cameras: int | None) -> VehicleDataset:
    """Vehicles "0", "1", ... under cameras "0", "1", ...: the same names in every set."""
    images = [
        VehicleImage(Path(name, f"{identity}_{number}.jpg"), str(identity), cameras and str(number % cameras))
        for identity in range(identities)
        for number in range(pictures)
    ]
    return VehicleDataset(name, train=tuple(images))


def test_names_get_the_sets_name_before_theirs(sets):
    joined = join_datasets(sets=sets)
    assert joined.name == "sim+wild+city+vid"
    assert len(joined.train) == sum(len(dataset.train) for dataset in sets.values())
    expected = {f"{name}/{image.identity}" for name, dataset in sets.items() for image in dataset.train}
    assert {image.identity for image in joined.train} == expected
    assert len(expected) == 4 + 1 + 8 + 2  # sim, wild and city all have a vehicle 0001 or 00001
    by_path = {image.path: image for image in joined.train}
    for name, dataset in sets.items():
        for image in dataset.train:
            renamed = by_path[image.path]
            assert renamed.identity == f"{name}/{image.identity}"
            assert renamed.camera == (image.camera and f"{name}/{image.camera}")
            assert renamed.track == (image.track and f"{name}/{image.track}")
            assert (renamed.colour, renamed.type) == (image.colour, image.type)


def test_each_set_keeps_its_protocol_and_the_first_with_queries_validates(sets):
    joined = join_datasets(sets=sets)
    assert [part.name for part in joined.parts] == ["wild", "sim", "city", "vid"]
    assert joined.query == joined.parts[0].query
    assert {image.identity for image in joined.gallery} == {"wild/00011", "wild/00012"}
    assert joined.gallery_draws is None
    for part in joined.parts:
        before = sets[part.name]
        for split in ("query", "gallery"):
            assert [image.path for image in getattr(part, split)] == [image.path for image in getattr(before, split)]
        assert part.gallery_draws == before.gallery_draws
    other = join_datasets(sets=sets, validate_on="vid")
    assert (other.query, other.gallery_draws) == (other.parts[0].query, sets["vid"].gallery_draws)
    assert other.train == joined.train
    with pytest.raises(
        ReIDError, match=r"'sim', which has no query and gallery pictures; expected one of wild, city, vid"
    ):
        join_datasets(sets=sets, validate_on="sim")
    with pytest.raises(ReIDError, match=r"'veri', which is no set of data.sets; expected one of wild, city, vid"):
        join_datasets(sets=sets, validate_on="veri")
    with pytest.raises(ReIDError, match=r"'sim', which has no .*; no other set has .*test_fraction=0\.2"):
        join_datasets(sets={"sim": sets["sim"]}, validate_on="sim")


def test_skipped_pictures_are_those_of_all_sets(tmp_path):
    roots = {"a": draw_vehiclex(tmp_path / "a"), "b": draw_vehiclex(tmp_path / "b")}
    broken = [root / "image_train" / "0001_c007_1.jpg" for root in roots.values()]
    for path in broken:
        path.write_bytes(b"")
    sets = {name: read_vehiclex(root=root, on_bad_image="skip") for name, root in roots.items()}
    assert join_datasets(sets=sets).skipped == tuple(broken)


def test_the_report_finds_no_vehicle_in_two_sets(sets):
    report = describe_dataset(join_datasets(sets=sets))
    assert (report.shared_identities, report.shared_pictures, report.repeated_pictures) == ((), (), ())
    assert report.splits[0].identities == 15


def test_the_report_command_shows_each_set_and_its_damage(tmp_path):
    wild, sim = draw_veri_wild(tmp_path / "w"), draw_vehiclex(tmp_path / "x")
    (sim / "image_train" / "0001_c007_1.jpg").write_bytes(b"")
    words = [f"+data@data.sets.{name}={name}" for name in ("veri_wild", "vehiclex")]
    words += [f"data.sets.veri_wild.root={wild}", f"data.sets.vehiclex.root={sim}"]
    shown = run_here(tmp_path, "reid", "data", "report", "data=joined", *words).stdout
    assert "Data set veri_wild" in shown and "Data set vehiclex" in shown
    assert "1 picture cannot be read" in shown
    assert "0001_c007_1.jpg: the file is empty" in "".join(shown.split("\n"))


@pytest.mark.parametrize(("p", "k", "world_size"), [(4, 4, 1), (3, 2, 2), (6, 3, 1)])
@pytest.mark.parametrize("cameras", [(3, 2), (3, None), (None, None)])
def test_a_block_of_a_batch_is_one_vehicle_of_one_set(p, k, world_size, cameras):
    sets = {
        "first": toy("first", identities=9, pictures=5, cameras=cameras[0]),
        "second": toy("second", identities=5, pictures=7, cameras=cameras[1]),
    }
    train = join_datasets(sets=sets).train
    known = [image.camera for image in train]
    seen = Counter()
    for epoch in range(4):
        for rank in range(world_size):
            sampler = PKBatchSampler(
                [image.identity for image in train],
                known if any(known) else None,
                identities_per_batch=p,
                images_per_identity=k,
                seed=5,
                rank=rank,
                world_size=world_size,
            )
            sampler.set_epoch(epoch)
            for batch in sampler:
                for start in range(0, p * k, k):
                    block = [train[row] for row in batch[start : start + k]]
                    assert len({image.path.parts[0] for image in block}) == 1, "pictures of two sets are one vehicle"
                    assert len({image.identity for image in block}) == 1
                    seen[block[0].identity] += 1
    assert len(seen) == 14, "every vehicle of both sets is drawn"


def test_a_picture_may_be_learnt_once_and_never_tested(tmp_path):
    root = draw_veri_wild(tmp_path)
    wild = read_veri_wild(root=root)
    with pytest.raises(ReIDError, match=r"000001\.jpg is a training picture of data.sets.a and of data.sets.b"):
        join_datasets(sets={"a": wild, "b": wild})
    learned = VehicleDataset("learned", train=wild.query)
    with pytest.raises(ReIDError, match=r"training picture of data.sets.learned and a test picture of data.sets.wild"):
        join_datasets(sets={"wild": wild, "learned": learned})
    medium = read_veri_wild(root=root, split="medium")
    tests = VehicleDataset("medium", query=medium.query, gallery=medium.gallery)
    assert len(join_datasets(sets={"small": wild, "medium": tests}).parts) == 2, "one test in two sizes is fine"


def spellings(root: Path) -> dict[str, Path]:
    """Other ways to name the folder `root`, which is that of the process."""
    (root.parent / "link").symlink_to(root)
    (root / "inner").mkdir()
    return {"relative": Path("."), "link": root.parent / "link", "dots": root / "inner" / ".."}


def moved(split, root: Path):
    """The same pictures, found below another name of their folder."""
    return tuple(replace(image, path=root / image.path.relative_to(Path.cwd())) for image in split)


@pytest.mark.parametrize("spelling", ["relative", "link", "dots"])
def test_another_name_of_a_folder_does_not_hide_its_pictures(tmp_path, monkeypatch, spelling):
    root = draw_veri_wild(tmp_path / "w")
    wild = read_veri_wild(root=root)
    monkeypatch.chdir(root)
    other = spellings(root)[spelling]
    trained = VehicleDataset("again", train=moved(wild.train, other))
    with pytest.raises(
        ReIDError, match=r"of data.sets.a and of data.sets.b \(in data.sets.a as .*/w/images/00001/000001\.jpg\)"
    ):
        join_datasets(sets={"a": wild, "b": trained})
    learned = VehicleDataset("learned", train=moved(wild.gallery, other))
    with pytest.raises(ReIDError, match=r"training picture of data.sets.b and a test picture of data.sets.a"):
        join_datasets(sets={"a": wild, "b": learned})
    tests = VehicleDataset("tests", query=moved(wild.query, other), gallery=moved(wild.gallery, other))
    assert len(join_datasets(sets={"a": wild, "b": tests}).parts) == 2


def test_a_link_to_a_single_picture_is_that_picture(tmp_path):
    wild = read_veri_wild(root=draw_veri_wild(tmp_path / "w"))
    link = tmp_path / "mine.jpg"
    link.symlink_to(wild.query[0].path)
    mine = VehicleDataset("mine", train=(VehicleImage(link, "car"),))
    with pytest.raises(ReIDError, match=r"training picture of data.sets.mine and a test picture of data.sets.wild"):
        join_datasets(sets={"wild": wild, "mine": mine})


def packed(dataset: VehicleDataset, folder: Path) -> VehicleDataset:
    """The same in shards."""
    write_shards(dataset, folder, shard_mib=1)
    return read_shards(root=folder)


def test_shards_are_known_beside_the_files_and_the_shards_that_they_were_made_of(tmp_path):
    wild = read_veri_wild(root=draw_veri_wild(tmp_path / "w"))
    learned = VehicleDataset("learned", train=wild.query)
    shards, again = packed(learned, tmp_path / "s"), packed(wild, tmp_path / "t")
    twice = packed(shards, tmp_path / "u")
    for train, test in ((shards, wild), (learned, again), (shards, again), (twice, wild), (twice, again)):
        for sets in ({"a": train, "b": test}, {"b": test, "a": train}):
            with pytest.raises(ReIDError, match=r"training picture of data.sets.a and a test picture of data.sets.b"):
                join_datasets(sets=sets)
    (tmp_path / "x").symlink_to(tmp_path / "t")
    with pytest.raises(ReIDError, match=r"training picture of data.sets.a and of data.sets.b"):
        join_datasets(sets={"a": again, "b": read_shards(root=tmp_path / "x")})


def test_shards_beside_other_pictures_of_the_same_names_are_fine(tmp_path):
    wild = read_veri_wild(root=draw_veri_wild(tmp_path / "w"))
    shards = packed(wild, tmp_path / "s")
    files = [tmp_path / "o" / image.path.name for image in wild.train]
    for number, file in enumerate(files):
        picture(file, shade=77 + number)
    other = VehicleDataset("other", train=tuple(VehicleImage(file, "car") for file in files))
    assert len(join_datasets(sets={"a": shards, "b": other}).train) == len(wild.train) + len(files)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a b", "ä"])
def test_names_that_are_no_folders_are_refused(name):
    with pytest.raises(ReIDError, match="is no name for a set"):
        join_datasets(sets={name: VehicleDataset("x")})


def test_mistakes_are_explained(sets):
    with pytest.raises(ReIDError, match=r"data\.sets is empty; .*\+data@data\.sets\.veri776=veri776"):
        join_datasets(sets={})
    with pytest.raises(ReIDError, match=r"data\.sets\.wild is dict; expected a reader"):
        join_datasets(sets={"wild": {"root": "x"}})
    with pytest.raises(ReIDError, match=r"data\.sets\.both is joined itself"):
        join_datasets(sets={"both": join_datasets(sets=sets)})
    untested = join_datasets(sets={"sim": sets["sim"]})
    assert (untested.query, untested.gallery, len(untested.train)) == ((), (), 8)
