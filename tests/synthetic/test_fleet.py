"""Drawing a fleet: VeRi's files, the same bytes everywhere, whole or not at all, and no colour shortcut."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import reid_command

from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet import FleetSpec, draw, draw_fleet, fleet_spec, plan_fleet, read_synthetic
from reid_lightning.synthetic.fleet.plan import TEST, TRAIN

SPEC = fleet_spec("tiny")
FEW = dataclasses.replace(
    SPEC, size="few", train_identities=2, test_identities=2, cameras=2, train_pairs=4, train_images=8, test_tracks=4,
    queries=4, test_images=8, long_side=(48, 60),
)  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_fleet(tmp_path_factory.mktemp("fleet"), SPEC, workers=1)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode("ascii").splitlines()


def test_layout_is_that_of_veri_776(fleet: Path) -> None:
    plan = plan_fleet(SPEC)
    assert fleet.name == SPEC.folder_name
    for part, names in (("train", plan.images(TRAIN)), ("test", plan.images(TEST)), ("query", list(plan.query))):
        assert lines(fleet / f"name_{part}.txt") == names
        assert sorted(path.name for path in (fleet / f"image_{part}").iterdir()) == names
    for name in plan.query:
        assert (fleet / "image_query" / name).read_bytes() == (fleet / "image_test" / name).read_bytes()
    for part, number in (("train", 96), ("test", 62)):
        label = (fleet / f"{part}_label.xml").read_bytes()
        assert label.startswith(b'<?xml version="1.0" encoding="gb2312"?>\r\n<TrainingImages Version="1.0">\r\n')
        assert f'<Items number="{number}">'.encode() in label
        assert label.count(b"<Item ") == number
    assert lines(fleet / "list_type.txt")[0] == "1 sedan"
    assert lines(fleet / "list_color.txt")[3] == "4 gray"
    index = (fleet / "jk_index.txt").read_bytes()
    assert index.count(b" \r\n") == index.count(b"\n") == len(plan.query)
    right, junk = zip(*plan.index_rows(), strict=True)
    assert [[int(row) for row in line.split()] for line in lines(fleet / "gt_index.txt")] == list(right)
    assert [[int(row) for row in line.split()] for line in lines(fleet / "jk_index.txt")] == list(junk)
    tracks = [line.split() for line in lines(fleet / "test_track.txt")]
    assert sorted(name for _, *images in tracks for name in images) == plan.images(TEST)
    assert all(images[0].startswith(track.rsplit("_t", 1)[0]) for track, *images in tracks)
    assert len(lines(fleet / "camera_distance.txt")) == SPEC.cameras


def test_pictures_are_crops_of_varying_size(fleet: Path) -> None:
    sizes = []
    for path in (fleet / "image_train").iterdir():
        with Image.open(path) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            picture.load()
            sizes.append(picture.size)
    longer = [max(size) for size in sizes]
    assert SPEC.long_side[0] <= min(longer) < max(longer) <= SPEC.long_side[1] + 1
    assert len({round(width / height, 1) for width, height in sizes}) > 4


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    one, three = (draw_fleet(tmp_path / str(workers), FEW, workers=workers) for workers in (1, 3))
    assert digests(one) == digests(three)


def test_another_seed_is_another_fleet(tmp_path: Path) -> None:
    one = digests(draw_fleet(tmp_path, FEW, workers=1))
    two = digests(draw_fleet(tmp_path, dataclasses.replace(FEW, seed=1), workers=1))
    pictures = {digest for name, digest in one.items() if name.endswith(".jpg")}
    assert not pictures & {digest for name, digest in two.items() if name.endswith(".jpg")}


def test_second_call_finds_the_fleet_and_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_fleet(tmp_path, FEW, workers=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(draw, "draw_vehicle", lambda *_: pytest.fail("drew again"))
    assert draw_fleet(tmp_path, FEW, workers=1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), ReIDError),
        (ValueError("a bug"), ValueError),
    ],
)
def test_interrupted_drawing_leaves_nothing_and_the_next_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, seen: type[BaseException]
) -> None:
    real, calls = draw.draw_vehicle, []

    def half_way(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) == 3:
            raise raised
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(draw, "draw_vehicle", half_way)
        with pytest.raises(seen) as caught:
            draw_fleet(tmp_path, FEW, workers=1)
    if seen is ReIDError:
        assert str(tmp_path / FEW.folder_name) in str(caught.value)
        assert "No space left" in str(caught.value)
    assert len(calls) == 3
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert len(list((draw_fleet(tmp_path, FEW, workers=1) / "image_train").iterdir())) == 8


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    part = tmp_path / f".{FEW.folder_name}.part" / "image_train"
    part.mkdir(parents=True)
    (part / "0001_c001_00000000_0.jpg").write_bytes(b"half a picture")
    folder = draw_fleet(tmp_path, FEW, workers=1)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]
    assert not (folder / "image_train" / "0001_c001_00000000_0.jpg").exists()


def test_root_that_cannot_be_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReIDError, match=r"Cannot draw the fleet into .*few-seed0.*is a file; .*data.root"):
        draw_fleet(tmp_path / "file", FEW, workers=1)


def test_no_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="workers is 0; expected 1 or more"):
        draw_fleet(tmp_path, FEW, workers=0)


def test_workers_need_no_main_guard_and_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from reid_lightning.synthetic.fleet import FleetSpec, draw_fleet\n"
        f"print(draw_fleet({str(tmp_path)!r}, {FEW!r}, workers=2))\n"
        "print('torch' in sys.modules)\n"
    )
    file = tmp_path / "unguarded.py"
    file.write_text(script)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root)}, check=False
    )
    assert done.stdout.split() == [str(tmp_path / FEW.folder_name), "False"], done.stderr
    assert digests(tmp_path / FEW.folder_name) == digests(draw_fleet(tmp_path / "here", FEW, workers=1))


def test_read_synthetic_gives_the_records_of_the_plan(fleet: Path) -> None:
    dataset = read_synthetic(root=fleet.parent, size="tiny", seed=0)
    plan = plan_fleet(SPEC)
    assert dataset.name == "drawn fleet (tiny, seed 0)"
    assert [image.path.name for image in dataset.train] == plan.images(TRAIN)
    assert [image.path.name for image in dataset.gallery] == plan.images(TEST)
    assert [image.path.name for image in dataset.query] == list(plan.query)
    assert {image.identity for image in dataset.train}.isdisjoint(image.identity for image in dataset.gallery)
    assert dataset.gallery[0].colour is not None
    assert dataset.gallery[0].type is not None
    assert len({image.track for image in dataset.gallery}) == SPEC.test_tracks
    assert dataset.gt_index == tuple(tuple(row - 1 for row in right) for right, _ in plan.index_rows())
    assert dataset.jk_index == tuple(tuple(row - 1 for row in junk) for _, junk in plan.index_rows())


def test_command_draws_and_writes_a_sheet(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "draw_vehicle", lambda *_: pytest.fail("drew again"))
    sheet = tmp_path / "new" / "sheet.png"
    assert reid_command("data", "fleet", f"folder={fleet.parent}", "size=tiny", f"sheet={sheet}") == 0
    assert str(fleet) in capsys.readouterr().out
    with Image.open(sheet) as picture:
        assert picture.size == (4 * 112, 6 * 112)
    assert reid_command("data", "fleet", f"folder={fleet.parent}", "size=none") == 1
    assert "size is 'none'; expected tiny, small or veri" in capsys.readouterr().err


def test_colour_histogram_does_not_find_the_vehicle(fleet: Path) -> None:
    """A histogram's best match from another camera is mostly another vehicle."""
    plan = plan_fleet(SPEC)

    def histogram(name: str) -> np.ndarray:
        with Image.open(fleet / "image_test" / name) as picture:
            bins = np.asarray(picture, dtype=np.int64) // 32
        counts = np.bincount((bins[..., 0] * 64 + bins[..., 1] * 8 + bins[..., 2]).ravel(), minlength=512)
        return np.sqrt(counts / counts.sum())

    names = plan.images(TEST)
    gallery = np.stack([histogram(name) for name in names])
    found = []
    for query, (right, junk) in zip(plan.query, plan.index_rows(), strict=True):
        likeness = gallery @ gallery[names.index(query)]
        likeness[[row - 1 for row in junk]] = -1
        found.append(int(likeness.argmax()) + 1 in right)
    assert np.mean(found) < 0.6


def test_spec_is_hashable_and_frozen() -> None:
    assert len({FleetSpec(**dataclasses.asdict(SPEC)), SPEC}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.seed = 2
