"""Evaluates a model or files of embeddings under one protocol, and writes everything that people look at afterwards."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from reid_lightning.bundle.bundle import store_calibration
from reid_lightning.bundle.embedder import Embedder, with_flip
from reid_lightning.bundle.model_card import CHOSEN_ON, MEASURED_ON, VALIDATION_MAP
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.drawing.progress import counted
from reid_lightning.errors import ReIDError, count
from reid_lightning.evaluation.embedding import embed_pictures, table_of
from reid_lightning.evaluation.report import draw_pictures, draw_plots, print_table, result_table
from reid_lightning.evaluation.result import EvaluationResult, write_metrics
from reid_lightning.evaluation.sets_table import sets_table, write_sets_table
from reid_lightning.evaluation.track_table import write_track_table
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.curves import camera_pair_map
from reid_lightning.ranking.files import read_embeddings, write_embeddings
from reid_lightning.ranking.open_set import open_set_of
from reid_lightning.ranking.open_set_result import calibrate_threshold
from reid_lightning.ranking.protocols import EvaluationProtocol, ImageToTrack, Ranking
from reid_lightning.ranking.ranking_files import read_ranking, write_ranking
from reid_lightning.ranking.repeats import evaluate_rankings, rank_draws
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.user_messages import NotNegative, Positive

_log = logging.getLogger(__name__)

_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
_LONG = 500_000_000  # pairs of a query and a gallery picture, from which on progress is shown


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How models and embeddings are judged; each method writes `metrics.json` and more into a run directory.

    Args:
        protocol: what is ranked against what, see `ranking.protocols`.
        batch_size: pictures a forward pass; `num_workers`: processes that read pictures.
        flip: whether each picture is embedded together with its mirror image. The metric, and with it a threshold, is
            then named so.
        false_match_rate: share of pairs of different vehicles that the calibrated threshold may let through.
        pictures: whether to draw ranked lists, hardest queries and plots.
        columns: matches a row in the picture of ranked lists.
        save_embeddings: the form to keep the embeddings in; None: they are not kept.
        track_table: whether to rank tracks in all the ways of arXiv 1910.09458 too, into `track_table.csv`.
    """

    protocol: EvaluationProtocol
    batch_size: Positive
    num_workers: NotNegative
    flip: bool
    false_match_rate: float
    pictures: bool
    columns: Positive
    save_embeddings: Literal["json", "safetensors", "npz"] | None
    track_table: bool

    def __post_init__(self) -> None:
        if not isinstance(self.false_match_rate, float) or not 0 < self.false_match_rate < 1:
            raise ReIDError(
                f"evaluation.false_match_rate is {self.false_match_rate!r}; expected a share such as 0.001."
            )
        for name, least in (("batch_size", 1), ("columns", 1), ("num_workers", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ReIDError(f"evaluation.{name} is {value!r}; expected a whole number of {least} or more.")
        if not isinstance(self.flip, bool):
            raise ReIDError(f"evaluation.flip is {self.flip!r}; expected true or false.")
        forms = (None, "json", "safetensors", "npz")
        if self.save_embeddings not in forms:
            raise ReIDError(f"evaluation.save_embeddings is {self.save_embeddings!r}; expected one of {forms}.")

    def check(self, dataset: VehicleDataset) -> None:
        """ReIDError for a data set that cannot be judged so, before anything is embedded or trained. Of a joined one,
        each set that has query and gallery pictures."""
        for part in _evaluated_parts(dataset):
            self.check(part)
        for name in ("query", "gallery"):
            if not getattr(dataset, name):
                raise ReIDError(f"data set {dataset.name!r} holds no {name} pictures, so nothing can be evaluated.")
        sides = (dataset.query, dataset.gallery)
        tables = [table_of(images, torch.zeros(len(images), 1)) for images in sides]
        self.protocol.check(*tables, gt_index=dataset.gt_index, jk_index=dataset.jk_index)
        if self.track_table:
            ImageToTrack().check(*tables)

    def evaluate_model(
        self, embedder: Embedder, dataset: VehicleDataset, run_dir: Path, *, bundle: Path | None = None
    ) -> EvaluationResult:
        """Embed the data set's query and gallery pictures and judge the ranking. The calibrated threshold, if there is
        one, goes into `bundle` as well.

        Where the protocol draws galleries at random, the figures are means over all of them; pictures, plots, threshold
        and ranking.json are those of the first. Of a joined data set each set is judged into `sets/<name>`, and all
        else, the threshold too, is that of the first.
        """
        self.check(dataset)
        model = with_flip(embedder.options.fingerprint) if self.flip else embedder.options.fingerprint
        if dataset.parts:
            return self._of_parts(embedder, dataset, run_dir, bundle=bundle, model=model)
        tables = []
        for images, title in ((dataset.query, "embedding queries"), (dataset.gallery, "embedding the gallery")):
            embeddings = embed_pictures(
                embedder,
                images,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                flip=self.flip,
                title=title,
            )
            tables.append(table_of(images, embeddings, model=model))
        query, gallery = tables
        ranking = self.protocol.rank(query, gallery, gt_index=dataset.gt_index, jk_index=dataset.jk_index)
        ranking = self._named(ranking)
        first = evaluated = self._measure(ranking)
        if dataset.found_by is not None and first.calibration is not None:
            warning = f"its pairs are of vehicles that {dataset.found_by} took for one, not of known ones."
            first = evaluated = replace(first, calibration=replace(first.calibration, warning=warning))
        if dataset.gallery_draws is not None:
            images, embeddings = (*dataset.query, *dataset.gallery), torch.cat([table.embeddings for table in tables])
            drawn = rank_draws(self.protocol, table_of(images, embeddings, model=model), dataset.gallery_draws)
            repeats = evaluate_rankings(map(self._named, drawn), ap=self.protocol.ap, ranks=self.protocol.ranks)
            evaluated = replace(first, result=repeats.pooled(), repeats=repeats)
        evaluated = replace(evaluated, best_epoch=_best_epoch(embedder), found_by=dataset.found_by)
        write_metrics(evaluated, run_dir, data=dataset.name, model=model)
        if bundle is not None and evaluated.calibration is not None:
            store_calibration(bundle, evaluated.calibration)
        by_name = {str(image.path): image for image in (*dataset.query, *dataset.gallery)}
        name = embedder.options.architecture["backbone"].rsplit("/")[-1]
        self._write_rest(ranking, first, tables, run_dir, data=dataset.name, model=name, images=by_name)
        return evaluated

    def _of_parts(
        self, embedder: Embedder, dataset: VehicleDataset, run_dir: Path, *, bundle: Path | None, model: str
    ) -> EvaluationResult:
        sets: dict[str, EvaluationResult] = {}
        for part in _evaluated_parts(dataset):
            folder = run_dir / "sets" / part.name
            folder.mkdir(parents=True, exist_ok=True)
            sets[part.name] = self.evaluate_model(embedder, part, folder, bundle=None if sets else bundle)
            evaluated = replace(next(iter(sets.values())), sets=sets)
            write_metrics(evaluated, run_dir, data=dataset.name, model=model)  # what is known is safe at any time
            write_sets_table(sets, run_dir)
        return evaluated

    def evaluate_files(self, query: str | Path, gallery: str | Path, run_dir: Path) -> EvaluationResult:
        """Judge the ranking of two files of embeddings."""
        tables = [read_embeddings(path) for path in (query, gallery)]
        models = [table.model for table in tables]
        if all(models) and models[0] != models[1]:
            raise ReIDError(
                f"{query} was embedded by model {models[0]}, {gallery} by {models[1]}; embeddings of different models "
                "cannot be compared. Embed both with one model."
            )
        ranking = self.protocol.rank(*tables)
        data = f"{Path(query).name} against {Path(gallery).name}"
        evaluated = self._measure(ranking)
        write_metrics(evaluated, run_dir, data=data, model=models[1])
        self._write_rest(ranking, evaluated, tables, run_dir, data=data, model=Path(gallery).stem)
        return evaluated

    def evaluate_ranking(self, path: str | Path, run_dir: Path) -> EvaluationResult:
        """Score a finished ranking; of the protocol only `ap` and `ranks` apply."""
        result = evaluate_problem(read_ranking(path), ap=self.protocol.ap, ranks=self.protocol.ranks)
        evaluated = EvaluationResult(result)
        write_metrics(evaluated, run_dir, data=Path(path).name, model="")
        return evaluated

    def _named(self, ranking: Ranking) -> Ranking:
        """`ranking`, whose metric says whether pictures were embedded with their mirror images."""
        if self.flip:
            ranking.problem.scores.metric = with_flip(ranking.problem.scores.metric)
        return ranking

    def _write_rest(
        self,
        ranking: Ranking,
        evaluated: EvaluationResult,
        tables: Sequence[EmbeddingTable],
        run_dir: Path,
        *,
        data: str,
        model: str,
        images: Mapping[str, VehicleImage] | None = None,
    ) -> None:
        """Everything beside the metrics, which are safe by then."""
        if self.save_embeddings is not None:
            for side, table in zip(("query", "gallery"), tables, strict=True):
                write_embeddings(run_dir / f"{side}_embeddings.{self.save_embeddings}", table)
        with _counted(ranking, "listing the best matches"):
            write_ranking(run_dir / "ranking.json", ranking, top_k=self.protocol.top_k)
        if self.track_table:
            query, gallery = tables
            write_track_table(query, gallery, run_dir, model=model, protocol=self.protocol)
        if self.pictures:
            folder = run_dir / "pictures"
            folder.mkdir(exist_ok=True)
            found = {name: getattr(evaluated, name) for name in ("result", "camera_pairs", "open_set", "calibration")}
            with _counted(ranking, "drawing"):
                draw_plots(ranking, folder, **found)
            if images is not None:
                draw_pictures(ranking, evaluated.result, folder, name=data, images=images, columns=self.columns)

    def _measure(self, ranking: Ranking) -> EvaluationResult:
        with _counted(ranking, "scoring the rankings"):
            return self._measured(ranking)

    def _measured(self, ranking: Ranking) -> EvaluationResult:
        result = evaluate_problem(ranking.problem, ap=self.protocol.ap, ranks=self.protocol.ranks)
        open_set = calibration = camera_pairs = None
        try:
            open_set = open_set_of(ranking.problem, false_match_rates=sorted({*_RATES, self.false_match_rate}))
        except ReIDError as error:  # no pairs of different vehicles: a gallery of one
            _log.warning("no threshold: %s", error)
        if open_set is not None and self.protocol.absolute:
            calibration = calibrate_threshold(open_set, false_match_rate=self.false_match_rate)
        query_cameras, gallery_cameras = ranking.query.cameras, ranking.gallery.cameras
        if query_cameras and gallery_cameras:
            camera_pairs = camera_pair_map(
                ranking.problem, query_cameras=query_cameras, gallery_cameras=gallery_cameras, ap=self.protocol.ap
            )
        return EvaluationResult(result, open_set, calibration, camera_pairs)


@contextmanager
def _counted(ranking: Ranking, what: str) -> Iterator[None]:
    """A bar for each time that all queries are gone through, where that takes minutes."""
    problem = ranking.problem
    before, pairs = problem.on_progress, math.prod(problem.sizes)
    with counted(what) if pairs >= _LONG else nullcontext(before) as problem.on_progress:
        yield
    problem.on_progress = before


def _evaluated_parts(dataset: VehicleDataset) -> list[VehicleDataset]:
    """Of the sets that a joined one holds, those that can be evaluated, the first the one that it validates on."""
    return [part for part in dataset.parts if part.query and part.gallery]


def _best_epoch(embedder: Embedder) -> dict[str, str | float]:
    """What the model says of the choice of its epoch."""
    data = embedder.options.data
    names = {"chosen_on": CHOSEN_ON, "measured_on": MEASURED_ON}
    known: dict[str, str | float] = {name: str(data[key]) for name, key in names.items() if key in data}
    if isinstance(value := data.get(VALIDATION_MAP), float):
        known["validation_mAP"] = value
    return known


def title_of(dataset: VehicleDataset) -> str:
    """`veri776: 1,678 queries, 11,579 gallery pictures`."""
    queries, pictures = count(len(dataset.query), "query", "queries"), count(len(dataset.gallery), "gallery picture")
    said = "" if dataset.found_by is None else f"agreement with {dataset.found_by}, "
    return f"{dataset.name}: {said}{queries}, {pictures}"


def print_evaluation(evaluated: EvaluationResult, run_dir: Path, *, title: str) -> None:
    """A table of the result, or of the results on several sets, the threshold, and where everything was written."""
    if evaluated.sets:
        lines = [f"{name}: {line}" for name, one in evaluated.sets.items() for line in _notes(one)]
        print_table(sets_table(evaluated.sets), run_dir, *lines)
    else:
        print_table(result_table(evaluated.result, title=title), run_dir, *_notes(evaluated))


def _notes(evaluated: EvaluationResult) -> list[str]:
    """Lines below the figures: their spread over random galleries, and the threshold."""
    lines, calibration, chosen = [], evaluated.calibration, evaluated.best_epoch
    if chosen:
        mAP = f" (mAP {100 * value:.2f})" if isinstance(value := chosen.get("validation_mAP"), float) else ""
        if "chosen_on" in chosen:
            lines.append(f"best epoch chosen on {chosen['chosen_on']}{mAP}")
        elif mAP:
            lines.append(f"one epoch validated, so none chosen, on {chosen['measured_on']}{mAP}")
    if evaluated.found_by is not None:
        lines.append(
            f"which pictures show one vehicle was said by {evaluated.found_by}: these figures are how far the model "
            "agrees with it, not how well it tells vehicles apart"
        )
    if evaluated.repeats is not None:
        lines.append(evaluated.repeats.describe())
    if calibration is not None:
        lines.append(
            f"threshold {calibration.threshold:.4f}: lets through {calibration.measured_false_match_rate:.2g} of "
            f"{count(calibration.different_pairs, 'pair')} of different vehicles "
            f"(asked: {calibration.false_match_rate:g}) "
            f"and {100 * calibration.true_match_rate:.1f} % of {count(calibration.same_pairs, 'pair')} of one vehicle"
        )
        lines += [f"warning: {calibration.warning}"] if calibration.warning else []
    return lines
