"""One run a folder: whoever writes into a run's folder holds it, a second run is refused before it writes anything.

The kernel's lock on `.lock` decides, and is free when its holder dies; `.running.json` says who the holder is, and is
all there is where a file system knows no locks. Hydra writes its own files before a task begins, so folders are taken
in its callbacks: `conf/train.yaml` and the others name `HoldRunFolder`.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from reid_lightning.atomic import is_alive, write_atomically
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.ranks import is_rank_zero
from reid_lightning.redaction import without_password
from reid_lightning.user_messages import user_message

LOCK = ".lock"
HOLDER = ".running.json"

_HELD = "REID_LIGHTNING_RUN_FOLDERS"  # those that this process or one that started it holds
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS}
_MOMENT = 0.5  # seconds in which a process that has a folder says so, and workers of a killed one end
_locks: dict[Path, BaseFileLock] = {}
_new: set[Path] = set()  # made by this process
_TYPED = {LOCK, ".hydra", "config.yaml"}  # what says no more than the command line

check_first: Callable[[DictConfig], None] | None = None
"""What a configuration must pass before the run's folder is made; a command puts its checks here."""


class RunFolderTaken(BaseException):
    """Ends Hydra's run from within a callback, of whose exceptions Hydra would only warn; `error` is what happened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Holder:
    """Which process holds a run's folder. `started` tells processes apart that have had one number, "" where the
    system does not say; `slurm` is the job and how often it was begun again."""

    process: int
    host: str
    started: str
    since: str
    command: str
    slurm: tuple[str, int] = ("", 0)

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        return cls(
            os.getpid(),
            socket.gethostname(),
            _start_of(os.getpid()),
            datetime.now().astimezone().isoformat(" ", "seconds"),
            shlex.join(map(without_password, [Path(sys.argv[0]).name, *sys.argv[1:]])),
            (os.environ.get("SLURM_JOB_ID", ""), int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0)),
        )

    @classmethod
    def of(cls, folder: Path) -> Holder | None:
        """Who holds `folder`, or held it and was killed; None where nobody says so."""
        try:
            values = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
            job, times = values["slurm"]
            texts = {name: str(values[name]) for name in ("host", "started", "since", "command")}
            return cls(int(values["process"]) % 2**31, **texts, slurm=(str(job), int(times)))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def ended(self) -> bool | None:
        """Whether the process is gone; None where it cannot be known from here."""
        here = Holder.here()
        if self.slurm[0] and self.slurm[0] == here.slurm[0] and self.slurm[1] < here.slurm[1]:
            return True  # SLURM begins a job again when it is over
        if self.host != here.host:
            return None
        return not is_alive(self.process) or (self.started != "" and _start_of(self.process) != self.started)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since} ({shortened(self.command, 160)})"


def hold(folder: Path) -> None:
    """Take a run's folder until `release`; it is made if need be.

    Processes that the holder starts belong to it, and so do all ranks of a run but the first.

    Raises:
        ReIDError: another run holds it, or held it on a machine of which nobody here knows whether it lives.
    """
    folder = folder.absolute()
    if not is_rank_zero() or os.fspath(folder.resolve()) in _held():
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquired(folder)
    if lock is None:
        raise ReIDError(
            f"{folder} is in use by another run: {Holder.of(folder) or 'an unknown process'}. Wait for it, or give "
            "this one a folder of its own: hydra.run.dir=<folder> (of a sweep: hydra.sweep.dir)."
        )
    left = Holder.of(folder)
    if left is not None and not left.ended():
        lock.release()
        raise ReIDError(
            f"{folder} is in use by another run, or one that was killed: {left}; from here nobody knows. If it is "
            f"gone, remove {folder / HOLDER}; else give this one a folder of its own: hydra.run.dir=<folder>."
        )
    write_atomically(folder / HOLDER, json.dumps(asdict(Holder.here()), indent=2) + "\n")
    _locks[folder] = lock
    os.environ[_HELD] = os.pathsep.join([*_held(), os.fspath(folder.resolve())])


def release(folder: Path | None = None) -> None:
    """Let go of a folder, or of all that this process holds."""
    for held in list(_locks) if folder is None else [folder.absolute()]:
        lock = _locks.pop(held, None)
        if lock is None:
            continue
        (held / HOLDER).unlink(missing_ok=True)
        if held in _new and {path.name for path in held.iterdir()} <= _TYPED:  # refused before there was a result
            shutil.rmtree(held, ignore_errors=True)
        lock.release()
        rest = [other for other in _held() if other != os.fspath(held.resolve())]
        os.environ[_HELD] = os.pathsep.join(rest)
        if not rest:
            del os.environ[_HELD]


class HoldRunFolder(Callback):
    """Hydra callback: a run holds its folder, a sweep that of the sweep, and each job of it its own."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before Hydra writes anything."""
        if is_rank_zero():
            try:
                if check_first is not None:
                    check_first(config)
            except Exception as error:
                raise RunFolderTaken(error) from error
            _take(config, "run")
        else:
            with read_write(config), open_dict(config):
                config.hydra.output_subdir = None  # the first rank writes it, if the folder is this run's

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before the sweeper writes anything."""
        _take(config, "sweep")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A job may run in a process of its own, on another machine."""
        if config.hydra.mode == RunMode.MULTIRUN:
            _hold_or_end(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """The folder of the sweep stays held."""
        if config.hydra.mode == RunMode.MULTIRUN:
            release(Path(config.hydra.runtime.output_dir))


def _take(config: DictConfig, kind: str) -> None:
    """Hold `hydra.<kind>.dir`. A name that comes from the clock is a new folder's: where it is there already (two
    machines, one moment), a number makes it another."""
    HydraConfig.instance().set_config(config)  # which names may be made of
    folder = Path(config.hydra[kind].dir)
    key = f"hydra.{kind}.dir"
    given = any(override.lstrip("+").startswith(f"{key}=") for override in config.hydra.overrides.hydra)
    written: Any = OmegaConf.to_container(config.hydra[kind], resolve=False)
    if written["dir"] == "." and not given:
        return  # the command has no folder
    try:
        if "${now:" in written["dir"] and not given:
            folder = _new_folder(folder)
    except OSError as error:
        raise _not_made(folder, error) from error
    if folder != Path(config.hydra[kind].dir):
        with read_write(config), open_dict(config):
            config.hydra[kind].dir = os.fspath(folder)
            if kind == "sweep":  # from which the jobs are composed
                config.hydra.overrides.hydra.append(f"{key}={folder}")
    if not folder.exists():
        _new.add(folder.absolute())
    _hold_or_end(folder)


def _hold_or_end(folder: Path) -> None:
    try:
        hold(folder)
    except OSError as error:
        raise _not_made(folder, error) from error
    except Exception as error:
        raise RunFolderTaken(error) from error


def _not_made(folder: Path, error: OSError) -> RunFolderTaken:
    message = user_message(error) or f"cannot write to {folder}: {error.strerror}. Choose another folder."
    return RunFolderTaken(ReIDError(message))


def _new_folder(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        new = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            new.mkdir()
        except FileExistsError:
            number += 1
        else:
            _new.add(new.absolute())
            return new


def _acquired(folder: Path) -> BaseFileLock | None:
    """The lock of a folder, or None while another process has it."""
    path, deadline = folder / LOCK, time.monotonic() + _MOMENT
    lock: BaseFileLock = FileLock(path, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = Holder.of(folder)
            if time.monotonic() > deadline or (holder is not None and holder.ended() is False):
                return None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in _NO_LOCKS or isinstance(lock, SoftFileLock):
                raise
            lock = SoftFileLock(path, thread_local=False)
        else:
            return lock


def _held() -> list[str]:
    return [folder for folder in os.environ.get(_HELD, "").split(os.pathsep) if folder]


def _start_of(process: int) -> str:
    """When a process of this machine began, as the system counts it, and since which boot; "" where it does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        behind_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return ""
    return f"{behind_name.split()[19]} {boot}"


def check_run_dir() -> None:
    """ReIDError when several processes were started from outside without one folder for all of them: each would make
    its own from the time at which it started."""
    started = max(int(os.environ.get(name, "1") or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    outside = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
    named = any(override.startswith("hydra.run.dir=") for override in HydraConfig.get().overrides.hydra)
    if outside and started > 1 and not named and HydraConfig.get().mode == RunMode.RUN:
        raise ReIDError(
            f"{started} processes were started by torchrun or srun, and each would write to a folder of its own. Name "
            "one for all, on a disk that all machines see: hydra.run.dir=runs/train/<name>."
        )
