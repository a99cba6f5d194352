"""The starter: a bundle without any training, made at first use of ImageNet weights and drawn vehicles."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from reid_lightning.atomic import cache_folder, made_once
from reid_lightning.bundle.bundle import OPTS_NAME, save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE

if TYPE_CHECKING:
    from reid_lightning.data.records import Split

STARTER = "starter"
MEASURED = "measured on real vehicles"
BETTER = (
    "A starter has seen drawn vehicles only. `reid adapt source=<your crops>` moves it to your own crops, without "
    "labels; `reid train data=folder data.root=<your crops>` is better still."
)
_VERSION = 1  # raise it with every change of the embeddings: an old starter is then left alone
_SIZE = 96
_FLEET: Literal["starter", "tiny"] = "starter"
# benchmarks/real_vehicles.py, 507 real vehicles, of which neither the weights nor the drawn ones knew anything.
_FIGURES = "60 of 507 real vehicles, one picture on each of two cameras: rank-1 75.5 %, mAP 83.0 %"
_CALIBRATION = Calibration(
    threshold=0.6035,
    similarity=True,
    false_match_rate=0.001,
    measured_false_match_rate=0.000998,
    true_match_rate=0.3235,
    queries_with_false_match=0.152,
    same_pairs=507,
    different_pairs=507 * 506,
    queries=507,
    gallery=507,
    metric="cosine",
    junk="none",
    protocol=IMAGE_TO_IMAGE,
)
_logger = logging.getLogger(__name__)


def starter_folder() -> Path:
    """Where the starter is kept: in the user's cache."""
    return cache_folder() / f"starter-{_VERSION}"


def starter_bundle(folder: Path | None = None) -> Path:
    """The folder of the starter, which is made there first, in half a minute, if there is none.

    EfficientNet-Lite0 with the ImageNet weights of an installed package and IBN-a, its later stages joined and reduced
    to directions in which drawn vehicles differ more than pictures of one do. Its figures and its threshold were
    measured on real vehicles, by benchmarks/real_vehicles.py.
    Raises ReIDError: the package is not installed, or the folder cannot be written.
    """
    folder = folder or starter_folder()

    def make() -> None:
        _logger.info("making the starter bundle in %s, once; it takes about half a minute", folder)
        make_starter(folder)

    made_once(folder / OPTS_NAME, make, what="the starter")
    return folder


def make_starter(folder: Path) -> Path:
    """Write the starter into `folder`; the same bytes on the same machine."""
    from reid_lightning.models import ReIDModel  # here: timm is needed by whoever makes it alone
    from reid_lightning.models.wheels import MEAN, STD, WHEEL
    from reid_lightning.models.whitening import pooled_features, scatter, start_reduction
    from reid_lightning.synthetic.fleet import read_synthetic

    preprocessing = Preprocessing(_SIZE, _SIZE, mean=MEAN, std=STD)
    model = ReIDModel(
        "tf_efficientnet_lite0",
        ibn="a",
        last_stride=2,
        levels=(4, 5, 6, 7),
        mirror=True,
        embedding_dim=512,
        pretrained=WHEEL,
    ).eval()
    with tempfile.TemporaryDirectory() as drawn:
        fleet = read_synthetic(root=drawn, size=_FLEET)

        def features(images: Split) -> torch.Tensor:
            loaded = (torch.stack([preprocessing.load(image.path) for image in part]) for part in _parts(images))
            return pooled_features(model, (preprocessing.finish(part) for part in loaded))

        start_reduction(model, scatter(features(fleet.train), _numbers(fleet.train)))
    return save_bundle(
        folder,
        model,
        preprocessing,
        metrics={},
        data={
            "training": "none: ImageNet weights, a linear discriminant of drawn vehicles behind them",
            MEASURED: _FIGURES,
            "better": BETTER,
        },
        calibration={f"{_CALIBRATION.protocol}, {_CALIBRATION.metric}": _CALIBRATION.as_dict()},
    )


def _parts(images: Split, size: int = 64) -> Iterator[Split]:
    return (images[start : start + size] for start in range(0, len(images), size))


def _numbers(images: Split) -> torch.Tensor:
    number = {name: position for position, name in enumerate(sorted({image.identity for image in images}))}
    return torch.tensor([number[image.identity] for image in images])
