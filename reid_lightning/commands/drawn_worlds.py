"""Draw a world to try things with: `reid data fleet [sheet=...]` and `reid data traffic`."""

from pathlib import Path

from omegaconf import DictConfig

from reid_lightning.drawing.tables import say


def fleet(cfg: DictConfig) -> None:
    """Draw a fleet and, if asked, a contact sheet of it."""
    from reid_lightning.synthetic.fleet.draw import draw_fleet
    from reid_lightning.synthetic.fleet.sheet import write_sheet
    from reid_lightning.synthetic.fleet.spec import fleet_spec

    spec = fleet_spec(cfg.size, seed=cfg.seed)
    folder = draw_fleet(cfg.folder, spec, workers=cfg.workers)
    say(f"Fleet: {folder}")
    if cfg.sheet is not None:
        say(f"Sheet: {write_sheet(Path(cfg.sheet), folder, spec)}")


def traffic(cfg: DictConfig) -> None:
    """Draw two clips of the same vehicles with their ground truth."""
    from reid_lightning.synthetic.traffic.draw import draw_traffic
    from reid_lightning.synthetic.traffic.spec import CAMERAS, STARTER_MIN_SCORE, TrafficSpec

    settings = {str(name): value for name, value in cfg.items() if name != "folder"}
    folder = draw_traffic(cfg.folder, TrafficSpec(**settings))
    first, second = CAMERAS
    say(f"Traffic: {folder}")
    say("To try register and search on it (a trained bundle needs no min_score):")
    say(f"  reid register source={folder / first}.mp4 camera={first}")
    say(f"  reid search query={folder / second}.mp4 camera={second} min_score={STARTER_MIN_SCORE}")
