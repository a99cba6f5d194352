"""Opening a store by its URI; the one module that knows the engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.redaction import without_password
from reid_lightning.search.stores.base import EXACT_UP_TO, MEMORY, VectorStore

_MILVUS = ("http", "https", "milvus")
_POSTGRES = ("postgresql", "postgres")
_LANCE = ("", "file", "s3", "gs", "az")


def open_store(
    uri: str | Path,
    *,
    fingerprint: str | None = None,
    dim: int | None = None,
    name: str = "vehicles",
    exact_up_to: int | None = None,
    memory: int = MEMORY,
    token: str | None = None,
    any_model: bool = False,
    create: bool = True,
) -> VectorStore:
    """Open a store, which is made where there is none; one that is empty becomes one of the model that asks for it.

    Args:
        uri: a folder (or `file://`, `s3://`, `gs://`, `az://`) for LanceDB; `http://`, `https://` or `milvus://` and a
            host for Milvus; `postgresql://` and user, host and database for PostgreSQL.
        fingerprint: of the bundle; None, with `dim` None: whatever the store holds, which must exist then.
        dim: numbers in a vector.
        name: of the table or collection.
        exact_up_to: up to so many vectors are compared with all of them; larger stores use an approximate index after
            `optimize()`. None: as many as `memory` holds, and 50,000 on a server.
        memory: MiB that the copy of a folder's vectors may take in this process, which follows what is written; larger
            ones are searched in the files.
        token: for a Milvus server that wants one; for PostgreSQL the user's password.
        any_model: open a store of another model as well, to `replace` or `drop` what it holds.
        create: False: a store that does not exist is an error, and nothing is made or changed.

    Raises:
        ReIDError: the store cannot be reached or read, is not there, or holds vectors of another model.
    """
    if (fingerprint is None) != (dim is None) or (dim is not None and dim < 1):
        raise ReIDError(f"fingerprint is {fingerprint!r} and dim is {dim}; give both (dim 1 or more) or neither.")
    if (exact_up_to or 0) < 0 or memory < 0:
        raise ReIDError(f"exact_up_to is {exact_up_to} and memory is {memory}; expected 0 or more.")
    scheme = str(uri).split("://", 1)[0].lower() if "://" in str(uri) else ""
    model = None if fingerprint is None or dim is None else (fingerprint, dim)
    create = create and model is not None
    if scheme in _LANCE:
        from reid_lightning.search.stores.lance import LanceStore

        folder = str(uri).removeprefix("file://")
        return LanceStore(
            folder,
            model=model,
            name=name,
            exact_up_to=exact_up_to,
            memory=memory,
            any_model=any_model,
            create=create,
        )
    if scheme in _MILVUS or scheme in _POSTGRES:
        return _server_store(scheme)(
            str(uri),
            model=model,
            name=name,
            exact_up_to=EXACT_UP_TO if exact_up_to is None else exact_up_to,
            any_model=any_model,
            create=create,
            token=token,
        )
    raise ReIDError(
        f"The store's URI is {without_password(str(uri))!r}; expected a folder, file://, s3://, http://, milvus:// or "
        "postgresql://."
    )


def _server_store(scheme: str) -> Callable[..., VectorStore]:
    """The class of a server's store, whose client is imported only then."""
    if scheme in _MILVUS:
        from reid_lightning.search.stores.milvus import MilvusStore

        return MilvusStore
    from reid_lightning.search.stores.postgres import PostgresStore

    return PostgresStore
