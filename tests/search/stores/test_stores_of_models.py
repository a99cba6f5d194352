"""A store is of one model: another one is refused by name, an empty store becomes that of whoever asks."""

from __future__ import annotations

import pytest
from toy_vectors import DIM, Open, records, vectors

from reid_lightning.errors import ReIDError


def test_another_model_is_refused_by_name(opened: Open) -> None:
    store = opened()
    store.upsert(records(2), vectors(2))
    for options in ({"fingerprint": "model-b"}, {"dim": 8}):
        with pytest.raises(ReIDError, match=r"model-a .*rebuild gallery=") as raised:
            opened(**options)
        assert str(options.get("fingerprint", "(8 numbers)")) in str(raised.value)
    known = opened(fingerprint=None, dim=None)
    assert (known.fingerprint, known.dim, known.count()) == ("model-a", DIM, 2)
    new = opened(fingerprint="model-b", dim=8, any_model=True)
    new.replace([(records(3), vectors(3, dim=8))])
    assert opened(fingerprint="model-b", dim=8).count() == 3
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        store.upsert(records(1), vectors(1))
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        store.search(vectors(1), top_k=1)


def test_an_empty_store_becomes_that_of_the_model_that_asks(opened: Open) -> None:
    old = opened()
    with pytest.raises(ReIDError, match="model-a"):
        opened(fingerprint="model-b", dim=8, create=False)
    new = opened(fingerprint="model-b", dim=8)
    new.upsert(records(3), vectors(3, dim=8))
    assert opened(fingerprint="model-b", dim=8).count() == 3
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        old.upsert(records(1), vectors(1))
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        opened()


def test_dropped_is_gone(opened: Open) -> None:
    opened().upsert(records(2), vectors(2))
    opened().drop()
    for options in ({"fingerprint": None, "dim": None}, {"create": False}):
        with pytest.raises(ReIDError, match=r"no vectors at .*gallery sync gallery="):
            opened(**options)
    assert opened().count() == opened(create=False).count() == 0
