"""A gallery on disk: read, added to and changed.

The folder is the vehicle, so a vehicle is renamed by renaming its folder, and a sighting moves with one rename of its
sidecar: it is always in exactly one folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from reid_lightning.search.gallery import adding, changes, checking, trash
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.source_marks import SourceMark, change_mark
from reid_lightning.search.gallery.trash import Removed


class Gallery(GalleryReader):
    """Reads and writes the folder `root`, which is made when the first sighting is added.

    Several processes may add at the same time, while others rename, merge, delete and read.
    """

    add = adding.add
    rename = changes.rename
    merge = changes.merge
    delete = changes.delete
    delete_sighting = changes.delete_sighting
    restore = changes.restore
    purge_damaged = changes.purge_damaged
    check = checking.check
    repair = checking.repair

    def purge(self, some: Iterable[Removed]) -> None:
        """Remove entries of the trash for good. NotRemovedError: files of them could not be removed."""
        self.locations.look(folders=0)  # so that the index of sidecars knows nothing more of them
        trash.remove(self.root, some)

    def begin_source(self, fingerprint: str, camera: str, *, name: str, settings: str) -> SourceMark | None:
        """Remember that a source is being registered, and with which settings; returns what was remembered before.

        One that was begun with other settings may have left sightings that do not go with the new ones. Look at
        `source_state` and delete `sightings_of_source` before this call, and a kill in between does no harm.
        """
        begun = SourceMark(fingerprint, camera, name, done=False, settings=settings)
        return change_mark(
            self.root,
            fingerprint,
            camera,
            lambda earlier: earlier if earlier is not None and earlier.settings == settings else begun,
        )

    def forget_source(self, fingerprint: str, camera: str) -> None:
        """Let a source be registered again; one that is unknown is no error."""
        if self.root.is_dir():
            change_mark(self.root, fingerprint, camera, lambda earlier: None)

    def mark_source(self, fingerprint: str, camera: str, *, name: str, detector: str, sightings: int) -> None:
        """Remember that a source was registered to its end; `sightings` is how many it gave."""

        def done(earlier: SourceMark | None) -> SourceMark:
            settings = "" if earlier is None else earlier.settings
            return SourceMark(fingerprint, camera, name, detector, sightings, settings=settings)

        change_mark(self.root, fingerprint, camera, done)
