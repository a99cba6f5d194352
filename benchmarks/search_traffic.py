"""Claim: vehicles registered before one camera are found again before the other, in drawn traffic with ground truth.

python benchmarks/search_traffic.py bundle=<bundle> [data_root=data/synthetic] [seeds=[0,1,2]]
    [detector=motion] [min_scores=[0.5,0.6,calibrated]] [output=benchmarks/results] [name=search_traffic]
Registers the clip `north` into a new gallery and searches the clip `south`, with the commands' own defaults.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from traffic_judge import Tally, judge_registration, judge_search, owners

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, VectorStore
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.matching.vehicle_search import VehicleSearch
from reid_lightning.search.records import Match
from reid_lightning.search.registration import Registrar
from reid_lightning.search.settings import threshold_of
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder
from reid_lightning.synthetic.traffic import TrafficSpec, draw_traffic, read_truth


def main() -> None:
    """Register, search at each least score, add up over the seeds, print and write the table."""
    given = OmegaConf.from_cli()
    seeds = list(given.get("seeds", [0, 1, 2]))
    embedder = load_reid_model(given.bundle)
    tallies: dict[str, list[Tally]] = defaultdict(list)
    faults: Counter[str] = Counter()
    for seed in seeds:
        folder = draw_traffic(given.get("data_root", "data/synthetic"), TrafficSpec(seed=seed))
        run(given, folder, embedder, tallies, faults)
    rows = [row(what, summed(found)) for what, found in tallies.items()]
    wrong = ", ".join(f"{count} {name}" for name, count in faults.items())
    model = f"mAP {embedder.options.metrics.get('mAP'):.3f}"
    note = (
        f"Drawn traffic, seeds {', '.join(map(str, seeds))}, 8 vehicles and 480 frames a camera each; detector "
        f"{given.get('detector', 'motion')}. Registered: {wrong}. Precision of the answers given, recall of those "
        f"expected: a vehicle is, in every frame that shows half of it. The bundle: {model}."
    )
    report(given.get("name", "search_traffic"), rows, Path(given.get("output", "benchmarks/results")), note=note)


def run(
    given: DictConfig, folder: Path, embedder: Embedder, tallies: dict[str, list[Tally]], faults: Counter[str]
) -> None:
    """The two clips of one seed."""
    truth = read_truth(folder)
    with tempfile.TemporaryDirectory() as root, initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = [f"detector={given.get('detector', 'motion')}", f"gallery={root}"]
        cfg = compose("register", overrides=[*overrides, "source=x", "camera=north"])
        gallery = Gallery(root)
        store = instantiate(cfg.stores)(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        register(cfg, gallery, store, embedder, folder / "north.mp4")
        sightings = list(gallery.sightings())
        figures = judge_registration(sightings, truth, cameras=["north"])
        tallies["registered: passages"].append(figures.passages)
        tallies["registered: legible plates, exact"].append(figures.plates)
        faults += Counter({"twice": figures.doubles, "no vehicle": figures.false, "names of several": figures.mixed})
        names = owners(sightings, truth)
        cfg = compose("search", overrides=[*overrides, "query=x"])
        for score in given.get("min_scores", [0.5, 0.6, "calibrated"]):
            least = threshold_of(score, embedder)
            matches, decisions = find(cfg, store, embedder, folder / "south.mp4", least)
            found = judge_search(matches, names, truth, camera="south")
            decided = judge_search(of_tracks(decisions, matches), names, truth, camera="south")
            title = f"found again from {least:.2f} on" + (" (calibrated)" if score == "calibrated" else "")
            tallies[f"{title}: single frames"].append(found.frames)
            tallies[f"{title}: tracks, by the sum of their frames"].append(found.tracks)
            tallies[f"{title}: tracks, by mean MCD"].append(decided.tracks)
        store.close()


def summed(tallies: Sequence[Tally]) -> Tally:
    """One for all."""
    return Tally(*(sum(values) for values in zip(*map(astuple, tallies), strict=True)))


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
    decided = {one.track: one for one in decisions if one.rank == 1 and one.accepted}
    return [
        replace(match, vehicle=decided[match.track].vehicle, score=decided[match.track].similarity)
        for match in matches
        if match.track in decided
    ]


def row(what: str, tally: Tally) -> dict[str, str]:
    """A row of the table."""
    return {
        "what": what,
        "precision": f"{100 * tally.precision:.1f} % of {tally.given}",
        "recall": f"{100 * tally.recall:.1f} % of {tally.expected}",
    }


if __name__ == "__main__":
    main()
