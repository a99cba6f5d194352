"""Checks of what a ranking is given: every mistake names the argument, what came and what was expected.

A silent broadcast or a NaN in an evaluation costs more trust than any speed can win back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError

Names = Sequence[str] | Sequence[int] | Tensor
Index = Sequence[Sequence[int]]


def check_embeddings(name: str, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The embeddings (pictures, dim) in float32 or float64, not copied where they are so, and their norms (pictures,).

    Raises ReIDError for anything but a matrix with at least one row and one column of finite numbers whose squares
    are finite too.
    """
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or 0 in embeddings.shape:
        came = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ReIDError(f"{name} is {came}; expected a tensor (pictures, dim) with at least one picture.")
    if embeddings.dtype == torch.bool or embeddings.is_complex():
        raise ReIDError(f"{name} is of type {embeddings.dtype}; expected floating-point numbers.")
    embeddings = embeddings.detach()
    real = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    norms = torch.linalg.vector_norm(real, dim=1)
    largest = torch.finfo(real.dtype).max ** 0.5 / 4  # so that no product and no squared distance overflows
    if not (norms <= largest).all():
        rows = (~(norms <= largest)).nonzero().flatten()
        if torch.isfinite(real[rows[0]]).all():
            raise ReIDError(f"{name} holds numbers too large for {real.dtype}, {_in_rows(rows)}; scale them down.")
        raise ReIDError(f"{name} holds NaN or infinity, {_in_rows(rows)}; the model that made it is broken.")
    return real, norms


def check_directions(name: str, norms: Tensor, *, smallest: float) -> None:
    """ReIDError for vectors shorter than `smallest`, which have no direction that a cosine could compare."""
    rows = (norms < smallest).nonzero().flatten()
    if len(rows):
        raise ReIDError(
            f"{name} holds zero vectors, {_in_rows(rows)}: they have no cosine similarity to anything. Look at what "
            "the model sees there, leave these pictures out, or use metric='euclidean'."
        )


def _in_rows(rows: Tensor) -> str:
    named = ", ".join(map(str, rows[:5].tolist()))
    more = f" and {len(rows) - 5:,} more" if len(rows) > 5 else ""
    return f"in row{'s' if len(rows) > 1 else ''} {named}{more}"


def check_pair(query: Tensor, gallery: Tensor) -> None:
    """Both sides must come from one model and lie on one device."""
    if query.shape[1] != gallery.shape[1]:
        raise ReIDError(
            f"query_embeddings have {query.shape[1]} numbers each, gallery_embeddings {gallery.shape[1]}; they must "
            "come from one model."
        )
    if query.device != gallery.device:
        raise ReIDError(
            f"query_embeddings are on {query.device}, gallery_embeddings on {gallery.device}; move both to one device."
        )


def number_names(
    kind: str, query: Names, gallery: Names, sizes: tuple[int, int], *, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Equal names as equal numbers: int64 (queries,) and (gallery,) from 0 upwards."""
    if isinstance(query, Tensor) and isinstance(gallery, Tensor) and (len(query), len(gallery)) == sizes:
        both = torch.cat([query.to(device), gallery.to(device)])
        numbers = both.unique(return_inverse=True)[1]
        return numbers[: sizes[0]], numbers[sizes[0] :]
    query_names = _names(f"query_{kind}", query, sizes[0])
    gallery_names = _names(f"gallery_{kind}", gallery, sizes[1])
    if isinstance(query_names[0], str) != isinstance(gallery_names[0], str):
        raise ReIDError(
            f"query_{kind} holds {query_names[0]!r} and gallery_{kind} {gallery_names[0]!r}, which never match; write "
            "both sides as strings or both as integers."
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*query_names, *gallery_names]))}
    as_tensors = [
        torch.tensor([numbers[name] for name in names], device=device) for names in (query_names, gallery_names)
    ]
    return as_tensors[0], as_tensors[1]


def check_index(name: str, index: Index, sizes: tuple[int, int], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """The rows of all queries one after the other, each query's ascending and without repetition, and how many of
    them each query has: int64 (rows,) and (queries,)."""
    queries, gallery = sizes
    if len(index) != queries:
        raise ReIDError(f"{name} has {len(index)} rows for {queries} queries.")
    sets = [sorted({int(entry) for entry in entries}) for entries in index]
    wrong = next((entry for entries in sets for entry in entries if not 0 <= entry < gallery), None)
    if wrong is not None:
        raise ReIDError(f"{name} holds row {wrong}; expected 0 to {gallery - 1} (0-based rows of the gallery).")
    rows = torch.tensor([entry for entries in sets for entry in entries], dtype=torch.long, device=device)
    return rows, torch.tensor([len(entries) for entries in sets], dtype=torch.long, device=device)


def _names(name: str, values: Names, expected: int) -> list[str | int]:
    names: list[str | int] = values.tolist() if isinstance(values, Tensor) else list(values)
    if len(names) != expected:
        raise ReIDError(f"{name} has {len(names)} entries for {expected} embeddings.")
    if None in names:
        raise ReIDError(f"{name} holds None; leave the cameras of both sides out where some are unknown.")
    return names
