"""The training objective: any weighted sum of losses from config, each term reported by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses.cross_rank import gather_across_ranks
from reid_lightning.losses.precision import full_precision
from reid_lightning.models.reid_model import ReIDOutput

TOTAL = "total"
_TERM_KEYS = {"weight", "loss", "input"}


@dataclass(frozen=True, slots=True)
class _Term:
    weight: float
    input: str
    across_ranks: bool


class WeightedSum(nn.Module):
    """sum_t weight_t loss_t(output.<input_t>, labels).

    Each term is {weight, loss, input}. `input` names what the loss is fed: "embeddings" (after the neck) or "features"
    (before it). `loss` is a module from (tensor, labels) to a scalar, or a partial of one that owns weights per
    identity (IDLoss), which is finished here with `num_identities` and `embedding_dim`.

    A loss without weights of its own compares pictures with each other and is given those of all ranks (see
    `gather_across_ranks`); one with weights looks at each picture alone and stays local: there, averaging is exact.
    A term of weight 0 is still computed and reported, which lets a run watch a loss it does not train with.

    The shipped configs feed every loss with "embeddings", whatever the combination: search ranks by the cosine of the
    embeddings after the neck, so that is what is trained; the neck gets a gradient from every loss, also from one alone
    (under DDP a parameter without one is an error); and its batch norm keeps a metric loss on random weights from
    collapsing to one point. Bag of Tricks' other choice is `loss.terms.triplet.input=features`, next to an ID loss.
    """

    def __init__(self, terms: Mapping[str, Mapping[str, object]], *, num_identities: int, embedding_dim: int) -> None:
        super().__init__()
        if not terms:
            raise ReIDError("loss.terms is empty; expected at least one term, for instance loss=id_contrastive_circle")
        self.losses = nn.ModuleDict()
        self._terms: dict[str, _Term] = {}
        for name, term in terms.items():
            _check_term(name, term)
            loss = term["loss"]
            if isinstance(loss, functools.partial):
                loss = loss(num_identities=num_identities, embedding_dim=embedding_dim)
            if not isinstance(loss, nn.Module):
                raise ReIDError(
                    f"loss.terms.{name}.loss is a {type(loss).__name__}; expected a module or a partial of one"
                )
            self.losses[name] = loss
            owns_weights = any(True for _ in loss.parameters())
            self._terms[name] = _Term(float(term["weight"]), term["input"], across_ranks=not owns_weights)

    def forward(self, output: ReIDOutput, labels: Tensor, *, progress: float = 0.0) -> dict[str, Tensor]:
        """Every term's own value (unweighted, detached) by its name, and "total", the one to call backward on.

        output: features and embeddings (batch, dim); labels: (batch,) positions among the training identities.
        """
        fed: dict[tuple[str, bool], tuple[Tensor, Tensor]] = {}
        values: dict[str, Tensor] = {}
        total = torch.zeros((), device=labels.device)
        for name, term in self._terms.items():
            key = (term.input, term.across_ranks)
            if key not in fed:
                fed[key] = _inputs(getattr(output, term.input), labels, across_ranks=term.across_ranks)
            loss: Callable[..., Tensor] = full_precision(self.losses[name])
            value = loss(*fed[key])
            values[name] = value.detach()
            total = total + term.weight * value
        return values | {TOTAL: total}


def _inputs(tensor: Tensor, labels: Tensor, *, across_ranks: bool) -> tuple[Tensor, Tensor]:
    if across_ranks:
        return gather_across_ranks(tensor), gather_across_ranks(labels)
    return tensor, labels


def _check_term(name: str, term: Mapping[str, object]) -> None:
    where = f"loss.terms.{name}"
    if name == TOTAL:
        raise ReIDError(f"{where}: {TOTAL!r} is the name of the sum; give the term another name")
    if not isinstance(term, Mapping) or set(term) != _TERM_KEYS:
        got = sorted(map(str, term)) if isinstance(term, Mapping) else type(term).__name__
        raise ReIDError(f"{where} has {got}; expected exactly the keys {sorted(_TERM_KEYS)}")
    weight = term["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < float("inf"):
        raise ReIDError(f"{where}.weight={weight!r}: expected a number of at least 0")
    if term["input"] not in ReIDOutput._fields:
        raise ReIDError(f"{where}.input={term['input']!r}: expected one of {list(ReIDOutput._fields)}")
