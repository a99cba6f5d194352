"""Files of embeddings made on a cluster by Ray Data, whose machines see the same disk."""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.errors import ReIDError, extra, first_line
from reid_lightning.evaluation.pieces import Piece

with extra("ray"):
    import ray
    from ray.exceptions import RayError

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for this call."""


class _Actor:
    """A process of the cluster: it loads the model once and makes one file after another."""

    def __init__(self, load: Callable[[], Embedder], settings: Mapping[str, int]) -> None:
        self._embedder, self._settings = load(), settings

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"failed": np.array([self._made(piece) for piece in batch["piece"]], dtype=object)}

    def _made(self, pickled: bytes) -> str:
        """Why not; nothing where it is there."""
        piece: Piece = pickle.loads(pickled)
        try:
            if not piece.is_there:  # else the process was lost after it had made it
                piece.embed(self._embedder, title=None, **self._settings)
        except ReIDError as error:
            return str(error)
        return ""


def _reach(address: str) -> None:
    """OSError: nobody listens there. Ray itself would try for two minutes and end the process."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def embed_on_ray(
    pieces: Sequence[Piece],
    load: Callable[[], Embedder],
    *,
    address: str,
    workers: int | None,
    on_gpu: bool,
    settings: Mapping[str, int],
    on_progress: Callable[[int, int], None],
) -> None:
    """Make files of embeddings.

    Args:
        pieces: the files; the machines see their folders and pictures under the same paths.
        load: loads the model, in each process.
        address: `local`, `auto` (the cluster of this machine) or a cluster's address.
        workers: processes; None: one for each core, or each GPU.
        on_gpu: whether each has a GPU of its own.
        settings: of `Piece.embed`.
        on_progress: is called with the files that are done, and all.

    Raises:
        ReIDError: the cluster cannot be reached or has failed, or a picture cannot be read; files that are there stay.
    """
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        _reach(address)
        ray.init(
            None if address == LOCAL else address,
            log_to_driver=False,
            include_dashboard=False if address == LOCAL else None,
            logging_level=logging.ERROR,
        )
    except (OSError, RayError, RuntimeError, ValueError) as error:
        raise ReIDError(
            f"ray={address}: no cluster answers ({first_line(error)}). `ray start --head` makes one."
        ) from error
    try:
        resources = ray.cluster_resources()
        free = int(resources.get("GPU" if on_gpu else "CPU", 0))
        if free < 1:
            raise ReIDError(
                f"ray={address}: the cluster has no {'GPU' if on_gpu else 'CPU'}; see device and ray status."
            )
        ray.data.DataContext.get_current().enable_progress_bars = False
        items = [{"piece": pickle.dumps(piece)} for piece in pieces]
        made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(len(items), workers or free)),
            num_cpus=1,
            num_gpus=int(on_gpu),
            fn_constructor_args=(load, dict(settings)),
        )
        failed: list[str] = []
        for done, row in enumerate(made.iter_rows()):
            on_progress(done + 1, len(items))
            failed += [row["failed"]] if row["failed"] else []
    except RayError as error:
        raise ReIDError(f"Ray has failed: {first_line(error)}. Files that are there stay; call it again.") from error
    finally:
        ray.shutdown()
    if failed:
        raise ReIDError(f"{len(failed):,} of {len(pieces):,} files could not be made: {failed[0]}")
