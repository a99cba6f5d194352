"""Dockerfile and compose.yaml, read and run as far as a machine without a Docker daemon can."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from running import PROJECT

TEXT = (PROJECT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")
IN_THE_BASE = {"python", "pip", "uv", "useradd", "install", "reid"}


def instructions() -> list[tuple[str, str, str]]:
    """(stage, instruction, what follows) in the order of the file."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    found, stage = [], ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            stage = rest.split(" AS ")[1] if name == "FROM" else stage
            found.append((stage, name, " ".join(rest.split())))
    return found


STEPS = instructions()
PARENTS = {stage: rest.split(" AS ")[0] for stage, name, rest in STEPS if name == "FROM"}


def of_stage(stage: str, name: str) -> list[str]:
    """The instructions of one kind of a stage, those it inherits first."""
    before = of_stage(PARENTS[stage], name) if PARENTS[stage] in PARENTS else []
    return before + [rest for at, kind, rest in STEPS if at == stage and kind == name]


def copied() -> list[str]:
    """What comes from the project's folder."""
    words = [rest.split() for _, name, rest in STEPS if name in ("COPY", "ADD")]
    return [source for one in words if not one[0].startswith("--from=") for source in one[:-1]]


def commands() -> list[list[str]]:
    """The commands of all RUN instructions, in words."""
    return [shlex.split(one) for _, name, rest in STEPS if name == "RUN" for one in rest.split(" && ")]


def test_images_are_pinned_and_stages_exist():
    stages = set()
    for stage, parent in PARENTS.items():
        assert parent in stages or PINNED.fullmatch(parent), parent
        stages.add(stage)
    for _, name, rest in STEPS:
        if name == "COPY" and rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in stages
    assert re.search(r"pip install --no-cache-dir uv==\d+\.\d+\.\d+ ", TEXT)
    assert {"cpu", "cuda"} <= stages


def test_what_is_copied_is_there_and_is_let_through():
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {f"!{source}" for source in copied()} == {line for line in ignored if line.startswith("!")}
    assert all((PROJECT / source).exists() for source in copied())


def test_every_command_is_one_that_exists():
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert len(commands()) > 8
    for words in commands():
        assert words[0] in IN_THE_BASE, words
        if words[0] == "uv" and uv is not None:
            verbs = [word for word in words[1:3] if word.isalpha() and word != "opencv"]
            described = subprocess.run([uv, *verbs, "--help"], capture_output=True, text=True, timeout=60)
            assert described.returncode == 0, words
            assert {word for word in words if word.startswith("--")} <= set(
                re.findall(r"--[\w-]+", described.stdout)
            ), words
    for _, name, rest in STEPS:
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True, timeout=60)
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", TEXT)) <= set(extras)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_is_no_root_and_starts_a_command_of_the_project(target):
    assert of_stage(target, "USER")[-1:] == ["reid"]
    assert of_stage(target, "HEALTHCHECK")
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(of_stage(target, "ENTRYPOINT")[-1]) == list(scripts)


class Healthy(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/_stcore/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not():
    (rest,) = of_stage("cpu", "HEALTHCHECK")
    _, *words = json.loads(rest.split(" CMD ")[1])
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = [word.replace(":8501", f":{server.server_port}") for word in words]
        for Healthy.status, well in ((200, True), (503, False)):
            assert (subprocess.run([sys.executable, *asked], capture_output=True, timeout=60).returncode == 0) == well
        server.shutdown()
    assert subprocess.run([sys.executable, *asked], capture_output=True, timeout=60).returncode != 0


def test_what_is_copied_is_enough_to_build_the_package(tmp_path):
    for source in copied():
        copy = shutil.copytree if (PROJECT / source).is_dir() else shutil.copy
        copy(PROJECT / source, tmp_path / source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheel")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    (wheel,) = (tmp_path / "wheel").glob("reid_lightning-*.whl")
    assert "reid_lightning/conf/train.yaml" in zipfile.ZipFile(wheel).namelist()


def test_the_services_are_pinned_watched_and_reached_from_this_machine_only():
    services = COMPOSE["services"]
    assert {"app", "milvus"} <= set(services)
    for name, service in services.items():
        built = service.get("build")
        assert built is None or built["target"] in PARENTS
        assert built is not None or PINNED.fullmatch(service["image"]), name
        assert built is not None or "healthcheck" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], volume
    assert "stores=milvus" in (PROJECT / "compose.yaml").read_text() and (PROJECT / "conf/stores/milvus.yaml").is_file()
