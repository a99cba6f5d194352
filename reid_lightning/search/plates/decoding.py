"""From a recogniser's probabilities to text, if need be only to texts of a country's forms.

A recogniser that is asked for its best text drops a province character it is unsure of; asked for the best text that is
a plate, it names it. Correcting the best text afterwards cannot bring back what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reid_lightning.search.plates.patterns import LOOK_ALIKES, Form, normalise

FLOOR = 1e-6
"""The least probability of a character: one that the recogniser did not see at all costs a plate of seven six sevenths
of its confidence."""


LOOK_ALIKE_SHARE = 0.3
"""How much of a character's probability also speaks for its look-alike: a form may want the 0 of what was read as O."""


class TextDecoder:
    """Reads the output of a recogniser trained with CTC (Graves et al., ICML 2006).

    Args:
        tokens: what each column of the probabilities stands for; column 0 is CTC's blank. Tokens that normalise to
            nothing (dots, dashes, spaces) count as blank.
        forms: the texts to look for in `best_form`.
    """

    def __init__(self, tokens: Sequence[str], forms: Sequence[Form]) -> None:
        self._texts = ["", *(normalise(token) for token in tokens[1:])]
        self._blanks = [column for column, text in enumerate(self._texts) if not text]
        self._lengths = np.array([len(form) for form in forms], dtype=np.int64)
        # "" is nobody's: it makes sure that every character has another one beside it
        self._alphabet = ["", *sorted({character for form in forms for allowed in form for character in allowed})]
        self._columns = [
            [column for column, text in enumerate(self._texts) if text and text == character]
            for character in self._alphabet
        ]
        self._look_alikes = [
            [column for column, text in enumerate(self._texts) if text and LOOK_ALIKES.get(text) == character]
            for character in self._alphabet
        ]
        # (forms, longest, alphabet): 0 where a character may stand, else -inf
        self._barred = np.full((len(forms), max(self._lengths, default=0), len(self._alphabet)), -np.inf)
        numbers = {character: number for number, character in enumerate(self._alphabet)}
        for row, form in enumerate(forms):
            for place, allowed in enumerate(form):
                self._barred[row, place, [numbers[character] for character in allowed]] = 0.0

    def best_text(self, probabilities: np.ndarray) -> tuple[str, float]:
        """The likeliest text, normalised, of probabilities (steps, tokens), and its confidence.

        The confidence is the n-th root of the probability of the likeliest path, n the number of characters: about the
        probability of a typical character. 0 for no text.
        """
        path = probabilities.argmax(axis=1)
        changes = np.flatnonzero(np.diff(path, prepend=0))
        text = "".join(self._texts[token] for token in path[changes])
        total = np.log(np.maximum(probabilities.max(axis=1), FLOOR)).sum()
        return text, float(np.exp(total / len(text))) if text else 0.0

    def best_form(self, probabilities: np.ndarray) -> tuple[str, float] | None:
        """The same among the texts of the given forms, all tried at once by dynamic programming.

        None: there is no form, or fewer steps than characters.
        """
        if not len(self._lengths):
            return None
        seen = np.log(
            np.maximum(
                _sums(probabilities, self._columns) + LOOK_ALIKE_SHARE * _sums(probabilities, self._look_alikes), FLOOR
            )
        )
        blank = np.log(np.maximum(probabilities[:, self._blanks].sum(axis=1), FLOOR))
        score, text = self._likeliest(seen, blank)
        return (text, float(np.exp(score / len(text)))) if text else None

    def _likeliest(self, seen: np.ndarray, blank: np.ndarray) -> tuple[float, str]:
        """The logarithm of the best path's probability, and its text; "" where there is none.

        `inside[f, p, c]`: best path of form f that is within character c at place p; `after[f, p]`: in the blanks
        after p characters. A place is entered from the blanks before it, or from another character at the place before.
        """
        forms, places, _ = self._barred.shape
        inside = np.full_like(self._barred, -np.inf)
        after = np.full((forms, places + 1), -np.inf)
        after[:, 0] = 0.0
        steps = []
        for step in range(len(blank)):
            order = np.argsort(-inside, axis=2, kind="stable")[:, :, :2]
            best, second = np.moveaxis(np.take_along_axis(inside, order, axis=2), 2, 0)
            direct = np.full_like(inside, -np.inf)
            direct[:, 1:] = best[:, :-1, None]
            np.put_along_axis(direct[:, 1:], order[:, :-1, :1], second[:, :-1, None], axis=2)
            entering = np.maximum(direct, after[:, :-1, None])
            leaving = np.full_like(after, -np.inf)
            leaving[:, 1:] = best
            steps.append((entering > inside, direct > after[:, :-1, None], leaving > after, order))
            inside = np.maximum(inside, entering) + seen[step] + self._barred
            after = np.maximum(after, leaving) + blank[step]
        rows = np.arange(forms)
        ends = inside[rows, self._lengths - 1].max(axis=1), after[rows, self._lengths]
        scores = np.maximum(*ends)
        form = int(scores.argmax())
        if not np.isfinite(scores[form]):
            return float("-inf"), ""
        place = int(self._lengths[form])
        within = bool(ends[0][form] > ends[1][form])
        character = int(inside[form, place - 1].argmax())
        return float(scores[form]), self._trace(steps, form, place, character if within else None)

    def _trace(self, steps: Sequence[tuple[np.ndarray, ...]], form: int, place: int, character: int | None) -> str:
        """The characters on the way back; `place` counts those begun, `character` is None within blanks."""
        text = []
        for entered, direct, left, order in reversed(steps):
            if character is None:
                if left[form, place]:
                    character = int(order[form, place - 1, 0])
            elif entered[form, place - 1, character]:
                text.append(self._alphabet[character])
                place -= 1
                came = None
                if direct[form, place, character]:
                    first, second = order[form, place - 1]
                    came = int(second if first == character else first)
                character = came
        return "".join(reversed(text))


def _sums(probabilities: np.ndarray, groups: Sequence[list[int]]) -> np.ndarray:
    """(steps, groups) of the columns of each group."""
    return np.stack([probabilities[:, columns].sum(axis=1) for columns in groups], axis=1)
