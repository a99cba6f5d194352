"""Claim: tracks of labelled data sets are joined to vehicles better than by greedy nearest neighbours, DBSCAN and
agglomerative clustering, each at its best setting on other vehicles of the same cameras.

python benchmarks/linking_datasets.py bundle=<folder> veri=<folder in VeRi-776's layout> [market=<Market-1501's layout>]
    [output=benchmarks/results] [name=linking_datasets]
Tracks are those of query and gallery, by `test_track.txt` in VeRi's layout and one for each identity and camera in
Market-1501's; of each its first 16 pictures. Without `market`, the test pictures of `veri` are read once more under
names of Market-1501's layout. The rivals' settings are chosen on half of the vehicles, and everybody is judged on the
other half. Neither plates nor times are known.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from linking import rivals, row
from omegaconf import OmegaConf

from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.readers.veri import read_veri
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.evaluation.embedding import embed_pictures
from reid_lightning.evaluation.identity_measures import identity_measures
from reid_lightning.ranking.tracks import track_distances
from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.linking.thresholds import threshold_for_links
from reid_lightning.search.linking.tracks import link_tracks

MOST = 16
DISTRACTORS = "0000"


def tracks_of(images: list[VehicleImage]) -> dict[str, list[VehicleImage]]:
    """By name."""
    tracks: dict[str, list[VehicleImage]] = {}
    for image in images:
        if image.identity != DISTRACTORS:
            tracks.setdefault(image.track or f"{image.identity}_{image.camera}", []).append(image)
    return {name: some[:MOST] for name, some in sorted(tracks.items())}


def judged(name: str, dataset: VehicleDataset, embedder: Embedder, threshold: float) -> list[dict[str, str]]:
    """The rows of a data set."""
    tracks = tracks_of([*dataset.query, *dataset.gallery])
    pictures = [image for some in tracks.values() for image in some]
    rows = embed_pictures(embedder, tuple(pictures), title=f"embedding {name}").numpy()
    ends = np.cumsum([len(some) for some in tracks.values()])
    vectors = dict(zip(tracks, np.split(rows, ends[:-1]), strict=True))
    identities = sorted({some[0].identity for some in tracks.values()})
    halves = [set(identities[0::2]), set(identities[1::2])]
    found = []
    for half in halves:
        names = [track for track, some in tracks.items() if some[0].identity in half]
        tensors = [torch.from_numpy(vectors[track]) for track in names]
        distances = track_distances(tensors, tensors, metric="mcd", aggregation="mean50").numpy().astype(np.float64)
        distances = np.clip((distances + distances.T) / 2, 0, None)
        np.fill_diagonal(distances, 0)
        found.append((names, [tracks[track][0].identity for track in names], distances))
    (_, truth_there, distances_there), (names, truth, distances) = found
    lines = []
    for rival, settings in rivals().items():
        best = max(settings, key=lambda way: identity_measures(way(distances_there), truth_there).idf1)
        lines.append(row(f"{name}: {rival}", [identity_measures(best(distances), truth)]))
    cameras = {track: str(tracks[track][0].camera) for track in names}
    ours = link_tracks({track: vectors[track] for track in names}, cameras, threshold=threshold)
    lines.append(row(f"{name}: reid link", [identity_measures([ours[track] for track in names], truth)]))
    return lines


def as_market(dataset: VehicleDataset, root: Path) -> Path:
    """The test pictures under Market-1501's names."""
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
    for number, (folder, image) in enumerate(
        [("query", one) for one in dataset.query]
        + [("bounding_box_test", one) for one in dataset.gallery]
        + [("bounding_box_train", dataset.train[0])]
    ):
        camera = int(str(image.camera).lstrip("c"))
        os.symlink(image.path, root / folder / f"{image.identity}_c{camera}s1_{number:06d}_01.jpg")
    return root


def main() -> None:
    """Both layouts, and a table."""
    given = OmegaConf.from_cli()
    embedder = load_reid_model(Path(given.bundle))
    threshold = threshold_for_links(embedder.calibration)
    veri = read_veri(root=Path(given.veri).resolve())
    rows = judged("VeRi-776's layout", veri, embedder, threshold)
    with tempfile.TemporaryDirectory() as folder:
        market = Path(given.market) if "market" in given else as_market(veri, Path(folder) / "market")
        rows += judged("Market-1501's layout", read_market1501(root=market), embedder, threshold)
    note = f"Percent; {Path(given.veri).name}; from {threshold:.2f} on, half of the vehicles, no plates, no times."
    report(given.get("name", "linking_datasets"), rows, Path(given.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
