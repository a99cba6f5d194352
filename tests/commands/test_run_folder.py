"""One run a folder: a second one is refused before it writes anything, and a killed one's folder is free again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLock
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from reid_lightning.commands import run_folder
from reid_lightning.commands.run_folder import HOLDER, LOCK, Holder, HoldRunFolder, RunFolderTaken, hold, release
from reid_lightning.errors import ReIDError

COMMANDS = {
    "train.py": (),
    "evaluate.py": (),
    "export.py": ("checkpoint=x",),
    "register.py": ("source=x", "camera=x"),
    "search.py": ("query=x",),
}


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins and ends without a folder."""
    monkeypatch.delenv(run_folder._HELD, raising=False)
    yield
    release()


@contextmanager
def another_run(folder: Path) -> Iterator[int]:
    """Another process that holds `folder`; it is killed at the end, if it was not before."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            hold(folder)
            os.write(writes, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writes)
    assert os.read(reads, 1) == b"1"
    os.close(reads)
    try:
        yield child
    finally:
        kill(child)


def kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file below `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("script", COMMANDS)
def test_a_second_run_is_refused_and_changes_nothing(script: str, run_command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    for name in ("config.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml", script.replace(".py", ".log")):
        (run / name).write_text("of the first run")
    with another_run(run) as process:
        before = content(run)
        finished = run_command(script, *COMMANDS[script], "hydra.run.dir=run")
        assert content(run) == before
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert finished.stderr.count("error: ") == 1
    message = finished.stderr.split("error: ")[1]
    assert f"in use by another run: process {process} on {socket.gethostname()} since 20" in message
    assert "hydra.run.dir=" in message and len(message.strip().splitlines()) == 1


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_a_sweep_in_a_folder_in_use_is_refused_too(script: str, run_command, tmp_path: Path) -> None:
    with another_run(tmp_path / "sweep"):
        before = content(tmp_path)
        finished = run_command(script, "-m", "hydra.sweep.dir=sweep")
        assert content(tmp_path) == before
    assert finished.returncode == 1 and "in use by another run" in finished.stderr


def test_the_folder_of_a_killed_run_is_free_at_once_and_that_of_an_ended_one(tmp_path: Path) -> None:
    with another_run(tmp_path) as process:
        with pytest.raises(ReIDError, match=f"process {process}"):
            hold(tmp_path)
        kill(process)
        assert Holder.of(tmp_path).process == process
        hold(tmp_path)
    assert Holder.of(tmp_path).process == os.getpid()
    release()
    assert not (tmp_path / HOLDER).exists()
    with another_run(tmp_path):
        pass


def test_of_two_that_start_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    """Eight processes, again and again until each had it: never two at a time."""
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(400):
                    try:
                        hold(tmp_path)
                    except ReIDError:
                        continue
                    os.mkdir(tmp_path / "mine")  # fails where two have it
                    os.rmdir(tmp_path / "mine")
                    release()
                    status = 0
                    break
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8


def test_what_the_holder_starts_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path)
    inherited = os.environ[run_folder._HELD]
    child = os.fork()
    if child == 0:
        try:
            run_folder._locks.clear()
            hold(tmp_path)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert Holder.of(tmp_path).process == os.getpid()
    release()
    assert run_folder._HELD not in os.environ and str(tmp_path.resolve()) in inherited


@pytest.mark.parametrize("rank", [{"RANK": "1"}, {"LOCAL_RANK": "1"}, {"SLURM_PROCID": "3"}])
def test_other_ranks_take_no_folder_and_write_no_configuration(rank, tmp_path: Path, monkeypatch) -> None:
    config = OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}, "output_subdir": ".hydra", "mode": None}})
    with another_run(tmp_path):  # the first rank of this run, or another run
        for name, value in rank.items():
            monkeypatch.setenv(name, value)
        HoldRunFolder().on_run_start(config)
    assert config.hydra.output_subdir is None


def left_behind(folder: Path, **changes: object) -> None:
    """What a killed process has left in `folder`."""
    values = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": "1 of-another-boot",
        "since": "yesterday",
    }
    values |= {"command": "train.py", "slurm": ["", 0]} | changes
    (folder / HOLDER).write_text(json.dumps(values))


def test_a_number_that_another_process_has_got_is_no_life(tmp_path: Path) -> None:
    left_behind(tmp_path)
    hold(tmp_path)


def test_a_run_of_another_machine_cannot_be_judged_and_the_file_to_remove_is_named(tmp_path: Path, monkeypatch) -> None:
    left_behind(tmp_path, host="elsewhere", slurm=["77", 0])
    before = content(tmp_path)
    with pytest.raises(ReIDError, match=rf"elsewhere since yesterday.*remove {re.escape(str(tmp_path / HOLDER))}"):
        hold(tmp_path)
    assert {name: content(tmp_path)[name] for name in before} == before
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(ReIDError):
        hold(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # the same job, begun again on another machine
    hold(tmp_path)
    release()
    left_behind(tmp_path, host="elsewhere")
    (tmp_path / HOLDER).unlink()  # as the message says
    hold(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": "x"}', '{"process": 99999999999999999999}', "\0\1"])
def test_a_file_that_says_nothing_is_in_nobodys_way(text: str, tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_text(text)
    hold(tmp_path)


def test_a_file_system_without_locks_has_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(self, *arguments: object, **options: object) -> None:
        if not isinstance(self, SoftFileLock):
            raise OSError(95, "Operation not supported")
        acquire(self, *arguments, **options)

    acquire = FileLock.acquire
    monkeypatch.setattr(FileLock, "acquire", no_locks)
    monkeypatch.setattr(SoftFileLock, "acquire", no_locks, raising=False)
    with another_run(tmp_path) as process:
        with pytest.raises(ReIDError, match=f"process {process}"):
            hold(tmp_path)
        kill(process)
        hold(tmp_path)
    assert Holder.of(tmp_path).process == os.getpid()


def test_no_password_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["register.py", "source=rtsp://user:hunter2@10.0.0.8/stream"])
    hold(tmp_path)
    assert "hunter2" not in (tmp_path / HOLDER).read_text() and "10.0.0.8" in Holder.of(tmp_path).command


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_a_name_from_the_clock_is_a_new_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of one microsecond, on one machine or two."""
    monkeypatch.setattr(HydraConfig, "set_config", lambda self, config: None)
    OmegaConf.register_new_resolver("now", lambda pattern: "2026-11-30_04-50-00-123456", replace=True, use_cache=True)
    start = getattr(HoldRunFolder(), "on_run_start" if kind == "run" else "on_multirun_start")
    names = []
    for _ in range(3):
        config = OmegaConf.create({"hydra": {kind: {"dir": f"{tmp_path}/${{now:%f}}"}, "overrides": {"hydra": []}}})
        start(config)
        names.append(Path(config.hydra[kind].dir).name)
        assert list(config.hydra.overrides.hydra) == (
            [f"hydra.sweep.dir={tmp_path / names[-1]}"] if kind == "sweep" and len(names) > 1 else []
        )
    assert names == sorted(set(names)) and names[0] == "2026-11-30_04-50-00-123456"
    given = OmegaConf.create(
        {"hydra": {kind: {"dir": f"{tmp_path}/${{now:%f}}"}, "overrides": {"hydra": [f"hydra.{kind}.dir=x"]}}}
    )
    release()
    start(given)
    assert Path(given.hydra[kind].dir).name == names[0]


def test_every_command_that_writes_a_folder_names_it_by_the_microsecond_and_holds_it(project: Path) -> None:
    for path in sorted((project / "conf").glob("*.yaml")):
        hydra = OmegaConf.to_container(OmegaConf.load(path)).get("hydra")
        if hydra is None or hydra["run"]["dir"] == ".":
            continue
        assert hydra["run"]["dir"].endswith("/${now:%Y-%m-%d_%H-%M-%S-%f}"), path
        assert hydra["callbacks"]["run_folder"] == {"_target_": "reid_lightning.commands.run_folder.HoldRunFolder"}, (
            path
        )


@pytest.mark.parametrize("script", COMMANDS)
def test_a_run_with_a_wrong_value_makes_no_folder(script: str, run_command, tmp_path: Path) -> None:
    key = {"train.py": "seed", "export.py": "formats"}.get(script, "device")
    finished = run_command(script, *COMMANDS[script], f"{key}=abc")
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"\nerror: {key} is 'abc'; expected ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("there", "written", "stays"),
    [
        (False, [".hydra/config.yaml", "config.yaml"], False),
        (False, [".hydra/config.yaml", "metrics.json"], True),
        (True, [".hydra/config.yaml"], True),
    ],
)
def test_a_new_folder_stays_if_there_is_more_in_it_than_what_was_typed(there, written, stays, tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig, "set_config", lambda self, config: None)
    run = tmp_path / "run"
    if there:
        run.mkdir()
    hydra = {"run": {"dir": str(run)}, "overrides": {"hydra": [f"hydra.run.dir={run}"]}}
    HoldRunFolder().on_run_start(OmegaConf.create({"hydra": hydra}))
    for name in written:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    release()
    assert run.exists() == stays and all((run / name).exists() == stays for name in written)


def test_a_folder_that_cannot_be_made_is_the_error_of_the_command(run_command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finished = run_command("evaluate.py", "hydra.run.dir=file/run")
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert f"{tmp_path.name}/file is a file; expected a folder" in finished.stderr


def test_a_job_of_a_sweep_holds_its_own_folder_while_it_runs(tmp_path: Path) -> None:
    config = OmegaConf.create({"hydra": {"mode": "MULTIRUN", "runtime": {"output_dir": str(tmp_path / "0")}}})
    config.hydra.mode = run_folder.RunMode.MULTIRUN
    HoldRunFolder().on_job_start(config)
    assert (tmp_path / "0" / LOCK).exists() and Holder.of(tmp_path / "0").process == os.getpid()
    HoldRunFolder().on_job_end(config, JobReturn())
    with another_run(tmp_path / "0"), pytest.raises(RunFolderTaken):
        HoldRunFolder().on_job_start(config)
