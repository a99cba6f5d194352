"""Claim: track distances at VeRi-776's size cost little more than the matrix product of all images, thousands of times
less than the authors' loop; RSCR, which is a lasso problem for each image and track, hundreds of times less.

python benchmarks/track_to_track.py [authors=<clone of GeoTrouvetout/Vehicle_ReID>] [queries=1678] [gallery=2021]
    [threads=1] [turns=3] [rscr_turns=1] [output=benchmarks/results] [name=track_to_track]
The authors' code (it needs scikit-learn) runs on 4 query tracks and 100 test tracks and is extrapolated per pair of
tracks. This is kind to it: it sorts again after each test track, so that its time grows faster than the pairs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from contest import Contestant, Score, contest
from omegaconf import OmegaConf
from torch import Tensor

from reid_lightning.ranking.tracks import track_distances, track_distances_all

LENGTHS = {
    7: 2,
    6: 1697,
    5: 185,
    4: 75,
    3: 41,
    2: 14,
    1: 7,
}  # images of VeRi-776's 2,021 test tracks: how many have them
IDENTITIES, DIM = 200, 1920
NORM, IDENTITY, TRACK, IMAGE = 30.0, 0.5, 0.3, 0.2  # length of DenseNet201's embeddings; shares of its square
THEIR_SIZE = (4, 100)
CHUNK = 1 << 24  # similarities at a time, as ours
PRODUCT = "matrix product of all images"


@dataclass(frozen=True)
class Drawn:
    """Query tracks and gallery tracks, and the authors' module."""

    query: list[Tensor]
    gallery: list[Tensor]
    code: ModuleType | None = None


def draw(*, queries: int, gallery: int, authors: str | None = None) -> Drawn:
    """Drawn tracks with VeRi-776's lengths. Query tracks are test tracks themselves, as in VeRi-776."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(IDENTITIES, DIM, generator=generator) * IDENTITY**0.5
    lengths = torch.tensor([length for length, tracks in LENGTHS.items() for _ in range(tracks)])
    lengths = lengths[torch.randperm(len(lengths), generator=generator)].tolist()
    tracks = []
    for number, length in enumerate(lengths[: max(queries, gallery)]):
        track = centres[number % IDENTITIES] + TRACK**0.5 * torch.randn(1, DIM, generator=generator)
        images = track + IMAGE**0.5 * torch.randn(length, DIM, generator=generator)
        tracks.append(images * (NORM / DIM**0.5))
    return Drawn([track.clone() for track in tracks[:queries]], tracks[:gallery], _module(authors) if authors else None)


def draw_images(*, queries: int, gallery: int) -> tuple[Tensor, Tensor]:
    """All images of the same tracks, (images, dim) each."""
    drawn = draw(queries=queries, gallery=gallery)
    return torch.cat(drawn.query), torch.cat(drawn.gallery)


def matrix_product(images: tuple[Tensor, Tensor]) -> Mapping[str, float]:
    """The floor: every similarity of two images computed, none looked at."""
    query, gallery = images
    rows = max(1, CHUNK // len(gallery))
    out = torch.empty(min(rows, len(query)), len(gallery))
    for part in query.split(rows):
        torch.mm(part, gallery.T, out=out[: len(part)])
    return {}


def ours(drawn: Drawn, *, metric: str, variant: str = "paper") -> Mapping[str, float]:
    """`track_distances` as anyone would call it, with the paper's best aggregation."""
    track_distances(drawn.query, drawn.gallery, metric=metric, aggregation="mean50", variant=variant)
    return {}


def ours_all(drawn: Drawn, *, metric: str) -> Mapping[str, float]:
    """All five aggregations."""
    track_distances_all(drawn.query, drawn.gallery, metric=metric)
    return {}


def authors(drawn: Drawn, *, metric: str) -> Mapping[str, float]:
    """Their loop, with the aggregation that they took."""
    their_distances(drawn, metric)
    return {}


def their_distances(drawn: Drawn, metric: str) -> Tensor:
    """(queries, gallery)."""
    query, gallery = (
        {f"{number % IDENTITIES:04d}_{number:04d}": track.tolist() for number, track in enumerate(side)}
        for side in (drawn.query, drawn.gallery)
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        ranking = drawn.code.compute(query, gallery, metric=metric.upper(), aggregation="mean50")["tracks"]
    rows = [{one["id"]: one["distance"] for one in ranking[name]["ranking"].values()} for name in query]
    return torch.tensor([[row[name] for name in gallery] for row in rows], dtype=torch.float64)


def disagreement(drawn: Drawn, metric: str) -> float:
    """Largest difference of our distances (released variant) from theirs, as a share of their mean."""
    theirs = their_distances(drawn, metric)
    mine = track_distances(drawn.query, drawn.gallery, metric=metric, aggregation="mean50", variant="released")
    return float((mine - theirs).abs().max() / theirs.mean())


def rows_of(scores: Mapping[str, Score], theirs: Mapping[str, float]) -> list[dict[str, str]]:
    """The table; `theirs`: extrapolated CPU seconds of the authors' loop by metric."""
    floor = scores[PRODUCT].cpu_s
    rows = []
    for name, score in scores.items():
        their_s = theirs.get(name.split(",")[0].lower())
        rows.append(
            {
                "distances of tracks": name,
                "CPU s": f"{score.cpu_s:,.2f}",
                "/ matrix product": f"{score.cpu_s / floor:,.2f}",
                "peak MiB above the embeddings": f"{score.peak_mib:,.0f}",
                "authors' loop / this": f"{their_s / score.cpu_s:,.0f}" if their_s else "",
            }
        )
    for metric, seconds in theirs.items():
        row = dict.fromkeys(rows[0], "") | {
            "distances of tracks": f"the authors' loop, {metric.upper()} (extrapolated)"
        }
        rows.append(row | {"CPU s": f"{seconds:,.0f}", "/ matrix product": f"{seconds / floor:,.0f}"})
    return rows


def main() -> None:
    """Run ours and the floor at full size, the authors' loop at a size that it can finish, and print one table."""
    from common import report  # here, because the contestants' processes import this module and need none of it

    arguments = OmegaConf.from_cli()
    sizes = {"queries": arguments.get("queries", 1678), "gallery": arguments.get("gallery", 2021)}
    threads, turns = arguments.get("threads", 1), arguments.get("turns", 3)
    field = {
        "MCD, mean50": partial(ours, metric="mcd"),
        "MED, mean50": partial(ours, metric="med"),
        "MCD, all five aggregations": partial(ours_all, metric="mcd"),
        "MED, all five aggregations": partial(ours_all, metric="med"),
        "MCD, mean50, as released": partial(ours, metric="mcd", variant="released"),
    }
    floor = Contestant(PRODUCT, partial(draw_images, **sizes), matrix_product)
    contestants = [Contestant(name, partial(draw, **sizes), run) for name, run in field.items()]
    scores = contest([floor, *contestants], threads=threads, turns=turns)
    if arguments.get("rscr_turns", 1):
        rscr = Contestant("RSCR", partial(draw, **sizes), partial(ours, metric="rscr"))
        scores |= contest([rscr], threads=threads, turns=arguments.get("rscr_turns", 1), warm_up=False)
    theirs: dict[str, float] = {}
    note = f"{sizes['queries']:,} query tracks, {sizes['gallery']:,} gallery tracks, {threads} thread(s)."
    if "authors" in arguments:
        queries, gallery = THEIR_SIZE
        few = partial(draw, queries=queries, gallery=gallery, authors=arguments.authors)
        loops = [Contestant(metric, few, partial(authors, metric=metric)) for metric in ("mcd", "med", "rscr")]
        times = sizes["queries"] * sizes["gallery"] / (queries * gallery)
        theirs = {metric: score.cpu_s * times for metric, score in contest(loops, threads=threads, turns=turns).items()}
        differences = ", ".join(f"{metric.upper()} {disagreement(few(), metric):.0e}" for metric in theirs)
        note += (
            f" The authors' loop is extrapolated from {queries} x {gallery} tracks; there ours (as released) differs "
            f"from it by at most, as a share of the mean distance: {differences}."
        )
    title = "track_to_track" if threads == 1 else f"track_to_track_{threads}_threads"
    report(
        arguments.get("name", title),
        rows_of(scores, theirs),
        Path(arguments.get("output", "benchmarks/results")),
        note=note,
    )


def _module(clone: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("authors_ranking", Path(clone) / "vehicle_reid/ranking.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
