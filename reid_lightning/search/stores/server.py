"""What the stores that lie on a server have in common: the server itself looks after their files."""

from __future__ import annotations

from typing import Protocol

from reid_lightning.errors import ReIDError
from reid_lightning.search.stores.base import VectorStore, check_vectors


class ServerStore(VectorStore, Protocol):
    """The part of a `VectorStore` that is the same on every server."""

    def require_complete(self) -> None:
        """That a server was put back from an older copy is not noticed."""

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
