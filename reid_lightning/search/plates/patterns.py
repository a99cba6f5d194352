"""What plates look like: normalised text, a country's forms, and which text may be a plate where no country is given.

A form says which characters may stand at each position, which says whether a round sign is an O or a 0.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reid_lightning.errors import ReIDError

Form = tuple[str, ...]
"""The characters that may stand at each position of a plate, sorted."""

LOOK_ALIKES = {
    **{letter: "0" for letter in "ODQ"},
    **{letter: "1" for letter in "IL"},
    **dict(zip("ZASGTB", "245678", strict=True)),
    **dict(zip("01245678", "OIZASGTB", strict=True)),
}
"""What a character is taken for where it may not stand; one each, so that no correction is a choice."""
MAX_CORRECTIONS = 2
MAX_FORMS = 1000
OTHERS = 0.02
"""The share of plates that fit no form, where nobody says otherwise."""

_PIECE = re.compile(r"(\[[^\[\]]+\]|\\d|[^\W_])(?:\{(\d+)(?:,(\d+))?\}|(\?))?")


def normalise(text: str) -> str:
    """Upper-case letters and digits of any script without anything between them: `京A·12345` becomes `京A12345`.

    Full-width characters become ordinary ones, digits of other scripts become 0 to 9.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).upper())
    return "".join(_ascii_digit(character) for character in folded if character.isalnum())


def _ascii_digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


@dataclass(frozen=True)
class PlatePatterns:
    """The plates to expect: of one country, of several together, or (with no expression) of any.

    Args:
        name: for reports, such as `cn`; empty: the countries' names, or `any`.
        expressions: regular expressions on the normalised text, of which a plate matches one, the commonest first. They
            are made of characters, `[A-HJ-NP-Z]`, `\\d`, `{5}`, `{3,4}` and `?`; alternatives are expressions of their
            own. None: any text that is plausible as a plate.
        countries: the same by country, beside `expressions`.
        others: by country, the share of plates there that fit no expression. The largest counts: a form is evidence
            for a text, as strong as plates without one are rare.

    Raises:
        ReIDError: an expression has other parts, or all together stand for more than 1,000 forms.
    """

    name: str = ""
    expressions: Sequence[str] = ()
    countries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in (
            ("expressions", self.expressions),
            *((f"countries.{k}", v) for k, v in self.countries.items()),
        ):
            if isinstance(value, str):
                raise ReIDError(f"plates.{key} is {value!r}; expected a list: plates.{key}=[...].")
        for country, share in self.others.items():
            if not 0 < share < 1:
                raise ReIDError(f"plates.others.{country} is {share}; expected a share between 0 and 1, such as 0.02.")
        object.__setattr__(self, "expressions", tuple(self.expressions))
        object.__setattr__(self, "name", self.name or "+".join(self.countries) or "any")
        if len(self.forms) > MAX_FORMS:
            raise ReIDError(
                f"plates={self.name} stands for {len(self.forms)} forms; at most {MAX_FORMS} are tried on every text. "
                "Use fewer countries or expressions, or fewer `?` and `{m,n}`."
            )

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """Every form that the expressions stand for, each once, shorter ones first."""
        return tuple(sorted(self.form_weights, key=lambda form: (len(form), form)))

    @cached_property
    def form_weights(self) -> Mapping[Form, float]:
        """How common each form is among plates that have one, as far as the order of a country's expressions tells: the
        first one counts twice as much as the fourth, four times as much as the tenth."""
        weights: dict[Form, float] = {}
        for expressions in (self.expressions, *self.countries.values()):
            for rank, expression in enumerate(expressions):
                for form in expand(expression):
                    weights[form] = max(weights.get(form, 0.0), 3 / (3 + rank))
        return weights

    @property
    def share_of_others(self) -> float:
        """The share of plates that fit no form; 1 where there is none."""
        return max(self.others.values(), default=OTHERS) if self.forms else 1.0

    def accepts(self, text: str) -> bool:
        """A normalised text is a plate: it matches an expression, or where there is none it is plausible."""
        return any(_corrections(text, form) == (0, text) for form in self.forms) if self.forms else is_plausible(text)

    def fit(self, text: str) -> str | None:
        """A normalised text with look-alikes (O and 0, I and 1, ...) put right where a form wants it.

        At most two characters are changed, no more than needed, and none where several forms would change them
        differently. None: it does not become a plate. Without expressions a plausible text comes back as it is.
        """
        if not self.forms:
            return text if is_plausible(text) else None
        ways = {way for form in self.forms if (way := _corrections(text, form)) is not None}
        fewest = min((changes for changes, _ in ways), default=MAX_CORRECTIONS + 1)
        best = [fitted for changes, fitted in ways if changes == fewest]
        return best[0] if fewest <= MAX_CORRECTIONS and len(best) == 1 else None


def is_plausible(text: str) -> bool:
    """A normalised text may be a plate of some country: 5 to 10 characters with a letter and a digit, and with two
    digits at least where more than four letters follow one another, of which no more than five may.

    That leaves out words, telephone numbers and most badges (4MATIC, S500), but also plates of digits or letters alone.
    """
    digits = sum(character.isdigit() for character in text)
    longest = max((len(run) for run in re.split(r"\d+", text)), default=0)
    return 5 <= len(text) <= 10 and (1 if longest <= 4 else 2) <= digits < len(text) and longest <= 5


def expand(expression: str) -> list[Form]:
    """The forms of fixed length that an expression stands for: `[AB]\\d?` gives AB and AB, 0123456789."""
    pieces, end = [], 0
    for piece in _PIECE.finditer(expression):
        if piece.start() != end:
            break
        end = piece.end()
        characters, fewest, most, optional = piece.groups()
        least = 0 if optional else int(fewest or 1)
        pieces.append(
            [(_characters(characters, expression),) * count for count in range(least, int(most or fewest or 1) + 1)]
        )
    if not pieces or end != len(expression) or not all(pieces):
        raise ReIDError(
            f"plate expression {expression!r} cannot be used; expected upper-case letters, digits, [A-Z], \\d, each "
            "with {3}, {2,4} or ? after it, and nothing else. Write alternatives as several expressions."
        )
    return [form for way in itertools.product(*pieces) if (form := sum(way, ()))]


def _characters(piece: str, expression: str) -> str:
    if piece == r"\d":
        return "0123456789"
    inside = re.sub(
        r"(.)-(.)", lambda ends: "".join(map(chr, range(ord(ends[1]), ord(ends[2]) + 1))), piece.strip("[]")
    )
    if not inside or normalise(inside) != inside:
        raise ReIDError(f"{piece!r} in plate expression {expression!r}: expected upper-case letters and digits alone.")
    return "".join(sorted(set(inside)))


def _corrections(text: str, form: Form) -> tuple[int, str] | None:
    """How many characters must change for a text to take a form, and the text then."""
    if len(text) != len(form):
        return None
    fitted = [was if was in allowed else LOOK_ALIKES.get(was, "") for was, allowed in zip(text, form, strict=True)]
    if not all(now and now in allowed for now, allowed in zip(fitted, form, strict=True)):
        return None
    return sum(was != now for was, now in zip(text, fitted, strict=True)), "".join(fitted)


ANY = PlatePatterns()
