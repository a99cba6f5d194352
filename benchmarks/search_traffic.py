"""Claim: vehicles registered before one camera are found again before the other, in drawn traffic with ground truth.

python benchmarks/search_traffic.py bundle=<bundle> [data_root=data/synthetic] [seed=0] [detector=motion]
    [min_scores=[0.6,calibrated]] [output=benchmarks/results] [name=search_traffic]
Registers the clip `north` into a new gallery and searches the clip `south`, with the commands' own defaults.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from traffic_judge import RegistrationFigures, Tally, judge_registration, judge_search, owners

from reid_lightning.cli import CONFIG_DIR
from reid_lightning.data.synthetic.traffic import TrafficSpec, draw_traffic, read_truth
from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, VectorStore
from reid_lightning.search.opening import threshold_of
from reid_lightning.search.records import Match
from reid_lightning.search.registration import Registrar
from reid_lightning.search.sources import open_source
from reid_lightning.search.track_decisions import TrackDecision
from reid_lightning.search.vehicle_finder import VehicleFinder
from reid_lightning.search.vehicle_search import SearchOptions, VehicleSearch


def main() -> None:
    """Register, search at each least score, print and write the table."""
    given = OmegaConf.from_cli()
    folder = draw_traffic(given.get("data_root", "data/synthetic"), TrafficSpec(seed=given.get("seed", 0)))
    truth = read_truth(folder)
    embedder = load_reid_model(given.bundle)
    detector = given.get("detector", "motion")
    with tempfile.TemporaryDirectory() as root, initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = [f"detector={detector}", f"gallery={root}"]
        cfg = compose("register", overrides=[*overrides, "source=x", "camera=north"])
        gallery = Gallery(root)
        store = instantiate(cfg.vectors)(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        register(cfg, gallery, store, embedder, folder / "north.mp4")
        sightings = list(gallery.sightings())
        rows = registration_rows(judge_registration(sightings, truth, cameras=["north"]))
        names = owners(sightings, truth)
        cfg = compose("search", overrides=[*overrides, "query=x"])
        for score in given.get("min_scores", [0.6, "calibrated"]):
            least = threshold_of(score, embedder)
            matches, decisions = find(cfg, store, embedder, folder / "south.mp4", least)
            figures = judge_search(matches, names, truth, camera="south")
            tracks = judge_search(of_tracks(decisions, matches), names, truth, camera="south").tracks
            title = f"found again from {least:.2f} on" + (" (calibrated)" if score == "calibrated" else "")
            rows += [
                row(f"{title}: single frames", figures.frames),
                row(f"{title}: tracks, by the sum of their frames", figures.tracks),
                row(f"{title}: tracks, by mean MCD", tracks),
            ]
        store.close()
    spec = f"{len(truth.vehicles)} vehicles, {truth.cameras[0].frames} frames a camera, seed {given.get('seed', 0)}"
    note = f"Drawn traffic ({spec}); detector {detector}; the bundle's own mAP: {embedder.options.metrics.get('mAP')}."
    report(given.get("name", "search_traffic"), rows, Path(given.get("output", "benchmarks/results")), note=note)


def register(cfg: DictConfig, gallery: Gallery, store: VectorStore, embedder: Embedder, clip: Path) -> None:
    """As register.py does, with its own settings."""
    index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
    keys = ("min_plate_confidence", "crops", "min_frames", "min_side", "min_quality")
    finder = VehicleFinder(
        instantiate(cfg.detector),
        instantiate(cfg.plate_reader),
        build_tracker=instantiate(cfg.tracker),
        **{key: cfg[key] for key in keys},
    )
    with open_source(clip) as source:
        for _ in Registrar(gallery, finder, index=index).register(source, camera=cfg.camera):
            pass


def find(
    cfg: DictConfig, store: VectorStore, embedder: Embedder, clip: Path, least: float
) -> tuple[list[Match], list[TrackDecision]]:
    """As search.py does, with its own settings."""
    options = SearchOptions(min_score=least, top_k=cfg.top_k, min_quality=cfg.min_quality)
    build_tracker, detector = instantiate(cfg.tracker), instantiate(cfg.detector)
    search = VehicleSearch(store, embedder, detector=detector, build_tracker=build_tracker, options=options)
    with open_source(clip) as source:
        matches = [match for frame in search.run(source) for match in frame.matches]
    return matches, search.decisions()


def of_tracks(decisions: Sequence[TrackDecision], matches: Sequence[Match]) -> list[Match]:
    """The places of the matches, with what was decided about their tracks instead."""
    decided = {one.track: one for one in decisions if one.place == 1 and one.accepted}
    return [
        replace(match, vehicle=decided[match.track].vehicle, score=decided[match.track].similarity)
        for match in matches
        if match.track in decided
    ]


def registration_rows(figures: RegistrationFigures) -> list[dict[str, str]]:
    """Passages and plates as rows of the table."""
    more = (
        f"{figures.doubles} twice, {figures.false} no vehicle, {figures.mixed} names of several, {figures.split} split"
    )
    return [
        row("registered: passages", figures.passages, more),
        row("registered: legible plates, exact", figures.plates),
    ]


def row(what: str, tally: Tally, note: str = "") -> dict[str, str]:
    """A row of the table."""
    return {
        "what": what,
        "precision": f"{100 * tally.precision:.1f} % of {tally.given}",
        "recall": f"{100 * tally.recall:.1f} % of {tally.expected}",
        "of these": note,
    }


if __name__ == "__main__":
    main()
