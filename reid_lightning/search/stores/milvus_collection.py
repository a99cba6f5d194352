"""The collections of a Milvus server behind the name of a store, an alias that one of them has, and its errors."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from reid_lightning.errors import ReIDError, extra
from reid_lightning.redaction import without_password
from reid_lightning.search.stores.base import FIELDS, StoreError

with extra("milvus"):
    from pymilvus import DataType, MilvusClient, MilvusException

CLUSTERS = 1024
"""Of the index of each segment."""
CONSISTENCY = "Strong"
"""What was acknowledged is found."""
SECONDS = 5.0
"""Until a server counts as gone."""
PATIENT_SECONDS = 60.0

_LONGEST = 4096  # bytes: texts of 1,024 are at most three times as long when quoted
_ADVICE = (
    (r"auth|permission|denied|credential|token|password", "Is the token right (stores.token, --token, MILVUS_TOKEN)?"),
    (r"quota|memory|disk|no space|rate limit", "The server has no room left for it: give it some."),
    (r"not loaded|channel|segment|corrupt|checksum", "If its data are damaged, `rebuild` makes the collection again."),
)


def check_collection_name(name: str) -> None:
    """ReIDError for one that no server would take."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,239}", name):
        raise ReIDError(
            f"The collection of the vectors (stores.name, --name) is {name!r}; expected a name of letters, digits and "
            "underscores that does not begin with a digit."
        )


class MilvusCollections:
    """Those called `<name>_...`, of which the one with the alias `name` is the store.

    Args:
        client: of the server.
        name: of the store.
        uri: of the server, for messages.
    """

    def __init__(self, client: MilvusClient, name: str, uri: str) -> None:
        self._client, self._name, self._uri = client, name, uri

    def present(self) -> str | None:
        """What the name stands for at present."""
        try:
            collection: str = self._client.describe_alias(self._name, timeout=SECONDS)["collection_name"]
            return collection
        except MilvusException as error:
            if "not found" in str(error) or "not exist" in str(error):
                return None
            raise

    def create(self, fingerprint: str, dim: int) -> str:
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
        index.add_index("vector", index_type="IVF_FLAT", metric_type="COSINE", params={"nlist": CLUSTERS})
        self._client.create_collection(
            collection, schema=schema, index_params=index, consistency_level=CONSISTENCY, timeout=PATIENT_SECONDS
        )
        return collection

    def take_name(self, collection: str) -> bool:
        """Whether the name was free; if another process has taken it meanwhile, the collection goes again."""
        if self.present() is None:
            with suppress(MilvusException):
                self._client.create_alias(collection, self._name, timeout=SECONDS)
                return True
            self._client.drop_collection(collection, timeout=SECONDS)
        return False

    def model_of(self, collection: str) -> tuple[str, int]:
        """Fingerprint and size of its vectors. StoreError: another program has made it."""
        known = self._client.describe_collection(collection, timeout=SECONDS)
        try:
            dim = next(field["params"]["dim"] for field in known["fields"] if field["name"] == "vector")
            return str(json.loads(known["description"])["fingerprint"]), int(dim)
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise StoreError(
                f"The collection {collection} at {self._uri} was not made by this program; give another name."
            ) from error


@contextmanager
def milvus_errors(uri: str, done: str) -> Iterator[None]:
    """Within it whatever server and client raise is one `StoreError`; `done`: what was to be done with the store."""
    try:
        yield
    except ReIDError:
        raise
    except Exception as error:  # its client raises whatever it stumbles over in an answer
        reason = without_password(str(getattr(error, "message", "") or error).strip() or type(error).__name__)
        raise StoreError(
            f"The vector store {uri} cannot be {done}: {reason.splitlines()[0][:300].rstrip('. ')}. {_advice(reason)}"
        ) from error


def _advice(reason: str) -> str:
    """What a user can do, by what the server or its client says."""
    for words, advice in _ADVICE:
        if re.search(words, reason, re.IGNORECASE):
            return advice
    return "Is the server up, and is this its address?"
