"""How long a vehicle takes from one camera to another, and what that makes of a match.

Nobody passes two distant cameras in the same minute: look-alikes elsewhere go, at no cost in pixels.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import read_text
from reid_lightning.search.records import Match
from reid_lightning.untrusted.names import composed

_COLUMNS = ("from", "to", "seconds")


@dataclass(frozen=True)
class TravelTime:
    """The usual time between two cameras in seconds, and its spread: between `seconds` / e^spread and
    `seconds` * e^spread nothing is unusual."""

    seconds: float
    spread: float


@dataclass(frozen=True)
class TravelTimes:
    """A table of travel times; a pair that is given in one direction only holds in both.

    Args:
        pairs: (from, to) -> travel time.
        early: the least weight of a gap that is too short. A vehicle cannot be that fast, but clocks may be wrong.
        late: the least weight of a gap that is too long: vehicles stop, park, and come again another day.
    """

    pairs: Mapping[tuple[str, str], TravelTime]
    early: float = 0.001
    late: float = 0.8

    def __post_init__(self) -> None:
        for name in ("early", "late"):
            if not 0 < getattr(self, name) <= 1:
                raise ReIDError(f"{name} is {getattr(self, name)}; expected a weight above 0, at most 1.")
        for (start, end), usual in self.pairs.items():
            if not (0 <= usual.seconds < math.inf and 0 < usual.spread < math.inf):
                raise ReIDError(
                    f"from {start} to {end} it takes {usual.seconds} s with a spread of {usual.spread}; expected 0 s "
                    "or more and a spread above 0."
                )

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        speed: float = 10.0,
        spread: float = 0.5,
        cameras: Sequence[str] | None = None,
        early: float = 0.001,
        late: float = 0.8,
    ) -> TravelTimes:
        """Read a table.

        Two forms: CSV with the columns `from,to,seconds` and, if wanted, `spread`; or a square of distances in metres,
        one line a camera, as VeRi-776's `camera_distance.txt` (0 above or below the diagonal: the other half holds).

        Args:
            path: the file.
            speed: metres a second, for distances.
            spread: of the logarithm of the time, where the table has none: 0.5 takes 0.6 to 1.65 times the usual time
                for usual.
            cameras: names of the cameras of a square, in the order of its lines; None: as VeRi's, c001, c002, ...
            early: see the class.
            late: see the class.

        Raises:
            ReIDError: the file is missing or is neither; the line is named.
        """
        if not 0 < speed < math.inf:
            raise ReIDError(f"speed is {speed}; expected metres a second, above 0.")
        path = Path(path)
        try:
            text = composed(read_text(path))
        except OSError as error:
            raise ReIDError(f"the travel times {path} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise ReIDError(f"the travel times {path} are no text file.") from error
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise ReIDError(f"{path} is empty; expected the columns {','.join(_COLUMNS)}, or a square of metres.")
        if lines[0].lower().replace(" ", "").startswith(",".join(_COLUMNS)):
            pairs = _of_csv(text, path, spread)
        else:
            pairs = _of_square(lines, path, cameras, speed, spread)
        return cls(pairs, early=early, late=late)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names in the table, in the order of the alphabet."""
        return tuple(sorted({camera for pair in self.pairs for camera in pair}))

    def check(self, camera: str) -> None:
        """ReIDError for a camera that is not in the table: nothing would ever be weighed."""
        if camera not in self.cameras:
            named = ", ".join(self.cameras) or "none"
            raise ReIDError(f"camera is {camera!r}, which the travel times do not know; expected one of: {named}.")

    def prior(self, camera_a: str | None, time_a: float | None, camera_b: str | None, time_b: float | None) -> float:
        """How plausible it is that one vehicle was at both: a weight above 0, at most 1.

        With gap = |time_b - time_a|, usual the time in the direction of travel and z = ln(gap / usual) / spread,

            weight = least + (1 - least) exp(-max(0, |z| - 1)^2 / 2),   least = early if z < 0 else late.

        A gap within one spread leaves everything as it is: a threshold keeps its meaning for all that is plausible, and
        the prior only takes away. Travel times are skewed, hence the logarithm. The weight is 1 where cameras or times
        are unknown, and for one camera or two at one place.
        """
        if camera_a is None or camera_b is None or time_a is None or time_b is None or camera_a == camera_b:
            return 1.0
        start, end = (camera_a, camera_b) if time_a <= time_b else (camera_b, camera_a)
        usual = self.pairs.get((start, end)) or self.pairs.get((end, start))
        gap = abs(time_b - time_a)
        if usual is None or usual.seconds == 0 or not math.isfinite(gap):
            return 1.0
        z = math.log(gap / usual.seconds) / usual.spread if gap > 0 else -math.inf
        least = self.early if z < 0 else self.late
        return least + (1 - least) * math.exp(-(max(0.0, abs(z) - 1) ** 2) / 2)

    def reweigh(
        self, matches: Sequence[Match], *, camera: str | None, start: float | None, alpha: float = 1.0
    ) -> list[Match]:
        """The matches in their order, with score' = score * weight^alpha for scores above 0; others stay.

        A product keeps scores between 0 and 1 and their order among equally plausible ones, needs no calibrated
        probabilities (adding logarithms of odds would), and leaves the score alone where nothing is known.
        `details` then holds `cosine`, the score before if there was none, and `prior`, the factor weight^alpha.

        Args:
            matches: a match for each sighting is best (`matches_of_hits(..., one_per_vehicle=False)`), so that an
                implausible sighting does not hide a plausible one; `best_of_vehicles` then leaves the best.
            camera: where the query was taken; `start`: when it began, in seconds since 1970. None: unknown, and nothing
                changes but `details`.
            alpha: 0 takes no notice of the prior, larger numbers trust it more.
        """
        if not 0 <= alpha < math.inf:
            raise ReIDError(f"alpha is {alpha}; expected a finite number of 0 or more.")
        weighed = []
        for match in matches:
            taken = None if start is None else start + match.seconds
            factor = self.prior(match.camera, match.time, camera, taken) ** alpha
            details = {
                **match.details,
                "cosine": match.details.get("cosine", match.score),
                "prior": match.details.get("prior", 1.0) * factor,
            }
            score = match.score * factor if match.score > 0 else match.score
            weighed.append(replace(match, score=score, details=details))
        return weighed


def _of_csv(text: str, path: Path, spread: float) -> dict[tuple[str, str], TravelTime]:
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip().lower() for name in next(rows)]
    pairs = {}
    for row in _whole_rows(rows, path):
        if not any(cell.strip() for cell in row):
            continue
        values = dict(zip(header, (cell.strip() for cell in row), strict=False))
        try:
            usual = TravelTime(float(values["seconds"]), float(values.get("spread") or spread))
            pairs[values["from"], values["to"]] = usual
        except (KeyError, ValueError) as error:
            raise ReIDError(
                f"{path}, line {rows.line_num}: {','.join(row)[:80]!r}; expected {','.join(header)} with numbers."
            ) from error
    return pairs


def _whole_rows(rows: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise ReIDError(f"{path} is no table: {error}.") from error


def _of_square(
    lines: Sequence[str], path: Path, cameras: Sequence[str] | None, speed: float, spread: float
) -> dict[tuple[str, str], TravelTime]:
    names = [f"c{number:03d}" for number in range(1, len(lines) + 1)] if cameras is None else list(cameras)
    if len(names) != len(lines):
        raise ReIDError(f"{path} has {len(lines)} lines and {len(names)} cameras were named; expected one for each.")
    pairs: dict[tuple[str, str], TravelTime] = {}
    for number, (start, line) in enumerate(zip(names, lines, strict=True), start=1):
        try:
            metres = [float(value) for value in line.replace(",", " ").split()]
        except ValueError as error:
            raise ReIDError(
                f"{path}, line {number}: {line[:80]!r}; expected {len(names)} distances in metres, or a first line "
                f"with the columns {','.join(_COLUMNS)}."
            ) from error
        if len(metres) != len(names):
            raise ReIDError(
                f"{path}, line {number} has {len(metres)} numbers; expected {len(names)}, one a camera, as it has "
                f"{len(names)} lines."
            )
        for end, distance in zip(names, metres, strict=True):
            if distance != 0:
                pairs[start, end] = TravelTime(distance / speed, spread)
    return pairs
