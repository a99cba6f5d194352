"""What a vehicle model is, and the three kinds of outline: car, box and lorry.

A body is its silhouette from the side with a width at every point; mesh.py lofts it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VehicleModel:
    """One body. The outline is the silhouette from the side, front bumper first.

    `outline` holds (x, z, w): x from 0 at the front to 1 at the rear, z from 0 at the ground to 1 at the roof, and w,
    the width there as a fraction of the full width. `cabins` hold, for each row of side windows, the x at which the
    glass begins and ends at the belt and at the roof: (belt front, roof front, roof rear, belt rear). `belt` is the
    height of the window sill and `axles` the wheels' x, both as fractions; `doors` the x of the door gaps. The fields
    that end the list name stretches of the outline by their first and last point; `load` is None without a bed.
    """

    name: str
    type: str
    length: float
    width: float
    height: float
    clearance: float
    wheel: float
    belt: float
    axles: tuple[float, ...]
    outline: tuple[tuple[float, float, float], ...]
    cabins: tuple[tuple[float, float, float, float], ...]
    doors: tuple[float, ...]
    weight: float
    bonnet: tuple[int, int]
    windscreen: tuple[int, int]
    roof: tuple[int, int]
    rear_window: tuple[int, int]
    boot: tuple[int, int]
    tail: tuple[int, int]
    load: tuple[int, int] | None = None


def car(
    name: str,
    kind: str,
    size: tuple[float, float, float],
    *,
    hood: tuple[float, float],
    cabin: tuple[float, float, float, float],
    deck: tuple[float, float],
    belt: float,
    axles: tuple[float, float] = (0.19, 0.79),
    wheel: float = 0.32,
    clearance: float = 0.2,
    roof: float = 0.74,
    weight: float = 1.0,
) -> VehicleModel:
    """A passenger car: bonnet (nose z, cowl z), cabin (cowl x, roof front x, roof rear x, deck x), deck (z, tail z)."""
    low = clearance / size[2]
    cowl, front, rear, end = cabin
    outline = (
        (0.015, low, 0.84),
        (0.0, hood[0] * 0.62, 0.86),
        (0.012, hood[0] * 0.93, 0.84),
        (0.05, hood[0], 0.84),
        (cowl * 0.55, (hood[0] + hood[1] * 2) / 3, 0.9),
        (cowl, hood[1], 0.86),
        (front, 0.965, roof),
        ((front * 2 + rear) / 3, 1.0, roof),
        ((front + rear * 2) / 3, 0.995, roof),
        (rear, 0.955, roof - 0.01),
        (end, deck[0], 0.84),
        (max(end + 0.01, 0.965), deck[0] - 0.015, 0.84),
        (0.99, deck[1], 0.86),
        (1.0, deck[1] * 0.62, 0.87),
        (0.985, low, 0.84),
    )
    middle = front * 0.42 + rear * 0.58
    glass = (cowl + 0.035, front + 0.015, rear - 0.01, min(end - 0.03, rear + 0.12))
    doors = (cowl + 0.02, middle, min(rear + 0.04, axles[1]))
    parts = ((3, 5), (5, 6), (6, 9), (9, 10), (10, 11), (11, 14))
    return VehicleModel(name, kind, *size, clearance, wheel, belt, axles, outline, (glass,), doors, weight, *parts)


def boxy(
    name: str,
    kind: str,
    size: tuple[float, float, float],
    *,
    nose: tuple[float, float, float],
    front: float,
    belt: float,
    axles: tuple[float, ...],
    wheel: float,
    glass: tuple[float, float],
    doors: tuple[float, ...],
    clearance: float = 0.28,
    weight: float = 1.0,
) -> VehicleModel:
    """A van or bus: short bonnet (nose z, cowl x, cowl z), then a box; `glass` is where the side windows run."""
    low = clearance / size[2]
    nose_z, cowl_x, cowl_z = nose
    outline = (
        (0.01, low, 0.9),
        (0.0, nose_z * 0.6, 0.92),
        (0.008, nose_z, 0.92),
        (cowl_x, cowl_z, 0.92),
        (front, 0.965, 0.86),
        (front + 0.05, 1.0, 0.84),
        (0.5, 1.0, 0.84),
        (0.95, 1.0, 0.84),
        (0.975, 0.965, 0.86),
        (0.99, belt, 0.92),
        (1.0, belt * 0.6, 0.92),
        (0.992, low, 0.9),
    )
    cabin = (max(glass[0], cowl_x + 0.02), max(glass[0], front + 0.01), glass[1], glass[1])
    parts = ((2, 3), (3, 4), (4, 8), (8, 9), (9, 10), (9, 11))
    return VehicleModel(name, kind, *size, clearance, wheel, belt, axles, outline, (cabin,), doors, weight, *parts)


def lorry(
    name: str,
    kind: str,
    size: tuple[float, float, float],
    *,
    cab: tuple[float, float, float],
    bed: tuple[float, float, float],
    belt: float,
    axles: tuple[float, ...],
    wheel: float,
    bonnet: float = 0.0,
    clearance: float = 0.35,
    weight: float = 1.0,
) -> VehicleModel:
    """Cab (front x at the roof, rear x, roof z) and bed (front x, floor z behind the cab, top z of the load space)."""
    low = clearance / size[2]
    front, back, roof = cab
    start, floor, top = bed
    cowl = max(0.02, bonnet)
    outline = (
        (0.008, low, 0.9),
        (0.0, belt * 0.62, 0.92),
        (0.008 if bonnet == 0 else 0.03, belt * 0.92, 0.9),
        (cowl, belt, 0.9),
        (front, roof * 0.965, 0.82),
        (front + 0.03, roof, 0.8),
        (back - 0.02, roof, 0.8),
        (back, roof * 0.95, 0.82),
        (back + 0.008, floor, 0.9),
        (start - 0.006, floor, 0.9),
        (start, top * 0.985, 0.97),
        (start + 0.012, top, 0.97),
        (0.6, top, 0.97),
        (0.985, top, 0.97),
        (0.997, top * 0.985, 0.97),
        (1.0, floor, 0.95),
        (0.995, low, 0.9),
    )
    cabin = (cowl + 0.012, front + 0.008, back - 0.02, back - 0.012)
    doors = (cowl + 0.01, back - 0.005)
    parts = ((2, 3), (3, 4), (4, 7), (7, 8), (14, 15), (14, 16), (10, 14))
    return VehicleModel(name, kind, *size, clearance, wheel, belt, axles, outline, (cabin,), doors, weight, *parts)
