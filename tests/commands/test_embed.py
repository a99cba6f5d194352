"""`reid embed` as users call it: parts that any number of processes share, the same files whoever makes them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from toy_gallery import pictures, sighting

from benchmarks.drills.embedding import ray_workers
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.pieces import Piece
from reid_lightning.ranking.files import read_embeddings
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery, open_store

COLOURS = ((250, 20, 10), (20, 250, 60), (30, 30, 220), (200, 200, 30))
PATTERN = r"data.pattern=^(?P<identity>\d+)_c(?P<camera>\d)"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The command sets those of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def words(bundle: Path, tmp_path: Path) -> list[str]:
    """Of a command that embeds 16 pictures of a folder, in two splits."""
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(16):
        picture = Image.new("RGB", (24, 24), COLOURS[number // 4])
        picture.putpixel((number, 3), (255, 255, 255))
        picture.save(folder / f"{number // 4}_c{number % 2}_{number}.png")
    data = ["data=folder", f"data.root={folder}", PATTERN, "data.fold=1/2", "data.on_bad_image=skip"]
    return [*data, f"bundle={bundle}", "pictures_per_file=3", "splits=[train,gallery]", "backend=torch"]


@pytest.fixture
def embed(tmp_path: Path, run_command: Callable, words: list[str]) -> Callable:
    def run(output: str, *more: str, is_well: bool = True):
        finished = run_command("reid", "embed", *words, f"output={tmp_path / output}", *more)
        assert (finished.returncode == 0) == is_well, finished.stdout + finished.stderr
        return finished

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("backend=onnx providers=openvino", "providers names openvino, but the onnxruntime that is installed offers"),
        ("backend=torch device=cuda:99", "device is 'cuda:99', which cannot be used here"),
    ],
)
def test_what_cannot_embed_here_is_told_before_anything_is_written(
    embed: Callable, tmp_path: Path, given: str, said: str
) -> None:
    refused = embed("whole", *given.split(), is_well=False)
    assert said in refused.stderr
    assert not (tmp_path / "whole").exists()


def test_parts_in_any_order_make_the_files_of_one_process(embed: Callable, tmp_path: Path, bundle: Path) -> None:
    assert "part 1/1: 6 files written, 0 were there" in embed("whole").stdout
    assert "1 of 3 files, 8 pictures" in embed("parts", "part=3/3").stdout
    assert "2 files written" in embed("parts", "part=1/3").stdout
    embed("parts", "part=2/3")
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts") and len(contents(tmp_path / "whole")) == 6

    table = read_embeddings(tmp_path / "parts/train")
    assert len(table.identities) == 8 and set(table.cameras or ()) == {"0", "1"}
    assert all((tmp_path / "crops" / name).is_file() for name in table.names or ())
    model = load_reid_model(bundle)
    shown = [Image.open(tmp_path / "crops" / name) for name in table.names or ()]
    assert torch.allclose(table.embeddings, model.embed(shown, normalize=False), atol=1e-5)
    assert table.model == model.options.fingerprint


def test_what_is_there_is_not_made_again_and_what_is_damaged_is(embed: Callable, tmp_path: Path, monkeypatch) -> None:
    embed("out")
    before = contents(tmp_path / "out")
    made: list[str] = []
    real = Piece.embed
    monkeypatch.setattr(
        Piece, "embed", lambda piece, *given, **named: made.append(piece.file.name) or real(piece, *given, **named)
    )
    assert "0 files written, 6 were there" in embed("out").stdout and not made
    cut, other = tmp_path / "out/train/000001.safetensors", tmp_path / "out/gallery/000000.safetensors"
    cut.write_bytes(cut.read_bytes()[:-7])
    shutil.copy(tmp_path / "out/train/000000.safetensors", other)  # of other pictures
    turned = tmp_path / "out/gallery/000001.safetensors"
    turned.write_bytes(turned.read_bytes()[:-3] + b"\x07" + turned.read_bytes()[-2:])
    with pytest.raises(ReIDError, match="their checksum differs"):
        read_embeddings(turned)
    (tmp_path / "out/train/000002.safetensors").unlink()
    assert "4 files written, 2 were there" in embed("out").stdout
    assert sorted(made) == [f"00000{number}.safetensors" for number in (0, 1, 1, 2)]
    assert contents(tmp_path / "out") == before


def test_an_evaluation_reads_the_folders_and_names_what_is_missing(
    embed: Callable, tmp_path: Path, run_command: Callable
) -> None:
    files = ["evaluate", f"query_embeddings={tmp_path / 'out/query'}", f"gallery_embeddings={tmp_path / 'out/gallery'}"]
    embed("out", "splits=[query,gallery]", "part=1/2")
    finished = run_command("reid", *files)
    assert finished.returncode and "files are not there yet, such as 00000" in finished.stderr
    embed("out", "splits=[query,gallery]", "part=2/2")
    finished = run_command("reid", *files)
    assert finished.returncode == 0, finished.stderr
    (metrics,) = (tmp_path / "runs/evaluate").glob("*/metrics.json")
    assert 0 < json.loads(metrics.read_text())["mAP"] <= 1
    finished = run_command("reid", "evaluate", f"query_embeddings={tmp_path / 'crops'}", *files[2:])
    assert finished.returncode and "is no folder of embeddings: there is no pieces.json" in finished.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["flip=true"], "holds embeddings of something else: flip False, here True"),
        (["pictures_per_file=4"], "pictures_per_file 3, here 4; files 3, here 2"),
        (["data.fold=2/2"], "other names of pictures"),
        (["part=3/2"], "part is '3/2'; expected a part such as 2/8"),
        (["part=0/2"], "part is '0/2'"),
        (["part=1/2", "ray=local"], "Ray shares the work out itself"),
        (["splits=[validation]"], "hold no picture"),
        (["splits=[test]"], "expected a list of train, query, gallery"),
    ],
)
def test_parts_of_different_work_are_refused(embed: Callable, tmp_path: Path, more: list[str], message: str) -> None:
    embed("out", "part=1/3")
    before = contents(tmp_path / "out")
    finished = embed("out", *more, is_well=False)
    assert message in finished.stderr and "Traceback" not in finished.stderr
    assert contents(tmp_path / "out") == before


def test_a_picture_that_cannot_be_read_is_named_and_other_files_stay(embed: Callable, tmp_path: Path) -> None:
    embed("out", "part=1/6")
    for path in (tmp_path / "crops").glob("*_c1_*"):
        path.write_bytes(path.read_bytes()[:60])
    finished = embed("out", "data.on_bad_image=error", is_well=False)
    assert "cannot be read" in finished.stderr and ".png" in finished.stderr
    assert len(contents(tmp_path / "out")) == 1


def test_a_folder_of_pictures_that_nobody_has_named(embed: Callable, tmp_path: Path, bundle: Path, run_command) -> None:
    folder = tmp_path / "Bilder (2), ältere [b] $x"
    (folder / "a b").mkdir(parents=True)
    for number, name in enumerate(("x.png", "a b/ü'x.jpg", "a b/x.png")):
        Image.new("RGB", (20, 20), COLOURS[number]).save(folder / name)
    words = [f"source={folder}", f"bundle={bundle}", f"output={tmp_path / 'öut'}"]
    finished = run_command("reid", "embed", *words)
    assert finished.returncode == 0, finished.stderr
    table = read_embeddings(tmp_path / "öut/pictures")
    assert sorted(table.names or ()) == ["a b/x.png", "a b/ü'x.jpg", "x.png"] and table.cameras is None
    finished = run_command("reid", "embed", *words, f"gallery={folder}")
    assert finished.returncode and "expected one of them" in finished.stderr
    finished = run_command("reid", "embed", f"source={tmp_path / 'öut'}", *words[1:])
    assert finished.returncode and "holds no picture" in finished.stderr


def test_a_gallery_takes_what_was_embedded_elsewhere(
    tmp_path: Path, bundle: Path, run_command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, model = Gallery(tmp_path / "gallery"), load_reid_model(bundle)
    for number in range(4):
        gallery.add(sighting(number, f"V{number // 2}", camera="north" if number else ""), pictures(number))
    output = tmp_path / "out"
    base = [f"gallery={gallery.root}", f"bundle={bundle}"]
    finished = run_command("reid", "embed", *base, f"output={output}", "pictures_per_file=3", "backend=torch")
    assert finished.returncode == 0 and "3 files" in finished.stdout, finished.stderr
    gallery.rename("V1", "W")
    gallery.delete_sighting(gallery.find("a0"))
    gallery.add(sighting(9, "V0"), pictures(9))

    sync = ["gallery", "sync", *base, f"embeddings={output / 'gallery'}"]
    finished = run_command("reid", *sync)
    assert finished.returncode == 0, finished.stderr
    assert "6 vectors taken" in finished.stdout and "8 vectors: 2 embedded, 0 changed, 0 removed" in finished.stdout
    store = open_store(gallery.root / ".index")
    found = {
        record.id: (record.vehicle, row) for part, rows in store.scan() for record, row in zip(part, rows, strict=True)
    }
    assert {name: vehicle for name, (vehicle, _) in found.items()} == {
        **{f"a{number}-{k}": vehicle for number, vehicle in ((1, "V0"), (2, "W"), (3, "W"), (9, "V0")) for k in (0, 1)}
    }
    for name, (vehicle, row) in found.items():
        shown = model.embed([Image.open(gallery.root / vehicle / f"{name}.jpg")])[0]
        assert float(shown @ torch.from_numpy(row)) > 0.999

    finished = run_command("reid", *sync[:-1], f"embeddings={tmp_path}")
    assert finished.returncode and "holds no file of `reid embed gallery=...`" in finished.stderr
    other = read_embeddings(output / "gallery/000000.safetensors")
    assert other.names == ("a0-0", "a0-1", "a1-0")


@pytest.fixture
def ray_cluster() -> Iterator:
    """Two machines, each a process with one core."""
    pytest.importorskip("ray", reason="Ray is not installed: the extra ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_two_machines_of_ray_make_the_files_of_one_process_though_one_is_lost(
    embed: Callable, tmp_path: Path, ray_cluster
) -> None:
    embed("whole", "pictures_per_file=1")
    node = ray_cluster.add_node(num_cpus=1)
    ray_cluster.wait_for_nodes()

    def lose() -> None:
        while not contents(tmp_path / "rays"):
            time.sleep(0.02)
        ray_cluster.remove_node(node, allow_graceful=False)

    losing = threading.Thread(target=lose)
    losing.start()
    finished = embed("rays", "pictures_per_file=1", f"ray={ray_cluster.address}")
    losing.join()
    assert "part 1/1: 16 files written" in finished.stdout
    assert contents(tmp_path / "rays") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_of_ray_that_dies_is_replaced(embed: Callable, tmp_path: Path, ray_cluster) -> None:
    embed("whole", "pictures_per_file=1")

    def kill() -> None:
        while len(contents(tmp_path / "rays")) < 2:
            time.sleep(0.02)
        for pid in ray_workers(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    finished = embed("rays", "pictures_per_file=1", f"ray={ray_cluster.address}")
    killing.join()
    assert "part 1/1: 16 files written" in finished.stdout
    assert contents(tmp_path / "rays") == contents(tmp_path / "whole")
    finished = embed("other", "ray=127.0.0.1:1", is_well=False)
    assert "ray=127.0.0.1:1: no cluster answers" in finished.stderr
