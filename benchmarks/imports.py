"""What imports, help and slips cost: CPU time as a ratio to `import torch` and to `import hydra`.

    python benchmarks/imports.py [turns=5]

Each command runs in a process of its own, in turns with the others; of the turns the median counts.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

REID = "from reid_lightning.commands.main import main; main()"
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import hydra": ["-c", "import hydra"],
    "import reid_lightning": ["-c", "import reid_lightning"],
    "import reid_lightning.search": ["-c", "import reid_lightning.search"],
    "reid --help": ["-c", REID, "--help"],
    "reid train --help": ["-c", REID, "train", "--help"],
    "reid train los=circle": ["-c", REID, "train", "los=circle"],
    "reid train loss=circel": ["-c", REID, "train", "loss=circel"],
    "reid register": ["-c", REID, "register"],
    "reid train circle": ["-c", REID, "train", "circle"],
}


def cpu_seconds(arguments: list[str], folder: str) -> float:
    """Of a process and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=variables, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print a Markdown table."""
    turns = int(OmegaConf.from_cli(sys.argv[1:]).get("turns", 5))
    with tempfile.TemporaryDirectory() as folder:
        for arguments in COMMANDS.values():  # bytecode is compiled, files are in the cache
            cpu_seconds(arguments, folder)
        taken = [{name: cpu_seconds(words, folder) for name, words in COMMANDS.items()} for _ in range(turns)]
    median = {name: statistics.median(turn[name] for turn in taken) for name in COMMANDS}
    print("| | CPU s | of import torch | of import hydra |\n| --- | --- | --- | --- |")
    for name, seconds in median.items():
        torch, hydra = (seconds / median[f"import {other}"] for other in ("torch", "hydra"))
        print(f"| {name} | {seconds:.2f} | {torch:.2f} | {hydra:.2f} |")


if __name__ == "__main__":
    main()
