"""The drawn fleet: a vehicle re-identification data set made of rendered pictures, in VeRi-776's own layout.

It lets every part of the product run, train and be compared on a machine without a data set: many identities share
body and paint and differ in marks only, and every camera has its own light and faults. It is a stand-in, not evidence:
marks are larger and shapes simpler than in life, so a score on it says that the code learns, never how well a model
will do on a real road, and weights trained on it are not worth deploying.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from reid_lightning.data.records import VehicleDataset
from reid_lightning.synthetic.fleet.draw import draw_fleet
from reid_lightning.synthetic.fleet.plan import FleetPlan, PlannedTrack, plan_fleet
from reid_lightning.synthetic.fleet.spec import FleetSpec, fleet_spec

__all__ = ["FleetPlan", "FleetSpec", "PlannedTrack", "draw_fleet", "fleet_spec", "plan_fleet", "read_synthetic"]


def read_synthetic(
    *,
    root: Path | str,
    size: Literal["tiny", "starter", "small", "veri"] = "small",
    seed: int = 0,
    workers: int | None = None,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Draw a fleet, unless `root` holds it already, and read it.

    Args:
        root: where fleets are kept, one folder for each size and seed.
        size: "tiny" (158 pictures, for tests), "starter" (542, for the starter bundle), "small" (4,080) or "veri"
            (49,357, VeRi-776's own counts).
        seed: another seed is another fleet; the same one gives the same bytes.
        workers: processes to draw with; by default one per core.
        on_bad_image: what to do about unreadable pictures, see `reid_lightning.data.images.reading.check_images`.

    Raises:
        ReIDError: unknown size, or the folder cannot be written or read.
    """
    from reid_lightning.data.readers.veri import read_veri

    folder = draw_fleet(root, fleet_spec(size, seed=seed), workers=workers)
    dataset = read_veri(root=folder, on_bad_image=on_bad_image)
    return dataclasses.replace(dataset, name=f"drawn fleet ({size}, seed {seed})", drawn=True)
