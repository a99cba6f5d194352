"""`reid adapt` as users call it: odd folders, pictures that cannot be read, and which bundle it starts from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning.bundle.bundle import load, read_options, save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.models import ReIDModel
from reid_lightning.search import load_reid_model

PATTERN = r"pattern=^(?P<track>\d+)_c(?P<camera>\d)"


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Six tracks of two pictures each, before two cameras, in a folder with a name from a desktop."""
    folder = tmp_path / "Škoda (2), ältere Bilder"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for track in range(6):
        colour = generator.integers(0, 200, 3)
        for number in range(2):
            picture = np.clip(colour + generator.integers(0, 50, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{track}_c{track % 2}_{number}.png")
    return folder


def adapted_by(finished, tmp_path: Path) -> Path:
    assert finished.returncode == 0, finished.stderr
    return max((tmp_path / "runs/adapt").glob("*/bundle"))


def test_a_folder_of_any_name_gives_labels_that_are_read_wherever_their_table_goes(
    bundle: Path, crops: Path, tmp_path: Path, run_command: Callable
) -> None:
    finished = run_command("reid", "adapt", f"source={crops}", f"bundle={bundle}", PATTERN)
    folder = adapted_by(finished, tmp_path)
    assert "12 pictures: a new model" in finished.stdout
    assert "6 tracks or single pictures, 2 cameras; " in finished.stdout
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(folder.parent / "pseudo_labels.csv", tmp_path / "elsewhere")
    dataset = read_csv(path=moved, test_fraction=0.5)
    images = (*dataset.train, *dataset.gallery)
    assert {image.path.parent for image in images} == {crops} and len(images) == 12
    assert {image.camera for image in images} == {"0", "1"} and dataset.found_by == "reid adapt"


def test_pictures_that_cannot_be_read_are_left_out_and_counted(
    bundle: Path, crops: Path, tmp_path: Path, run_command: Callable
) -> None:
    """The same bundle comes as from the folder without them."""
    whole = adapted_by(run_command("reid", "adapt", f"source={crops}", f"bundle={bundle}", PATTERN), tmp_path)
    content = (crops / "0_c0_0.png").read_bytes()
    (crops / "6_c0_0.png").write_bytes(content[: len(content) // 2])
    finished = run_command("reid", "adapt", f"source={crops}", f"bundle={bundle}", PATTERN)
    assert "12 pictures, 1 unreadable one left out: a new model" in finished.stdout
    again = adapted_by(finished, tmp_path)
    assert again != whole and read_options(again).fingerprint == read_options(whole).fingerprint
    for path in sorted(crops.iterdir())[1:]:
        path.write_bytes(b"")
    refused = run_command("reid", "adapt", f"source={crops}", f"bundle={bundle}", PATTERN)
    assert refused.returncode == 1 and "12 of 13 pictures cannot be read, such as " in refused.stderr
    assert "the file is empty; expected two that can" in refused.stderr


def test_the_latest_bundle_is_one_that_was_trained_and_a_named_one_may_be_moved_again(
    bundle: Path, crops: Path, tmp_path: Path, run_command: Callable
) -> None:
    shutil.copytree(bundle, tmp_path / "runs/train/a/bundle")
    first = adapted_by(run_command("reid", "adapt", f"source={crops}"), tmp_path)
    second = adapted_by(run_command("reid", "adapt", f"source={crops}"), tmp_path)
    trained = load(bundle, None).options.fingerprint
    assert first != second
    assert [read_options(one).data["before"] for one in (first, second)] == [trained, trained]
    named = run_command("reid", "adapt", f"source={crops}", f"bundle={second}")
    assert named.stdout.count("was adapted before (moved to 12 pictures without labels") == 1
    assert read_options(adapted_by(named, tmp_path)).data["before"] == read_options(second).fingerprint


def test_a_bundle_of_another_size_keeps_it(crops: Path, tmp_path: Path, run_command: Callable) -> None:
    torch.manual_seed(0)
    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="bnneck", embedding_dim=128).eval()
    bundle = save_bundle(tmp_path / "wide", model, Preprocessing(32, 32), metrics={}, data={})
    folder = adapted_by(run_command("reid", "adapt", f"source={crops}", f"bundle={bundle}"), tmp_path)
    embeddings = load_reid_model(folder).embed([Image.open(path) for path in sorted(crops.iterdir())])
    assert embeddings.shape == (12, 128) and embeddings.isfinite().all()


def test_a_bundle_of_an_onnx_file_alone_is_refused_before_a_picture_is_read(
    bundle: Path, crops: Path, tmp_path: Path, run_command: Callable
) -> None:
    shutil.copytree(bundle, tmp_path / "onnx")
    (tmp_path / "onnx/model.safetensors").rename(tmp_path / "onnx/model.onnx")
    finished = run_command("reid", "adapt", f"source={crops}", f"bundle={tmp_path / 'onnx'}")
    assert finished.returncode == 1 and "model.onnx beside it runs with backend=onnx alone" in finished.stderr
    assert "formats=[safetensors,onnx]" in finished.stderr and not list(tmp_path.rglob("pseudo_labels.csv"))


def test_figures_on_labels_that_a_program_found_say_so(
    bundle: Path, crops: Path, tmp_path: Path, run_command: Callable
) -> None:
    own = shutil.copytree(bundle, tmp_path / "own")
    rows = [f'"{path}",{path.name[0]},c{path.stem[-1]},reid adapt' for path in sorted(crops.iterdir())]
    (tmp_path / "pseudo_labels.csv").write_text("\n".join(["path,identity,camera,found_by", *rows]), encoding="utf-8")
    words = ["data=csv", "data.path=pseudo_labels.csv", "data.test_fraction=1", "evaluation.pictures=false"]
    finished = run_command("reid", "evaluate", f"checkpoint={own}", *words, "store_threshold=true", "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    said = " ".join(finished.stdout.split())
    assert "pseudo_labels: agreement with reid adapt, 12 queries, 12 gallery pictures" in said
    assert "was said by reid adapt: these figures are how far the model agrees with it" in said
    assert json.loads((tmp_path / "run/metrics.json").read_text())["identities_found_by"] == "reid adapt"
    assert "vehicles that reid adapt took for one" in load_reid_model(own).calibration.warning
