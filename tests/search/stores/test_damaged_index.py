"""A damaged index is never in the way of its own remedy, and one that is older than it was is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damaged_index import DAMAGE, newest
from toy_vectors import MODEL, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import open_store
from reid_lightning.search.stores.base import StoreError


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an earlier release"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_told_in_a_line_and_made_anew(
    uri: Path, damage: str, noted: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the note of what was written a changed bit of the data may be read as it is."""
    note = uri.with_name(".index.vehicles.state")
    if not noted:
        note.unlink()
    DAMAGE[damage](uri / "vehicles.lance")
    try:
        open_store(uri, **MODEL, create=False).search(vectors(1), top_k=20)
    except StoreError as error:
        message = str(error)
        assert "rebuild" in message and "panicked at" not in message and "\n" not in message
    else:
        assert "lock" in damage or (not noted and damage in ("a bit of the data", "a bit of a deletion"))
    again = open_store(uri, **MODEL, any_model=True)
    again.replace([(records(5), vectors(5))])
    assert open_store(uri, **MODEL).count() == 5
    assert again.search(vectors(1), top_k=1)[0][0].record == records(1)[0]
    assert {path.name for path in uri.iterdir()} <= {"vehicles.lance", ".vehicles.lock", ".vehicles.whole.lock"}
    assert "panicked" not in capfd.readouterr().err or "data" in damage or "deletion" in damage
    assert open_store(uri, **MODEL).problems() == []


@pytest.mark.parametrize("loss", ["newest manifest", "older copy", "older copy, of before a purge", "table", "index"])
def test_an_index_that_is_older_than_it_was_is_noticed_until_it_was_compared(uri: Path, loss: str) -> None:
    table, copy = uri / "vehicles.lance", uri.parent / "copy"
    store = open_store(uri, **MODEL)
    shutil.copytree(uri, copy)
    store.upsert(records(2, prefix="n"), vectors(2))
    if "purge" in loss:
        store.purge()
    if "manifest" in loss:
        newest(table).unlink()
    elif "copy" in loss:
        shutil.rmtree(uri)
        copy.rename(uri)
    else:
        shutil.rmtree(table if loss == "table" else uri)
    for opened in (open_store(uri, **MODEL), open_store(uri, **MODEL)):
        with pytest.raises(StoreError, match=r"older than it was.*gallery sync"):
            opened.search(vectors(1), top_k=1)
        opened.upsert(records(1, prefix="later"), vectors(1))  # which is no remedy
    with pytest.raises(StoreError, match="older than it was"):
        opened.require_complete()
    assert "older than it was" in opened.problems()[0]
    opened.purge()
    with pytest.raises(StoreError, match="older than it was"):
        open_store(uri, **MODEL).search(vectors(1), top_k=1)
    opened.mark_complete()
    assert len(open_store(uri, **MODEL).search(vectors(1), top_k=1)[0]) == 1
    assert opened.problems() == []


def test_what_happens_to_sound_stores_is_no_loss(uri: Path, tmp_path: Path) -> None:
    note = uri.with_name(".index.vehicles.state")
    reader, before = open_store(uri, **MODEL), note.read_bytes()
    open_store(uri, **MODEL).upsert(records(2, prefix="n"), vectors(2))
    note.write_bytes(before)  # its writer was killed before it wrote that down
    assert reader.count() == 13 and len(reader.search(vectors(1), top_k=20)[0]) == 13
    open_store(uri, **MODEL).purge()
    note.unlink()  # as after a kill between the two
    assert len(reader.search(vectors(1), top_k=20)[0]) == 13
    open_store(uri, **MODEL).drop()
    assert len(open_store(uri, **MODEL).search(vectors(1), top_k=20)[0]) == 0


def test_a_purge_beside_a_rebuild_takes_nothing_from_it(uri: Path) -> None:
    """Files that belong to no version yet are those of who is writing."""
    keeper, cleaner = open_store(uri, **MODEL), open_store(uri, **MODEL)

    def batches():
        yield records(2000, prefix="n"), vectors(2000)
        cleaner.purge()
        yield records(2000, prefix="m"), vectors(2000)

    keeper.replace(batches())
    assert open_store(uri, **MODEL).count() == 4000 and keeper.problems() == []


def test_leavings_of_killed_rebuilds_go_and_a_strangers_table_stays(uri: Path) -> None:
    (uri / ".new-killed").mkdir()
    (uri / ".new-killed" / "lock").touch()
    open_store(uri, **MODEL).purge()
    assert not (uri / ".new-killed").exists()
    import lancedb
    import pyarrow as pa

    lancedb.connect(str(uri)).create_table("theirs", pa.table({"x": [1, 2]}))
    with pytest.raises(ReIDError, match="not made by this program"):
        open_store(uri, **MODEL, name="theirs", any_model=True).replace([(records(1), vectors(1))])
    assert lancedb.connect(str(uri)).open_table("theirs").count_rows() == 2


def test_vectors_of_a_newer_format_are_told_and_made_anew(uri: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("reid_lightning.search.stores.lance_rows._FORMAT", "2")
        open_store(uri, **MODEL, any_model=True).replace([(records(3), vectors(3))])
    with pytest.raises(StoreError, match=r"format '2'.*rebuild"):
        open_store(uri, **MODEL)
    open_store(uri, **MODEL, any_model=True).replace([(records(3), vectors(3))])
    assert open_store(uri, **MODEL).count() == 3
