"""Hits on the disk: whole, in order, bounded, and there after a kill."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.spool import Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", ["webhook", "mqtt"], most=3)


def ids(spool, receiver="webhook"):
    return [one.id for one in spool.waiting(receiver)]


def test_hits_wait_for_each_receiver_in_the_order_of_their_times(spool):
    for seen, name in ((20.0, "b"), (3.5, "a"), (100.0, "c")):
        assert spool.put(name, name.encode(), seen=seen) == 0
    assert ids(spool) == ids(spool, "mqtt") == ["a", "b", "c"]
    first = spool.waiting("webhook")[0]
    assert first.content() == b"a"
    first.delivered()
    assert first.content() is None and ids(spool) == ["b", "c"] and ids(spool, "mqtt") == ["a", "b", "c"]
    first.delivered()  # twice is as good as once


def test_the_same_hit_waits_once(spool):
    for _ in range(3):
        spool.put("a", b"a", seen=1.0)
    assert ids(spool) == ["a"]


def test_where_there_is_no_room_the_oldest_are_dropped_and_counted(spool):
    assert [spool.put(f"{n}", b"", seen=float(n)) for n in range(5)] == [0, 0, 0, 2, 2]  # one for each receiver
    assert ids(spool) == ids(spool, "mqtt") == ["2", "3", "4"]


def test_what_a_killed_writer_leaves_is_seen_again(spool, tmp_path):
    spool.begin("abc")
    spool.put("a", b"a", seen=1.0)
    again = Spool(tmp_path / "spool", ["webhook", "mqtt"], most=3)
    assert again.begun() == ["abc"] and ids(again) == ["a"]
    assert Spool(tmp_path / "spool", [], most=3, writer=1).begun() == []
    again.done("abc")
    again.done("abc")
    assert spool.begun() == []


def test_what_is_half_written_is_no_hit_and_goes_when_it_is_old(spool):
    half = spool.root / "webhook" / ".abc.part"
    half.write_bytes(b"{")
    spool.clean()
    assert ids(spool) == [] and half.exists()  # its writer may live
    os.utime(half, (0, 0))
    spool.clean()
    assert not half.exists()


def test_with_fewer_processes_the_marks_of_the_others_are_taken_over(tmp_path):
    for number in range(3):
        Spool(tmp_path, [], most=3, writer=number).begin(f"of-{number}")
    first = Spool(tmp_path, [], most=3)
    with first.held():
        first.take_over(2)
    assert first.begun() == ["of-0", "of-2"]
    assert Spool(tmp_path, [], most=3, writer=1).begun() == ["of-1"]


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReIDError, match=r"the spool .*file cannot be written: "):
        Spool(tmp_path / "file", ["webhook"], most=1)


@pytest.mark.parametrize("name", ["", "../a", ".a", "a/b"])
def test_a_mark_is_a_plain_name(spool, name):
    with pytest.raises(ReIDError, match="expected a name without a folder"):
        spool.begin(name)


@given(seen=st.lists(st.floats(-1e3, 4e9), min_size=1, max_size=8, unique_by=lambda one: round(1000 * max(0.0, one))))
@settings(max_examples=10, deadline=None)
def test_the_newest_stay_whatever_comes_first(tmp_path_factory, seen):
    spool = Spool(tmp_path_factory.mktemp("spool"), ["mqtt"], most=4)
    dropped = sum(spool.put(str(number), json.dumps(time).encode(), seen=time) for number, time in enumerate(seen))
    kept = [json.loads(one.content()) for one in spool.waiting("mqtt")]
    assert kept == sorted(seen)[-4:] and dropped == len(seen) - len(kept)
