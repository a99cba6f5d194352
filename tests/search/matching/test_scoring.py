"""Candidates against registered vehicles: what is read, how it is scored, what passes."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reid_lightning.bundle.bundle import BundleOptions, LoadedModel
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.ranking import KReciprocal, QueryExpansion
from reid_lightning.search.matching import vehicle_scores
from reid_lightning.search.matching.gallery_embeddings import GalleryEmbeddings, load_gallery_embeddings
from reid_lightning.search.matching.scoring import (
    best_of_vehicles,
    filter_matches,
    matches_of_hits,
    score_candidates,
    score_embeddings,
)
from reid_lightning.search.records import Candidate, Crop, Hit, Match, Sighting, VectorRecord

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


class MeanColour(nn.Module):
    """(B, 3, H, W) -> the mean of each channel, (B, 3), with ImageNet's normalisation undone: a cosine to be worked out
    by hand."""

    def forward(self, images):
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        return images.mean(dim=(2, 3)) * std + mean


def flat(colour, size=(40, 30)):
    return Image.new("RGB", size, colour)


def cosine(first, second):
    first, second = np.array(first, float), np.array(second, float)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.fixture
def gallery(tmp_path):
    """Vehicles RED (two pictures), GREEN and BLUE, a picture a colour."""
    for name, colour in COLOURS.items():
        folder = tmp_path / "gallery" / name.upper()
        folder.mkdir(parents=True)
        flat(colour).save(folder / "1.png")
    flat((250, 120, 120)).save(tmp_path / "gallery" / "RED" / "2.png")
    return tmp_path / "gallery"


def made_gallery(embeddings, vehicles, **more):
    return GalleryEmbeddings(embeddings, tuple(vehicles), tuple(map(str, range(len(vehicles)))), **more)


def test_the_api_from_folders_to_filtered_matches(gallery):
    model = MeanColour()
    registered = load_gallery_embeddings(gallery, None, model, input_size=32)
    assert registered.vehicles == ("BLUE", "GREEN", "RED", "RED")
    torch.testing.assert_close(registered.embeddings.norm(dim=1), torch.ones(4))
    red, blue = flat((220, 60, 80)), np.array(flat((30, 40, 190)))
    matches = score_candidates(registered, [red, blue], model, input_size=32)
    assert [(match.frame, match.vehicle) for match in matches] == [
        (0, "RED"),
        (0, "BLUE"),
        (0, "GREEN"),
        (1, "BLUE"),
        (1, "RED"),
        (1, "GREEN"),
    ]
    expected = max(cosine((220, 60, 80), (200, 20, 20)), cosine((220, 60, 80), (250, 120, 120)))
    assert matches[0].score == pytest.approx(expected, abs=1e-5)
    assert matches[0].picture == str(gallery / "RED" / "2.png")
    assert matches[3].score == pytest.approx(cosine((30, 40, 190), COLOURS["blue"]), abs=1e-5)
    assert [(match.frame, match.vehicle) for match in filter_matches(matches, 0.9)] == [(0, "RED"), (1, "BLUE")]


def test_one_vehicle_is_read_by_the_name_of_its_folder_or_its_plate(gallery):
    assert set(load_gallery_embeddings(gallery, "RED", MeanColour(), 32).vehicles) == {"RED"}
    assert len(load_gallery_embeddings(gallery, "red", MeanColour(), 32)) == 2


def test_what_a_sidecar_says_comes_along(gallery):
    crops = (Crop("s1-0.jpg", 3, 1.5, (0.0, 0.0, 9.0, 9.0), 0.9, 0.8),)
    sighting = Sighting("s1", "RED", "north", "f" * 16, "clip.mp4", 1, "car", "motion", crops, start=1000.0, end=1001.0)
    (gallery / "RED" / "s1.json").write_text(json.dumps({"format": 1, **asdict(sighting)}))
    flat(COLOURS["red"]).save(gallery / "RED" / "s1-0.jpg")
    registered = load_gallery_embeddings(gallery, "RED", MeanColour(), 32)
    row = registered.sightings.index("s1")
    assert (registered.cameras[row], registered.times[row]) == ("north", 1000.0)
    assert registered.paths[row] == gallery / "RED" / "s1-0.jpg"
    assert registered.tracks()["RED", "s1"].shape == (1, 3)
    match = score_candidates(registered, [flat(COLOURS["red"])], MeanColour(), 32)[0]
    assert (match.camera, match.time) == ("north", 1000.0) or match.picture != str(registered.paths[row])


@pytest.mark.parametrize("plate", ["../../x", "..", "/etc", "RED/../../gallery/RED", "REDD", ""])
def test_an_unknown_vehicle_or_one_elsewhere_is_refused_with_the_nearest_names(gallery, plate):
    (gallery.parent / "x").mkdir()
    flat((1, 2, 3)).save(gallery.parent / "x" / "1.png")
    with pytest.raises(ReIDError, match=r"no vehicle .* RED"):
        load_gallery_embeddings(gallery, plate, MeanColour(), 32)


def test_galleries_without_pictures_and_corrupt_crops_are_named(gallery, tmp_path):
    with pytest.raises(ReIDError, match=r"no gallery at .*nowhere"):
        load_gallery_embeddings(tmp_path / "nowhere", None, MeanColour(), 32)
    (tmp_path / "empty" / "CAR").mkdir(parents=True)
    with pytest.raises(ReIDError, match="CAR holds no picture"):
        load_gallery_embeddings(tmp_path / "empty", "CAR", MeanColour(), 32)
    with pytest.raises(ReIDError, match="empty holds no picture"):
        load_gallery_embeddings(tmp_path / "empty", None, MeanColour(), 32)
    (gallery / "BLUE" / "1.png").write_bytes((gallery / "BLUE" / "1.png").read_bytes()[:60])
    with pytest.raises(ReIDError, match=r"BLUE/1\.png cannot be read"):
        load_gallery_embeddings(gallery, None, MeanColour(), 32)


class Broken(nn.Module):
    def forward(self, images):
        return images


@pytest.mark.parametrize(
    ("model", "words"),
    [(Broken(), r"gives a tensor \(1, 3, 32, 32\)"), (nn.Linear(7, 2), "cannot embed"), ("model", "model is a str")],
)
def test_models_that_do_not_fit_are_named_before_pictures_are_read(tmp_path, model, words):
    with pytest.raises(ReIDError, match=words):
        load_gallery_embeddings(tmp_path / "nowhere", None, model, 32)


def test_an_embedder_brings_its_own_size_and_galleries_of_another_model_are_refused(gallery, small_model):
    options = BundleOptions({}, Preprocessing(32, 48), embedding_dim=32, fingerprint="a" * 16)
    embedder = ReIDEmbedder(LoadedModel(small_model, options))
    registered = load_gallery_embeddings(gallery, "RED", embedder, input_size=7, device="nowhere")
    assert registered.model == "a" * 16
    expected = embedder.embed([Image.open(path) for path in registered.paths])
    torch.testing.assert_close(registered.embeddings, expected)
    other = ReIDEmbedder(LoadedModel(small_model, BundleOptions({}, options.preprocessing, 32, fingerprint="b" * 16)))
    with pytest.raises(ReIDError, match=r"a{16}.*b{16}"):
        score_candidates(registered, [flat((1, 2, 3))], other)
    with pytest.raises(ReIDError, match="no bundle"):
        score_candidates(registered, [flat((1, 2, 3))], MeanColour())


@pytest.mark.parametrize(
    "wrong", ["car.jpg", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_candidates_that_are_no_pictures_are_named(wrong):
    registered = made_gallery(torch.eye(3), "ABC")
    with pytest.raises(ReIDError, match="candidate 1 is"):
        score_candidates(registered, [flat((1, 2, 3)), wrong], MeanColour(), 32)


def slow_scores(query, gallery, vehicles):
    """(candidate, vehicle) -> greatest cosine and first picture that has it."""
    found = {}
    for candidate, one in enumerate(query):
        for picture, other in enumerate(gallery):
            score = float(one @ other / one.norm() / other.norm())
            key = candidate, vehicles[picture]
            if key not in found or score > found[key][0] + 1e-7:
                found[key] = score, picture
    return found


@pytest.mark.parametrize("chunk", [1, 50, 1 << 22])
@pytest.mark.parametrize("top_k", [None, 1, 2, 9])
def test_scores_equal_a_slow_loop_in_chunks_of_any_size(monkeypatch, chunk, top_k):
    monkeypatch.setattr(vehicle_scores, "_CHUNK_ELEMENTS", chunk)
    generator = torch.Generator().manual_seed(0)
    query, pictures = torch.randn(7, 5, generator=generator), torch.randn(23, 5, generator=generator)
    vehicles = [f"V{row % 4}" for row in range(23)]  # not one after the other
    candidates = [Candidate(np.zeros((2, 2, 3), np.uint8), frame=row, seconds=row / 2, track=row) for row in range(7)]
    matches = score_embeddings(made_gallery(pictures, vehicles), candidates, query, top_k=top_k)
    expected = slow_scores(query, pictures, vehicles)
    assert len(matches) == 7 * min(top_k or 4, 4)
    for candidate in range(7):
        ranked = sorted(set(vehicles), key=lambda name: -expected[candidate, name][0])
        mine = [match for match in matches if match.frame == candidate]
        assert [match.vehicle for match in mine] == ranked[: top_k or 4]
        for match in mine:
            score, picture = expected[candidate, match.vehicle]
            assert match.score == pytest.approx(score, abs=1e-6)
            assert (match.picture, match.seconds, match.track) == (str(picture), candidate / 2, candidate)
            assert match.details == {}


def test_ties_go_by_vehicle_then_by_picture():
    gallery = made_gallery(torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]]), ["B", "C", "A", "B"])
    candidate = [Candidate(np.zeros((2, 2, 3), np.uint8))]
    for top_k in (None, 2):
        matches = score_embeddings(gallery, candidate, torch.tensor([[2.0, 0]]), top_k=top_k)
        assert [(match.vehicle, match.picture) for match in matches][:2] == [("A", "2"), ("B", "0")]
        assert matches[0].score == 1.0


def test_sizes_that_do_not_fit_and_broken_numbers_are_named():
    gallery = made_gallery(torch.eye(3), "ABC")
    candidate = [Candidate(np.zeros((2, 2, 3), np.uint8))]
    assert score_embeddings(gallery, [], torch.empty(0, 3)) == []
    with pytest.raises(ReIDError, match="1 candidates came with 2"):
        score_embeddings(gallery, candidate, torch.eye(3)[:2])
    with pytest.raises(ReIDError, match="NaN"):
        score_embeddings(gallery, candidate, torch.full((1, 3), torch.nan))
    with pytest.raises(ReIDError, match="top_k"):
        score_embeddings(gallery, candidate, torch.eye(3)[:1], top_k=0)
    with pytest.raises(ReIDError, match="at least one"):
        made_gallery(torch.empty(0, 3), "")


def test_reranked_and_expanded_scores_keep_the_cosine_that_the_threshold_is_held_against():
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(4, 8, generator=generator)
    pictures = (centres[:, None] + 0.4 * torch.randn(4, 6, 8, generator=generator)).flatten(0, 1)
    vehicles = [f"V{row // 6}" for row in range(24)]
    query = centres + 0.4 * torch.randn(4, 8, generator=generator)
    candidates = [Candidate(np.zeros((2, 2, 3), np.uint8), frame=row) for row in range(4)]
    gallery, settings = made_gallery(pictures, vehicles), KReciprocal(k1=5, k2=2)
    plain = {(match.frame, match.vehicle): match for match in score_embeddings(gallery, candidates, query)}
    distances = settings(query, pictures, metric="cosine")
    expansion = QueryExpansion(top_k=2)
    moved = expansion(query, pictures)
    unit = pictures / pictures.norm(dim=1, keepdim=True)
    for options, scores in (({"rerank": settings}, 1 - distances), ({"expansion": expansion}, moved @ unit.T)):
        matches = score_embeddings(gallery, candidates, query, **options)
        for match in matches:
            rows = [row for row, name in enumerate(vehicles) if name == match.vehicle]
            assert match.score == pytest.approx(float(scores[match.frame, rows].max()), abs=1e-5)
            assert match.details["cosine"] == pytest.approx(plain[match.frame, match.vehicle].score, abs=1e-6)
        limit = 0.5
        passing = {(match.frame, match.vehicle) for match in filter_matches(matches, limit, top_k=9)}
        assert passing == {key for key, match in plain.items() if match.score >= limit}


def slow_filter(matches, min_score, top_k):
    kept = []
    for frame in sorted({match.frame for match in matches}):
        left = [match for match in matches if match.frame == frame and match.score >= min_score]
        for _ in range(min(top_k, len(left))):
            best = left[0]
            for match in left:
                if match.score > best.score or (match.score == best.score and match.vehicle < best.vehicle):
                    best = match
            kept.append(best)
            left.remove(best)
    return kept


@pytest.mark.parametrize(("min_score", "top_k"), [(0.6, 5), (0.0, 1), (-1, 3), (1.0, 2), (0.55, 100)])
def test_the_filter_equals_a_slow_loop(min_score, top_k):
    draw = np.random.default_rng(5)
    matches = [
        Match(str(draw.integers(9)), round(float(draw.uniform(-1, 1)), 1), frame=int(draw.integers(6)), track=row)
        for row in range(120)
    ]
    assert filter_matches(matches, min_score, top_k) == slow_filter(matches, min_score, top_k)


def test_the_filter_at_its_edges():
    matches = [Match("B", 0.6), Match("A", 0.6), Match("C", float("nan")), Match("D", 0.59999)]
    assert [match.vehicle for match in filter_matches(matches)] == ["A", "B"]
    assert filter_matches([]) == []
    broken = [Match("A", 0.9, details={"cosine": float("nan")}), Match("B", float("nan"), details={"cosine": 0.9})]
    assert filter_matches(broken, -1) == []
    implausible = Match("A", 0.4, details={"cosine": 0.8, "prior": 0.5})
    assert filter_matches([implausible], 0.5) == []
    assert filter_matches([implausible], 0.4) == [implausible]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_score": 60}, "min_score is 60"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_score": "calibrated"}, "min_score is 'calibrated'"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, "top_k is 2.5"),
    ],
)
def test_the_filter_names_bad_arguments(arguments, words):
    with pytest.raises(ReIDError, match=words):
        filter_matches([], **arguments)


def test_hits_of_a_store_become_matches():
    def hit(number, vehicle, score, sighting="s", time=None):
        return Hit(VectorRecord(str(number), sighting, vehicle, "north", "car", time), score)

    candidates = [Candidate(np.zeros((2, 2, 3), np.uint8), frame=4, track=1), Candidate(np.zeros((2, 2, 3), np.uint8))]
    hits = [[hit(1, "B", 0.7), hit(2, "A", 0.9, time=5.0), hit(3, "B", 0.8), hit(4, "A", 0.9)], []]
    matches = matches_of_hits(candidates, hits)
    assert [(match.vehicle, match.picture, match.score) for match in matches] == [("A", "2", 0.9), ("B", "3", 0.8)]
    assert (matches[0].frame, matches[0].track, matches[0].camera, matches[0].time) == (4, 1, "north", 5.0)
    every = matches_of_hits(candidates, hits, one_per_vehicle=False)
    assert [match.picture for match in every] == ["2", "4", "3", "1"]
    assert best_of_vehicles(every) == matches
    with pytest.raises(ReIDError, match="2 candidates came with 1"):
        matches_of_hits(candidates, hits[:1])
