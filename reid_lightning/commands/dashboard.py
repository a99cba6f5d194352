"""Lay out a dashboard over the runs of a sweep: `reid dashboard folder=runs/multirun/<sweep>`."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.figures import save_figure
from reid_lightning.drawing.tables import print_written
from reid_lightning.errors import ReIDError, printable
from reid_lightning.sweeps.dashboard import plot_dashboard, workspace
from reid_lightning.sweeps.results import read_sweep
from reid_lightning.training.loggers import publish


def dashboard(cfg: DictConfig) -> None:
    """Write `dashboard.json` and `dashboard.png` into the sweep's folder, and publish the first with a W&B key."""
    folder = Path(cfg.folder).absolute()
    jobs = read_sweep(folder)
    if not jobs:
        raise ReIDError(f"folder={cfg.folder} holds no jobs of a sweep; expected such as runs/multirun/<sweep>.")
    group = cfg.group or folder.name
    space = workspace(group=group, project=cfg.project, entity=cfg.entity or "", runs=len(jobs))
    sent = space._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)  # in public it shows nothing
    spec = write_atomically(folder / "dashboard.json", sent)
    drawn = save_figure(plot_dashboard(jobs, folder, title=f"Sweep {group}"), folder / "dashboard.png")
    console = Console(soft_wrap=True, highlight=False)
    print_written(console, [spec, drawn])
    console.print(printable(publish(space)), markup=False)  # an address whose query is no secret
