"""Which file of a detector is known to work, and fetch it: `reid detector list`, `reid detector fetch`."""

from omegaconf import DictConfig

from reid_lightning.drawing.tables import say
from reid_lightning.search.video.detectors.files import KNOWN, fetch, fetched


def list_(cfg: DictConfig) -> None:
    """The files that are known, with address, licence and checksum."""
    for name, known in KNOWN.items():
        say(f"{name}: {known.describe()}; {fetched(known, cfg.folder) or 'not fetched'}")


def fetch_(cfg: DictConfig) -> None:
    """Fetch one, and check it."""
    path = fetch(KNOWN[cfg.name], cfg.folder, address=cfg.address)
    more = "" if cfg.folder is None else f" detector.path={path}"
    say(f"{path} is there and is the file that is known. Use it: detector=yolox{more}")
