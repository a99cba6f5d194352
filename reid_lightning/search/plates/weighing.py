"""How sure a text is a vehicle's plate: what was seen, weighed with what plates look like.

A country's forms are evidence, as strong as they are narrow and as plates without one are rare. A text of a form wins
where it is nearly as likely as the text that was read; a text of no form that was read surely stays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reid_lightning.search.plates.decoding import Reading
from reid_lightning.search.plates.patterns import Form, PlatePatterns, is_plausible

SEEN_NOWHERE = 0.2
"""A typical character's probability below which some character was made up to fit the form."""

_LENGTHS = {4: 0.02, 5: 0.08, 6: 0.30, 7: 0.38, 8: 0.13, 9: 0.05, 10: 0.03}
_CHANGES = {1: 0.41, 2: 0.41, 3: 0.12, 4: 0.04}
_RARE = 0.005
"""Shares of the world's plates with so many characters, and with so many changes between letters and digits."""
_SIGNS = 36  # letters and digits: densities are relative to all of them being equally likely at each place
_NAMES, _MIXED, _NUMBERS = 0.5, 0.2, 0.003  # of other texts of a plate's length on vehicles: words; badges; numbers
_OF_WORDS = 0.5  # how much likelier than by chance each letter of a word is, as a logarithm
_MOSTLY_DIGITS = 14  # among so many characters as good as all are, where letters and digits may stand

CONFIDENCE = (2.0, 0.72, 0.2, 0.54)
"""Of the logistic curve from evidence to confidence: constant; factors of the logarithms of a text's probability, of
its density among plates, and of its share of the evidence. Fitted on the vehicles for choosing of
`benchmarks/drawn_plates.py` and on every second picture of plates_cn, the third one held at .2 (drawn vehicles carry
few texts that look like plates); `benchmarks/plates_drawn.py` shows how well it holds on others."""


@dataclass(frozen=True)
class WeighedText:
    """A text and how sure it is the plate, from 0 to 1."""

    text: str
    confidence: float


class PlateWeigher:
    """Weighs readings by the forms of some patterns, or by what plates of the world look like.

    `weights`: the logarithm of each form's density, in the order of `PlatePatterns.forms`, which `TextDecoder` takes.
    """

    def __init__(self, patterns: PlatePatterns) -> None:
        self._forms, self._others = patterns.forms, patterns.share_of_others
        shares = np.array([patterns.form_weights[form] * _LENGTHS.get(len(form), _RARE) for form in self._forms])
        self.weights = np.array(
            [
                math.log((1 - self._others) * share) + sum(math.log(_SIGNS / _size(allowed)) for allowed in form)
                for form, share in zip(self._forms, shares / max(shares.sum(), _RARE), strict=True)
            ]
        )

    def weigh(self, free: Reading, of_form: Reading | None) -> Iterator[WeighedText]:
        """Those of the two readings of some pixels that may be a plate.

        Three explanations share the evidence: a plate with one of the forms, whatever its text; a plate without, and
        something else, that says what was read.
        """
        evidence = [] if of_form is None else [of_form.all_texts]
        if free.text:
            other = self._density_of_others_plates(free.text)
            evidence.append(free.log_probability + (density_of_others(free.text) if other is None else other))
        total = float(np.logaddexp.reduce(evidence)) if evidence else 0.0
        for one in [free] if of_form is None or of_form.text == free.text else [free, of_form]:
            density = self.density(one)
            if density is not None and one.confidence >= SEEN_NOWHERE:
                share = min(0.0, one.log_probability + density - total)  # the best path is not quite all of a text
                seen = np.dot(CONFIDENCE, (1.0, one.log_probability, density, share))
                yield WeighedText(one.text, 1 / (1 + math.exp(-float(seen))))

    def density(self, reading: Reading) -> float | None:
        """The logarithm of how likely a plate has this text; None: no plate has."""
        if reading.form is not None:
            fitting = [self.weights[reading.form]]
        else:
            fits = (_fits(reading.text, form) for form in self._forms)
            fitting = [weight for weight, fit in zip(self.weights, fits, strict=True) if fit]
        parts = [float(max(fitting))] if fitting else []
        other = self._density_of_others_plates(reading.text)
        parts += [] if other is None else [other]
        return float(np.logaddexp.reduce(parts)) if parts else None

    def _density_of_others_plates(self, text: str) -> float | None:
        return math.log(self._others) + density_of_plates(text) if is_plausible(text) else None


def _size(allowed: str) -> float:
    """Among how many characters a place's is: where letters and digits may stand nearly all have a digit."""
    letters = sum(character.isalpha() for character in allowed)
    return len(allowed) if letters in (0, len(allowed)) else min(len(allowed), _MOSTLY_DIGITS)


def density_of_plates(text: str) -> float:
    """The logarithm of how likely a text is among the world's plates, relative to random letters and digits."""
    changes = _changes(text)
    share = _LENGTHS.get(len(text), _RARE) * _CHANGES.get(changes, _RARE)
    return math.log(share) - _ways(text, changes) + _narrowness(text)


def density_of_others(text: str) -> float:
    """The same among what else is written on vehicles."""
    digits = sum(character.isdigit() for character in text)
    if digits == 0:
        return math.log(_NAMES) + _narrowness(text) + _OF_WORDS * len(text)
    if digits == len(text):
        return math.log(_NUMBERS) + _narrowness(text)
    return math.log(_MIXED) - _ways(text, _changes(text)) + _narrowness(text)


def _narrowness(text: str) -> float:
    return sum(math.log(_SIGNS / (10 if character.isdigit() else 26)) for character in text)


def _changes(text: str) -> int:
    return len(list(itertools.groupby(text, key=str.isdigit))) - 1


def _ways(text: str, changes: int) -> float:
    """The logarithm of in how many ways letters and digits can change so often."""
    return math.log(2 * math.comb(len(text) - 1, changes))


def _fits(text: str, form: Form | Sequence[str]) -> bool:
    return len(text) == len(form) and all(one in allowed for one, allowed in zip(text, form, strict=True))
