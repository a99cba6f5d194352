"""torchvision's COCO detectors, for the four kinds of vehicles.

Their weights are downloaded by torchvision at the first use, or read from a file.
"""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torchvision.models import detection, get_model, list_models

from reid_lightning.bundle.embedder import usable_device
from reid_lightning.bundle.loading import best_device
from reid_lightning.errors import ReIDError, first_line
from reid_lightning.search.records import Detections
from reid_lightning.search.video.detectors.duplicates import clean
from reid_lightning.untrusted.torch_files import load_torch_file

VEHICLE_LABELS = {3: "car", 4: "motorcycle", 6: "bus", 8: "truck"}
"""COCO's 91 labels, counted from 1 as torchvision does."""

_LABELS = 91


class TorchvisionDetector:
    """Vehicles by one of torchvision's detectors.

    Args:
        model: a name from `torchvision.models.detection`, e.g. "ssdlite320_mobilenet_v3_large" (fast) or
            "fasterrcnn_resnet50_fpn_v2" (better).
        weights: "DEFAULT" (torchvision's COCO weights), a file that holds such a state dict, or None (random).
        min_score: boxes below are dropped.
        overlap: intersection over union from which two boxes are one vehicle, whatever their types.
        device: where it runs ("auto", "cpu", "cuda", "cuda:1", "mps").

    Raises:
        ReIDError: no such model, no such device, no such file, or no network to download from.
    """

    works_on_pictures = True
    knows_vehicles = True
    side_by_side = 1

    def __init__(
        self,
        model: str = "ssdlite320_mobilenet_v3_large",
        weights: str | Path | None = "DEFAULT",
        *,
        min_score: float = 0.4,
        overlap: float = 0.45,
        device: str = "cpu",
    ) -> None:
        if not 0 < min_score < 1 or not 0 < overlap < 1:
            raise ReIDError(f"min_score is {min_score} and overlap {overlap}; expected numbers between 0 and 1.")
        known = [name for name in list_models(module=detection) if not name.startswith("keypoint")]
        if model not in known:
            raise ReIDError(f"detector.model is {model!r}; expected one of {', '.join(known)}.")
        self.name = model
        self.min_score, self.overlap, self.device = min_score, overlap, usable_device(best_device(device))
        self._network = _load(model, weights).to(self.device).eval()

    def start(self) -> None:
        """Nothing is remembered from frame to frame."""

    @torch.inference_mode()
    def detect(self, picture: np.ndarray) -> Detections:
        """See `Detector.detect`."""
        height, width = picture.shape[:2]
        image = torch.tensor(picture, device=self.device).permute(2, 0, 1).float() / 255
        output = self._network([image])[0]
        labels, scores = output["labels"].tolist(), output["scores"].float().cpu().numpy()
        rows = [row for row, label in enumerate(labels) if label in VEHICLE_LABELS and scores[row] >= self.min_score]
        found = Detections(
            output["boxes"].float().cpu().numpy()[rows].reshape(-1, 4),
            scores[rows],
            tuple(VEHICLE_LABELS[labels[row]] for row in rows),
        )
        return clean(found, width, height, overlap=self.overlap)


def _load(model: str, weights: str | Path | None) -> torch.nn.Module:
    if weights == "DEFAULT":
        try:
            trained: torch.nn.Module = get_model(model, weights="DEFAULT")
            return trained
        except (URLError, TimeoutError, ConnectionError) as error:
            raise ReIDError(
                f"The weights of {model} cannot be downloaded here ({error}). Set detector.weights=<file> to a copy of "
                "them, or use a detector that needs no network: detector=yolox with a file, or detector=motion."
            ) from error
    network: torch.nn.Module = get_model(model, weights=None, weights_backbone=None, num_classes=_LABELS)
    if weights is None:
        return network
    path = Path(weights)
    if not path.is_file():
        raise ReIDError(f'detector.weights is {path}, which is no file; expected one, "DEFAULT" or null.')
    try:
        network.load_state_dict(load_torch_file(path))
    except (ReIDError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ReIDError(
            f"detector.weights is {path}, which does not hold the weights of {model}: {first_line(error)}"
        ) from error
    return network
