"""`python -m reid_lightning.commands.detector`: which file of a detector is known to work, and fetch it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from reid_lightning.commands.console import ArgumentParser, safe_console
from reid_lightning.errors import ReIDError, one_screen, printable
from reid_lightning.search.video.detectors.files import KNOWN, default_folder, fetch, fetched


def main(arguments: list[str] | None = None) -> int:
    """Fetch a file, or list those that are known; returns the exit status: 1, with a line to explain, on a mistake."""
    with safe_console():
        return _run(_parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        if options.command == "fetch":
            path = fetch(KNOWN[options.detector], options.folder, address=options.address)
            console.print(printable(f"{path} is there and is the file that is known. Use it: detector=yolox"))
            if options.folder is not None:
                console.print(printable(f"detector.path={path}"))
        else:
            for name, known in KNOWN.items():
                there = fetched(known, options.folder)
                console.print(printable(f"{name}: {known.describe()}; {there or 'not fetched'}"))
        return 0
    except (ReIDError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(printable(one_screen(str(error))))
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = ArgumentParser(add_help=False)
    common.add_argument("--folder", type=Path, help=f"where the file lies (default: {default_folder()})")
    parser = ArgumentParser(prog="python -m reid_lightning.commands.detector", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    commands.add_parser("list", parents=[common], help="the files that are known, with address, licence and checksum")
    fetching = commands.add_parser("fetch", parents=[common], help="fetch one and check it")
    fetching.add_argument("detector", nargs="?", default="yolox_nano", choices=sorted(KNOWN))
    fetching.add_argument("--from", dest="address", help="a copy of it: https://..., or file:///...")
    return parser


if __name__ == "__main__":
    sys.exit(main())
