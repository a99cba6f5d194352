"""Claim: of a thousand damaged files none gives a traceback, a hang, a crash or a wrong result without a word.

python benchmarks/drills/damaged_inputs.py [count=1000] [seed=0] [output=benchmarks/results] [name=damaged_inputs]
`count` files over all formats, each damaged from (seed, number) alone and read by its public reader in a process that
is ended after 20 seconds and may grow by 1 GiB. An input ends as fine (the reader took all of it, and what it got is
sound), reported (one error that says what is wrong, or a warning of what was left out) or as a fault, which is named.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.damaging import damaged
from benchmarks.drills.formats import FORMATS, Format, Unsound
from reid_lightning.data.packed_picture import close_shards
from reid_lightning.errors import ReIDError

SECONDS = 20
MEMORY = 1 << 30
"""Bytes that reading one input may take on top of what the process had."""
OUTCOMES = ("fine", "reported", "fault")

_LONGEST_MESSAGE = 3_000
_ADDRESS_SPACE = 6 << 30  # on top of what the process has: a blow-up ends in a MemoryError, not with the machine


@dataclass(frozen=True)
class Outcome:
    """What became of an input; `what` is the message, or the fault."""

    kind: str
    what: str = ""


class Whole:
    """Whole files of every format, written once below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, list[Path]] = {}
        for form in FORMATS:
            (folder / form.name).mkdir(parents=True)
            self._files[form.name] = [path.relative_to(folder / form.name) for path in form.write(folder / form.name)]
        self._others = [(folder / name / files[0]).read_bytes() for name, files in self._files.items()]

    def damaged_copy(self, form: Format, number: int, folder: Path, *, seed: int) -> Path:
        """The whole files of a format in `folder`, but for the one that is returned, which is damaged."""
        shutil.copytree(self._folder / form.name, folder)
        chance = random.Random(f"{seed} {number}")
        path = folder / chance.choice(self._files[form.name])
        whole = path.read_bytes()
        content = whole
        while content == whole:
            content = damaged(whole, chance, text=form.text, structure=form.structure, others=self._others)
        path.write_bytes(content)
        return path

    def read_whole(self, form: Format) -> None:
        """Read the files as they were written: whatever is reported of them, or wrong with them, is our mistake."""
        folder = self._folder / form.name
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            reported = form.read(Path(copy), Path(copy) / self._files[form.name][0])
        if reported:
            raise Unsound(f"{form.name}: {reported} of whole files")


def outcome_of(whole: Whole, number: int, *, seed: int) -> Outcome:
    """Damage and read input `number` in this process."""
    form = FORMATS[number % len(FORMATS)]
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch) / "input"
        path = whole.damaged_copy(form, number, folder, seed=seed)
        close_shards()
        try:
            with _memory_watched():
                reported = form.read(folder, path)
        except ReIDError as error:
            message = str(error)
            if not message.strip() or len(message) > _LONGEST_MESSAGE:
                return Outcome("fault", f"a message of {len(message):,} characters: {message[:80]!r}")
            return Outcome("reported", message)
        except Unsound as error:
            return Outcome("fault", f"accepted: {error}")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "reid_lightning" in frame.filename]
            last = (ours or frames)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            return Outcome("fault", f"{type(error).__name__} at {where}: {error}"[:300])
    return Outcome("reported", reported[0]) if reported else Outcome("fine")


@contextmanager
def _memory_watched() -> Iterator[None]:
    """`Unsound` if the process grows by more than MEMORY at any moment inside; not watched without /proc."""
    _give_back_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again
        before = _peak()
    except OSError:
        before = None
    yield
    if before is not None and _peak() - before > MEMORY:
        raise Unsound(f"{(_peak() - before) / 2**20:,.0f} MiB of memory")


def _give_back_freed_memory() -> None:
    """What an earlier reader freed and the C library kept would hide what the next one takes."""
    with suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) << 10 if found else 0


def _work(whole: Whole, seed: int, pipe: Connection) -> None:
    """Reads the inputs whose numbers come through the pipe; its own messages go nowhere."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE,) * 2)
    torch.set_num_threads(1)  # the parent's threads are not here, and work that is shared out to them would not end
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    while (number := pipe.recv()) is not None:
        pipe.send(outcome_of(whole, number, seed=seed))


class Worker:
    """A process that reads inputs, and a new one after each that does not come back."""

    def __init__(self, whole: Whole, *, seed: int) -> None:
        self._whole, self._seed = whole, seed
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(self._whole, self._seed, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    def outcome(self, number: int) -> Outcome:
        """Of one input, whatever it does to the process."""
        self._pipe.send(number)
        try:
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
            what = f"no answer in {SECONDS} s"
        except (EOFError, ConnectionError):
            self._process.join(SECONDS)
            code = self._process.exitcode or 0
            what = f"the process ended ({signal.Signals(-code).name if code < 0 else f'status {code}'})"
        self._process.kill()
        self._process.join()
        self._start()
        return Outcome("fault", what)

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join(SECONDS)


def main() -> None:
    """Read `count` damaged inputs and write the table; status 1 where there is a fault."""
    arguments = OmegaConf.from_cli(sys.argv[1:])
    count, seed = int(arguments.get("count", 1000)), int(arguments.get("seed", 0))
    with tempfile.TemporaryDirectory() as scratch:
        whole = Whole(Path(scratch))
        for form in FORMATS:
            whole.read_whole(form)
        worker = Worker(whole, seed=seed)
        outcomes = [worker.outcome(number) for number in range(count)]
        worker.close()
    faults = [(number, outcome) for number, outcome in enumerate(outcomes) if outcome.kind == "fault"]
    for number, outcome in faults:
        sys.stderr.write(f"input {number} ({FORMATS[number % len(FORMATS)].name}): {outcome.what}\n")
    kinds = [Counter(outcome.kind for outcome in outcomes[row :: len(FORMATS)]) for row in range(len(FORMATS))]
    rows = [
        {"format": form.name, "inputs": str(found.total()), **{kind: str(found[kind]) for kind in OUTCOMES}}
        for form, found in zip(FORMATS, kinds, strict=True)
    ]
    total = sum(kinds, Counter())
    rows.append({"format": "all", "inputs": str(count), **{kind: str(total[kind]) for kind in OUTCOMES}})
    note = (
        f"seed {seed}. fine: all of it was taken and is sound; reported: one clear error, or a warning of what was "
        f"left out; fault: a traceback, no answer in {SECONDS} s, a crash, more than {MEMORY >> 20:,} MiB, or "
        "something unsound that was accepted."
    )
    folder = Path(arguments.get("output", "benchmarks/results"))
    report(arguments.get("name", "damaged_inputs"), rows, folder, note=note)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
