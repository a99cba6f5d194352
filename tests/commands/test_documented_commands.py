"""Every command in README and docs is one that works: those of the README are run, on small things that stand for the
user's own; those of the docs are at least composed, so that no key in them is stale."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import PROJECT, run_here
from toy_clips import scene, write_clip

from reid_lightning.synthetic.fleet import read_synthetic

RUN = "runs/train/toy"
SMALL = [
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "+trainer.limit_train_batches=2",
    "loader.num_workers=0",
    "loader.identities_per_batch=2",
    "loader.images_per_identity=2",
    "input.height=32",
    "input.width=32",
    "model.embedding_dim=16",
    "model.pretrained=null",
]
DOCS = (
    "README.md",
    "docs/training.md",
    "docs/search.md",
    "docs/watch.md",
    "docs/data.md",
    "docs/protocols.md",
    "docs/app.md",
)
WITH_HYDRA = ("train.py", "evaluate.py", "export.py", "register.py", "search.py")
LASTING = (
    "trainer=ddp_cpu",
    "experiment=",
    "sweep=optuna",
    "-m loss=",
    "convnext_tiny",
    "logger=wandb",
    "loss=circle model=resnet50",
    "callbacks=[ema",
    "protocol=image_to_track",
    "reid export",
    "protocol.metric=rscr",
)
ELSEWHERE = {
    "streamlit run": "tests/app/test_browser.py starts it",
    "reid app": "tests/app/test_browser.py starts the same",
    "torchrun": "tests/test_distributed.py starts it",
    "srun": "needs SLURM; tests/test_preemption.py has a stand-in",
    "trainer=ddp ": "needs GPUs; composed below",
    "python benchmarks/": "takes minutes",
}


def commands(name: str) -> Iterator[str]:
    """Commands in the bash blocks and the inline code of a page, a line each, without comments."""
    text = (PROJECT / name).read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [" ".join(span.split()) for span in re.findall(r"`((?:python|make|reid) [^`]+)`", prose)]
    for line in [*"".join(blocks).replace("\\\n", " ").splitlines(), *inline]:
        command = " ".join(line.split("  #")[0].split(" # ")[0].split())
        if command and not command.startswith("#"):
            yield command


NO_SETTINGS = ("--help", "<group>", "...", "-sc ", "<command>")
NAMES = {
    "<run>": "toy",
    "<VeRi>": "veri",
    "<bundle>": f"{RUN}/bundle",
    "=<yours>": "=veri776",
    "=<your pictures>": "=csv",
}


def arguments(command: str) -> list[str]:
    """Words of a command, with the names of our small things for the user's."""
    for text, ours in NAMES.items():
        command = command.replace(text, ours)
    words = [
        re.sub(r"(?<!\?P)<[^<>]+>", "x", word)
        for word in shlex.split(re.sub(r"(?<!\?P)<([^<> ]*) [^<>]*>", "x", command))
    ]
    if words[0] != "reid":
        return words
    door = f"{words[1]}.py"
    return ["python", *([door, *words[2:]] if door in WITH_HYDRA else words)]


def first_choice(word: str) -> str:
    """Of `loss=circle,triplet`, in a sweep."""
    return word if any(sign in word for sign in '[{"') else word.split(",")[0]


def of_readme() -> list[str]:
    return list(dict.fromkeys(commands("README.md")))


def elsewhere(command: str) -> bool:
    return any(text in f"{command} " for text in ELSEWHERE)


@pytest.fixture(scope="session")
def house(tmp_path_factory, fleet_root) -> Path:
    """A folder with all that the README's commands name, small: crops, clips, a data set, a run, a gallery."""
    folder = tmp_path_factory.mktemp("house")
    fleet = read_synthetic(root=fleet_root, size="tiny").train[0].path.parents[1]
    shutil.copytree(fleet, folder / "veri")
    shutil.copytree(fleet / "image_train", folder / "my_crops")
    (folder / "twocam_train").mkdir()
    names = [f"car_{vehicle:04d}_cam{camera}.jpg" for vehicle in range(8) for camera in (1, 2)]
    generator = np.random.default_rng(0)
    for name in names:
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "twocam_train" / name)
    (folder / "twocam_train/train.txt").write_text("\n".join(names[:12]))
    (folder / "twocam_train/val.txt").write_text("\n".join(names[12:]))
    frames = [scene() for _ in range(12)] + [scene(red=(4 * n, 30)) for n in range(20)] + [scene() for _ in range(12)]
    write_clip(folder / "clip.mp4", frames)
    write_clip(folder / "other.mp4", frames[::-1])
    (folder / "cameras.yaml").write_text("cameras: {yard: other.mp4}\n")
    Image.fromarray(scene(red=(40, 30))).save(folder / "car.jpg")
    for name in ("q.json", "g.json"):
        (folder / name).write_text('{"0001_c001": [[1, 0], [0.9, 0.1]], "0002_c002": [[0, 1]], "0001_c003": [[1, 1]]}')
    started = [
        ("train.py", *small(["train.py", "data=synthetic"]), f"hydra.run.dir={RUN}", "data.root=."),
        ("register.py", "source=clip.mp4", "camera=north", "detector.warm_up=3", "plate_reader=none"),
    ]
    for script, *given in started:
        finished = run_here(folder, script, *given)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    (registered,) = (one for one in (folder / "data/gallery").iterdir() if one.name.startswith("unknown-"))
    finished = run_here(folder, "reid", "gallery", "rename", f"vehicle={registered.name}", "to=LS15EBC")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    finished = run_here(folder, "reid", "link", "min_score=0.6")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def small(given: list[str]) -> list[str]:
    """Of `train.py ...` or `evaluate.py ...`: the arguments, and others that make it a matter of seconds."""
    program, *rest = given
    if program == "train.py" and "--help" not in rest:
        rest += SMALL
    if program == "train.py" and rest != SMALL and "--help" not in rest:
        rest += ["evaluation.pictures=false"]
    if program == "evaluate.py" and any(one.startswith(("protocol", "data=veri")) for one in rest):
        rest += ["evaluation.pictures=false"]
    if "experiment=latent_spaces" in rest:
        rest += ["input.height=96", "input.width=96"]  # Inception and AlexNet take no less
    if program in ("train.py", "evaluate.py") and not any(
        one.startswith(("data=", "query_embeddings", "--")) for one in rest if one != "data=synthetic"
    ):
        rest += ["data.size=tiny"]
    if program == "register.py":
        rest += ["detector.warm_up=3"]
    if "sweep=optuna" in rest:
        rest += ["hydra.sweeper.n_trials=2"]
    if any(one.startswith("resume=") for one in rest):
        rest += ["trainer.max_epochs=2"]
    return rest


def run(command: str, house: Path, folder: Path, *, process: bool) -> subprocess.CompletedProcess[str]:
    """A command of the README in a copy of the house."""
    shutil.copytree(house, folder, dirs_exist_ok=True, symlinks=True)
    python, program, *rest = arguments(command)
    assert python == "python"
    given = rest if program in ("-m", "reid") else small([program, *rest])
    if rest[:1] == ["watch"]:
        given = [*rest, "metrics_port=0", "detector.warm_up=3"]
    if not process:
        return run_here(folder, program, *given)
    line = [sys.executable, str(PROJECT / program), *given]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)


RUNNABLE = [one for one in of_readme() if one.startswith(("python ", "reid ")) and not elsewhere(one)]
LONG = [one for one in RUNNABLE if any(text in one for text in LASTING)]


@pytest.mark.parametrize("command", [one for one in RUNNABLE if one not in LONG])
def test_a_command_of_the_readme_runs(command, house, tmp_path):
    finished = run(command, house, tmp_path, process=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", LONG)
def test_a_long_command_of_the_readme_runs(command, house, tmp_path):
    finished = run(command, house, tmp_path, process=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_readme_has_the_commands_that_the_tests_are_about():
    assert len(RUNNABLE) > 25 and 3 < len(LONG) < len(RUNNABLE) / 2
    others = [one for one in of_readme() if one not in RUNNABLE and not elsewhere(one)]
    assert all(one.startswith(("make ", "pip install ", "docker build ")) for one in others), others


def composed() -> list[str]:
    """Commands of all pages that Hydra composes a configuration for."""
    found = dict.fromkeys(one for name in DOCS for one in commands(name))
    programs = ("reid ", *(f"python {name}" for name in WITH_HYDRA))
    return [one for one in found if one.startswith(programs) and not any(text in one for text in NO_SETTINGS)]


@pytest.mark.parametrize("command", composed())
def test_no_command_in_the_docs_has_a_stale_key(command, tmp_path):
    program, *words = arguments(command)[1:]
    given = [first_choice(word) for word in words if word != "-m"]
    finished = run_here(tmp_path, program, *given, "--cfg", "job")
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("target", ["train", "app", "test", "lint", "docs", "wheel"])
def test_make_has_what_the_docs_name(target):
    finished = subprocess.run(["make", "-n", target], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0 and finished.stdout, finished.stderr
