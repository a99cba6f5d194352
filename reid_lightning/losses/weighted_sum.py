"""The training objective: any weighted sum of losses from config, each term reported by name."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses.center import CenterLoss
from reid_lightning.losses.cross_batch_memory import CrossBatchMemory
from reid_lightning.losses.cross_rank import gather_across_ranks
from reid_lightning.losses.precision import widened

TOTAL = "total"
Weight = float | Callable[[float], float]


class Embedded(Protocol):
    """What a network says of a batch: two tensors (batch, dim)."""

    @property
    def features(self) -> Tensor:
        """Before the neck."""

    @property
    def embeddings(self) -> Tensor:
        """After it, not normalised."""


INPUTS = ("features", "embeddings")
IDENTITY = "identity"


class _Required(TypedDict):
    weight: Weight
    loss: nn.Module | functools.partial[nn.Module]
    input: str


class LossTerm(_Required, total=False):
    """One term of a `WeightedSum`, as its config has it."""

    target: str


@dataclass(frozen=True, slots=True)
class _Term:
    weight: Weight
    input: str
    target: str
    across_ranks: bool

    def weight_at(self, progress: float) -> float:
        return self.weight(progress) if callable(self.weight) else self.weight


class WeightedSum(nn.Module):
    """sum_t weight_t loss_t(output.<input_t>, <target_t>).

    Each term is {weight, loss, input}, and may have a `target`. `weight` is a number, or a function of the share of the
    training that is done (`Ramp`). `input` names what the loss is fed: "embeddings" (after the neck) or "features"
    (before it). `loss` is a module from (tensor, labels) to a scalar, or a partial of one, which is finished here with
    those of `num_identities`, `num_classes` and `embedding_dim` that it takes (IDLoss: a classifier; CrossBatchMemory:
    the size of a row). `target` names what is learned: "identity", or an attribute such as "colour" or "type", for
    which a loss says of itself that it `leaves_out_unknown` labels (-1), as `AttributeLoss` does.

    A loss without trainable weights is given the pictures of all ranks (see `gather_across_ranks`), for it compares
    them with each other or with what it remembers of them; one with weights looks at each picture alone and stays
    local: there, averaging is exact.
    A term of weight 0 is still computed and reported, which lets a run watch a loss it does not train with.

    The shipped configs feed losses with "embeddings" unless their name says otherwise (`bot`): search ranks by the
    cosine of the embeddings after the neck, so that is what is trained; the neck gets a gradient from every loss, also
    from one alone (under DDP a parameter without one is an error); and its batch norm keeps a metric loss on random
    weights from collapsing to one point. `loss.terms.triplet.input=features` is Bag of Tricks' other choice.
    """

    def __init__(
        self,
        terms: Mapping[str, LossTerm],
        *,
        embedding_dim: int,
        classes: Mapping[str, int] | None = None,
        num_identities: int | None = None,
    ) -> None:
        """`classes`: how many the training pictures name of each target; `num_identities`: of identities, where these
        are the only target."""
        super().__init__()
        classes = {IDENTITY: num_identities or 0} if classes is None else classes
        if not terms:
            raise ReIDError("loss.terms is empty; expected at least one term, for instance loss=id_contrastive_circle")
        self.losses = nn.ModuleDict()
        self._terms: dict[str, _Term] = {}
        for name, term in terms.items():
            _check_term(name, term)
            loss, target = term["loss"], term.get("target", IDENTITY)
            _check_target(f"loss.terms.{name}", target, classes, loss)
            if isinstance(loss, functools.partial):
                loss = _finished(loss, num_classes=classes.get(target, 0), embedding_dim=embedding_dim)
            if not isinstance(loss, nn.Module):
                raise ReIDError(
                    f"loss.terms.{name}.loss is a {type(loss).__name__}; expected a module or a partial of one"
                )
            self.losses[name] = loss
            owns_weights = any(True for _ in loss.parameters())
            self._terms[name] = _Term(term["weight"], term["input"], target, across_ranks=not owns_weights)

    def forward(
        self, output: Embedded, targets: Tensor | Mapping[str, Tensor], *, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """Every term's own value (unweighted, detached) by its name, and "total", the one to call backward on.

        output: features and embeddings (batch, dim); targets: (batch,) positions among the training identities, or a
        mapping of such, by target; progress: share of the optimiser steps that are done, 0 to 1, for weights that
        change.
        """
        if isinstance(targets, Tensor):
            targets = {IDENTITY: targets}
        fed: dict[tuple[str, str, bool], tuple[Tensor, Tensor]] = {}
        values: dict[str, Tensor] = {}
        device = output.embeddings.device
        total = torch.zeros((), device=device)
        with torch.autocast(device.type, enabled=False):
            for name, term in self._terms.items():
                key = (term.input, term.target, term.across_ranks)
                if key not in fed:
                    inputs = widened(getattr(output, term.input)), targets[term.target]
                    fed[key] = _inputs(*inputs, across_ranks=term.across_ranks)
                value = self.losses[name](*fed[key])
                values[name] = value.detach()
                total = total + term.weight_at(progress) * value
        return values | {TOTAL: total}

    def weights(self, progress: float) -> dict[str, float]:
        """The weights in force of the terms whose weight changes, by term; `progress` as in `forward`."""
        return {name: term.weight_at(progress) for name, term in self._terms.items() if callable(term.weight)}

    def check_batch(self, *, identities: int, images_per_identity: int) -> None:
        """ReIDError when a term could not learn from batches of `identities` (of all ranks) x `images_per_identity`."""
        names = [name for name, term in self._terms.items() if self._compares_pictures(name) and term.weight != 0.0]
        if names and min(identities, images_per_identity) < 2:
            one = "loader.images_per_identity" if images_per_identity < 2 else "loader.identities_per_batch"
            raise ReIDError(
                f"{one}=1: the loss terms [{', '.join(names)}] compare pictures of one identity with each other and "
                f"with pictures of others, and a batch would hold no such pair. Set {one} to 2 or more, or use loss=id."
            )
        for name, loss in self.losses.items():
            if isinstance(loss, CrossBatchMemory) and loss.size < identities * images_per_identity:
                raise ReIDError(
                    f"loss.terms.{name}.loss.size={loss.size} is less than the {identities * images_per_identity} "
                    "pictures of a batch (of all ranks); expected several batches, for instance 8192."
                )

    def _compares_pictures(self, name: str) -> bool:
        """Whether a term has nothing but the batch to compare with."""
        return self._terms[name].across_ranks and not isinstance(self.losses[name], CrossBatchMemory | CenterLoss)


def non_finite_terms(values: Mapping[str, Tensor]) -> list[str]:
    """The names whose value is nan or infinite, of what `WeightedSum` gave; waits for the device."""
    return [name for name, value in values.items() if not bool(value.isfinite().all())]


def _inputs(tensor: Tensor, labels: Tensor, *, across_ranks: bool) -> tuple[Tensor, Tensor]:
    if across_ranks:
        return gather_across_ranks(tensor), gather_across_ranks(labels)
    return tensor, labels


def _finished(loss: functools.partial[nn.Module], *, num_classes: int, embedding_dim: int) -> nn.Module:
    known = {"num_identities": num_classes, "embedding_dim": embedding_dim}
    # What pytorch-metric-learning calls the same.
    known |= {"num_classes": num_classes, "embedding_size": embedding_dim}
    asked_for = inspect.signature(loss).parameters
    return loss(**{name: value for name, value in known.items() if name in asked_for})


def _check_term(name: str, term: LossTerm) -> None:
    where = f"loss.terms.{name}"
    if name == TOTAL:
        raise ReIDError(f"{where}: {TOTAL!r} is the name of the sum; give the term another name")
    if hasattr(nn.ModuleDict, name):
        raise ReIDError(f"{where}: {name!r} is a name of torch's own; give the term another name")
    keys = LossTerm.__required_keys__
    if not isinstance(term, Mapping) or set(term) - LossTerm.__optional_keys__ != keys:
        got = sorted(map(str, term)) if isinstance(term, Mapping) else type(term).__name__
        raise ReIDError(f"{where} has {got}; expected exactly the keys {sorted(keys)}, and `target` if need be")
    _check_weight(where, term["weight"])
    if term["input"] not in INPUTS:
        raise ReIDError(f"{where}.input={term['input']!r}: expected one of {list(INPUTS)}")


def _check_target(where: str, target: str, classes: Mapping[str, int], loss: object) -> None:
    if target not in classes:
        raise ReIDError(f"{where}.target={target!r}: expected one of {', '.join(classes)}")
    if target != IDENTITY and classes[target] < 2:
        raise ReIDError(
            f"{where}.target={target}: there are {classes[target]} of it among the training pictures; expected two or "
            "more. Use a data set that says it of its pictures, such as VeRi-776, the drawn fleet or a CSV with a "
            f"column `{target}`."
        )
    kind = loss.func if isinstance(loss, functools.partial) else type(loss)
    if target != IDENTITY and not getattr(kind, "leaves_out_unknown", False):
        raise ReIDError(
            f"{where}: {kind.__name__} cannot learn {target}, which is not known of all pictures; use "
            "reid_lightning.losses.AttributeLoss"
        )


def _check_weight(where: str, weight: object) -> None:
    """A scheduled weight is tried at the start, in the middle and at the end."""
    for value in [weight(share) for share in (0.0, 0.5, 1.0)] if callable(weight) else [weight]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
            raise ReIDError(f"{where}.weight={value!r}: expected a number of at least 0, or reid_lightning.losses.Ramp")
