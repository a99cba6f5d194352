"""`python -m reid_lightning.commands.draw_fleet`: draw a fleet and, if asked, a contact sheet of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from reid_lightning.commands.console import ArgumentParser, safe_console
from reid_lightning.errors import ReIDError, one_screen
from reid_lightning.synthetic.fleet.draw import draw_fleet
from reid_lightning.synthetic.fleet.sheet import write_sheet
from reid_lightning.synthetic.fleet.spec import fleet_spec


def main(arguments: list[str] | None = None) -> int:
    """Draw; returns the exit status: 1, with one line to explain, when the user can mend it; 130 on Ctrl-C."""
    parser = ArgumentParser(prog="python -m reid_lightning.commands.draw_fleet", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path("data/synthetic"), help="where fleets are kept")
    parser.add_argument("--size", default="small", help="tiny, small (default) or veri")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None, help="processes; by default one per core")
    parser.add_argument("--sheet", type=Path, default=None, help="write a contact sheet of the test identities here")
    with safe_console():
        return _draw(parser.parse_args(arguments))


def _draw(options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False)
    try:
        spec = fleet_spec(options.size, seed=options.seed)
        folder = draw_fleet(options.root, spec, workers=options.workers)
        console.print(f"Fleet: {folder}", markup=False)
        if options.sheet is not None:
            console.print(f"Sheet: {write_sheet(options.sheet, folder, spec)}", markup=False)
    except (ReIDError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(one_screen(str(error)), markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
