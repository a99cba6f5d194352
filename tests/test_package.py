"""The package as it is installed: what it declares, what is in its wheel, and what a missing extra says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running import PROJECT

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.gallery.__main__ import todays_words

ROOT = PROJECT / "reid_lightning"
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
LARGE = {"ray"}  # hundreds of megabytes that few need: in no other extra, and not pinned
EXTRAS = DECLARED["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()
LINES = (PROJECT / "requirements.txt").read_text().splitlines()
PINS = {
    canonicalize_name(one.name): one
    for one in map(Requirement, (line.partition("#")[0] for line in LINES if re.match(r"\w", line)))
}


def asked_for(lines: list[str]) -> dict[str, Requirement]:
    """What a list of requirements asks for, with what the extras in it ask for."""
    found: dict[str, Requirement] = {}
    for one in map(Requirement, lines):
        if one.name == DECLARED["name"]:
            for name in one.extras:
                found |= asked_for(EXTRAS[name])
        else:
            found[canonicalize_name(one.name)] = one
    return found


CORE = asked_for(DECLARED["dependencies"])
WHOLE = CORE | asked_for([line for name, lines in EXTRAS.items() if name not in LARGE for line in lines])


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Packages of others that a module imports, each with the extra of the `with extra(...)` around it."""

    def walk(node: ast.AST, within: str | None) -> Iterator[tuple[str, str | None]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((name.name.split(".")[0], within) for name in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                yield child.module.split(".")[0], within
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            entered = (
                re.fullmatch(r"extra\('(\w+)'\)", ast.unparse(child.items[0])) if isinstance(child, ast.With) else None
            )
            yield from walk(child, entered[1] if entered else within)

    for name, within in walk(ast.parse(path.read_text(encoding="utf-8")), None):
        if name not in sys.stdlib_module_names and name != "reid_lightning":
            yield name, within


def test_whatever_a_module_imports_is_declared_in_the_core_or_in_the_extra_that_it_names():
    seen, wrong = set(), []
    for path in ROOT.rglob("*.py"):
        for name, within in imported(path):
            within = "app" if path.is_relative_to(ROOT / "app") else within
            allowed = CORE if within is None else CORE | asked_for(EXTRAS[within])
            if not {canonicalize_name(one) for one in DISTRIBUTIONS.get(name, [name])} & set(allowed):
                wrong.append(f"{path.relative_to(PROJECT)} imports {name} {f'with extra {within}' if within else ''}")
            seen.add(within)
    assert not wrong, "declare it in pyproject.toml, and import what is in an extra below `with extra(...)`"
    assert {"search", "export", "wandb", "milvus", "postgres", "app"} <= seen


def test_whatever_the_configurations_name_is_declared():
    targets = {
        (name, path.relative_to(PROJECT / "conf").parts[0])
        for path in (PROJECT / "conf").rglob("*.yaml")
        for name in re.findall(r"_target_: (\w+)\.", path.read_text())
    }
    packages = {name for name, _ in targets} - {"reid_lightning"}
    assert {"torch", "pytorch_lightning", "pytorch_metric_learning"} <= packages
    for name in packages:
        assert {canonicalize_name(one) for one in DISTRIBUTIONS[name]} & set(WHOLE), name


def test_the_pinned_environment_is_the_whole_of_what_is_declared():
    asked_by_others = {"opencv-python"}  # trackers asks for it
    assert any(Requirement(line).name in asked_by_others for line in requires("trackers") or ())
    assert set(PINS) - asked_by_others == set(WHOLE)
    for name, declared in WHOLE.items():
        (pin,) = PINS[name].specifier
        assert pin.operator == "==" and declared.specifier.contains(pin.version), f"{declared} and {PINS[name]}"


def test_all_is_every_extra_of_a_user_and_dev_is_everything():
    users = set(EXTRAS) - {"all", "dev", "docs"} - LARGE
    assert users == {"search", "app", "export", "wandb", "sweeps", "milvus", "postgres", "watch", "weights"}
    assert Requirement(EXTRAS["all"][0]).extras == users
    assert set(asked_for(EXTRAS["dev"]) | CORE) == set(WHOLE)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_its_configurations_and_nothing_else(wheel):
    ours = {path.relative_to(PROJECT).as_posix(): path for path in ROOT.rglob("*") if path.is_file()}
    ours |= {
        f"reid_lightning/{path.relative_to(PROJECT).as_posix()}": path for path in (PROJECT / "conf").rglob("*.yaml")
    }
    ours = {name: path for name, path in ours.items() if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if not name.startswith("reid_lightning-")}
        assert inside == set(ours)
        assert all(opened.read(name) == path.read_bytes() for name, path in ours.items())
        about = {name.split("/", 1)[1]: opened.read(name).decode() for name in opened.namelist() if name not in inside}
    assert {
        "reid_lightning/py.typed",
        "reid_lightning/app/.streamlit/config.toml",
        "reid_lightning/conf/train.yaml",
    } < inside
    assert "reid = reid_lightning.commands.main:main" in about["entry_points.txt"]
    assert "License-Expression: MIT" in about["METADATA"] and "licenses/LICENSE" in about


def test_an_editable_installation_holds_no_second_copy_of_the_configurations(tmp_path):
    build = [sys.executable, "-c", f"from hatchling import build; build.build_editable({str(tmp_path)!r})"]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as opened:
        assert not [name for name in opened.namelist() if name.startswith("reid_lightning/")]


def test_a_missing_extra_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with (
        pytest.raises(ReIDError, match=r'lancedb is not installed.*: pip install "reid_lightning\[search\]"'),
        extra("search"),
    ):
        import lancedb  # noqa: F401


def test_a_machine_without_display_libraries_is_told_which_package_needs_none():
    with (
        pytest.raises(ReIDError, match="pip install --force-reinstall --no-deps opencv-python-headless"),
        extra("search"),
    ):
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with pytest.raises(ImportError, match="cannot import name"), extra("search"):
        raise ImportError("cannot import name 'x' from 'av'")


WITHOUT_EXTRAS = """
import sys
import sysconfig
for name in {extras!r}:
    sys.modules[name] = None
import reid_lightning.ranking, reid_lightning.search, reid_lightning.losses, reid_lightning.bundle.loading
import reid_lightning.commands.train, reid_lightning.commands.evaluate, reid_lightning.commands.export
from reid_lightning.commands.evaluate import evaluate
from reid_lightning.errors import ReIDError
try:
    import reid_lightning.search.video.video_source
except ReIDError as error:
    print(error)
"""


def test_the_core_does_without_the_extras():
    optional = set(WHOLE) - set(CORE)
    extras = [name for name, of in DISTRIBUTIONS.items() if optional & {canonicalize_name(one) for one in of}]
    assert {"av", "cv2", "lancedb", "streamlit", "wandb", "onnxruntime", "pymilvus", "psycopg"} <= set(extras)
    program = WITHOUT_EXTRAS.format(extras=[name for name in extras if name not in ("pandas", "grpc")])
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert 'pip install "reid_lightning[search]"' in ran.stdout


@pytest.fixture
def installed(wheel, tmp_path) -> Path:
    """The programs of an environment that has the wheel, and sees the packages of this one but not this project."""
    venv.create(tmp_path / "env")
    python = tmp_path / "env/bin/python"
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return python.parent


@pytest.mark.slow
def test_what_is_installed_trains_evaluates_and_compares_from_an_empty_folder(installed, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def ran(program: str, *words: str) -> str:
        command = [str(installed / program), *words]
        finished = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    assert Path(ran("python", "-c", "import reid_lightning; print(reid_lightning.__file__)")).is_relative_to(tmp_path)
    assert all(command in ran("reid") for command in ("train", "evaluate", "export", "register", "search"))
    tiny = ["data.size=tiny", "loader.num_workers=0", "input.height=32", "input.width=32"]
    tiny += ["loader.identities_per_batch=4", "loader.images_per_identity=4", "evaluation.pictures=false"]
    tiny += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    ran("reid", "train", *tiny, "hydra.run.dir=run")
    assert "mAP" in ran("reid", "evaluate", "checkpoint=run/bundle", "data.size=tiny", "evaluation.pictures=false")
    shutil.copytree(folder / "run/bundle", folder / "bundle")
    pictures = sorted(folder.glob("data/synthetic/*/image_query/*.jpg"))
    for name, picture in zip("abc", pictures, strict=False):
        shutil.copy(picture, folder / f"car_{name}.jpg")
    lines = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), flags=re.DOTALL)[0]
    assert "1.0000" in ran("python", "-c", lines)


def test_commands_of_earlier_releases_run_those_of_today(tmp_path):
    (tmp_path / "gallery").mkdir()
    for module, words, said in (
        ("search.gallery", ["check", "--gallery", "gallery"], "0 problems"),
        ("search.gallery", ["list", "--galery=gallery"], "galery"),
        ("data.report", ["data=folder", "data.root=nowhere"], "data.root: there is no folder nowhere"),
    ):
        command = [sys.executable, "-m", f"reid_lightning.{module}", *words]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert said in finished.stdout + finished.stderr
        assert (finished.returncode == 0) == (words[-1] == "gallery"), finished.stderr


@pytest.mark.parametrize(
    ("words", "todays"),
    [
        ("rename car-1 京A12345 --gallery g", "rename vehicle=car-1 to=京A12345 gallery=g"),
        ("rename --gallery=g a b", "rename gallery=g vehicle=a to=b"),
        ("merge a b", "merge vehicle=a into=b"),
        ("delete a --now", "delete vehicle=a now=true"),
        ("restore 12 --into b", "restore vehicle=12 into=b"),
        ("export out.zip --vehicle a", "export file=out.zip vehicle=a"),
        ("forget --before 2026-01-31T08:00:00", "forget before=2026-01-31T08:00:00"),
        ("list --uri http://host --token t", "list stores.uri=http://host stores.token=t"),
        ("list gallery=g stores.name=n", "list gallery=g stores.name=n"),
        ("list --help", "list --help"),
        ("", "--help"),
    ],
)
def test_words_of_the_gallerys_command_of_earlier_releases_are_todays(words, todays):
    assert list(todays_words(words.split())) == todays.split()


def test_what_earlier_releases_had_elsewhere_is_still_found_there():
    from reid_lightning.search.sources import open_source

    from reid_lightning.data.images import load_image
    from reid_lightning.data.images.reading import load_image as todays_load_image
    from reid_lightning.search.video.sources import open_source as todays_open_source

    assert load_image is todays_load_image and open_source is todays_open_source
