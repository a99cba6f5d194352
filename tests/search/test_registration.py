"""Vehicles of clips and pictures kept once, whatever happens in between, and found again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from toy_clips import BLUE, RED, BrightBoxes, KnowsRed, build_tracker, car_and_truck, scene, share_of

from reid_lightning.bundle.bundle import LoadedModel, open_model
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes
from reid_lightning.search.matching.vehicle_search import VehicleSearch
from reid_lightning.search.plates import unknown_name
from reid_lightning.search.records import Filter
from reid_lightning.search.registration import Registrar
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

START = 1_767_254_400.0  # 2026-01-01T08:00:00Z


@pytest.fixture(scope="module")
def embedder(bundle):
    return ReIDEmbedder(open_model(bundle))


@pytest.fixture
def clip(tmp_path):
    return car_and_truck(tmp_path / "clip.mp4")


class Place:
    """A gallery with its index."""

    def __init__(self, root, embedder, detector=None, settings="all"):
        self.gallery = Gallery(root)
        self.store = open_store(root / ".index", fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        self.index = GalleryIndex(self.gallery, self.store, embed=lambda pictures: embedder.embed(pictures).numpy())
        finder = VehicleFinder(detector or BrightBoxes(), KnowsRed(), build_tracker=build_tracker, crops=3)
        self.registrar = Registrar(self.gallery, finder, index=self.index, settings=settings)

    def register(self, path, *, camera="north", start=None):
        with open_source(path) as source:
            return list(self.registrar.register(source, camera=camera, start=start))

    def state(self):
        """Sightings on disk, and the vectors of each crop."""
        sightings = sorted(self.gallery.sightings(), key=lambda sighting: sighting.id)
        vectors = {}
        for records, rows in self.store.scan():
            vectors |= {record: row.tobytes() for record, row in zip(records, rows, strict=True)}
        return sightings, vectors


@pytest.fixture
def place(tmp_path, embedder):
    return Place(tmp_path / "gallery", embedder)


def test_a_clip_becomes_sightings_with_crops_and_vectors(place, clip):
    car, truck = place.register(clip, start=START)
    assert car.is_new and truck.is_new
    assert car.sighting.vehicle == "AB12CDE" and truck.sighting.vehicle == unknown_name(truck.sighting.id)
    assert (car.sighting.type, truck.sighting.type) == ("car", "truck")
    assert car.sighting.plate == "AB12CDE" and truck.sighting.plate is None
    assert car.sighting.start == pytest.approx(START + 0.1, abs=0.15)
    for one, colour in ((car, RED), (truck, BLUE)):
        paths = place.gallery.crop_paths(one.sighting)
        assert len(paths) == len(one.sighting.crops) <= 3
        assert all(share_of(np.asarray(load_image(path)), colour) > 0.6 for path in paths)
        sidecar = json.loads((place.gallery.root / one.sighting.vehicle / f"{one.sighting.id}.json").read_text())
        assert sidecar["camera"] == "north" and sidecar["detector"] == "bright" and sidecar["source_name"] == "clip.mp4"
    assert place.store.count() == len(car.sighting.crops) + len(truck.sighting.crops)


def test_registering_again_adds_nothing(place, clip):
    place.register(clip)
    before = place.state()
    assert place.register(clip) == []
    assert place.state() == before
    assert len(place.register(clip, camera="south")) == 2  # somebody says that it is another camera's


@pytest.mark.parametrize("moment", ["before the vectors", "between two vehicles"])
def test_what_was_interrupted_is_finished_by_the_same_command(place, clip, tmp_path, embedder, monkeypatch, moment):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        if moment == "before the vectors":
            patched.setattr(place.store, "upsert", killed)
            place.register(clip)
        else:
            with open_source(clip) as source:
                for _ in place.registrar.register(source, camera="north"):
                    raise Killed
    assert len(list(place.gallery.sightings())) == 1
    place.register(clip)
    whole = Place(tmp_path / "whole", embedder)
    whole.register(clip)
    assert place.state() == whole.state()


class TrucksOnly(BrightBoxes):
    """The same name, another setting: the truck is its first track."""

    types = BrightBoxes.types[1:]


def test_what_other_settings_have_left_half_done_is_replaced(place, clip, embedder):
    other = Place(place.gallery.root, embedder, detector=TrucksOnly(), settings="trucks")
    with open_source(clip) as source:
        next(iter(other.registrar.register(source, camera="north")))
    place.register(clip)
    assert sorted(sighting.type for sighting in place.gallery.sightings()) == ["car", "truck"]
    assert place.store.count() == sum(len(sighting.crops) for sighting in place.gallery.sightings())


def test_a_source_can_be_done_again_with_other_settings(place, clip, embedder):
    place.register(clip)
    other = Place(place.gallery.root, embedder, detector=TrucksOnly(), settings="trucks")
    with open_source(clip) as source:
        other.registrar.forget(source, camera="north")
    assert list(place.gallery.sightings()) == [] and place.store.count() == 0
    assert [one.sighting.type for one in other.register(clip)] == ["truck"]


def test_damage_elsewhere_in_the_gallery_does_not_stop_a_registration(place, clip):
    damaged = place.gallery.root / "AAA111"
    damaged.mkdir(parents=True)
    (damaged / "0123456789abcdef.json").write_text("{")
    assert len(place.register(clip)) == 2


def test_a_folder_that_has_grown_adds_the_new_pictures_only(place, tmp_path, embedder):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(scene(red=(5, 5), blue=(80, 70))).save(folder / "b.png")
    assert [one.is_new for one in place.register(folder)] == [True, True]
    Image.fromarray(scene(blue=(30, 60))).save(folder / "a.png")
    assert [one.is_new for one in place.register(folder)] == [True, False, False]
    assert len(list(place.gallery.sightings())) == 3
    Image.fromarray(scene(red=(60, 60))).save(folder / "c.png")
    other = Place(place.gallery.root, embedder, detector=TrucksOnly(), settings="trucks")
    other.register(folder)
    assert [sighting.type for sighting in place.gallery.sightings()] == ["truck", "truck"]  # as these settings see them


def test_a_source_without_vehicles_is_an_error_and_leaves_nothing(place, tmp_path):
    Image.fromarray(scene()).save(tmp_path / "empty.png")
    with pytest.raises(ReIDError, match=r"no vehicle was found in empty\.png by the bright detector"):
        place.register(tmp_path / "empty.png")
    assert list(place.gallery.sightings()) == [] and place.store.count() == 0


def search(place, embedder, path, **options):
    finder = VehicleSearch(
        place.store, embedder, detector=BrightBoxes(), build_tracker=build_tracker, options=SearchOptions(**options)
    )
    with open_source(path) as source:
        frames = list(finder.run(source))
    return frames, finder.decisions()


def test_vehicles_are_found_in_another_clip_frame_by_frame_and_track_by_track(place, embedder, clip, tmp_path):
    place.register(clip)
    names = {sighting.type: sighting.vehicle for sighting in place.gallery.sightings()}
    other = tmp_path / "other.mp4"
    car_and_truck(other)
    frames, decisions = search(place, embedder, other, min_score=0.0, top_k=2)
    assert [frame.frame.number for frame in frames] == list(range(55))
    for frame in frames:
        assert len(frame.matches) <= 2
        for box in frame.boxes:
            best = max((match for match in frame.matches if match.track == box.track), key=lambda match: match.score)
            assert best.vehicle == names[box.type] and best.box == tuple(box.box.tolist())
    firsts = {decision.type: decision.vehicle for decision in decisions if decision.rank == 1}
    assert firsts == names
    assert all(decision.similarity > 0.99 for decision in decisions if decision.rank == 1)

    frames, decisions = search(place, embedder, other, where=Filter(vehicles=(names["car"],)), min_score=0.99)
    assert {match.vehicle for frame in frames for match in frame.matches} == {names["car"]}
    assert all(not frame.matches for frame in frames[31:])
    assert [decision.accepted for decision in decisions if decision.type == "car"] == [True]


def test_all_pictures_of_a_folder_may_be_one_vehicle(place, embedder, clip, tmp_path):
    place.register(clip)
    folder = tmp_path / "query"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(scene(red=(10 * number, 30))[30:70]).save(folder / f"{number}.png")
    _, decisions = search(place, embedder, folder, one_vehicle=True)
    assert [(one.vehicle, one.crops) for one in decisions if one.rank == 1] == [("AB12CDE", 3)]


def test_travel_times_take_away_what_nobody_could_have_driven(place, embedder, clip):
    place.register(clip, start=START)
    times = TravelTimes({("north", "south"): TravelTime(600.0, 0.5)})
    options = {"min_score": 0.9, "travel_times": times, "camera": "south", "where": Filter(vehicles=("AB12CDE",))}
    at_once, _ = search(place, embedder, clip, start=START + 5, **options)
    later, _ = search(place, embedder, clip, start=START + 600, **options)
    assert not any(frame.matches for frame in at_once)
    assert any(frame.matches for frame in later)
    with pytest.raises(ReIDError, match="camera="):
        SearchOptions(travel_times=times)


def test_reranking_keeps_the_right_vehicle_first(place, embedder, clip):
    from reid_lightning.ranking import KReciprocal

    place.register(clip)
    frames, _ = search(place, embedder, clip, min_score=0.5, top_k=1, rerank=KReciprocal(k1=3, k2=2))
    names = {sighting.type: sighting.vehicle for sighting in place.gallery.sightings()}
    assert all(match.vehicle == names["car"] for match in frames[5].matches) and frames[5].matches


def test_an_empty_gallery_a_filter_without_pictures_and_another_model_are_told_apart(
    place, embedder, bundle, clip, tmp_path
):
    with pytest.raises(ReIDError, match=r"the gallery is empty; register vehicles first"):
        search(place, embedder, clip)
    place.register(clip)
    with pytest.raises(ReIDError, match="no registered picture meets the filter"):
        search(place, embedder, clip, where=Filter(cameras=("west",)))
    loaded = open_model(bundle)
    other = ReIDEmbedder(LoadedModel(loaded.model, replace(loaded.options, fingerprint="0123456789abcdef")))
    with pytest.raises(ReIDError, match=rf"{embedder.options.fingerprint}.*0123456789abcdef"):
        search(place, other, clip)


@pytest.mark.parametrize("change", ["rename", "delete"])
@pytest.mark.parametrize("moment", ["after it is kept", "while it is read"])
def test_a_registration_goes_on_where_its_vehicle_is_changed_meanwhile(place, clip, monkeypatch, change, moment):
    """Somebody else works in the gallery just then."""
    given = {"rename": ("AB12CDE", "RIGHT"), "delete": ("AB12CDE",)}[change]

    def once(real):
        def called(*arguments, **named):
            if moment == "after it is kept":
                result = real(*arguments, **named)
            if not done and Gallery(place.gallery.root).folder_of("AB12CDE") is not None:
                done.append(True)
                getattr(Gallery(place.gallery.root), change)(*given)
            return result if moment == "after it is kept" else real(*arguments, **named)

        return called

    done = []
    if moment == "after it is kept":
        monkeypatch.setattr(place.gallery, "add", once(place.gallery.add))
    else:
        monkeypatch.setattr(place.store, "records", once(place.store.records))
    assert len(place.register(clip)) == 2 and done
    left = {one.vehicle for one in place.gallery.sightings()}
    assert ("RIGHT" in left) == (change == "rename") and "AB12CDE" not in left and len(left) == 1 + ("RIGHT" in left)
    assert {record.vehicle for part in place.store.records() for record in part} == left
