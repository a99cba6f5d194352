"""Sweeps from their command to their table: other launchers, and a search that prunes."""

import json
import re

import pytest
from omegaconf import OmegaConf

from reid_lightning.sweeps.jobs import selection_mAP


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"]])
def test_jobs_of_other_launchers_fill_the_same_table(run_process, fleet_root, tmp_path, launcher):
    finished = run_process(
        "train.py", "-m", f"data.root={fleet_root}", "data.size=tiny", "trainer=cpu", "trainer.max_epochs=1",
        "loader.identities_per_batch=4,500", "loader.num_workers=0", "input.height=32", "input.width=32",
        "model.embedding_dim=32", "evaluation.pictures=false", "hydra.sweep.dir=sweep",
        f"hydra/launcher={launcher[0]}", *launcher[1:],
    )  # fmt: skip
    assert finished.returncode == 1, finished.stderr
    message = finished.stderr.split("\nerror: ")[1]
    assert "1 of 2 jobs failed" in message
    assert "500 different identities" in message
    assert "Traceback" not in finished.stderr
    table = (tmp_path / "sweep/sweep.md").read_text()
    assert re.search(r"^\| loader.identities_per_batch=500 \|[| ]+0 of 1, 1 failed \|$", table, re.MULTILINE), table
    assert (tmp_path / "sweep/0/bundle/opts.yaml").is_file()


@pytest.mark.slow
def test_a_search_runs_to_its_end_and_prunes(run_process, fleet_root, tmp_path):
    finished = run_process(
        "train.py", "sweep=optuna", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=sweep", f"data.root={fleet_root}",
        "data.size=tiny", "trainer=cpu", "trainer.max_epochs=3", "loader.identities_per_batch=4",
        "loader.num_workers=0", "input.height=32", "input.width=32", "model.embedding_dim=32",
        "evaluation.pictures=false", "callbacks.prune.min_jobs=1", "callbacks.prune.warmup_epochs=0",
        "optimizer.lr=tag(log, interval(1e-7, 1e-2))",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    best = OmegaConf.load(tmp_path / "sweep/optimization_results.yaml")
    scores = [selection_mAP(json.loads(path.read_text())) for path in (tmp_path / "sweep").glob("*/metrics.json")]
    assert len(scores) == 3
    assert best.best_value == pytest.approx(max(scores))
    ended = [json.loads(path.read_text())["status"] for path in (tmp_path / "sweep").glob("*/sweep_job.json")]
    assert set(ended) <= {"completed", "pruned"} and "completed" in ended
