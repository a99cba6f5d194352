"""The Search page without a browser: a model that nobody trained, a gallery of drawn cars, and its buttons pressed."""

import io
from pathlib import Path

import torch
from PIL import Image
from toy_calibration import calibration
from toy_clips import scene

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.records import Crop, Sighting

PROJECT = Path(__file__).parents[2]
HOSTILE = "**[x](javascript:1)** <img src=x onerror=alert(1)>"
CALIBRATION = calibration(0.83, (0, 0, 100, 300), (1500, 480, 0, 20)).as_dict()


def make_bundle(folder, *, seed=0, calibration=None):
    torch.manual_seed(seed)
    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
    calibrations = {} if calibration is None else {"image to image, cosine": calibration}
    return save_bundle(folder, model, Preprocessing(32, 32), metrics={}, data={}, calibration=calibrations)


def crop_of(**vehicles):
    return scene(**vehicles)[30:70, 40:100]


RED, BLUE = crop_of(red=(40, 30)), crop_of(blue=(40, 30))
RED_AND_BLUE = {"RED 1": (RED, "north", 1767254400.0), "BLUE 2": (BLUE, "south", 1767340800.0)}
"""Two vehicles for `make_gallery`."""


def make_gallery(folder, bundle, vehicles=RED_AND_BLUE, *, confirmed=True):
    """name -> (picture, camera, time)."""
    gallery, embedder = Gallery(folder), load_reid_model(bundle)
    for number, (name, (picture, camera, time)) in enumerate(vehicles.items()):
        crop = Crop("", frame=0, seconds=0.0, box=(0.0, 0.0, 1.0, 1.0), score=1.0, quality=1.0)
        more = {"source": "s", "source_name": "clip", "track": 1, "type": "car", "detector": "motion", "start": time}
        more["confirmed"] = confirmed
        gallery.add(Sighting(f"id-{number}", name, camera, crops=(crop,), **more), [picture])
    store = open_store(folder / ".index", fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
    GalleryIndex(gallery, store, lambda pictures: embedder.embed(pictures).numpy()).sync()
    return gallery


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def press_search(at):
    at.button(key="search_start").click().run()
    assert not at.exception
    return at


def until_ended(at):
    assert at.session_state["search_job"].wait(60)
    at.run()
    assert not at.exception
    return at


def said(at):
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "subheader")
    return "\n".join(element.value for kind in kinds for element in getattr(at, kind))


def downloads(at):
    return [button.label for button in at.main.download_button]


def left_over(at):
    """Files that this tab has on the server."""
    if "uploads" not in at.session_state:
        return []
    return [path for path in at.session_state["uploads"].folder.rglob("*") if path.is_file()]
