"""What people look at after an evaluation: pictures, plots, a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from reid_lightning.data.records import VehicleImage
from reid_lightning.drawing.figures import save_figure
from reid_lightning.drawing.tables import new_table, print_logged, print_written, titled
from reid_lightning.evaluation.pictures import draw_hardest_queries, draw_ranked_lists
from reid_lightning.evaluation.plots import (
    plot_camera_pairs,
    plot_cmc,
    plot_precision_recall,
    plot_roc,
    plot_score_histogram,
)
from reid_lightning.evaluation.ranked_lists import PicturedRanking
from reid_lightning.ranking.curves import CameraPairMap, cmc_curve, precision_recall_curve
from reid_lightning.ranking.files import SUFFIXES
from reid_lightning.ranking.open_set_result import Calibration, OpenSetResult
from reid_lightning.ranking.protocols import Ranking
from reid_lightning.ranking.result import RetrievalResult

_CMC_RANKS = 50
PICTURES = ("ranked_lists", "hardest_queries", "precision_recall", "cmc", "camera_pairs", "scores", "roc")
_RESULTS = (
    "metrics.json",
    "sets.csv",
    "sets.md",
    "sets",
    "ranking.json",
    "pictures",
    "track_table.csv",
    *(f"{side}_embeddings{suffix}" for side in ("query", "gallery") for suffix in SUFFIXES),
)


def draw_pictures(
    ranking: Ranking,
    result: RetrievalResult,
    folder: Path,
    *,
    name: str,
    images: Mapping[str, VehicleImage],
    columns: int,
) -> None:
    """Draw ranked lists and hardest queries into `folder`; `images` maps the ranking's picture names to records."""
    sides = [[images[picture] for picture in side.pictures] for side in (ranking.query, ranking.gallery)]
    pictured = PicturedRanking(ranking.problem, result, *sides)
    draw_ranked_lists(pictured, folder / "ranked_lists.png", name=name, columns=columns)
    draw_hardest_queries(pictured, folder / "hardest_queries.png", name=name)


def draw_plots(
    ranking: Ranking,
    folder: Path,
    *,
    result: RetrievalResult,
    camera_pairs: CameraPairMap | None,
    open_set: OpenSetResult | None,
    calibration: Calibration | None,
) -> None:
    """Plot precision and recall, the CMC and, where given, camera pairs, the scores and the ROC into `folder`."""
    caption = result.describe()
    curve = precision_recall_curve(ranking.problem)
    save_figure(plot_precision_recall(curve, mAP=result.mAP, caption=caption), folder / "precision_recall.png")
    cmc = cmc_curve(result.first_match, ranks=min(_CMC_RANKS, result.gallery))
    marked = [rank for rank in result.cmc if rank <= len(cmc)]
    save_figure(plot_cmc(cmc, marked=marked, caption=caption), folder / "cmc.png")
    if camera_pairs is not None:
        save_figure(plot_camera_pairs(camera_pairs, caption=caption), folder / "camera_pairs.png")
    if open_set is not None:
        threshold = None if calibration is None else calibration.threshold
        score = "cosine similarity" if open_set.similarity else f"distance ({open_set.metric})"
        histogram, caption = open_set.histogram, open_set.describe()
        figure = plot_score_histogram(
            histogram.edges, histogram.same, histogram.different, threshold=threshold, score=score, caption=caption
        )
        save_figure(figure, folder / "scores.png")
        rates = {point.asked_rate: point.true_match_rate for point in open_set.match_points}
        roc = open_set.curve
        figure = plot_roc(roc.false_match_rate, roc.true_match_rate, marked=rates, caption=caption)
        save_figure(figure, folder / "roc.png")


def drawn_pictures(run_dir: Path) -> dict[str, Path]:
    """The pictures and plots that this run's evaluation drew, by name; of joined data sets by `<set>/<name>`."""
    found = {path.stem: path for path in sorted(run_dir.glob("pictures/*.png"))}
    found |= {f"{path.parts[-3]}/{path.stem}": path for path in sorted(run_dir.glob("sets/*/pictures/*.png"))}
    begun = _begun(run_dir)
    return {name: path for name, path in found.items() if path.stem in PICTURES and path.stat().st_mtime_ns >= begun}


def _begun(run_dir: Path) -> int:
    """When a run began: it writes `config.yaml` first."""
    config = run_dir / "config.yaml"
    return config.stat().st_mtime_ns if config.exists() else 0


def written_files(run_dir: Path) -> tuple[list[Path], list[Path]]:
    """What a user wants to find again, as far as this run wrote it, and results of an earlier run of the same folder:
    those that are older than `config.yaml`, which a run writes first."""
    kept = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "bundle", "logs/metrics.csv", "tensorboard", "wandb")
    found = [run_dir / name for name in ("config.yaml", *_RESULTS, *kept) if (run_dir / name).exists()]
    begun = _begun(run_dir)
    results = {run_dir / name for name in _RESULTS}
    earlier = [path for path in found if path in results and path.stat().st_mtime_ns < begun]
    return [path for path in found if path not in earlier], earlier


def result_table(result: RetrievalResult, *, title: str) -> RenderableType:
    """Every metric in percent, a row each, with its 95 % confidence interval."""
    intervals = result.confidence_intervals()
    caption = f"{result.describe()}\nranges: 95 % confidence over the choice of vehicles"
    table = new_table("percent", "", "", names=("percent",))
    for name, value in result.values().items():
        table.add_row(name, f"{100 * value:.2f}", "{:.1f} - {:.1f}".format(*(100 * end for end in intervals[name])))
    return titled(table, title, caption)


def print_table(table: RenderableType, run_dir: Path, *lines: str) -> None:
    """The table, further lines, and where everything was written."""
    console = Console()
    for shown in (table, *map(Text, lines)):
        print_logged(console, shown)
    written, earlier = written_files(run_dir)
    print_written(console, written)
    for path in earlier:
        console.print(f"[yellow]of an earlier run in this folder:[/yellow] {path}", soft_wrap=True, highlight=False)
