"""The session's fleet, loose and as shards; and a set of six pictures that a test may do anything to."""

from __future__ import annotations

import pytest
from PIL import Image

from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.synthetic.fleet import read_synthetic


@pytest.fixture(scope="session")
def fleet(fleet_root):
    return read_synthetic(root=fleet_root, size="tiny")


@pytest.fixture(scope="session")
def shards(fleet, tmp_path_factory):
    return write_shards(fleet, tmp_path_factory.mktemp("shards") / "fleet", shard_mib=0.1)


@pytest.fixture
def few(tmp_path):
    """Two training vehicles with two pictures each, and two others; the second training picture is a PNG."""
    images = {}
    for number, name in enumerate(("a_0.jpg", "b_0.png", "a_1.jpg", "b.x_1.jpg", "q.jpg", "g.jpg")):
        path = tmp_path / "loose" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8 + number, 8), (40 * number, 90, 9)).save(path)
        images[name] = VehicleImage(path, name[0], f"c{number % 2}")
    rows = list(images.values())
    return VehicleDataset("few", train=tuple(rows[:4]), query=(rows[4],), gallery=(rows[5], rows[4]))
