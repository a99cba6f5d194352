"""See what augmentation does: `reid data augmentation_sheet [transforms=strong] [data=...]`."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from reid_lightning.atomic import check_writable, save_picture
from reid_lightning.commands.entry_point import build, read_dataset
from reid_lightning.data.inspection.sheet import augmented_columns, check_request, describe, draw_sheet, spread
from reid_lightning.errors import count


def augmentation_sheet(cfg: DictConfig) -> None:
    """Draw the sheet for the training pictures and the transforms that the configuration names."""
    output = Path(cfg.output)
    check_request(output, pictures=cfg.pictures, draws=cfg.draws)
    output.parent.mkdir(parents=True, exist_ok=True)
    check_writable(output.parent)
    preprocessing = instantiate(cfg.input).for_training()
    transform = build(cfg, "transforms")(preprocessing)
    paths = spread(read_dataset(cfg).train, cfg.pictures)
    console = Console(stderr=True)
    columns = augmented_columns(
        paths,
        transform,
        draws=cfg.draws,
        seed=cfg.seed,
        track=lambda draws: track(draws, "drawing", console=console, transient=True),
    )
    choice = HydraConfig.get().runtime.choices["transforms"]
    title = f"transforms={choice}, {preprocessing.height} x {preprocessing.width} pixels; the plain picture first"
    save_picture(draw_sheet(columns, title=title, lines=describe(transform)), output)
    Console().print(f"{count(len(paths), 'picture')}, {count(cfg.draws, 'draw')} each: {output}", soft_wrap=True)
