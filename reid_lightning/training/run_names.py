"""What a run stands for, in the words of its command line: its name where runs are compared, and the fields that a
table of them groups by."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from reid_lightning.errors import shortened
from reid_lightning.redaction import without_secrets
from reid_lightning.sweeps.jobs import SEED, given_overrides, in_words, place_in_sweep, settings_of_words, swept_keys

DEFAULT = "default"
_LONGEST = 120  # W&B takes 128 characters
_NO_CHOICE = re.compile(
    r"(?:trainer|resume|sweep|run_dir)$|(?:hydra|logger|evaluation)(?:[./]|$)"
    r"|.*\.(?:root|path|num_workers|eval_batch_size|devices|accelerator|num_nodes)$"
)
"""Keys that say where a run works, and nothing of what it trains."""


def run_name() -> str:
    """`loss=circle seed=1`: what was typed, of single keys of a group in a sweep those that it varies; `default` where
    that is nothing."""
    return _named(_chosen())


def run_fields(seed: int) -> dict[str, Any]:
    """The choices of the groups (`loss`, `model`, ...), `seed`, and `choice`, the name of the run without its seed."""
    if not HydraConfig.initialized():
        return {"seed": seed}
    choices = OmegaConf.to_container(OmegaConf.create(dict(HydraConfig.get().runtime.choices)))
    assert isinstance(choices, dict)
    groups = {
        str(group): "+".join(choice) if isinstance(choice, list) else choice
        for group, choice in choices.items()
        if choice is not None and re.fullmatch(r"\w+", str(group))
    }
    chosen = {key: value for key, value in _chosen().items() if key != SEED}
    return {**groups, "seed": seed, "choice": _named(chosen)}


def _chosen() -> dict[str, str]:
    if not HydraConfig.initialized():
        return {}
    typed = [word for word in given_overrides(HydraConfig.get()) if not word.startswith("~")]
    chosen = {key: value for key, value in settings_of_words(typed).items() if not _NO_CHOICE.match(key)}
    place = place_in_sweep()
    if place is None:
        return chosen
    varied = swept_keys(place)
    return {key: value for key, value in chosen.items() if "." not in key or key in varied} or chosen


def _named(settings: dict[str, str]) -> str:
    return shortened(in_words(without_secrets(settings)), _LONGEST - 5) or DEFAULT
