"""Claim: the default (PK sampling, ID + contrastive + circle, no IBN) is within one standard deviation of the best row.

python benchmarks/ablation.py [sets=[fleet,twocam,types]] [starts=[pretrained,random]] [seeds=[0,1,2]] [rows=[default]]
    [twocam=<folder of the two-camera crops>] [fleet=data/synthetic] [runs=runs/ablation] [output=benchmarks/results]
    [overrides=[...]] [name=ablation] (of the table)
Columns: the drawn fleet, trained without three of its nine cameras (other ones for each seed) and asked on the cameras
trained on and on those never seen; the two-camera crops, another fifth of the vehicles for each seed; and the same
trained on motorcycles and asked for cars, trucks and buses, which is as far as these pictures go from what was trained
on. Every run trains on all pictures that are left and is evaluated once, after its last epoch, so that nothing is
chosen. Runs that are there already are not repeated: this can be stopped and started again.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from omegaconf import OmegaConf

from reid_lightning.atomic import write_atomically

PROJECT = Path(__file__).resolve().parents[1]
ROWS: dict[str, tuple[str, ...]] = {
    "default": (),
    "start from drawn vehicles": ("model.pretrained=drawn",),  # not for the fleet itself
    "id_triplet": ("loss=id_triplet",),
    "IBN-a": ("model.ibn=a",),
    "IBN-a of a quarter": ("model.ibn=a/4",),
    "IBN-b": ("model.ibn=b",),
    "id": ("loss=id",),
    "id_contrastive": ("loss=id_contrastive",),
    "id_circle": ("loss=id_circle",),
    "random batches": ("loader=random",),
}
STARTS: dict[str, tuple[str, ...]] = {
    "pretrained": (),
    "random": ("model=resnet18_ibn_a", "model.ibn=null", "model.pretrained=null", "input.height=64", "input.width=64"),
}
EPOCHS = {"fleet": {"pretrained": 3, "random": 4}, "twocam": {"pretrained": 6, "random": 12}}
EPOCHS["types"] = EPOCHS["twocam"]
NAMES = r"(?P<identity>(?P<type>[a-z]+)_\d+)_cam(?P<camera>\d+)"
PAIRS = ["data.query_cameras=[1]", "data.gallery_cameras=[2]"]
PAIRS += ["loader.identities_per_batch=32", "loader.images_per_identity=2"]  # as in conf/experiment/twocam.yaml
COLUMNS = {"twocam": "two cameras, other vehicles", "types": "two cameras, other types"}
CAMERAS = [f"c{number:03d}" for number in range(1, 10)]


def main() -> None:
    """Train what has not been trained yet and print one table for each start."""
    given = OmegaConf.from_cli()
    runs, output = Path(given.get("runs", "runs/ablation")), Path(given.get("output", "benchmarks/results"))
    rows, seeds = (
        list(given.get("rows", [row for row in ROWS if "drawn" not in row])),
        list(given.get("seeds", [0, 1, 2])),
    )
    sets = list(given.get("sets", list(EPOCHS)))
    overrides = list(given.get("overrides", []))
    roots = {"fleet": given.get("fleet", "data/synthetic"), "twocam": given.get("twocam"), "types": given.get("twocam")}
    if missing := [data for data in sets if roots[data] is None]:
        raise SystemExit(f"twocam=<folder> is missing: the two-camera crops, for sets={missing}")
    for start in given.get("starts", list(STARTS)):
        figures: dict[str, dict[str, list[tuple[float, float]]]] = {row: {} for row in rows}
        for seed in seeds:  # a whole round of all rows first: what is there after a while can be compared
            for data in sets:
                for row in rows:
                    words = (*STARTS[start], *ROWS[row], *overrides)
                    run = runs.resolve() / f"{data}-{start}" / f"{row.replace(' ', '_').replace(',', '')}-{seed}"
                    for column, pair in outcome(run, data, start, seed, words, roots[data]).items():
                        figures[row].setdefault(column, []).append(pair)
        keys = " ".join(overrides) or "no more keys"
        note = f"Mean and standard deviation of {len(seeds)} seeds (mAP / rank-1); {keys}."
        name = f"{given.get('name', 'ablation')}_{start}"
        report(name, [{"row": row, **_cells(figures[row])} for row in rows], output, note=note)


def outcome(
    run: Path, data: str, start: str, seed: int, words: Iterable[str], root: str
) -> dict[str, tuple[float, float]]:
    """(mAP, rank-1) by the column of the table, of the run that lies there or is made now."""
    kept = CAMERAS[seed % 3 :: 3]
    where = [f"data.root={root}"]
    if data == "fleet":
        where += [f"data.test_cameras={_listed(kept)}"]
    else:
        where += PAIRS
        if data == "twocam":
            where += ["data=folder", f"data.pattern={NAMES}", f"data.fold={seed % 5 + 1}/5"]
        else:
            where += ["data=csv", f"data.path={_types_table(Path(root), run.parent)}"]
    if not (run / "metrics.json").exists():
        epochs = EPOCHS[data][start]
        once = [f"trainer.max_epochs={epochs}", f"trainer.check_val_every_n_epoch={epochs}", "data.validation=test"]
        _reid("train", *where, f"seed={seed}", *once, *words, f"hydra.run.dir={run}")
    if data != "fleet":
        return {COLUMNS[data]: _metrics(run)}
    seen = run / "seen"
    if not (seen / "metrics.json").exists():
        others = _listed([camera for camera in CAMERAS if camera not in kept])
        _reid(
            "evaluate",
            f"checkpoint={run / 'bundle'}",
            f"data.root={root}",
            f"data.test_cameras={others}",
            f"hydra.run.dir={seen}",
        )
    return {"fleet, cameras seen": _metrics(seen), "fleet, cameras never seen": _metrics(run)}


def _types_table(root: Path, folder: Path) -> Path:
    """Motorcycles for training, all others for the test."""
    lines = ["path,identity,camera,split"]
    for path in sorted(root.rglob("*.jpg")):
        found = re.search(NAMES, path.name)
        assert found is not None, f"{path}: expected a name such as car_12_cam1.jpg"
        split = "train" if found["type"] == "motorcycle" else "test"
        lines.append(f"{path.relative_to(root).as_posix()},{found['identity']},{found['camera']},{split}")
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / "types.csv", "\n".join(lines) + "\n")


def _reid(command: str, *words: str) -> None:
    subprocess.run([sys.executable, str(PROJECT / f"{command}.py"), *words], check=True, env={**os.environ})


def _listed(cameras: Iterable[str]) -> str:
    return f"[{','.join(cameras)}]"


def _metrics(folder: Path) -> tuple[float, float]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return 100 * metrics["mAP"], 100 * metrics["cmc"]["1"]


def _cells(columns: dict[str, list[tuple[float, float]]]) -> dict[str, str]:
    return {
        column: " / ".join(_spread(values) for values in zip(*pairs, strict=True)) for column, pairs in columns.items()
    }


def _spread(values: tuple[float, ...]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
