"""W&B that works with and without a key or a network: a training goes on whatever becomes of its log."""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import Logger, WandbLogger

from reid_lightning.errors import ReIDError, extra, first_line
from reid_lightning.evaluation.result import EvaluationResult
from reid_lightning.ranking.result import RetrievalResult
from reid_lightning.sweeps.jobs import place_in_sweep
from reid_lightning.training.lightning_internals import wandb_arguments
from reid_lightning.training.run_names import run_name

_HOST = "api.wandb.ai"

_log = logging.getLogger(__name__)


def _wandb() -> Any:
    """The package, which a training without this logger does without."""
    with extra("wandb"):
        import wandb
    return wandb


class PatientWandbLogger(WandbLogger):
    """A WandbLogger that goes on offline when the server cannot be reached."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        wandb_arguments(self).pop("anonymous", None)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; ReIDError when the server is there but refuses the key or the project."""
        try:
            return super().experiment
        except (_wandb().errors.AuthenticationError, _wandb().errors.UsageError) as error:
            raise ReIDError(
                f"W&B refused the run: {error} Log in again (wandb login), or keep it on this machine with "
                "logger.wandb.offline=true."
            ) from error
        except _wandb().errors.CommError as error:
            reason = first_line(error)
            _log.warning("W&B cannot be reached, the run is kept offline; send it later: wandb sync. (%s)", reason)
            wandb_arguments(self)["mode"] = "offline"
            return super().experiment


def wandb_logger(
    *,
    save_dir: str | Path,
    project: str,
    name: str | None,
    group: str | None,
    job_type: str,
    tags: Sequence[str],
    offline: bool | None,
    resume: str | None = None,
    init_timeout: float,
    finish_timeout: float,
) -> WandbLogger:
    """A W&B logger.

    Args:
        name: of the run; None: what was chosen for it, see `run_name`.
        group: runs to be compared; None: the sweep's folder, in a sweep.
        offline: None: online when a key is configured (WANDB_API_KEY or `wandb login`), else offline.
        resume: what the training goes on from, if it does: the W&B run that `save_dir` has goes on, too.
        init_timeout: seconds to wait for the server before the run is kept offline.
        finish_timeout: seconds to wait for the upload at the end; what is missing then can be sent with `wandb sync`.
    """
    place = place_in_sweep()
    if place is not None:
        group = group or place.sweep.name
    if not os.environ.get("WANDB_MODE", "unset"):  # set to nothing, which W&B itself refuses
        del os.environ["WANDB_MODE"]
    if offline is None:
        offline = _stays_offline()
    return PatientWandbLogger(
        save_dir=str(save_dir),
        project=project,
        name=name or run_name(),
        group=group,
        job_type=job_type,
        tags=list(tags),
        id=_earlier_run(Path(save_dir)) if resume is not None or _requeued() else None,
        mode="offline" if offline else None,
        settings=_wandb().Settings(init_timeout=init_timeout, finish_timeout=finish_timeout),
    )


def _requeued() -> bool:
    """Whether SLURM has started this job again, which then goes on from its last checkpoint."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def _earlier_run(save_dir: Path) -> str | None:
    """The id of the W&B run that was last begun in a folder: its own folder is `[offline-]run-<time>-<id>`."""
    folders = [path.name.removeprefix("offline-") for path in save_dir.glob("wandb/*run-*-*")]
    return max(folders).rsplit("-", 1)[-1] if folders else None


@contextlib.contextmanager
def finishing_wandb(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close the W&B run at the end, as failed after an error, so that the next job of a sweep starts one of its own."""
    used = any(isinstance(logger, WandbLogger) for logger in loggers)
    try:
        yield
    except BaseException:
        if used:
            _wandb().finish(exit_code=1)
        raise
    if used:
        _wandb().finish()


def log_best(loggers: Sequence[Logger], validated: RetrievalResult, *, epoch: int) -> None:
    """Put what the best epoch so far had in its validation into the summary of W&B, as `best/<metric>`."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({**_figures("best", validated), "best/epoch": epoch})


def log_result(loggers: Sequence[Logger], evaluated: EvaluationResult, *, epoch: int | None) -> None:
    """Put the figures of the exported bundle into the summary of W&B: as `final/<metric>` with `_low` and `_high`, the
    ends of the 95 % interval, `final/protocol`, `final/threshold`, and of joined data sets each as `final/<set>/...`.

    Args:
        epoch: the epoch of its weights, from 0; None: they are of several.
    """
    summary: dict[str, Any] = {} if epoch is None else {"final/epoch": epoch}
    for under, one in {"final": evaluated, **{f"final/{name}": one for name, one in evaluated.sets.items()}}.items():
        summary |= {**_figures(under, one.result), f"{under}/protocol": one.result.describe()}
        if one.calibration is not None:
            summary[f"{under}/threshold"] = one.calibration.threshold
            summary[f"{under}/threshold_false_match_rate"] = one.calibration.false_match_rate
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(summary)


def _figures(under: str, result: RetrievalResult) -> dict[str, float]:
    """Each metric with the ends of its confidence interval."""
    values = {f"{under}/{name}": value for name, value in result.values().items()}
    for name, (low, high) in result.confidence_intervals().items():
        values |= {f"{under}/{name}_low": low, f"{under}/{name}_high": high}
    return values


def log_bundle(loggers: Sequence[Logger], folder: Path, *, metrics: Mapping[str, Any], epoch: int | None) -> None:
    """Hand the exported bundle to W&B: a model artifact with the aliases `best` and `epoch-<n>`, with its metrics as
    metadata. Other loggers keep no models.

    Args:
        folder: the bundle, finished: what changes afterwards is not in the artifact.
        metrics: `RetrievalResult.as_dict()` of the evaluation.
        epoch: the epoch of its weights, from 0; None: they are of several.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            of_epoch = {} if epoch is None else {"epoch": epoch}
            artifact = _wandb().Artifact(f"bundle-{run.id}", type="model", metadata={**metrics, **of_epoch})
            artifact.add_dir(str(folder), policy="immutable")  # a bundle stays as it is; else W&B copies it into $HOME
            try:
                run.log_artifact(artifact, aliases=["best", *(f"epoch-{value}" for value in of_epoch.values())])
            except _wandb().errors.Error as error:  # the training is done, whatever becomes of its log
                reason = first_line(error)
                _log.warning("W&B cannot be reached and has not got the bundle, which is in %s. (%s)", folder, reason)


def publish(workspace: Any) -> str:
    """Save a `Workspace` of wandb-workspaces in its project, of the user's own entity if it has none; a sentence says
    where it is, or what keeps it here and how to publish it."""
    if _stays_offline():
        return "not published: give the command again after `wandb login`, with the network."
    try:
        workspace.entity = workspace.entity or _wandb().Api().default_entity
        workspace.save()
    except _wandb().errors.Error as error:
        return f"not published, for W&B did not take it; give the command again later. ({first_line(error)})"
    return f"published: {workspace.url}"


def _stays_offline() -> bool:
    return os.environ.get("WANDB_MODE") == "offline" or not has_wandb_key()


def has_wandb_key() -> bool:
    """Whether a key is in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(os.environ.get("WANDB_BASE_URL", _HOST).split("//")[-1]) is not None
    except (OSError, netrc.NetrcParseError):
        return False
