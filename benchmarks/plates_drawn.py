"""Claim: with a country's forms plates are read as well as without or better, several countries at once too, and
better than by RapidOCR as it comes; and a confidence of 80 % is right in about 80 % of cases.

python benchmarks/plates_drawn.py [vehicles=52] [views=2] [seed=8] [alone=true] [output=benchmarks/results]
Vehicles of `drawn_plates.py`, of the issuers and in the fonts for reporting: what was chosen while looking at drawn
plates (weights, the curve of confidence) was chosen on the others. Every picture is read with plates=<its country>,
with plates=[us,ca,mx] or [eu,gb] where it belongs to them, with plates=any, and by RapidOCR: its surest text. Two
tables: texts read exactly, by country, and for each step of confidence how many texts, and votes over the views, are
right. CPU time on one thread, RapidOCR's with its classifier of angles.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from common import report
from drawn_plates import DrawnVehicle, draw_vehicles
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from plates import Read, rapidocr_alone

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.search.plates import PlatePatterns, PlateReading, vote
from reid_lightning.search.plates.rapidocr import RapidOcrReader

EUROPE = ("fr", "it", "nl", "pl", "se", "be", "cz", "gb")
AMERICA = ("us", "ca", "mx")
STEPS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass
class Tally:
    """Of one way of reading: by group whether each text was right, and CPU seconds."""

    right: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)

    def add(self, vehicle: DrawnVehicle, read: Callable[[np.ndarray], list[PlateReading]]) -> list[PlateReading]:
        """Read the first view."""
        start = time.process_time()
        found = read(vehicle.views[0])
        self.seconds.append(time.process_time() - start)
        right = bool(found) and found[0].text == vehicle.text
        for group in groups_of(vehicle):
            self.right[group].append(right)
        return found

    def row(self, name: str, groups: Sequence[str]) -> dict[str, str]:
        """Exact, in percent."""
        shares = {one: f"{100 * np.mean(self.right[one]):.0f}" if self.right[one] else "-" for one in groups}
        return {"read by": name, **shares, "CPU ms": f"{1000 * np.mean(self.seconds):.0f}"}


def groups_of(vehicle: DrawnVehicle) -> list[str]:
    """Where its row counts."""
    if vehicle.country == "us":
        place = "US, a state's form" if vehicle.fits else "US, chosen by owners"
    else:
        place = "Europe" if vehicle.country in EUROPE else "other countries"
    return ["all", place, *(["US"] if vehicle.country == "us" else [])]


@cache
def patterns_of(countries: str) -> PlatePatterns:
    """As `plates=<countries>` gives them."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("register", overrides=["source=x", "camera=x", f"plates={countries}"])
    return instantiate(cfg.plates)


@cache
def reader_of(countries: str) -> RapidOcrReader:
    """Kept, as its networks take long to load."""
    return RapidOcrReader(patterns_of(countries))


def several(country: str) -> str:
    """The choice of several countries that a country belongs to, or itself."""
    return "[us,ca,mx]" if country in AMERICA else "[eu,gb]" if country in EUROPE else country


def reliability(said: Sequence[tuple[float, bool]], name: str) -> list[dict[str, str]]:
    """Confidence against how many are right, step by step."""
    rows = []
    for low, high in itertools.pairwise(STEPS):
        here = [(sure, right) for sure, right in said if low <= sure < high or sure == high == 1.0]
        if here:
            sure, right = np.mean(here, axis=0)
            step = f"{low:.2f} to {high:.2f}"
            rows.append({"of": name, "confidence": step, "texts": str(len(here)), "mean %": f"{100 * sure:.0f}"})
            rows[-1]["right %"] = f"{100 * right:.0f}"
    return rows


def main() -> None:
    """Draw, read, count."""
    defaults = {"vehicles": 52, "views": 2, "seed": 8, "alone": True, "output": "benchmarks/results"}
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    cv2.setNumThreads(1)
    vehicles = draw_vehicles("reporting", cfg.vehicles, seed=cfg.seed, views=cfg.views)
    names = ("plates=<country>", "plates=[us,ca,mx], [eu,gb]", "plates=any", "RapidOCR")
    tallies = {name: Tally() for name in names}
    alone: Read | None = rapidocr_alone(detect=True) if cfg.alone else None
    texts: list[tuple[float, bool]] = []
    votes: list[tuple[float, bool]] = []
    free: list[tuple[float, bool]] = []
    for vehicle in vehicles:
        own, more = reader_of(vehicle.country), several(vehicle.country)
        found = tallies[names[0]].add(vehicle, own.read)
        frames = [found, *(own.read(view) for view in vehicle.views[1:])]
        texts += [(frame[0].confidence, frame[0].text == vehicle.text) for frame in frames if frame]
        agreed = vote(frames, patterns=own.patterns)
        votes += [] if agreed is None else [(agreed.confidence, agreed.text == vehicle.text)]
        tallies[names[1]].add(vehicle, reader_of(more).read)
        found = tallies[names[2]].add(vehicle, reader_of("any").read)
        free += [(one.confidence, one.text == vehicle.text) for one in found[:1]]
        if alone is not None:
            tallies[names[3]].add(vehicle, alone)
    groups = ["all", "US", "US, a state's form", "US, chosen by owners", "Europe", "other countries"]
    counts = tallies[names[0]].right
    rows = [tally.row(name, groups) for name, tally in tallies.items() if tally.seconds]
    rows.append({"read by": "(vehicles)", **{one: str(len(counts[one])) for one in groups}, "CPU ms": "-"})
    note = f"{cfg.vehicles} drawn vehicles, seed {cfg.seed}, exactly read in percent; one thread."
    report("plates_drawn", rows, Path(cfg.output), note=note)
    rows = [
        *reliability(texts, "plates=<country>, one picture"),
        *reliability(free, "plates=any, one picture"),
        *reliability(votes, f"plates=<country>, vote of {cfg.views}"),
    ]
    report("plates_reliability", rows, Path(cfg.output), note=f"The surest text of a picture. {note}")


if __name__ == "__main__":
    main()
