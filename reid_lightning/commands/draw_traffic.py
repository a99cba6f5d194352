"""`python -m reid_lightning.commands.draw_traffic`: draw two clips of the same vehicles with their ground truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from reid_lightning.commands.console import ArgumentParser, safe_console
from reid_lightning.errors import ReIDError, one_screen
from reid_lightning.synthetic.traffic.draw import draw_traffic
from reid_lightning.synthetic.traffic.spec import TrafficSpec


def main(arguments: list[str] | None = None) -> int:
    """Draw; returns the exit status: 1, with one line to explain, when the user can mend it; 130 on Ctrl-C."""
    given = TrafficSpec()
    parser = ArgumentParser(prog="python -m reid_lightning.commands.draw_traffic", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path("data/synthetic"), help="where traffic is kept")
    parser.add_argument("--seed", type=int, default=given.seed)
    parser.add_argument("--vehicles", type=int, default=given.vehicles)
    parser.add_argument("--seconds", type=float, default=given.seconds, help="length of each clip")
    parser.add_argument("--frames-per-second", type=int, default=given.frames_per_second)
    parser.add_argument("--width", type=int, default=given.width)
    parser.add_argument("--height", type=int, default=given.height)
    with safe_console():
        return _draw(parser.parse_args(arguments))


def _draw(options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False)
    try:
        values = {name: value for name, value in vars(options).items() if name != "root"}
        folder = draw_traffic(options.root, TrafficSpec(**values))
        console.print(f"Traffic: {folder}", markup=False)
    except (ReIDError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(one_screen(str(error)), markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
