"""A long list of pictures embedded piece by piece, a file each, by any number of processes and machines.

Which pieces are whose follows from a number alone, so that nobody has to coordinate them, and a piece that is there is
not made again: what was interrupted is called again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reid_lightning.atomic import locked, write_atomically
from reid_lightning.bundle.embedder import Embedder
from reid_lightning.data.records import Split
from reid_lightning.errors import ReIDError, count
from reid_lightning.evaluation.embedding import embed_pictures, table_of
from reid_lightning.ranking.files import PIECES, names_in, piece_file, write_embeddings

_FORMAT = 1
_LOCK = ".lock"


@dataclass(frozen=True)
class Piece:
    """One file: some `images` with their `names` in the file, to be embedded by `model`, with mirror images or not."""

    file: Path
    images: Split
    names: tuple[str, ...]
    model: str
    flip: bool

    @property
    def is_there(self) -> bool:
        """Whether the file is whole and of these pictures."""
        return names_in(self.file) == (self.model, self.names)

    def embed(
        self, embedder: Embedder, *, batch_size: int, num_workers: int = 0, title: str | None = "embedding"
    ) -> Path:
        """Make it; it appears whole or not at all. ReIDError: a picture cannot be read."""
        embeddings = embed_pictures(
            embedder, self.images, batch_size=batch_size, num_workers=num_workers, flip=self.flip, title=title
        )
        return write_embeddings(
            self.file, replace(table_of(self.images, embeddings, model=self.model), names=self.names)
        )


@dataclass(frozen=True)
class EmbeddingPieces:
    """A folder with a file of embeddings for every `size` pictures of a list.

    Args:
        folder: where the files go; `read_embeddings(folder)` reads them as one.
        images: the pictures, in an order that is the same for everybody who works on them.
        names: what each is called in the files, (images,); the same on all machines, whatever the path.
        size: pictures in a file.
        model: the fingerprint of the bundle that embeds them.
        flip: whether the mirror images take part, see `Embedder.embed`.
    """

    folder: Path
    images: Split
    names: tuple[str, ...]
    size: int
    model: str
    flip: bool = False

    def __len__(self) -> int:
        """The number of files."""
        return -(-len(self.images) // self.size)

    def begin(self) -> None:
        """Write down what the files will hold.

        Raises:
            ReIDError: the folder holds files of another list or model, or it cannot be written.
        """
        said = {
            "format": _FORMAT,
            "model": self.model,
            "flip": self.flip,
            "pictures": len(self.images),
            "pictures_per_file": self.size,
            "files": len(self),
            "names": hashlib.sha256("\n".join(self.names).encode(errors="surrogatepass")).hexdigest(),
        }
        manifest = self.folder / PIECES
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / _LOCK):
                if not manifest.exists():
                    write_atomically(manifest, json.dumps(said, indent=1) + "\n")
                    return
                there = json.loads(manifest.read_text(encoding="utf-8"))
        except OSError as error:
            raise ReIDError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        except ValueError as error:
            raise ReIDError(f"{manifest} is damaged: {error}. Give another output, or remove the folder.") from error
        if there != said:
            before = there if isinstance(there, dict) else {}
            different = [
                "other names of pictures" if key == "names" else f"{key} {before.get(key)}, here {value}"
                for key, value in said.items()
                if before.get(key) != value
            ]
            raise ReIDError(
                f"{self.folder} holds embeddings of something else: {'; '.join(different)}. Give all parts the same "
                "data, bundle and settings, or another output. (A gallery that has changed since is embedded into "
                "another one, and what comes later by `reid gallery sync`.)"
            )

    def piece(self, number: int) -> Piece:
        """The file of this number, from 0."""
        rows = slice(number * self.size, (number + 1) * self.size)
        return Piece(self.folder / piece_file(number), self.images[rows], self.names[rows], self.model, self.flip)


def of_part(lists: Sequence[EmbeddingPieces], part: int, parts: int) -> Iterator[Piece]:
    """The files of part `part` of `parts`, counted from 1, among those of some lists: every `parts`-th of all."""
    numbers = [(one, number) for one in lists for number in range(len(one))]
    return (one.piece(number) for one, number in numbers[part - 1 :: parts])


def check_cameras(name: str, images: Split) -> None:
    """ReIDError: some of them have a camera and some have none, which an evaluation could not read."""
    unknown = sum(image.camera is None for image in images)
    if 0 < unknown < len(images):
        raise ReIDError(
            f"{unknown:,} of {count(len(images), f'{name} picture')} have no camera, and the rest have one. Give all "
            "of them a camera, or none."
        )
