"""What docs/architecture.md says of adding something: a file of Python and one of YAML in a folder of one's own."""

import csv
import json
import math
import textwrap
from pathlib import Path

import pytest
import yaml
from toy_clips import scene, write_clip

OWN = """
    import numpy as np
    import torch
    from toy_store import ToyStore

    from reid_lightning.evaluation.metrics import EmbeddingMetric
    from reid_lightning.losses.pairs import PairLoss
    from reid_lightning.search.records import Detections


    class Spread(PairLoss):
        def forward(self, embeddings, labels, memory=None):
            return (embeddings.norm(dim=1) - 1).square().mean()


    class Width(EmbeddingMetric):
        def __init__(self, *, query_ids, gallery_ids, **labels):
            super().__init__(queries=len(query_ids), gallery=len(gallery_ids))

        def _evaluate(self, query, gallery):
            return {"width": float(torch.cat([query, gallery]).std())}


    class RedThings:
        name, works_on_pictures, knows_vehicles = "red things", True, True

        def start(self):
            pass

        def detect(self, picture):
            rows, columns = np.nonzero((picture[..., 0] > 150) & (picture[..., 1] < 90))
            if not len(rows):
                return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())
            box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
            return Detections(np.array(box, np.float32), np.ones(1, np.float32), ("car",))


    CONTENT = {}


    def open_store(*, folder, fingerprint, dim, create=True):
        store = ToyStore(CONTENT.setdefault(folder, {}))
        store.fingerprint, store.dim = fingerprint, dim
        return store
"""


@pytest.fixture
def own(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folder, as the commands take it."""
    (tmp_path / "own_things.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)
    loss = yaml.safe_load((project / "conf/loss/triplet.yaml").read_text())
    loss["terms"] = {"spread": {"weight": 2.0, "input": "features", "loss": {"_target_": "own_things.Spread"}}}
    metric = yaml.safe_load((project / "conf/callbacks/open_set.yaml").read_text())["open_set"]
    metric["metric"] = {"_target_": "own_things.Width", "_partial_": True}
    files = {
        "loss/own.yaml": loss,
        "callbacks/own.yaml": {"width": metric},
        "detector/own.yaml": {"_target_": "own_things.RedThings"},
        "stores/own.yaml": {"_target_": "own_things.open_store", "_partial_": True, "folder": "${gallery}"},
    }
    for name, values in files.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return ["--config-dir", str(tmp_path / "configs")]


def test_a_loss_and_a_metric_of_ones_own(run_command, own, fleet_root, tmp_path):
    finished = run_command(
        *("train.py", *own, "loss=own", "callbacks=[default,own]", f"data.root={fleet_root}", "data.size=tiny"),
        *("loader.identities_per_batch=4", "loader.num_workers=0", "input.height=32", "input.width=32"),
        *("trainer.max_epochs=1", "trainer.log_every_n_steps=1", "trainer.check_val_every_n_epoch=1"),
        "hydra.run.dir=run",
    )
    assert finished.returncode == 0, finished.stderr
    with (tmp_path / "run/logs/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for column in ("train/spread", "val/width"):
        logged = [float(row[column]) for row in rows if row[column]]
        assert logged and all(math.isfinite(value) and value > 0 for value in logged)


def test_a_detector_and_a_store_of_ones_own(run_command, own, bundle, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [scene(red=(4 * n, 30)) for n in range(25)])
    common = [*own, "stores=own", "detector=own", "gallery=gallery", f"bundle={bundle}", "hydra.run.dir=run"]
    registered = run_command("register.py", *common, f"source={clip}", "camera=north", "plate_reader=none")
    assert registered.returncode == 0, registered.stderr
    (source,) = json.loads((tmp_path / "run/registered.json").read_text())
    assert len(source["sightings"]) == 1 and not list((tmp_path / "gallery/.index").glob("*.lance"))
    found = run_command("search.py", *common, f"query={clip}")
    assert found.returncode == 0, found.stderr
    matches = json.loads((tmp_path / "run/matches.json").read_text())["matches"]
    assert {match["vehicle"] for match in matches} == {source["sightings"][0]["vehicle"]}
