"""What a data set holds: `reid data report data=veri776 data.root=/data/VeRi`."""

import logging

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from reid_lightning.data.images import reading
from reid_lightning.data.inspection.report import render_report, report_on
from reid_lightning.data.records import VehicleDataset


def report(cfg: DictConfig) -> None:
    """Read the data set that the configuration names and show what it holds; of a joined one, each set's."""
    logger = logging.getLogger(reading.__name__)
    logger.setLevel(logging.ERROR)  # what reading would warn of, the report shows
    try:
        dataset = _read(cfg, on_bad_image="skip")
    finally:
        logger.setLevel(logging.NOTSET)
    for part in dataset.parts or (dataset,):
        found = report_on(lambda on_bad_image, part=part: part)
        Console().print(render_report(found), soft_wrap=True)  # paths in one piece


def _read(cfg: DictConfig, *, on_bad_image: str) -> VehicleDataset:
    if "sets" not in cfg.data:
        return instantiate(cfg.data, on_bad_image=on_bad_image)
    for reader in cfg.data.sets.values():
        reader.on_bad_image = on_bad_image
    return instantiate(cfg.data)
