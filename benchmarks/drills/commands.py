"""Commands of the product, each in a child of a server that has imported everything once, killed where a drill says.

A child costs no imports, so that a hundred rounds are affordable. What a child starts itself, it starts as a user's
command does: loader processes, drawing processes, the ranks of a distributed run.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from reid_lightning.commands.main import main as reid

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0  # seconds, until a command counts as hanging
KILLED = -signal.SIGKILL
IMPORTS = (
    "train",
    "export",
    "register",
    "search",
    "reid_lightning.commands.main",
    "reid_lightning.commands.shards",
    "reid_lightning.synthetic.fleet.draw",
    "lance_namespace_urllib3_client",  # most of what importing lancedb takes; that itself starts threads
)

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_MESSAGE = re.compile(r"^error: ", re.MULTILINE)
_ENDING = 30.0  # seconds for what a killed command has started to notice that it is alone


@dataclass(frozen=True)
class Command:
    """A command of the product.

    Args:
        script: a file of the project's root, `train.py`, or `reid`, whose arguments begin with the name of a command.
        arguments: as on the command line.
        environment: variables on top of ours.
    """

    script: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kill:
    """When a command is killed: just before its `change`-th change of the file system below its folder, counted from
    1, which is the same moment in every run; or after so many `seconds`."""

    change: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, negative for the signal that killed it; all that it printed; how long it took;
    its changes of the file system, 0 if it was killed."""

    status: int
    output: str
    seconds: float
    changes: int


class Running:
    """A command that was started in `folder`, the leader of a group of processes.

    Args:
        kill: when to kill it; None: never.
        before: is called in the child before the command; a function of a module.
        output: the file of its words, by default beside `folder`.
    """

    def __init__(
        self,
        command: Command,
        folder: Path,
        *,
        kill: Kill | None = None,
        before: Callable[[], object] | None = None,
        output: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output = output or folder.with_name(f"{folder.name}.output")
        self._changes = self.output.with_suffix(".changes")
        self._changes.unlink(missing_ok=True)
        self._kill, self._started = kill or Kill(), time.monotonic()
        self._process: BaseProcess = multiprocessing.get_context("forkserver").Process(
            target=_child, args=(command, folder, self.output, self._changes, self._kill.change, before)
        )
        with _server_finds_the_project():
            self._process.start()

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        """Whether the command itself has not ended."""
        return self._process.is_alive()

    def words(self) -> str:
        """What it has printed so far, without the colours and cursor movements of progress bars."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def others(self) -> list[int]:
        """The living processes of its group besides itself."""
        return [pid for pid in _group(self.pid) if pid != self.pid]

    def end(self, *, limit: float = PATIENCE) -> Ended:
        """Wait for it, kill it when its time has come. TimeoutError: it hung, and is killed with all its group."""
        if self._kill.seconds is not None:
            self._process.join(max(0.0, self._started + self._kill.seconds - time.monotonic()))
            self._process.kill()
        self._process.join(limit)
        if self._process.is_alive():
            self.stop_group()
            self._process.join()
            raise TimeoutError(f"a command has not ended after {limit:.0f} seconds; it said: {self.words()[-2000:]}")
        changes = int(self._changes.read_text()) if self._changes.exists() else 0
        status = -256 if self._process.exitcode is None else self._process.exitcode
        return Ended(status, self.words(), time.monotonic() - self._started, changes)

    def stop_group(self) -> None:
        """Kill all that it has started and that still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def left_alone(self, *, limit: float = _ENDING) -> list[int]:
        """The processes that go on `limit` seconds after the command itself has ended; they are killed then."""
        deadline = time.monotonic() + limit
        while (left := self.others()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.stop_group()
        return left


def run(command: Command, folder: Path, *, kill: Kill | None = None, limit: float = PATIENCE) -> Ended:
    """Start a command in `folder` and wait for its end."""
    return Running(command, folder, kill=kill).end(limit=limit)


@contextmanager
def _server_finds_the_project() -> Iterator[None]:
    """The server starts with the first child, imports the commands, and has no threads, which a fork would not copy."""
    before = dict(os.environ)
    paths = [str(PROJECT), *before.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.set_forkserver_preload([*IMPORTS, __name__])
    try:
        yield
    finally:
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


def _child(
    command: Command,
    folder: Path,
    output: Path,
    changes: Path,
    kill_at: int | None,
    before: Callable[[], object] | None,
) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as in a user's command; children inherit the server's way
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update({"COLUMNS": "200", **command.environment})
    torch.set_num_threads(1)  # another number of threads gives other bits
    os.chdir(folder)
    name = command.script.removesuffix(".py")
    sys.argv = [str(PROJECT / command.script), *command.arguments]
    main = reid if name == "reid" else getattr(importlib.import_module(name), name)
    if before is not None:
        before()
    count = _count_changes(folder, kill_at)
    try:
        main()
    finally:
        changes.write_text(str(count()))
    sys.exit(0)


def _count_changes(folder: Path, kill_at: int | None) -> Callable[[], int]:
    """Count what this process changes below `folder`, and kill it just before the `kill_at`-th change."""
    process, root, changes = os.getpid(), os.path.realpath(folder) + os.sep, 0

    def look(event: str, arguments: tuple) -> None:
        nonlocal changes
        is_change = event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITING)
        if not is_change or not isinstance(arguments[0], str | bytes | os.PathLike) or os.getpid() != process:
            return
        if not os.path.join(os.getcwd(), os.fsdecode(arguments[0])).startswith(root):
            return
        changes += 1
        if changes == kill_at:
            os.kill(process, signal.SIGKILL)

    sys.addaudithook(look)
    return partial(lambda: changes)


def _group(leader: int) -> list[int]:
    """The living processes of a group (Linux)."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, group = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
                if int(group) == leader and state not in "ZX":
                    members.append(int(entry.name))
    return members


@dataclass(frozen=True)
class Case:
    """One thing that was tried: how the command ended, what it said, and what was wrong, a line each."""

    name: str
    status: int
    seconds: float
    said: str
    wrong: tuple[str, ...]


def failed_clearly(ended: Ended, *words: str) -> list[str]:
    """What is wrong with how a command failed: right is status 1 and one message, with one of `words` and without a
    traceback."""
    wrong = []
    if ended.status != 1:
        wrong.append(f"its status is {ended.status}, not 1")
    if (messages := len(_MESSAGE.findall(ended.output))) > 1:
        wrong.append(f"it shows {messages} messages")
    if "Traceback" in ended.output:
        wrong.append("it shows a traceback")
    said = said_by(ended)
    if not any(word in said for word in words):
        wrong.append(f"its message has none of {words}")
    return wrong


def said_by(ended: Ended) -> str:
    """The message of a command that failed, or its last line, in one line."""
    parts = _MESSAGE.split(ended.output)
    lines = ended.output.strip().splitlines()
    return "" if ended.status == 0 else " ".join((parts[-1] if len(parts) > 1 else "".join(lines[-1:])).split())


_PLACE = re.compile(r"(?<![\w:/])/(?:[^/\s]+/)+")  # of a file: this machine's folders are nobody's business


def rows_of_cases(cases: Sequence[Case]) -> list[dict[str, str]]:
    """A line of a table for each."""
    return [
        {
            "case": case.name,
            "status": str(case.status),
            "seconds": f"{case.seconds:.1f}",
            "right": "no: " + "; ".join(case.wrong) if case.wrong else "yes",
            "message": _PLACE.sub("", case.said),
        }
        for case in cases
    ]
