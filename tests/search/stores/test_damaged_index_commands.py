"""Commands about a gallery whose index is damaged, old or elsewhere: the files come first, and a rebuild works."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_index import DAMAGE
from running import gallery_command
from toy_gallery import pictures, sighting
from toy_vectors import DIM

from reid_lightning.search.gallery import Gallery, open_store
from reid_lightning.search.records import Filter
from reid_lightning.search.stores.base import StoreError


@pytest.fixture(scope="module")
def in_sync(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A gallery of four vehicles and its vectors."""
    made = Gallery(tmp_path_factory.mktemp("in_sync") / "gallery")
    for number, vehicle in enumerate("ABCD"):
        made.add(sighting(number, vehicle, end=1e9 + number), pictures(number))
    assert gallery_command("sync", f"gallery={made.root}", f"bundle={bundle}") == 0
    return made.root


@pytest.fixture
def gallery(in_sync: Path, tmp_path: Path) -> Gallery:
    return Gallery(shutil.copytree(in_sync, tmp_path / "gallery"))


@pytest.mark.parametrize(
    "damage",
    ["a bit of the manifest", "a cut data file", "an empty table", "a file for the index", "a link to nothing"],
)
def test_commands_about_the_files_work_whatever_the_index_is(gallery: Gallery, bundle: Path, damage: str, capsys):
    at = [f"gallery={gallery.root}"]
    ((_, rows),) = open_store(gallery.root / ".index").scan(Filter(vehicles=("A",)))
    traces = [row.astype(np.float16).tobytes() for row in rows]
    DAMAGE[damage](gallery.root / ".index" / "vehicles.lance")
    capsys.readouterr()
    assert gallery_command("check", *at) == 1
    assert "1 problem" in (said := capsys.readouterr().out) and "rebuild" in said
    assert gallery_command("list", *at) == 0 and "C" in capsys.readouterr().out
    for change, status in (
        (["delete", "vehicle=A"], 1),
        (["rename", "vehicle=B", "to=E"], 1),
        (["merge", "vehicle=C", "into=E"], 1),
    ):
        assert gallery_command(*change, *at) == status
        error = capsys.readouterr().err
        assert "files are changed as asked" in error and "`rebuild`" in error and "Traceback" not in error
    assert gallery_command("forget", "before=1990-01-01", *at) == 0
    assert gallery_command("forget", "before=2001-09-09T01:46:43Z", *at) == 1
    assert [one.vehicle for one in gallery.sightings()] == ["D"]
    assert gallery_command("delete", "vehicle=nobody", *at) == 1 and "no vehicle 'nobody'" in capsys.readouterr().err
    assert gallery_command("export", f"file={gallery.root.parent / 'g.zip'}", *at) == 0
    assert gallery_command("rebuild", *at, f"bundle={bundle}") == 0
    assert "2 vectors: 2 embedded" in capsys.readouterr().out
    assert gallery_command("check", *at, f"bundle={bundle}") == 0
    contents = [path.read_bytes() for path in gallery.root.rglob("*") if path.is_file()]
    assert not any(trace in content for trace in traces for content in contents)


def test_a_rebuild_puts_a_folder_in_the_place_of_a_link(gallery: Gallery, bundle: Path, capsys) -> None:
    index, target = gallery.root / ".index", gallery.root.parent / "elsewhere"
    index.rename(target)
    index.symlink_to(target)
    at = [f"gallery={gallery.root}"]
    assert gallery_command("check", *at) == 1 and "is a link" in capsys.readouterr().err
    assert gallery_command("rebuild", *at, f"bundle={bundle}") == 0 and gallery_command("check", *at) == 0
    assert not index.is_symlink() and open_store(target).count() == 8


def test_check_compares_the_index_with_the_disk(gallery: Gallery, bundle: Path, capsys) -> None:
    at = [f"gallery={gallery.root}"]
    store = open_store(gallery.root / ".index")
    assert gallery_command("check", *at, f"bundle={bundle}") == 0
    gallery.rename("A", "Z")
    gallery.delete("B")
    store.delete(["a3-0"])
    capsys.readouterr()
    assert gallery_command("check", *at) == 1
    said = capsys.readouterr().out.replace("\n", " ")
    assert (
        "1 picture (a3-0) is not in the vectors and" in said
        and "2 pictures (a1-0, a1-1) are in the vectors, but" in said
    )
    assert "2 pictures (a0-0, a0-1) are in the vectors under another vehicle" in said and "3 problems" in said
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0 and gallery_command("check", *at) == 0
    open_store(gallery.root / ".index", fingerprint="other", dim=DIM, any_model=True).replace([])
    assert gallery_command("check", *at, f"bundle={bundle}") == 1 and "model other" in capsys.readouterr().out


def test_sync_mends_an_index_that_was_put_back(gallery: Gallery, bundle: Path, capsys) -> None:
    at, index = [f"gallery={gallery.root}"], gallery.root / ".index"
    shutil.copytree(index, gallery.root.parent / "copy")
    gallery.add(sighting(9, "N"), pictures(9))
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    shutil.rmtree(index)
    (gallery.root.parent / "copy").rename(index)
    with pytest.raises(StoreError, match="older than it was"):
        open_store(index).require_complete()
    assert gallery_command("check", *at) == 1 and "older than it was" in capsys.readouterr().out
    for remedy in ("sync", "rebuild"):
        assert gallery_command(remedy, *at, f"bundle={bundle}") == 0
        assert gallery_command("check", *at) == 0
        open_store(index).require_complete()
        index.with_name(".index.vehicles.state").write_bytes(b"no note")
        capsys.readouterr()
        assert gallery_command("check", *at) == 1
        assert "is damaged" in (said := capsys.readouterr().out) and "1 problem" in said
