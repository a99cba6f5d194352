"""What a piece of drawn traffic is made of: its counts, its seed and the parameters its cache key hashes.

One frozen record, so that the folder's name says exactly which clips are in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass

from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet.spec import GENERATOR_VERSION

TRAFFIC_VERSION = 1
"""Raise it with every change that alters what is drawn: old caches are then left alone."""
CAMERAS = ("north", "south")
FOUR_CAMERAS = (*CAMERAS, "east", "west")
BEFORE, AFTER = 4.0, 3.0
"""Seconds that a slow vehicle is in the picture before it is at the camera's target, and after it."""
LEAD = 1.0
"""Seconds of empty road at the start, from which a motion detector learns the background."""
SHORTEST_HEADWAY = 1.25
STARTER_MIN_SCORE = 0.35
"""From which score on the starter finds vehicles again, rightly, before the second camera; none has its threshold."""


@dataclass(frozen=True)
class TrafficSpec:
    """Clips of the same vehicles: two, before the cameras `north` and then `south`, or four, of vehicles that enter,
    pass and leave a network of roads at any of the cameras `north`, `south`, `east` and `west` (see `network.py`).

    `seconds` is the length of each clip, `travel` the shortest and longest seconds from camera to camera, of four
    cameras those between the two nearest ones; `width` and `height` are pixels.
    """

    seed: int = 0
    vehicles: int = 8
    seconds: float = 48.0
    frames_per_second: int = 10
    width: int = 960
    height: int = 540
    travel: tuple[float, float] = (8.0, 12.0)
    cameras: int = 2

    def __post_init__(self) -> None:
        """Reject what cannot be drawn.

        Raises:
            ReIDError: the clips are too short for their vehicles, or a number is out of range.
        """
        for name, low, high in (
            ("seed", 0, 2**31),
            ("vehicles", 1, 500),
            ("frames_per_second", 1, 60),
            ("width", 160, 3840),
            ("height", 120, 2160),
        ):
            if not low <= getattr(self, name) <= high:
                raise ReIDError(f"{name} is {getattr(self, name)}; expected {low} to {high}.")
        if self.cameras not in (len(CAMERAS), len(FOUR_CAMERAS)):
            raise ReIDError(f"cameras is {self.cameras}; expected {len(CAMERAS)} or {len(FOUR_CAMERAS)}.")
        if not math.isfinite(self.seconds):
            raise ReIDError(f"seconds is {self.seconds}; expected a finite number.")
        if self.width % 2 or self.height % 2:
            raise ReIDError(f"TrafficSpec has {self.width} x {self.height} pixels; H.264 needs even numbers.")
        if not 0 < self.travel[0] <= self.travel[1]:
            raise ReIDError(f"travel is {self.travel}; expected (shortest, longest) above 0.")
        if self.headway < SHORTEST_HEADWAY:
            needed = self.seconds + (SHORTEST_HEADWAY - self.headway) * self.vehicles
            raise ReIDError(
                f"seconds is {self.seconds:g}, too short for {self.vehicles} vehicles at {self.cameras} cameras; "
                f"expected at least {math.ceil(needed * 10) / 10:.1f}, or fewer vehicles."
            )

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Of the cameras."""
        return FOUR_CAMERAS[: self.cameras]

    @property
    def headway(self) -> float:
        """Mean seconds from vehicle to vehicle at one camera, if all pass it."""
        return (self.seconds - LEAD - BEFORE - AFTER - self.travel[1]) / self.vehicles

    @property
    def frames(self) -> int:
        """Pictures of each clip."""
        return round(self.seconds * self.frames_per_second)

    @property
    def folder_name(self) -> str:
        """`traffic-seed<seed>-<8 hex digits>`; the digits hash every parameter and the generators' versions."""
        versions = {"version": TRAFFIC_VERSION, "fleet": GENERATOR_VERSION}
        own = dataclasses.asdict(self)
        if self.cameras == len(CAMERAS):
            del own["cameras"]  # the folders of before there were four
        parameters = json.dumps({**versions, **own}, sort_keys=True)
        return f"traffic-seed{self.seed}-{hashlib.sha256(parameters.encode()).hexdigest()[:8]}"
