"""From a recogniser's probabilities to text, if need be only to texts of a country's forms.

A recogniser that is asked for its best text drops a province character it is unsure of; asked for the best text that is
a plate, it names it. Correcting the best text afterwards cannot bring back what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reid_lightning.search.plates.patterns import LOOK_ALIKES, Form, normalise

FLOOR = 1e-6
"""The least probability of a character: one that the recogniser did not see at all costs a plate of seven six sevenths
of its confidence."""


LOOK_ALIKE_SHARE, OTHER_SHARE = 0.3, 0.02
"""How much of a character's probability also speaks for its look-alike: a form may want the 0 of what was read as O.
The first for O and 0, I and 1, which many fonts draw alike; the other for those that a sharp picture tells apart."""


_SAME = ({"O", "0"}, {"I", "1"})


@dataclass(frozen=True)
class Reading:
    """A text and the logarithm of the probability of its likeliest path.

    Of one that was looked for among forms `form` is the number of its form, and `all_texts` the logarithm of the
    probability of all their texts together, each with its form's weight.
    """

    text: str
    log_probability: float
    form: int | None = None
    all_texts: float = 0.0

    @property
    def confidence(self) -> float:
        """The n-th root of the probability, n the number of characters: about the probability of a typical one. 0 for
        no text."""
        return float(np.exp(self.log_probability / len(self.text))) if self.text else 0.0


class TextDecoder:
    """Reads the output of a recogniser trained with CTC (Graves et al., ICML 2006).

    Args:
        tokens: what each column of the probabilities stands for; column 0 is CTC's blank. Tokens that normalise to
            nothing (dots, dashes, spaces) count as blank.
        forms: the texts to look for in `best_form`.
        weights: the logarithm of how likely each form is before anything was seen; None: all the same.
    """

    def __init__(
        self, tokens: Sequence[str], forms: Sequence[Form], weights: Sequence[float] | np.ndarray | None = None
    ) -> None:
        self._texts = ["", *(normalise(token) for token in tokens[1:])]
        self._blanks = [column for column, text in enumerate(self._texts) if not text]
        self._weights = np.zeros(len(forms)) if weights is None else np.asarray(weights, np.float64)
        # "" is nobody's: it makes sure that every character has another one beside it
        self._alphabet = ["", *sorted({character for form in forms for allowed in form for character in allowed})]
        self._columns = [
            [column for column, text in enumerate(self._texts) if text and text == character]
            for character in self._alphabet
        ]
        self._same, self._similar = (
            [
                [
                    column
                    for column, text in enumerate(self._texts)
                    if text and LOOK_ALIKES.get(text) == character and ({text, character} in _SAME) is same
                ]
                for character in self._alphabet
            ]
            for same in (True, False)
        )
        # forms that begin alike share their first places: place 0 is before all, every other one has one before it
        places: dict[Form, int] = {(): 0}
        for form in forms:
            for end in range(1, len(form) + 1):
                places.setdefault(form[:end], len(places))
        self._ends = np.array([places[form] for form in forms], dtype=np.int64)
        self._before = np.array([places[start[:-1]] for start in places], dtype=np.int64)
        # (places, alphabet): 0 where a character may stand, else -inf
        self._barred = np.full((len(places), len(self._alphabet)), -np.inf)
        numbers = {character: number for number, character in enumerate(self._alphabet)}
        for start, place in places.items():
            if start:
                self._barred[place, [numbers[character] for character in start[-1]]] = 0.0

    def free_text(self, probabilities: np.ndarray) -> Reading:
        """The likeliest text, normalised, of probabilities (steps, tokens)."""
        path = probabilities.argmax(axis=1)
        changes = np.flatnonzero(np.diff(path, prepend=0))
        text = "".join(self._texts[token] for token in path[changes])
        return Reading(text, float(np.log(np.maximum(probabilities.max(axis=1), FLOOR)).sum()))

    def text_of_form(self, probabilities: np.ndarray) -> Reading | None:
        """The likeliest among the texts of the given forms, their weights counted in (but not in its probability), all
        tried at once by dynamic programming.

        None: there is no form, or fewer steps than characters.
        """
        if not len(self._ends):
            return None
        seen = np.maximum(
            _sums(probabilities, self._columns)
            + LOOK_ALIKE_SHARE * _sums(probabilities, self._same)
            + OTHER_SHARE * _sums(probabilities, self._similar),
            FLOOR,
        )
        blank = np.maximum(probabilities[:, self._blanks].sum(axis=1), FLOOR)
        found = self._likeliest(np.log(seen), np.log(blank))
        return None if found is None else replace(found, all_texts=self._all_texts(seen, blank))

    def best_text(self, probabilities: np.ndarray) -> tuple[str, float]:
        """`free_text` and its confidence."""
        found = self.free_text(probabilities)
        return found.text, found.confidence

    def best_form(self, probabilities: np.ndarray) -> tuple[str, float] | None:
        """`text_of_form` and its confidence."""
        found = self.text_of_form(probabilities)
        return None if found is None else (found.text, found.confidence)

    def _all_texts(self, seen: np.ndarray, blank: np.ndarray) -> float:
        """The logarithm of the sum over all paths of all forms, as `_likeliest` goes through them."""
        before, allowed = self._before, np.isfinite(self._barred)
        inside, after = np.zeros_like(self._barred), np.zeros(len(before))
        after[0], scale = 1.0, 0.0
        for step in range(len(blank)):
            begun = inside.sum(axis=1)
            entering = (after + begun)[before][:, None] - inside[before]
            after = (after + begun) * blank[step]
            inside = (inside + entering) * seen[step] * allowed
            largest = max(inside.max(), after.max())
            inside, after, scale = inside / largest, after / largest, scale + float(np.log(largest))
        ends = inside[self._ends].sum(axis=1) + after[self._ends]
        known = ends > 0
        return scale + float(np.logaddexp.reduce(np.log(ends[known]) + self._weights[known]))

    def _likeliest(self, seen: np.ndarray, blank: np.ndarray) -> Reading | None:
        """The best path over all forms.

        `inside[p, c]`: best path that is within character c at place p; `after[p]`: in the blanks after it. A place is
        entered from the blanks after the place before it, or from another character there.
        """
        before, everywhere = self._before, np.arange(len(self._before))
        inside = np.full_like(self._barred, -np.inf)
        after = np.full(len(before), -np.inf)
        after[0] = 0.0
        steps = []
        for step in range(len(blank)):
            first = inside.argmax(axis=1)
            best = inside[everywhere, first]
            inside[everywhere, first] = -np.inf
            second = inside.argmax(axis=1)
            other = inside[everywhere, second]
            inside[everywhere, first] = best
            direct = np.repeat(best[before][:, None], inside.shape[1], axis=1)
            direct[everywhere, first[before]] = other[before]
            blanks = after[before][:, None]
            entering = np.maximum(direct, blanks)
            steps.append((entering > inside, direct > blanks, best > after, first, second))
            inside = np.maximum(inside, entering) + seen[step] + self._barred
            after = np.maximum(after, best) + blank[step]
        within = inside[self._ends].max(axis=1)
        scores = np.maximum(within, after[self._ends])
        form = int((scores + self._weights).argmax())
        if not np.isfinite(scores[form]):
            return None
        place = int(self._ends[form])
        character = int(inside[place].argmax()) if within[form] > after[place] else None
        return Reading(self._trace(steps, place, character), float(scores[form]), form)

    def _trace(self, steps: Sequence[tuple[np.ndarray, ...]], place: int, character: int | None) -> str:
        """The characters on the way back from a place; `character` is None within the blanks after it."""
        text = []
        for entered, direct, left, first, second in reversed(steps):
            if character is None:
                if left[place]:
                    character = int(first[place])
            elif entered[place, character]:
                text.append(self._alphabet[character])
                came, place = bool(direct[place, character]), int(self._before[place])
                previous = second[place] if first[place] == character else first[place]
                character = int(previous) if came else None
        return "".join(reversed(text))


def _sums(probabilities: np.ndarray, groups: Sequence[list[int]]) -> np.ndarray:
    """(steps, groups) of the columns of each group."""
    return np.stack([probabilities[:, columns].sum(axis=1) for columns in groups], axis=1)
