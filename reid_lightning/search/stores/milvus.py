"""The store of a city: a Milvus server or cluster, reached by URI.

The name is an alias of the collection that holds the vectors, so that a rebuilt one takes its place at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.redaction import without_password
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import (
    EVERYTHING,
    FIELDS,
    SCAN_ROWS,
    StoreError,
    best_first,
    check_batch,
    check_filter,
    check_search,
    no_vectors,
    settle_model,
)
from reid_lightning.search.stores.milvus_collection import (
    CLUSTERS,
    CONSISTENCY,
    PATIENT_SECONDS,
    SECONDS,
    MilvusCollections,
    check_collection_name,
    milvus_errors,
)
from reid_lightning.search.stores.milvus_rows import expression_of, lets_nothing_through, to_record, to_row
from reid_lightning.search.stores.server import ServerStore

with extra("milvus"):
    import grpc
    from pymilvus import MilvusClient, MilvusException


logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs is raised as well

_PROBES = 64  # clusters a search without filter looks into; with one: all, because few of their vectors may count
_NUMBERS = 1 << 20  # of vectors in one message
_QUERIES = 64
_MOST_HITS = 16384
_SPARE = 10  # more than asked for: equal scores at the end are then sorted by id
_INDEX_SECONDS = 3600.0


class MilvusStore(ServerStore):
    """A `VectorStore`; see `open_store` for the arguments."""

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
        check_collection_name(name)
        self._uri = without_password(uri)  # for messages
        self._name, self._exact_up_to, self._any_model = name, exact_up_to, any_model
        with milvus_errors(self._uri, "reached"):
            address = uri.replace("milvus://", "http://", 1)
            self._client = MilvusClient(uri=address, token=token or "", timeout=SECONDS)
            self._collections = MilvusCollections(self._client, name, self._uri)
            collection = self._collections.present()
            if collection is None:
                if not create or model is None:
                    raise no_vectors(self._uri, name)
                new = self._collections.create(*model)
                collection = new if self._collections.take_name(new) else self._collections.present()
                if collection is None:  # somebody else has made one, and dropped it again
                    raise no_vectors(self._uri, name)
            self._current, stored = collection, self._collections.model_of(collection)
            if create and model is not None and not any_model and stored != model and self.count() == 0:
                self.fingerprint, self.dim = stored = model
                self.replace(())
            self.fingerprint, self.dim = settle_model(self._uri, stored, model, any_model=any_model)

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        """More than a million numbers go in several messages, of which a kill may leave some."""
        records, vectors = check_batch(records, vectors, dim=self.dim)
        self._call("written", lambda collection: self._write(collection, records, vectors))

    def delete(self, ids: Sequence[str]) -> None:
        quoted = [quote(one, safe="") for one in ids]
        for start in range(0, len(quoted), SCAN_ROWS):
            part = quoted[start : start + SCAN_ROWS]
            self._call("written", partial(self._client.delete, ids=part, timeout=PATIENT_SECONDS))

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """Whatever others write before the end goes."""
        with milvus_errors(self._uri, "written"):
            old = self._collections.present()
            for unfinished in self._client.list_collections(timeout=SECONDS):
                if unfinished.startswith(f"{self._name}_") and unfinished != old:
                    self._client.drop_collection(unfinished, timeout=SECONDS)
            new = self._collections.create(self.fingerprint, self.dim)
        try:
            for records, vectors in batches:
                with milvus_errors(self._uri, "written"):
                    self._write(new, *check_batch(records, vectors, dim=self.dim))
            with milvus_errors(self._uri, "written"):
                if not self._collections.take_name(new):
                    self._client.alter_alias(new, self._name, timeout=SECONDS)
        except BaseException:
            with suppress(MilvusException, grpc.RpcError):
                self._client.drop_collection(new, timeout=SECONDS)
            raise
        self._current, self._any_model = new, False
        if old is not None:
            with milvus_errors(self._uri, "written"):
                self._client.drop_collection(old, timeout=SECONDS)

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
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
            "search_params": {"metric_type": "COSINE", "params": {"nprobe": CLUSTERS if few else _PROBES}},
            "consistency_level": CONSISTENCY,
            "timeout": PATIENT_SECONDS,
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
        check_filter(where)
        if lets_nothing_through(where):
            return 0
        options = {"filter": expression_of(where), "output_fields": ["count(*)"], "consistency_level": CONSISTENCY}
        answer = self._call("read", lambda name: self._client.query(name, timeout=PATIENT_SECONDS, **options))
        return int(answer[0]["count(*)"])

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        for rows in self._rows(where, FIELDS):
            yield [to_record(row) for row in rows]

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        for rows in self._rows(where, [*FIELDS, "vector"]):
            yield [to_record(row) for row in rows], np.array([row["vector"] for row in rows], np.float32)

    def optimize(self) -> None:
        """The server tidies up by itself; this waits until the index holds everything.

        Rows count as pending as well when the server only joins pieces that are indexed already, which at a million
        vectors goes on for more than an hour; those are searched by their old index meanwhile.
        """
        if self.count() <= self._exact_up_to:
            return
        self._call("indexed", lambda name: self._client.flush(name, timeout=_INDEX_SECONDS))
        deadline = time.monotonic() + _INDEX_SECONDS
        while time.monotonic() < deadline:
            state = self._call("indexed", lambda name: self._client.describe_index(name, "vector", timeout=SECONDS))
            rows, indexed = int(state.get("total_rows", 0)), int(state.get("indexed_rows", 0))
            if int(state.get("pending_index_rows", 0)) == 0 or indexed >= rows > 0:
                return
            time.sleep(1)

    def purge(self) -> None:
        """The server removes deleted rows when it compacts, which it is asked to do here."""
        self._call("compacted", self._client.compact)

    def drop(self) -> None:
        with milvus_errors(self._uri, "dropped"):
            collection = self._collections.present()
            if collection is not None:
                self._client.drop_alias(self._name, timeout=SECONDS)
                self._client.drop_collection(collection, timeout=SECONDS)

    def close(self) -> None:
        self._client.close()

    def _in_index(self) -> int:
        """How many vectors are in segments that are finished and may have an index; the others are few."""
        state = self._call("read", lambda name: self._client.get_collection_stats(name, timeout=SECONDS))
        return int(state["row_count"])

    def _write(self, collection: str, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        size = max(1, _NUMBERS // self.dim)
        for start in range(0, len(records), size):
            pairs = zip(records[start : start + size], vectors[start : start + size], strict=True)
            rows = [{**to_row(record), "vector": vector} for record, vector in pairs]
            self._client.upsert(collection, rows, timeout=PATIENT_SECONDS)

    def _rows(self, where: Filter, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        check_filter(where)
        if lets_nothing_through(where):
            return
        size = min(SCAN_ROWS, max(1, _NUMBERS // self.dim))
        options = {"filter": expression_of(where), "output_fields": fields, "consistency_level": CONSISTENCY}
        few = self._call("read", lambda name: self._client.query(name, limit=size, timeout=PATIENT_SECONDS, **options))
        if len(few) < size:
            if few:
                yield list(few)
            return
        iterator = self._call("read", lambda name: self._client.query_iterator(name, batch_size=size, **options))
        collection = self._current
        try:
            while True:
                with milvus_errors(self._uri, "read"):
                    rows = iterator.next()
                    if not rows and self._settled() != collection:
                        raise StoreError(
                            f"The vector store at {self._uri} was rebuilt while it was read; read it again."
                        )
                if not rows:
                    return
                yield rows
        finally:
            iterator.close()

    def _call(self, done: str, action: Callable[[str], Any]) -> Any:
        """Do something with the present collection, again if it is replaced meanwhile: one that is being dropped gives
        errors, or answers without what it held."""
        with milvus_errors(self._uri, done):
            while True:
                collection, failure = self._current, None
                try:
                    answer = action(collection)
                except MilvusException as error:
                    failure = error
                if self._settled() != collection:
                    continue
                if failure is not None:
                    raise failure
                return answer

    def _settled(self) -> str:
        """The present collection, which is still of our model."""
        collection = self._collections.present()
        if collection is None:
            raise ReIDError(f"The vector store {self._name} at {self._uri} was dropped; open it again.")
        if collection != self._current:
            model = self.fingerprint, self.dim
            settle_model(self._uri, self._collections.model_of(collection), model, any_model=self._any_model)
            self._current = collection
        return collection
