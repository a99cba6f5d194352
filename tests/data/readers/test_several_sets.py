"""evaluate.py on random galleries and on several data sets at once, against slow loops over the same embeddings."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace

import pytest
import torch
from layouts import draw_market1501, draw_vehicleid, draw_vehiclex, draw_veri_wild
from PIL import Image

from reid_lightning.bundle import bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.protocols import ImageToImage
from reid_lightning.ranking.repeats import Repeats, evaluate_rankings, rank_draws
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.search import load_reid_model

TEST = {str(identity): 2 + identity % 4 for identity in range(21, 31)}


@pytest.fixture
def saved(small_model, tmp_path):
    return bundle.save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})


@pytest.fixture
def evaluate(run_command):
    def run(*arguments):
        finished = run_command("evaluate.py", "evaluation.num_workers=0", "hydra.run.dir=run", *arguments)
        return finished

    return run


def metrics_of(finished, folder):
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads((folder / "metrics.json").read_text())


def reciprocal_ranks(dataset, embeddings, draw):
    """1 / place of the one right answer of each query, by sorting."""
    pictures = (*dataset.query, *dataset.gallery)
    gallery = [row for row in range(len(pictures)) if row in draw]
    found = []
    for row in range(len(pictures)):
        if row not in draw:
            order = sorted(gallery, key=lambda other: -torch.dot(embeddings[row], embeddings[other]).item())
            names = [pictures[other].identity for other in order]
            found.append(1 / (1 + names.index(pictures[row].identity)))
    return found


def test_vehicleids_figures_are_means_over_ten_galleries(evaluate, saved, tmp_path):
    root = draw_vehicleid(tmp_path / "VehicleID_V1.0", test=TEST)
    finished = evaluate("checkpoint=bundle", "data=vehicleid", f"data.root={root}", "data.split=small", "data.seed=3")
    metrics = metrics_of(finished, tmp_path / "run")

    dataset = read_vehicleid(root=root, seed=3)
    model = load_reid_model(saved)
    pictures = [Image.open(image.path).convert("RGB") for image in (*dataset.query, *dataset.gallery)]
    embeddings = model.embed(pictures).double()
    ranks = [reciprocal_ranks(dataset, embeddings, set(draw)) for draw in dataset.gallery_draws]
    precision = [statistics.mean(values) for values in ranks]
    first = [statistics.mean(value == 1 for value in values) for values in ranks]
    assert len(set(precision)) > 1, "the galleries differ"

    assert metrics["mAP"] == pytest.approx(statistics.mean(precision), abs=1e-9)
    assert metrics["cmc"]["1"] == pytest.approx(statistics.mean(first), abs=1e-9)
    repeats = metrics["repeats"]
    assert repeats["count"] == 10
    assert repeats["values"]["mAP"] == pytest.approx(precision, abs=1e-9)
    assert repeats["values"]["rank-1"] == pytest.approx(first, abs=1e-9)
    assert repeats["std"]["mAP"] == pytest.approx(statistics.stdev(precision), abs=1e-9)
    assert metrics["protocol"] == "image to image, mean of 10 random galleries"
    assert metrics["junk"] == "none"
    assert (metrics["gallery"], metrics["queries"]) == (len(TEST), sum(TEST.values()) - len(TEST))
    low, high = metrics["confidence_95"]["mAP"]
    assert low <= metrics["mAP"] <= high
    spread = f"mAP {100 * statistics.mean(precision):.2f} ± {100 * statistics.stdev(precision):.2f}"
    assert f"over 10 random galleries (mean ± standard deviation): {spread}" in finished.stdout
    ranking = json.loads((tmp_path / "run/ranking.json").read_text())
    assert len(ranking["tracks"]) == len(dataset.query), "the first gallery's"
    Image.open(tmp_path / "run/pictures/ranked_lists.png").verify()


def test_several_sets_are_judged_by_one_command_each_by_its_own_rules(evaluate, saved, tmp_path):
    roots = {
        "vehicleid": draw_vehicleid(tmp_path / "v", test=TEST),
        "veri_wild": draw_veri_wild(tmp_path / "w"),
        "market1501": draw_market1501(tmp_path / "m"),
        "vehiclex": draw_vehiclex(tmp_path / "x"),
    }
    words = [f"+data@data.sets.{name}={name}" for name in roots]
    words += [f"data.sets.{name}.root={root}" for name, root in roots.items()]
    options = ["data.validate_on=veri_wild", "store_threshold=true", "evaluation.pictures=false"]
    finished = evaluate("checkpoint=bundle", "data=joined", *words, *options)
    metrics = metrics_of(finished, tmp_path / "run")
    assert list(metrics["sets"]) == ["veri_wild", "vehicleid", "market1501"]  # the simulated one has no test
    assert metrics["data"] == "vehicleid+veri_wild+market1501+vehiclex"
    assert load_reid_model(saved).threshold == metrics["calibration"]["threshold"]
    alone = {}
    for name in ("veri_wild", "vehicleid"):
        options = ["evaluation.pictures=false", f"hydra.run.dir=alone/{name}"]
        alone[name] = metrics_of(
            evaluate("checkpoint=bundle", f"data={name}", f"data.root={roots[name]}", *options),
            tmp_path / "alone" / name,
        )
    for name in metrics["sets"]:
        own = json.loads((tmp_path / "run/sets" / name / "metrics.json").read_text())
        for key in ("mAP", "cmc", "mINP", "junk", "protocol", "queries", "gallery", "calibration"):
            assert own[key] == alone.setdefault(name, own)[key], (name, key)
        assert metrics["sets"][name]["mAP"] == own["mAP"]
        assert (tmp_path / "run/sets" / name / "ranking.json").is_file()
    assert metrics["mAP"] == alone["veri_wild"]["mAP"], "the run's own figure is the validation set's"

    with (tmp_path / "run/sets.csv").open(newline="") as file:
        rows = {row["set"]: row for row in csv.DictReader(file)}
    for name, values in alone.items():
        assert float(rows[name]["mAP"]) == pytest.approx(values["mAP"], abs=1e-6)
        assert float(rows[name]["rank-5"]) == pytest.approx(values["cmc"]["5"], abs=1e-6)
        assert rows[name]["junk"] == values["junk"]
        assert f"{100 * values['mAP']:.2f}" in finished.stdout
    assert float(rows["vehicleid"]["mAP std"]) == pytest.approx(alone["vehicleid"]["repeats"]["std"]["mAP"], abs=1e-6)
    assert rows["market1501"]["mAP std"] == ""
    assert f"veri_wild: threshold {metrics['calibration']['threshold']:.4f}" in finished.stdout
    table = (tmp_path / "run/sets.md").read_text().splitlines()
    assert table[0] == "| set | mAP | rank-1 | rank-5 | rank-10 | mINP | threshold | queries | gallery |"
    assert "±" in next(line for line in table if line.startswith("| vehicleid "))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=joined"], "data.sets is empty"),
        (["data=joined", "+data@data.sets.x=vehiclex", "data.sets.x.root=x"], "holds no query pictures"),
        (["data=joined", "+data@data.sets.x=vehiclex", "data.sets.x.root=no"], "there is no folder no"),
        (["data=vehicleid", "data.root=v", "protocol=image_to_track"], "these pictures have no tracks"),
        (["data=vehicleid", "data.root=v", "protocol.junk=index"], "the data has no gt_index"),
        (["data=vehicleid", "data.root=v", "data.split=huge"], "data.split is 'huge'"),
    ],
)
def test_mistakes_are_one_message_before_anything_is_embedded(evaluate, saved, tmp_path, arguments, message):
    draw_vehiclex(tmp_path / "x")
    draw_vehicleid(tmp_path / "v")
    finished = evaluate("checkpoint=bundle", *arguments)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert message in finished.stderr
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.slow
def test_training_on_joined_sets_validates_on_one_and_judges_all(run_command, tmp_path):
    roots = {
        "vehiclex": draw_vehiclex(tmp_path / "x"),
        "vehicleid": draw_vehicleid(tmp_path / "v", test=TEST),
        "market1501": draw_market1501(tmp_path / "m"),
    }
    words = [f"+data@data.sets.{name}={name}" for name in roots]
    words += [f"data.sets.{name}.root={root}" for name, root in roots.items()]
    options = ["trainer=cpu", "trainer.max_epochs=1", "loader.num_workers=0", "evaluation.pictures=false"]
    options += ["loader.identities_per_batch=3", "loader.images_per_identity=2", "hydra.run.dir=run"]
    finished = run_command("train.py", "data=joined", "data.validate_on=market1501", *words, *options)
    metrics = metrics_of(finished, tmp_path / "run")
    assert list(metrics["sets"]) == ["market1501", "vehicleid"]
    assert (metrics["queries"], metrics["gallery"]) == (2, 4)
    options = load_reid_model(tmp_path / "run/bundle").options
    assert options.data["training identities"] == 4 + 2
    assert options.data["one epoch validated on"].startswith("pictures of 2 of 8 training identities")
    assert options.metrics["mAP"] == metrics["mAP"], "market1501's"


def table(*identities: str) -> EmbeddingTable:
    generator = torch.Generator().manual_seed(0)
    return EmbeddingTable(torch.randn(len(identities), 4, generator=generator), identities)


def test_a_draw_is_the_gallery_and_the_rest_asks():
    pictures = table("a", "a", "b", "b", "b")
    first, second = rank_draws(ImageToImage(), pictures, [(0, 2), (4, 1)])
    assert (first.query.identities, first.gallery.identities) == (("a", "b", "b"), ("a", "b"))
    assert (second.query.identities, second.gallery.identities) == (("a", "b", "b"), ("a", "b"))
    assert torch.equal(second.problem.scores._gallery, pictures.embeddings[[1, 4]])


def test_means_spread_and_whole_vehicles():
    pictures = table(*"aaabbbbccc")
    draws = [(0, 3, 7), (1, 4, 8), (2, 5, 9)]
    repeats = evaluate_rankings(rank_draws(ImageToImage(), pictures, draws), ap="step", ranks=(1, 2))
    pooled = repeats.pooled()
    values = [result.mAP for result in repeats.results]
    assert pooled.mAP == pytest.approx(sum(values) / 3)
    assert repeats.spreads["mAP"] == pytest.approx((sum((one - pooled.mAP) ** 2 for one in values) / 2) ** 0.5)
    assert pooled.average_precision.nanmean().item() == pytest.approx(pooled.mAP)
    assert (pooled.queries, pooled.gallery, len(pooled.first_match)) == (7, 3, 21)
    assert pooled.identities.tolist() == [0, 0, 1, 1, 1, 2, 2] * 3, "a vehicle is one group in all draws"
    assert list(repeats.values) == ["mAP", "rank-1", "rank-2", "mINP"]
    alone = Repeats(repeats.results[:1])
    assert alone.spreads["mAP"] == 0
    assert alone.pooled().mAP == repeats.results[0].mAP
    with pytest.raises(ReIDError, match="no results"):
        Repeats(())


def test_mirrored_and_expanded_figures_say_so(evaluate, saved, tmp_path):
    root = draw_vehicleid(tmp_path / "v", test=TEST)
    options = ["evaluation.flip=true", "protocol/expansion=average", "evaluation.pictures=false", "data.repeats=2"]
    finished = evaluate("checkpoint=bundle", "data=vehicleid", f"data.root={root}", *options)
    metrics = metrics_of(finished, tmp_path / "run")
    assert metrics["metric"] == "cosine, average query expansion (top 10), flip"
    assert metrics["calibration"] is None


def test_a_training_set_that_nobody_tests_joins_one_that_is(tmp_path):
    wild = read_vehicleid(root=draw_vehicleid(tmp_path / "v"), repeats=2)
    joined = join_datasets(sets={"sim": read_vehiclex(root=draw_vehiclex(tmp_path / "x")), "vid": wild})
    assert joined.parts[0].name == "vid"
    assert replace(joined.parts[0], parts=()).gallery_draws == joined.gallery_draws
