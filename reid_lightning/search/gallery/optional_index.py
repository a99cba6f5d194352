"""Changes of a gallery's files, whatever state its vectors are in: these follow where they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.changes import Restored
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.index import GalleryIndex
from reid_lightning.search.records import Sighting
from reid_lightning.search.stores.base import NoVectorsError, StoreError, VectorStore


class VectorsLeftError(StoreError):
    """What was asked for was done to the files; the vectors did not follow."""


class OptionalIndex:
    """A gallery and its vectors, for as long as these can be changed.

    Args:
        gallery: the files.
        open_store: opens the vectors; None: there are none.
    """

    def __init__(self, gallery: Gallery, open_store: Callable[[], VectorStore] | None) -> None:
        self.gallery = gallery
        self.lost: StoreError | None = None
        """Why the vectors do not follow."""
        self._index: GalleryIndex | None = None
        if open_store is not None:
            try:
                self._index = GalleryIndex(gallery, open_store())
            except NoVectorsError:
                pass
            except StoreError as error:
                self.lost = error

    @property
    def has_vectors(self) -> bool:
        """Whether there are any that follow or should."""
        return self._index is not None or self.lost is not None

    def rename(self, vehicle: str, new: str, *, undoable: bool = False) -> None:
        """`Gallery.rename`."""
        self._change("rename", vehicle, new, undoable=undoable)

    def merge(self, vehicle: str, into: str, *, undoable: bool = False) -> None:
        """`Gallery.merge`."""
        self._change("merge", vehicle, into, undoable=undoable)

    def delete(self, vehicle: str, *, undoable: bool = False) -> None:
        """`Gallery.delete`."""
        self._change("delete", vehicle, undoable=undoable)

    def delete_sighting(self, sighting: Sighting, *, undoable: bool = False) -> None:
        """`Gallery.delete_sighting`."""
        self._change("delete_sighting", sighting, undoable=undoable)

    def restore(self, which: str, *, into: str | None = None) -> Restored:
        """`Gallery.restore`."""
        entry = trash.chosen(self.gallery.root, which)
        if self._index is None:
            return self.gallery.restore(entry.id, into=into)
        vectors = trash.kept_vectors(self.gallery.root, entry, self._index.store.fingerprint)
        done = self.gallery.restore(entry.id, into=into)
        self._try(self._index.take_back, done, vectors)
        return done

    def purge(self) -> None:
        """Remove what was deleted from the disk, too."""
        if self._index is not None:
            self._try(self._index.store.purge)

    def close(self) -> None:
        """Let go of the vectors."""
        if self._index is not None:
            self._index.store.close()
            self._index = None

    def require_followed(self) -> None:
        """Raises `VectorsLeftError` if the vectors did not follow."""
        if self.lost is not None:
            raise VectorsLeftError(
                "The files are changed as asked, but the vectors could not follow and hold what was before until "
                f"`rebuild` has made them again. Why: {self.lost}"
            )

    def _change(self, name: str, *given: Any, **named: Any) -> None:
        if self._index is None:
            getattr(self.gallery, name)(*given, **named)
        else:
            self._try(getattr(self._index, name), *given, **named)  # the files change first

    def _try(self, action: Callable[..., object], *given: Any, **named: Any) -> None:
        try:
            action(*given, **named)
        except StoreError as error:
            self.lost = error
            self.close()
