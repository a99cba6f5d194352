"""The store of a city: a Milvus server or cluster, reached by URI.

The name is an alias of the collection that holds the vectors, so that a rebuilt one takes its place at once.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.redaction import without_password
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import (
    EVERYTHING,
    SCAN_ROWS,
    StoreError,
    best_first,
    check_batch,
    check_filter,
    check_search,
    check_vectors,
    no_vectors,
    settle_model,
)
from reid_lightning.search.stores.milvus_rows import FIELDS, expression_of, lets_nothing_through, to_record, to_row

with extra("milvus"):
    import grpc
    from pymilvus import DataType, MilvusClient, MilvusException


logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs is raised as well

_LONGEST = 4096  # bytes: texts of 1,024 are at most three times as long when quoted
_CLUSTERS = 1024  # of the index of each segment
_PROBES = 64  # clusters a search without filter looks into; with one: all, because few of their vectors may count
_CONSISTENCY = "Strong"  # what was acknowledged is found
_NUMBERS = 1 << 20  # of vectors in one message
_QUERIES = 64
_MOST_HITS = 16384
_SPARE = 10  # more than asked for: equal scores at the end are then sorted by id
_SECONDS = 5.0  # until a server counts as gone
_PATIENT_SECONDS = 60.0
_INDEX_SECONDS = 3600.0
_NOT_FOUND = (4, 100)
_ADVICE = (
    (r"auth|permission|denied|credential|token|password", "Is the token right (stores.token, --token, MILVUS_TOKEN)?"),
    (r"quota|memory|disk|no space|rate limit", "The server has no room left for it: give it some."),
    (r"not loaded|channel|segment|corrupt|checksum", "If its data are damaged, `rebuild` makes the collection again."),
)


class MilvusStore:
    """See `open_store` for the arguments."""

    def __init__(
        self,
        uri: str,
        *,
        model: tuple[str, int] | None,
        name: str,
        exact_up_to: int,
        any_model: bool,
        create: bool,
        token: str | None = None,
    ) -> None:
        _check_name(name)
        self._uri = without_password(uri)  # for messages
        self._name, self._exact_up_to, self._any_model = name, exact_up_to, any_model
        with self._errors("reached"):
            address = uri.replace("milvus://", "http://", 1)
            self._client = MilvusClient(uri=address, token=token or "", timeout=_SECONDS)
            collection = self._collection()
            if collection is None:
                if not create or model is None:
                    raise no_vectors(self._uri, name)
                new = self._create(*model)
                collection = new if self._take_name(new) else self._collection()
                if collection is None:  # somebody else has made one, and dropped it again
                    raise no_vectors(self._uri, name)
            self._current, stored = collection, self._model_of(collection)
            if create and model is not None and not any_model and stored != model and self.count() == 0:
                self.fingerprint, self.dim = stored = model
                self.replace(())
            self.fingerprint, self.dim = settle_model(self._uri, stored, model, any_model=any_model)

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        """See `VectorStore`. More than a million numbers go in several messages, of which a kill may leave some."""
        records, vectors = check_batch(records, vectors, dim=self.dim)
        self._call("written", lambda collection: self._write(collection, records, vectors))

    def delete(self, ids: Sequence[str]) -> None:
        """See `VectorStore`."""
        quoted = [quote(one, safe="") for one in ids]
        for start in range(0, len(quoted), SCAN_ROWS):
            part = quoted[start : start + SCAN_ROWS]
            self._call("written", partial(self._client.delete, ids=part, timeout=_PATIENT_SECONDS))

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """See `VectorStore`. Whatever others write before the end goes."""
        with self._errors("written"):
            old = self._collection()
            for unfinished in self._client.list_collections(timeout=_SECONDS):
                if unfinished.startswith(f"{self._name}_") and unfinished != old:
                    self._client.drop_collection(unfinished, timeout=_SECONDS)
            new = self._create(self.fingerprint, self.dim)
        try:
            for records, vectors in batches:
                with self._errors("written"):
                    self._write(new, *check_batch(records, vectors, dim=self.dim))
            with self._errors("written"):
                if not self._take_name(new):
                    self._client.alter_alias(new, self._name, timeout=_SECONDS)
        except BaseException:
            with suppress(MilvusException, grpc.RpcError):
                self._client.drop_collection(new, timeout=_SECONDS)
            raise
        self._current, self._any_model = new, False
        if old is not None:
            with self._errors("written"):
                self._client.drop_collection(old, timeout=_SECONDS)

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        """See `VectorStore`."""
        vectors = check_search(vectors, dim=self.dim, top_k=top_k, where=where)
        if lets_nothing_through(where):
            return [[] for _ in vectors]
        if top_k > _MOST_HITS:
            raise ReIDError(f"top_k is {top_k}; a Milvus server gives at most {_MOST_HITS}.")
        few = not where.is_empty or self._in_index() <= self._exact_up_to
        options = {
            "filter": expression_of(where),
            "limit": min(top_k + _SPARE, _MOST_HITS),
            "output_fields": FIELDS,
            "search_params": {"metric_type": "COSINE", "params": {"nprobe": _CLUSTERS if few else _PROBES}},
            "consistency_level": _CONSISTENCY,
            "timeout": _PATIENT_SECONDS,
        }
        found: list[list[Hit]] = []
        for start in range(0, len(vectors), _QUERIES):
            part = list(vectors[start : start + _QUERIES])
            answer = self._call("read", partial(self._client.search, data=part, **options))
            found += [
                best_first([Hit(to_record(hit["entity"]), float(hit["distance"])) for hit in hits], top_k)
                for hits in answer
            ]
        return found

    def count(self, where: Filter = EVERYTHING) -> int:
        """See `VectorStore`."""
        check_filter(where)
        if lets_nothing_through(where):
            return 0
        options = {"filter": expression_of(where), "output_fields": ["count(*)"], "consistency_level": _CONSISTENCY}
        answer = self._call("read", lambda name: self._client.query(name, timeout=_PATIENT_SECONDS, **options))
        return int(answer[0]["count(*)"])

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        """See `VectorStore`."""
        for rows in self._rows(where, FIELDS):
            yield [to_record(row) for row in rows]

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        """See `VectorStore`."""
        for rows in self._rows(where, [*FIELDS, "vector"]):
            yield [to_record(row) for row in rows], np.array([row["vector"] for row in rows], np.float32)

    def require_complete(self) -> None:
        """See `VectorStore`. That a server was put back from an older copy is not noticed."""

    def mark_complete(self) -> None:
        """See `VectorStore`."""

    def problems(self) -> list[str]:
        """See `VectorStore`."""
        try:
            for _, vectors in self.scan():
                check_vectors(vectors, dim=self.dim)
        except ReIDError as error:
            return [str(error)]
        return []

    def optimize(self) -> None:
        """See `VectorStore`. The server tidies up by itself; this waits until the index holds everything.

        Rows count as pending as well when the server only joins pieces that are indexed already, which at a million
        vectors goes on for more than an hour; those are searched by their old index meanwhile.
        """
        if self.count() <= self._exact_up_to:
            return
        self._call("indexed", lambda name: self._client.flush(name, timeout=_INDEX_SECONDS))
        deadline = time.monotonic() + _INDEX_SECONDS
        while time.monotonic() < deadline:
            state = self._call("indexed", lambda name: self._client.describe_index(name, "vector", timeout=_SECONDS))
            rows, indexed = int(state.get("total_rows", 0)), int(state.get("indexed_rows", 0))
            if int(state.get("pending_index_rows", 0)) == 0 or indexed >= rows > 0:
                return
            time.sleep(1)

    def purge(self) -> None:
        """See `VectorStore`. The server removes deleted rows when it compacts, which it is asked to do here."""
        self._call("compacted", self._client.compact)

    def drop(self) -> None:
        """See `VectorStore`."""
        with self._errors("dropped"):
            collection = self._collection()
            if collection is not None:
                self._client.drop_alias(self._name, timeout=_SECONDS)
                self._client.drop_collection(collection, timeout=_SECONDS)

    def close(self) -> None:
        """See `VectorStore`."""
        self._client.close()

    def _in_index(self) -> int:
        """How many vectors are in segments that are finished and may have an index; the others are few."""
        state = self._call("read", lambda name: self._client.get_collection_stats(name, timeout=_SECONDS))
        return int(state["row_count"])

    def _collection(self) -> str | None:
        """What the name stands for at present."""
        try:
            collection: str = self._client.describe_alias(self._name, timeout=_SECONDS)["collection_name"]
            return collection
        except MilvusException as error:
            if "not found" in str(error) or "not exist" in str(error):
                return None
            raise

    def _create(self, fingerprint: str, dim: int) -> str:
        """A new collection, ready to be searched, and its own name."""
        collection = f"{self._name}_{uuid.uuid4().hex[:12]}"
        schema = MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False, description=json.dumps({"format": 1, "fingerprint": fingerprint})
        )
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_LONGEST)
        for name in FIELDS[1:-1]:
            schema.add_field(name, DataType.VARCHAR, max_length=_LONGEST)
        schema.add_field("time", DataType.DOUBLE)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="IVF_FLAT", metric_type="COSINE", params={"nlist": _CLUSTERS})
        self._client.create_collection(
            collection, schema=schema, index_params=index, consistency_level=_CONSISTENCY, timeout=_PATIENT_SECONDS
        )
        return collection

    def _take_name(self, collection: str) -> bool:
        """Whether the name was free; if another process has taken it meanwhile, the collection goes again."""
        if self._collection() is None:
            with suppress(MilvusException):
                self._client.create_alias(collection, self._name, timeout=_SECONDS)
                return True
            self._client.drop_collection(collection, timeout=_SECONDS)
        return False

    def _model_of(self, collection: str) -> tuple[str, int]:
        known = self._client.describe_collection(collection, timeout=_SECONDS)
        try:
            dim = next(field["params"]["dim"] for field in known["fields"] if field["name"] == "vector")
            return str(json.loads(known["description"])["fingerprint"]), int(dim)
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise StoreError(
                f"The collection {collection} at {self._uri} was not made by this program; give another name."
            ) from error

    def _write(self, collection: str, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        size = max(1, _NUMBERS // self.dim)
        for start in range(0, len(records), size):
            pairs = zip(records[start : start + size], vectors[start : start + size], strict=True)
            rows = [{**to_row(record), "vector": vector} for record, vector in pairs]
            self._client.upsert(collection, rows, timeout=_PATIENT_SECONDS)

    def _rows(self, where: Filter, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        check_filter(where)
        if lets_nothing_through(where):
            return
        size = min(SCAN_ROWS, max(1, _NUMBERS // self.dim))
        options = {"filter": expression_of(where), "output_fields": fields, "consistency_level": _CONSISTENCY}
        few = self._call("read", lambda name: self._client.query(name, limit=size, timeout=_PATIENT_SECONDS, **options))
        if len(few) < size:
            if few:
                yield list(few)
            return
        iterator = self._call("read", lambda name: self._client.query_iterator(name, batch_size=size, **options))
        try:
            while True:
                with self._errors("read"):
                    rows = iterator.next()
                if not rows:
                    return
                yield rows
        finally:
            iterator.close()

    def _call(self, done: str, action: Callable[[str], Any]) -> Any:
        """Do something with the present collection, again if it is replaced meanwhile."""
        with self._errors(done):
            collection = self._settled()
            try:
                return action(collection)
            except MilvusException as error:
                if error.code not in _NOT_FOUND or self._settled() == collection:
                    raise
            return action(self._settled())

    def _settled(self) -> str:
        """The present collection, which is still of our model."""
        collection = self._collection()
        if collection is None:
            raise ReIDError(f"The vector store {self._name} at {self._uri} was dropped; open it again.")
        if collection != self._current:
            model = self.fingerprint, self.dim
            settle_model(self._uri, self._model_of(collection), model, any_model=self._any_model)
            self._current = collection
        return collection

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except ReIDError:
            raise
        except Exception as error:  # its client raises whatever it stumbles over in an answer
            reason = without_password(str(getattr(error, "message", "") or error).strip() or type(error).__name__)
            raise StoreError(
                f"The vector store {self._uri} cannot be {done}: {reason.splitlines()[0][:300].rstrip('. ')}. "
                f"{_advice(reason)}"
            ) from error


def _advice(reason: str) -> str:
    """What a user can do, by what the server or its client says."""
    for words, advice in _ADVICE:
        if re.search(words, reason, re.IGNORECASE):
            return advice
    return "Is the server up, and is this its address?"


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,239}", name):
        raise ReIDError(
            f"The collection of the vectors (stores.name, --name) is {name!r}; expected a name of letters, digits and "
            "underscores that does not begin with a digit."
        )
