"""Claim: a gallery and its store of an earlier release are read, searched and changed by today's as they lie, with its
server killed and started again between, and the earlier release reads what today's has made of them.

python benchmarks/drills/upgrade.py from=<git revision> [stores=[lance,postgres,milvus]] [output=benchmarks/results]
A release that lacks one of the stores is told by its error.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.servers import store_place

HERE = Path(__file__).resolve().parents[2]
STEPS = Path(__file__).with_name("upgrade_steps.py")
_SECONDS = 300


def release(revision: str, folder: Path) -> Path:
    """The files of a revision, in `folder`."""
    packed = subprocess.run(["git", "archive", revision, "reid_lightning"], cwd=HERE, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(step: str, tree: Path, root: Path, uri: str) -> dict:
    """What the release in `tree` finds after a step. RuntimeError: its last line, where it failed."""
    command = [sys.executable, str(STEPS), step, str(root), uri]
    path = os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{step}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def drill(kind: str, old: Path, new: Path, folder: Path) -> list[str]:
    """What is wrong, a line each."""
    root, wrong = folder / "gallery", []
    root.mkdir(parents=True)

    def same(when: str, before: dict, after: dict) -> None:
        names = ("vehicles", "records", "hits", "problems")
        wrong.extend(f"{when}: {name} differ" for name in names if before[name] != after[name])

    with store_place(kind, root) as (uri, server):
        filled = run("fill", old, root, uri)
        if server is not None:
            server.kill()
            server.start()
        same("today's looks", filled, run("look", new, root, uri))
        changed = run("change", new, root, uri)
        if changed["embedded"]:
            wrong.append(f"today's embeds {changed['embedded']} crops again")
        wrong.extend(f"today's: {line}" for line in changed["problems"])
        if len(changed["records"]) != len(filled["records"]) + 6:  # five restored, and a new one
            wrong.append(f"today's has {len(changed['records'])} records")
        same("the earlier release looks", changed, run("look", old, root, uri))
        synced = run("sync", old, root, uri)
        if synced["embedded"]:
            wrong.append(f"the earlier release embeds {synced['embedded']} crops again")
        same("the earlier release has synced", changed, synced)
    return wrong


def main() -> None:
    """A run for each store, and a table."""
    arguments, rows = OmegaConf.from_cli(), []
    revision = "".join(word.removeprefix("from=") for word in sys.argv[1:] if word.startswith("from="))  # 12e3 is text
    if subprocess.run(["git", "cat-file", "-e", f"{revision}^{{commit}}"], cwd=HERE, check=False).returncode:
        raise SystemExit(f"from={revision}: expected a revision of this repository, the earlier release.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        old = release(revision, Path(folder) / "old")
        for kind in arguments.get("stores", ["lance", "postgres", "milvus"]):
            try:
                wrong = drill(kind, old, HERE, Path(folder) / kind)
            except RuntimeError as error:
                wrong = [str(error)]
            for line in wrong:
                sys.stdout.write(f"{kind}: {line}\n")
            rows.append({"store": kind, "from": revision, "wrong": str(len(wrong)), "first": wrong[0] if wrong else ""})
    note = "60 sightings of 12 vehicles; both releases with the packages of today."
    report("drill_upgrade", rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
