"""A job of a sweep that trains with several processes: it becomes a command of its own.

Lightning starts the other ranks of a run by repeating its command line, which within a sweep is that of the whole
sweep. As `reid train <the job's overrides> hydra.mode=RUN` the job is a run like any other, and nothing of it
(environment, process group, GPU memory, a crash) reaches the next job.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode

from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.jobs import METRICS, given_overrides, read_metrics, selection_mAP, sweep_folder

_GRACE_SECONDS = 60.0  # for a job that is asked to stop: time to write its checkpoint
_ERROR = "error: "  # how an entry point begins its one message
_RAISED = re.compile(r"(?P<rank>\[rank\d+\]: )?(?P<error>[\w.]*(Error|Exception)\b.*)")  # the end of a traceback


def needs_own_process(trainer: pl.Trainer) -> bool:
    """Whether this process works on a job of a sweep, of a trainer that `starts_its_ranks`, so that these would repeat
    the whole sweep.

    Raises:
        ReIDError: the ranks of a sweep were started from outside, each with the whole sweep.
    """
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    launcher: Any = trainer.strategy.launcher
    if not sweeping:
        return False
    if "SUBMITIT_EXECUTOR" in os.environ and launcher.cluster_environment.creates_processes_externally:
        return False  # SLURM started each rank with this one job
    if launcher.cluster_environment.creates_processes_externally or trainer.num_nodes > 1:
        raise ReIDError(
            f"a sweep (-m) over {trainer.world_size} processes a job, started by torchrun or on several nodes: each of "
            "them would run the whole sweep. Start the sweep with plain python, which starts the processes of one "
            "machine itself; for several nodes use hydra/launcher=slurm."
        )
    return True


def run_in_own_process(run_dir: Path) -> float | None:
    """Run this job of the sweep as a command, wait for it, and give back its `selection_mAP`; None if it left none.

    Args:
        run_dir: the job's folder.

    Raises:
        ReIDError: the command failed, with its own message. None of its processes is left, also not after Ctrl+C or
            SIGTERM, both of which it gets as well.
    """
    (run_dir / METRICS).unlink(missing_ok=True)
    status, message = run_command(job_command(started_with()), cwd=HydraConfig.get().runtime.cwd)
    if status != 0:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise ReIDError(message or f"its process {how}; {run_dir} has its log.")
    metrics = read_metrics(run_dir)
    return None if metrics is None else selection_mAP(metrics)


def started_with() -> list[str]:
    """What this process was started with before the settings: `train.py`, or `reid train` of `reid train -m ...`."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name if spec is not None and spec.name.startswith("reid_lightning.") else None
    program = [os.path.abspath(sys.argv[0])] if module is None else ["-m", module]
    return [*program, *takewhile(lambda word: "=" not in word and not word.startswith(("-", "~")), sys.argv[1:])]


def job_command(start: Sequence[str]) -> list[str]:
    """The command that runs this job of the sweep alone, in the folder and with the number that it has in the sweep."""
    hydra: Any = HydraConfig.get()
    command = [sys.executable, *start, "--config-name", hydra.job.config_name, *config_folders()]
    own = {
        "hydra.mode": "RUN",
        "hydra.run.dir": _quoted(hydra.runtime.output_dir),
        "hydra.sweep.dir": _quoted(str(sweep_folder(hydra))),
        "hydra.job.num": str(hydra.job.num),
        "hydra.job.id": _quoted(str(hydra.job.id)),
        "hydra.output_subdir": "null",  # the sweep has written the job's configuration already
    }
    overrides = [f"{key}={value}" for key, value in own.items()]  # the last one counts
    return [*command, *given_overrides(hydra, of="hydra"), *given_overrides(hydra), *overrides]


def config_folders() -> list[str]:
    """The words that give another command the folders of configurations that this one has."""
    words = []
    for source in HydraConfig.get().runtime.config_sources:
        if source.schema == "file" and source.provider in ("main", "command-line"):
            words += ["--config-path" if source.provider == "main" else "--config-dir", source.path]
    return words


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def run_command(
    command: list[str],
    *,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
    only: str | None = None,
) -> tuple[int, str]:
    """The exit status of a command, and what it said of its error.

    `only`: of its stdout those lines are shown that begin so. None of its processes is left, also not after Ctrl+C or
    SIGTERM, both of which it gets as well.
    """
    with _sigterm_raises():
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdout=None if only is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stderr is not None, "it is a pipe"
        errors = _Errors(process.stderr)
        readers: list[threading.Thread] = [errors]
        try:
            if process.stdout is not None:
                readers.append(threading.Thread(target=_pass_on, args=(process.stdout, only), daemon=True))
            for reader in readers:
                reader.start()
            process.wait()
        except (KeyboardInterrupt, SystemExit) as stop:
            interrupted = isinstance(stop, KeyboardInterrupt)
            process.send_signal(signal.SIGINT if interrupted else signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            if interrupted:
                sys.exit(128 + signal.SIGINT)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the ranks that a crash left behind
            process.wait()
            for reader in readers:
                if reader.is_alive():
                    reader.join()
            process.stderr.close()
    return process.returncode, errors.message


def _pass_on(stream: IO[str], beginning: str) -> None:
    with stream:
        for line in stream:
            if line.startswith(beginning):
                sys.stdout.write(line)
                sys.stdout.flush()


class _Errors(threading.Thread):
    """Passes a command's stderr on, but keeps an entry point's one message: the sweep reports it."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._message = ""
        self._raised: dict[str, str] = {}  # the last error in the tracebacks of each rank

    def run(self) -> None:
        for line in self._stream:
            if line.startswith(_ERROR):
                self._message = line.removeprefix(_ERROR).rstrip()
            elif self._message and line.startswith("  "):  # the message goes on
                self._message += "\n" + line.rstrip()
            else:
                sys.stderr.write(line)
                if match := _RAISED.match(line):
                    self._raised[match["rank"] or ""] = match["error"]

    @property
    def message(self) -> str:
        """The entry point's message, else the error of the rank that failed first: the others fail because it did."""
        return self._message or next(iter(self._raised.values()), "")


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM unwind this process instead of ending it, where nobody handles it otherwise."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
