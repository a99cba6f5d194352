"""Drawn traffic: the same vehicles in two clips, before the cameras `north` and then `south`, with plates and truth.

It lets registration and search run and be measured end to end on a machine without any video. Like the drawn fleet it
is a stand-in, not evidence: an empty road, large marks, and plates in one font without the letters that are hard to
tell apart.

A folder holds `north.mp4` and `south.mp4` (H.264; both start at 2026-01-01T08:00:00Z by their `creation_time`),
`ground_truth.json` (see `truth.py`), `traffic.json` (the spec) and `sheet.jpg` (each vehicle before each camera).
"""

from __future__ import annotations

from reid_lightning.synthetic.traffic.draw import draw_traffic
from reid_lightning.synthetic.traffic.network import plan_network
from reid_lightning.synthetic.traffic.plan import (
    PlannedPassage,
    PlannedVehicle,
    TrafficPlan,
    plan_traffic,
    traffic_looks,
)
from reid_lightning.synthetic.traffic.spec import CAMERAS, FOUR_CAMERAS, STARTER_MIN_SCORE, TrafficSpec
from reid_lightning.synthetic.traffic.truth import (
    BoxTruth,
    CameraTruth,
    PassageTruth,
    TrafficTruth,
    VehicleTruth,
    read_truth,
)

__all__ = [
    "CAMERAS", "FOUR_CAMERAS", "STARTER_MIN_SCORE", "BoxTruth", "CameraTruth", "PassageTruth", "PlannedPassage",
    "PlannedVehicle", "TrafficPlan", "TrafficSpec", "TrafficTruth", "VehicleTruth", "draw_traffic", "plan_network",
    "plan_traffic", "read_truth", "traffic_looks",
]  # fmt: skip
