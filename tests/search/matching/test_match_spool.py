"""Matches that lie in a file are those that were put in, in their order."""

import pytest

from reid_lightning.search.matching.match_spool import MatchSpool
from reid_lightning.search.records import Match


def matches(count, start=0):
    return [
        Match(f"V{number}" * (number % 5 + 1), 0.1 * number, number, box=(1.0, 2.0, 3.0, 4.0), details={"prior": 0.5})
        for number in range(start, start + count)
    ]


def test_what_comes_out_is_what_went_in(tmp_path):
    spool = MatchSpool(tmp_path)
    assert len(spool) == 0 and not spool and list(spool) == [] and list(tmp_path.iterdir()) == []
    spool.extend(matches(3))
    first = iter(spool)
    assert next(first) == matches(1)[0]
    spool.extend(matches(4, start=3))  # while somebody reads
    assert list(first) == matches(6, start=1) and list(spool) == matches(7) and len(spool) == 7
    assert spool[-1] == matches(7)[-1] and spool[1:6:2] == matches(7)[1:6:2] and spool[5:2] == []
    assert matches(7)[4] in spool
    with pytest.raises(IndexError):
        spool[7]
