"""Claim: sightings of four cameras are joined to vehicles better than by greedy nearest neighbours, DBSCAN and
agglomerative clustering of the same embeddings, each at its best setting.

python benchmarks/linking.py bundle=<folder> traffic=[<drawn folder>, ...] choose_on=[<drawn folder>, ...]
    galleries=<folder> [detector=<yolox_nano.onnx>] [output=benchmarks/results] [name=linking]
`reid data traffic cameras=4 vehicles=200 seconds=1000 seed=0` draws a folder. Each is registered into
`galleries/<its name>` once: plates are read at the camera north alone, vehicles found by the motion detector, or by
YOLOX in every second frame if its file is named: at so many vehicles motion joins neighbours to one. The rivals'
settings are those with the greatest IDF1 on the folders of `choose_on`, on which our own constants were chosen; what is
shown is of the folders of `traffic`. Judged are sightings: one that shows no vehicle is found and never right, and a
passage without any sighting is missed (see `IdentityMeasures`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from omegaconf import OmegaConf
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from traffic_judge import match_sightings

from reid_lightning.evaluation.identity_measures import IdentityMeasures, identity_measures
from reid_lightning.ranking.tracks import track_distances
from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.gallery import Gallery, open_store
from reid_lightning.search.linking.linker import link
from reid_lightning.search.linking.problem import LinkOptions
from reid_lightning.search.linking.thresholds import threshold_for_links
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.synthetic.traffic import read_truth

STEPS = np.linspace(0.05, 0.9, 35)
SURE = 0.98
"""Pairwise precision at which recall is reported."""
THRESHOLDS = np.round(np.arange(0.50, 0.96, 0.01), 2)


@dataclass(frozen=True)
class Traffic:
    """What was registered of a drawn folder: sightings in the order of time with their true vehicles (None: none), how
    many passages have no sighting, and the distances of all pairs."""

    name: str
    folder: Path
    gallery: Gallery
    ids: tuple[str, ...]
    truth: tuple[str | None, ...]
    missed: int
    distances: np.ndarray

    def judge(self, found: Sequence[object]) -> IdentityMeasures:
        """Of a vehicle for each sighting."""
        return identity_measures(list(found), self.truth, missed=self.missed)


def registered(folder: Path, galleries: Path, bundle: Path, embedder: Embedder, detector: str | None = None) -> Traffic:
    """Register a folder of drawn traffic, unless it was done before."""
    how = [] if detector is None else ["detector=yolox", f"detector.path={detector}", "detector.threads=1", "every=2"]
    truth, root = read_truth(folder), galleries / folder.name
    for camera in truth.cameras:
        reader = "rapidocr" if camera.camera == "north" else "none"
        run_dir = galleries / f"{folder.name}-{camera.camera}"
        if not run_dir.exists():
            what = f"source={folder / camera.video} camera={camera.camera} gallery={root} bundle={bundle}"
            words = [*what.split(), *how, f"plate_reader={reader}", "plates=gb", f"hydra.run.dir={run_dir}"]
            subprocess.run([sys.executable, "-m", "reid_lightning.commands", "register", *words], check=True)
    gallery = Gallery(root)
    sightings = sorted(gallery.sightings(), key=lambda one: (one.start or 0.0, one.id))
    shown = match_sightings(sightings, truth)
    passed = {
        (vehicle.vehicle, passage.camera, passage.first_frame)
        for vehicle in truth.vehicles
        for passage in vehicle.passages
    }
    seen = {
        (vehicle.vehicle, passage.camera, passage.first_frame)
        for one in sightings
        for vehicle in truth.vehicles
        if vehicle.vehicle == shown[one.id]
        for passage in vehicle.passages
        if passage.camera == one.camera
        and any(passage.first_frame <= crop.frame <= passage.last_frame for crop in one.crops)
    }
    store = open_store(str(root / ".index"), name="vehicles")
    of_sighting: dict[str, list[np.ndarray]] = {}
    for records, vectors in store.scan():
        for record, vector in zip(records, vectors, strict=True):
            of_sighting.setdefault(record.sighting, []).append(vector)
    store.close()
    tracks = [torch.from_numpy(np.stack(of_sighting[one.id])) for one in sightings]
    distances = track_distances(tracks, tracks, metric="mcd", aggregation="mean50").numpy()
    distances = np.clip((distances + distances.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return Traffic(
        folder.name,
        folder,
        gallery,
        tuple(one.id for one in sightings),
        tuple(shown[one.id] for one in sightings),
        len(passed - seen),
        distances.astype(np.float64),
    )


def greedy(distances: np.ndarray, least: float) -> list[int]:
    """Each sighting, in the order of time, joins the nearest earlier one that is near enough."""
    found = list(range(len(distances)))
    for row in range(1, len(distances)):
        nearest = int(distances[row, :row].argmin())
        if distances[row, nearest] < least:
            found[row] = found[nearest]
    return found


def dbscan(distances: np.ndarray, least: float, neighbours: int) -> list[int]:
    """Ester et al., KDD 1996; what belongs to nothing is a vehicle of its own."""
    found = DBSCAN(eps=least, min_samples=neighbours, metric="precomputed").fit_predict(distances)
    return [int(label) if label >= 0 else -2 - row for row, label in enumerate(found)]


def agglomerative(distances: np.ndarray, least: float, linkage: str) -> list[int]:
    """Average or complete linkage."""
    ways = AgglomerativeClustering(None, metric="precomputed", linkage=linkage, distance_threshold=least)
    return ways.fit_predict(distances).tolist()


Rival = Callable[[np.ndarray], list[int]]


def rivals() -> dict[str, list[Rival]]:
    """Every setting of each."""
    return {
        "greedy nearest neighbour": [lambda d, t=t: greedy(d, t) for t in STEPS],
        "DBSCAN": [lambda d, t=t, n=n: dbscan(d, t, n) for t in STEPS for n in (1, 2, 3)],
        "agglomerative, average": [lambda d, t=t: agglomerative(d, t, "average") for t in STEPS],
        "agglomerative, complete": [lambda d, t=t: agglomerative(d, t, "complete") for t in STEPS],
    }


def ours(traffic: Traffic, threshold: float, *, plates: bool, times: bool) -> list[str]:
    """The vehicle of each sighting by `reid link`."""
    table = TravelTimes.read(traffic.folder / "travel_times.csv") if times else None
    store = open_store(str(traffic.gallery.root / ".index"), name="vehicles")
    options = LinkOptions(threshold, travel_times=table, use_plates=plates)
    of_sighting = link(traffic.gallery, store, options).links.of_sighting
    store.close()
    return [of_sighting[one].name for one in traffic.ids]


def row(name: str, judged: Sequence[IdentityMeasures], setting: str = "") -> dict[str, str]:
    """A row of the table: means over the folders."""

    def mean(field: str) -> str:
        return f"{100 * np.mean([getattr(one, field) for one in judged]):.1f}"

    return {
        "joined by": name,
        "IDF1": mean("idf1"),
        "IDP": mean("idp"),
        "IDR": mean("idr"),
        "pairs: precision": mean("pairwise_precision"),
        "recall": mean("pairwise_recall"),
        "B-cubed: precision": mean("bcubed_precision"),
        "recall ": mean("bcubed_recall"),
        "vehicles": " + ".join(str(one.found_vehicles) for one in judged),
    }


def sure_row(name: str, shown: Sequence[Traffic], chosen: Sequence[Traffic], **options: bool) -> dict[str, str]:
    """At the least threshold at which pairwise precision is SURE on the folders to choose on."""
    where = "there" if shown is chosen else "where it was chosen"
    for threshold in THRESHOLDS:
        found = [one.judge(ours(one, float(threshold), **options)) for one in chosen]
        if np.mean([one.pairwise_precision for one in found]) >= SURE:
            break
    name = f"{name}, from {threshold:.2f} on: precision of {SURE:.2f} {where}"
    return row(name, [one.judge(ours(one, float(threshold), **options)) for one in shown])


def main() -> None:
    """Register, choose, judge, write."""
    given = OmegaConf.from_cli()
    bundle, galleries = Path(given.bundle), Path(given.galleries)
    embedder = load_reid_model(bundle)
    shown, chosen = (
        [registered(Path(folder), galleries, bundle, embedder, given.get("detector")) for folder in folders]
        for folders in (given.traffic, given.choose_on)
    )
    rows = []
    for name, settings in rivals().items():
        best = max(settings, key=lambda way: np.mean([one.judge(way(one.distances)).idf1 for one in chosen]))
        rows.append(row(name, [one.judge(best(one.distances)) for one in shown]))
    threshold = threshold_for_links(embedder.calibration)
    for plates, times in ((False, False), (False, True), (True, False), (True, True)):
        name = f"reid link{', travel times' if times else ''}{', plates at one camera' if plates else ''}"
        options = {"plates": plates, "times": times}
        rows.append(row(name, [one.judge(ours(one, threshold, **options)) for one in shown]))
    for plates, times in ((False, False), (True, True)):
        name = f"reid link{', travel times' if times else ''}{', plates at one camera' if plates else ''}"
        rows += [sure_row(name, shown, others, plates=plates, times=times) for others in (shown, chosen)]
    truths = ", ".join(
        f"{one.name}: {len(one.ids)} sightings of {len(set(one.truth) - {None})} vehicles, "
        f"{sum(name is None for name in one.truth)} of none, {one.missed} passages without one"
        for one in shown
    )
    note = (
        f"Percent. {truths}. The bundle: mAP {embedder.options.metrics.get('mAP'):.3f}; links as by "
        f"`min_score=auto` (from {threshold:.2f} on) unless another is named. Settings chosen on "
        f"{', '.join(one.name for one in chosen)}."
    )
    report(given.get("name", "linking"), rows, Path(given.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
