"""One model from several checkpoints of one run: the mean of their weights is often better than each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reid_lightning.bundle.bundle import LoadedModel, fingerprint, open_model
from reid_lightning.errors import ReIDError


def average_checkpoints(paths: Sequence[str | Path]) -> LoadedModel:
    """The mean of the weights of bundles or training checkpoints, in any mixture; of one of them: itself.

    Batch norms' running statistics are averaged too; counters are those of the last. The result has no metrics and no
    threshold, for it has not been measured yet. Checkpoints of different runs have nothing in common weight by weight:
    give those of one run, such as its last or its best epochs. Source: Izmailov et al., "Averaging Weights Leads to
    Wider Optima and Better Generalization", UAI 2018.

    Raises:
        ReIDError: no path; a path is not readable; architectures or inputs differ.
    """
    if not paths:
        raise ReIDError("no checkpoint was named; expected one, or several of one run to average.")
    first = last = open_model(paths[0])
    if len(paths) == 1:
        return first
    sums = {name: tensor.double() for name, tensor in first.model.state_dict().items() if tensor.is_floating_point()}
    for path in paths[1:]:
        last = open_model(path)
        _check_alike(first, last, where=f"{path} and {paths[0]}")
        state = last.model.state_dict()
        for name, total in sums.items():
            total.add_(state[name])
    mean = {name: (total / len(paths)).to(state[name].dtype) for name, total in sums.items()}
    last.model.load_state_dict({**state, **mean})
    options = replace(last.options, fingerprint=fingerprint(last.model, last.options.preprocessing))
    return LoadedModel(last.model, replace(options, metrics={}, calibration={}))


def _check_alike(first: LoadedModel, other: LoadedModel, *, where: str) -> None:
    for kind in ("architecture", "preprocessing"):
        theirs, ours = getattr(other.options, kind), getattr(first.options, kind)
        if theirs != ours:
            raise ReIDError(f"{where} differ in their {kind} ({theirs} and {ours}); average checkpoints of one run.")
