"""evaluate.py as a user starts it, on bundles of random weights and on files of embeddings from elsewhere."""

import csv
import json
import math

import pytest
import torch
import yaml
from PIL import Image

from reid_lightning.bundle import bundle, exporters
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.ranking.files import read_embeddings
from reid_lightning.search import load_reid_model
from reid_lightning.synthetic.fleet import read_synthetic

NO_PICTURES = "evaluation.pictures=false"


@pytest.fixture
def saved(small_model, tmp_path):
    return bundle.save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})


@pytest.fixture
def evaluate(run_command, fleet_root):
    common = [f"data.root={fleet_root}", "data.size=tiny", "evaluation.num_workers=0", "hydra.run.dir=run"]
    return lambda *arguments, sweep=False: run_command("evaluate.py", *(["-m"] if sweep else []), *common, *arguments)


def metrics_of(finished, folder):
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads((folder / "metrics.json").read_text())


def error_of(finished):
    assert finished.returncode == 1, finished.stdout
    assert "Traceback" not in finished.stderr
    return finished.stderr.split("error: ")[1]


def draw_tracks(seed):
    """Features as the paper's authors write them: vehicles 1..4 on camera `seed`, one to four pictures a track."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(4, 6, generator=torch.Generator().manual_seed(9))
    return {
        f"{vehicle:04d}_c{seed:03d}": (
            centres[vehicle] + 0.3 * torch.rand(1 + vehicle, 6, generator=generator)
        ).tolist()
        for vehicle in range(4)
    }


def cosine_distance(one, other):
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return 1 - product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def mean_mcd_50(query, track):
    nearest = sorted(min(cosine_distance(one, other) for other in track) for one in query)
    kept = nearest[: len(nearest) // 2 + 1]
    return sum(kept) / len(kept)


def test_files_of_embeddings_are_ranked_track_to_track(evaluate, tmp_path):
    query, gallery = draw_tracks(1), {**draw_tracks(2), **draw_tracks(3)}
    (tmp_path / "q.json").write_text(json.dumps(query))
    (tmp_path / "g.json").write_text(json.dumps(gallery))
    finished = evaluate(
        "query_embeddings=q.json",
        "gallery_embeddings=g.json",
        "protocol=track_to_track",
        "protocol.metric=mcd",
        "protocol.aggregation=mean50",
    )
    metrics = metrics_of(finished, tmp_path / "run")
    ranking = json.loads((tmp_path / "run/ranking.json").read_text())
    assert (ranking["metric"], ranking["aggregation"]) == ("MCD", "mean50")
    precisions = []
    for name, pictures in query.items():
        expected = sorted((mean_mcd_50(pictures, track), other) for other, track in gallery.items())
        listed = ranking["tracks"][name]["ranking"]
        assert [listed[str(place)]["id"] for place in range(1, 9)] == [other for _, other in expected]
        distances = [listed[str(place)]["distance"] for place in range(1, 9)]
        assert distances == pytest.approx([distance for distance, _ in expected], abs=1e-6)
        places = [place for place, (_, other) in enumerate(expected, start=1) if other[:4] == name[:4]]
        precisions.append(sum(found / place for found, place in enumerate(places, start=1)) / len(places))
    assert metrics["mAP"] == pytest.approx(sum(precisions) / 4, abs=1e-9)
    assert metrics["protocol"] == "track to track"
    assert metrics["metric"] == "mcd mean50"
    low, high = metrics["confidence_95"]["mAP"]
    assert low <= metrics["mAP"] <= high
    assert "mcd mean50" in finished.stdout
    for name in ("precision_recall", "cmc", "camera_pairs", "scores", "roc"):
        Image.open(tmp_path / f"run/pictures/{name}.png").verify()

    scored = metrics_of(evaluate("ranking=run/ranking.json", "hydra.run.dir=scored"), tmp_path / "scored")
    assert (scored["mAP"], scored["metric"]) == (metrics["mAP"], metrics["metric"])


def test_a_bundle_is_evaluated_with_everything_that_people_look_at(evaluate, saved, fleet_root, tmp_path):
    finished = evaluate("checkpoint=bundle", "evaluation.save_embeddings=npz")
    metrics = metrics_of(finished, tmp_path / "run")
    dataset = read_synthetic(root=fleet_root, size="tiny")
    assert (metrics["queries"], metrics["gallery"]) == (len(dataset.query), len(dataset.gallery))
    pairs = [(query, other) for query in dataset.query for other in dataset.gallery]
    same = [(query, other) for query, other in pairs if query.identity == other.identity]
    assert metrics["open_set"]["same_pairs"] == sum(query.camera != other.camera for query, other in same)
    assert metrics["open_set"]["different_pairs"] == len(pairs) - len(same)
    assert metrics["calibration"]["similarity"] is True
    cameras = {image.camera for image in dataset.query}
    assert set(metrics["camera_pairs"]["query_cameras"]) == cameras
    names = ("ranked_lists", "hardest_queries", "precision_recall", "cmc", "camera_pairs", "scores", "roc")
    for name in names:
        Image.open(tmp_path / f"run/pictures/{name}.png").verify()
    assert f"{100 * metrics['mAP']:.2f}" in finished.stdout
    ranking = json.loads((tmp_path / "run/ranking.json").read_text())
    assert len(ranking["tracks"]) == len(dataset.query)

    again = evaluate(
        "query_embeddings=run/query_embeddings.npz",
        "gallery_embeddings=run/gallery_embeddings.npz",
        "hydra.run.dir=again",
        "evaluation.pictures=false",
    )
    values = metrics_of(again, tmp_path / "again")
    for name in ("mAP", "cmc", "mINP", "junk", "queries", "gallery", "calibration", "camera_pairs", "model"):
        assert values[name] == metrics[name], name
    assert not (tmp_path / "again/pictures").exists()


@pytest.mark.parametrize("protocol", ["image_to_track", "track_to_track"])
def test_a_data_sets_own_tracks_are_ranked(evaluate, saved, fleet_root, tmp_path, protocol):
    finished = evaluate("checkpoint=bundle", f"protocol={protocol}", "protocol.metric=med")
    metrics = metrics_of(finished, tmp_path / "run")
    dataset = read_synthetic(root=fleet_root, size="tiny")
    embeddings, model = {}, load_reid_model(saved)
    for image in (*dataset.query, *dataset.gallery):
        with Image.open(image.path) as picture:
            embeddings[image.path] = model.embed([picture.convert("RGB")], normalize=False)[0]
    tracks = {}
    for image in dataset.gallery:
        tracks.setdefault((image.identity, image.camera, image.track), []).append(embeddings[image.path])
    if protocol == "image_to_track":
        queries = [(image.identity, image.camera, [embeddings[image.path]]) for image in dataset.query]
    else:  # the query pictures lie in the gallery, with the rest of their tracks
        keys = dict.fromkeys((image.identity, image.camera, image.track) for image in dataset.query)
        queries = [(identity, camera, tracks[identity, camera, track]) for identity, camera, track in keys]
    precisions = []
    for identity, camera, pictures in queries:
        distances = []
        for (other, its_camera, _), track in tracks.items():
            nearest = sorted(min((one - two).norm().item() for two in track) for one in pictures)
            nearest = nearest[: len(nearest) // 2 + 1]
            if (other, its_camera) != (identity, camera):
                distances.append((sum(nearest) / len(nearest), other == identity))
        places = [place for place, (_, right) in enumerate(sorted(distances), start=1) if right]
        precisions.append(sum(found / place for found, place in enumerate(places, start=1)) / len(places))
    assert (metrics["queries"], metrics["gallery"]) == (len(queries), len(tracks))
    assert metrics["mAP"] == pytest.approx(sum(precisions) / len(precisions), abs=1e-6)
    Image.open(tmp_path / "run/pictures/ranked_lists.png").verify()


def test_reranking_and_expansion_are_chosen_on_the_command_line(evaluate, saved, tmp_path):
    chosen = ("protocol/rerank=k_reciprocal", "protocol/expansion=alpha", NO_PICTURES)
    finished = evaluate("checkpoint=bundle", *chosen)
    metrics = metrics_of(finished, tmp_path / "run")
    assert "k-reciprocal re-ranking (k1=20, k2=6, lambda=0.3)" in metrics["metric"]
    assert "alpha" in metrics["metric"]
    assert metrics["calibration"] is None
    plain = metrics_of(evaluate("checkpoint=bundle", "hydra.run.dir=plain", NO_PICTURES), tmp_path / "plain")
    assert plain["mAP"] != metrics["mAP"]


def test_the_threshold_is_stored_in_the_bundle_when_asked(evaluate, saved, tmp_path):
    assert load_reid_model(saved).threshold is None
    before = load_reid_model(saved).options.fingerprint
    metrics_of(evaluate("checkpoint=bundle", NO_PICTURES), tmp_path / "run")
    assert load_reid_model(saved).threshold is None
    storing = ("store_threshold=true", NO_PICTURES)
    finished = evaluate("checkpoint=bundle", *storing, "evaluation.false_match_rate=0.05")
    metrics = metrics_of(finished, tmp_path / "run")
    came = load_reid_model(saved)
    assert came.threshold == metrics["calibration"]["threshold"]
    assert came.options.fingerprint == before
    stored = came.options.calibration["image to image, cosine"]
    assert stored["false_match_rate"] == 0.05
    for pairs in ("same", "different"):
        true = metrics["open_set"]["histogram"][pairs]
        assert sum(stored["histogram"][pairs]) == sum(true) == metrics["open_set"][f"{pairs}_pairs"]
    text = (saved / "opts.yaml").read_text()
    assert "different: [" in text and len(text.splitlines()) < 120  # numbers side by side
    metrics_of(evaluate("checkpoint=bundle", *storing, "protocol.metric=euclidean"), tmp_path / "run")
    assert load_reid_model(saved).threshold == came.threshold
    assert f"{came.threshold:.4f}" in (saved / "model_card.md").read_text()
    assert metrics["calibration"]["measured_false_match_rate"] <= 0.05

    options = yaml.safe_load((saved / "opts.yaml").read_text())
    damaged = {**metrics["calibration"], "histogram": {"low": 0, "high": 1, "same": ["x"], "different": [1]}}
    for wrong in ({"threshhold": 1}, {**metrics["calibration"], "threshold": None}, damaged):
        options["calibration"] = {"image to image, cosine": wrong}
        (saved / "opts.yaml").write_text(yaml.safe_dump(options))
        assert "calibration is not one of ours" in error_of(evaluate("checkpoint=bundle"))


def test_a_picture_that_cannot_be_drawn_costs_neither_metrics_nor_threshold(evaluate, saved, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reid_lightning.evaluation.evaluator.draw_plots", fail)
    finished = evaluate("checkpoint=bundle", "store_threshold=true")
    assert "No space left" in error_of(finished)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert load_reid_model(saved).threshold == metrics["calibration"]["threshold"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate was named"),
        (["checkpoint=x", "ranking=y"], "several sources were named: checkpoint, ranking"),
        (["query_embeddings=q.json"], "name both files"),
        (["query_embeddings=q.json", "gallery_embeddings=g.json"], "no file or folder of embeddings at q.json"),
        (["ranking=nothing.json"], "nothing.json cannot be read"),
        (["ranking=nothing.json", "protocol.metrc=mcd"], "metrc"),
        (["ranking=x.json", "store_threshold=true"], "store_threshold=true needs checkpoint"),
        (["checkpoint=bundle", "evaluation.false_match_rate=7"], "false_match_rate is 7"),
        (["checkpoint=bundle", "evaluation.save_embeddings=csv"], "save_embeddings is 'csv'"),
        (["checkpoint=bundle", "protocol.metric=cosin"], "'cosin'"),
        (["checkpoint=bundle", "protocol.ranks=5"], "ranks is 5"),
        (["checkpoint=bundle", "protocol.top_k=0"], "top_k is 0"),
        (["checkpoint=bundle", "providers=cpu"], "providers is cpu, which takes backend=onnx or auto"),
        (["checkpoint=bundle", "backend=onnx", "providers=openvino"], "onnxruntime that is installed offers"),
        (["checkpoint=bundle", "backend=onnx"], "model.onnx"),
        (["checkpoint=bundle", "evaluation.columns=0"], "evaluation.columns is 0"),
    ],
)
def test_mistakes_are_one_message(evaluate, saved, tmp_path, arguments, message):
    assert message in error_of(evaluate(*arguments))
    assert not (tmp_path / "run/metrics.json").exists()


def test_a_bundle_is_evaluated_by_onnx_runtime(evaluate, small_model, saved, tmp_path):
    exporters.export_file(small_model.eval(), Preprocessing(32, 32), kind="onnx", folder=saved)
    keeping = ["evaluation.save_embeddings=safetensors", NO_PICTURES]
    by_onnx = evaluate("checkpoint=bundle", "backend=onnx", "providers=cpu", "hydra.run.dir=onnx", *keeping)
    metrics_of(by_onnx, tmp_path / "onnx")
    metrics_of(evaluate("checkpoint=bundle", *keeping), tmp_path / "run")
    ours, torchs = (read_embeddings(tmp_path / run / "query_embeddings.safetensors") for run in ("onnx", "run"))
    assert ours.model == torchs.model and ours.names == torchs.names
    assert not torch.equal(ours.embeddings, torchs.embeddings)  # another engine has rounded
    assert torch.allclose(ours.embeddings, torchs.embeddings, atol=1e-4)


def test_embeddings_of_two_models_are_not_compared(evaluate, small_model, saved, tmp_path):
    with torch.no_grad():
        next(small_model.parameters()).add_(1)
    bundle.save_bundle(tmp_path / "other", small_model, Preprocessing(32, 32), metrics={}, data={})
    options = ["evaluation.save_embeddings=safetensors", "evaluation.pictures=false"]
    for name in ("bundle", "other"):
        metrics_of(evaluate(f"checkpoint={name}", f"hydra.run.dir={name}_run", *options), tmp_path / f"{name}_run")
    model = read_embeddings(tmp_path / "bundle_run/query_embeddings.safetensors").model
    mixed = evaluate(
        "query_embeddings=bundle_run/query_embeddings.safetensors",
        "gallery_embeddings=other_run/gallery_embeddings.safetensors",
    )
    assert f"by model {model}" in error_of(mixed)


def test_one_sweep_fills_the_papers_table(evaluate, saved, tmp_path):
    torch.manual_seed(1)
    other = ReIDModel("resnet18", ibn=None, last_stride=2, embedding_dim=16).eval()
    bundle.save_bundle(tmp_path / "other", other, Preprocessing(32, 32), metrics={}, data={})
    finished = evaluate("checkpoint=bundle,other", "evaluation.track_table=true", "hydra.sweep.dir=sweep", sweep=True)
    assert finished.returncode == 0, finished.stderr
    with (tmp_path / "sweep/track_table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ways = [(row["protocol"], row["metric"], row["aggregation"]) for row in rows if row["model"] == "resnet18 (0)"]
    aggregations = ["min", "mean", "med", "mean50", "med50"]
    expected = []
    for metric in ("med", "mcd"):
        expected += [("image to track", metric, ""), *(("track to track", metric, one) for one in aggregations)]
    expected += [("image to track", "rscr", ""), ("track to track", "rscr", "")]
    assert ways == expected
    assert [row["model"] for row in rows] == ["resnet18 (0)"] * 14 + ["resnet18 (1)"] * 14
    assert len({row["mAP"] for row in rows}) > 10  # lengths count: MED, MCD and RSCR are not the same ranking
    table = (tmp_path / "sweep/track_table.md").read_text()
    row = next(row for row in rows if row["metric"] == "mcd" and row["aggregation"] == "mean50")
    assert f"{row['mAP']} / {row['rank-1']}" in next(line for line in table.splitlines() if "T2T MCD mean50" in line)
    Image.open(tmp_path / "sweep/track_table.png").verify()
    values = json.loads((tmp_path / "sweep/0/metrics.json").read_text())
    assert values["protocol"] == "image to image"
