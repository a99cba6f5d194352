"""What people say of pairs of sightings: the same vehicle, different ones, or that nobody can say.

One file beside the gallery that only grows, a line an answer, flushed before whoever answered hears of it. An answer
is taken back by a line of its own, so that who said what and when is never lost.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from reid_lightning.atomic import flush, flush_folder, locked
from reid_lightning.errors import ReIDError, brief
from reid_lightning.user_messages import is_utf8

T = TypeVar("T", bound=Hashable)
Says = Literal["same", "different", "unsure"]
SAYS: tuple[str, ...] = get_args(Says)
FOLDER = ".links"
"""Of a gallery: answers, and what was linked."""
LONGEST_NAME = 100
"""Signs of who answered."""

_FILE, _LOCK = "answers.jsonl", ".answers.lock"
_FORMAT = 1


def pair_of(one: str, other: str) -> tuple[str, str]:
    """Two sightings in one order, whoever is named first."""
    return (one, other) if one <= other else (other, one)


@dataclass(frozen=True)
class Answer:
    """What `by` said at `when` (seconds since 1970) of every pair of sightings in `pairs`.

    One answer has several pairs where a whole link was undone. `score` is what was known when somebody was asked (see
    `Question`), None where nobody was.
    """

    id: str
    pairs: tuple[tuple[str, str], ...]
    says: str
    by: str
    when: float
    score: float | None = None


@dataclass(frozen=True)
class Words:
    """What holds of all answers: of each pair the latest one.

    `together` and `apart` do not contradict each other: where they would, the later answer holds, and `overruled` are
    the earlier ones.
    """

    together: tuple[tuple[str, str], ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    unsure: tuple[tuple[str, str], ...] = ()
    overruled: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class _Read:
    answers: tuple[Answer, ...]
    taken_back: Mapping[str, str]
    damaged: int
    is_cut: bool = field(default=False)


class Answers:
    """The answers of the gallery `root`; any number of processes may read and add."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / FOLDER / _FILE

    def add(
        self,
        pairs: Iterable[tuple[str, str]],
        says: str,
        *,
        by: str,
        score: float | None = None,
        when: float | None = None,
    ) -> Answer:
        """Keep an answer. The sightings are taken as they are: look first whether they are there.

        Raises:
            ReIDError: it is none, or it cannot be written; then nothing of it was kept.
        """
        given = tuple(sorted({pair_of(*pair) for pair in pairs}))
        if says not in SAYS:
            raise ReIDError(f"says is {says!r}; expected one of: {', '.join(SAYS)}.")
        if not given or any(one == other for one, other in given):
            raise ReIDError("an answer is about two different sightings; expected a pair of ids.")
        if not by.strip() or len(by) > LONGEST_NAME or not is_utf8(by):
            raise ReIDError(f"by is {by[:40]!r}; expected the name of whoever answers, at most {LONGEST_NAME} signs.")
        when = round(time.time() if when is None else when, 3)
        score = None if score is None else round(score, 4)
        answer = Answer(uuid.uuid4().hex[:12], given, says, by.strip(), when, score)
        self._append(
            {
                "id": answer.id,
                "pairs": answer.pairs,
                "says": says,
                "by": answer.by,
                "when": when,
                **({} if score is None else {"score": score}),
            }
        )
        return answer

    def take_back(self, answer: str, *, by: str) -> Answer:
        """Undo an answer, by its id. ReIDError: there is none, or it was taken back before."""
        with self._locked():
            known = self._read()
            found = next((one for one in known.answers if one.id == answer), None)
            if found is None or answer in known.taken_back:
                state = "was taken back before" if found is not None else "is not known"
                raise ReIDError(f"the answer {answer!r} {state}; `reid review answers` shows those that hold.")
            self._write({"takes_back": answer, "by": by.strip() or "?", "when": round(time.time(), 3)}, known)
        return found

    def all(self) -> list[Answer]:
        """Those that were not taken back, in the order in which they were given."""
        known = self._read()
        return [one for one in known.answers if one.id not in known.taken_back]

    @property
    def damaged(self) -> int:
        """Lines of the file that nobody can read."""
        return self._read().damaged

    def words(self) -> Words:
        """What holds."""
        return words_of(self.all())

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._locked():
            self._write(line, self._read())

    def _locked(self) -> Any:
        if not self._root.is_dir():
            raise ReIDError(f"There is no gallery at {self._root}; answers are kept beside one.")
        if self.path.parent.is_symlink():
            raise ReIDError(f"{self.path.parent} is a link, and links in a gallery are not followed. Remove it.")
        try:
            self.path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ReIDError(f"{self.path.parent} cannot be made: {error.strerror or error}.") from error
        return locked(self.path.parent / _LOCK)

    def _write(self, line: Mapping[str, Any], known: _Read) -> None:
        text = json.dumps({"format": _FORMAT, **line}, ensure_ascii=True) + "\n"
        try:
            is_new = not self.path.exists()
            with self.path.open("ab") as file:
                start = file.tell()
                try:
                    file.write((("\n" if known.is_cut else "") + text).encode("ascii"))
                    flush(file)
                except OSError:
                    file.truncate(start)
                    raise
            if is_new:
                flush_folder(self.path.parent)
        except OSError as error:
            raise ReIDError(
                f"The answer cannot be kept in {self.path}: {error.strerror or error}. Make room, and answer again."
            ) from error

    def _read(self) -> _Read:
        try:
            content = b"" if self.path.is_symlink() else self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise ReIDError(f"The answers {self.path} cannot be read: {error.strerror or error}.") from error
        *lines, last = content.split(b"\n")
        answers: dict[str, Answer] = {}
        taken_back: dict[str, str] = {}
        damaged = 0
        for line in filter(None, lines):  # what comes after the last line's end was cut off, and nobody heard of it
            try:
                values = json.loads(line)
                if values["format"] != _FORMAT:
                    raise ValueError(values["format"])
                if "takes_back" in values:
                    taken_back[str(values["takes_back"])] = str(values["by"])
                else:
                    answer = _answer(values)
                    answers.setdefault(answer.id, answer)
            except (ValueError, KeyError, TypeError, RecursionError):
                damaged += 1
        return _Read(tuple(answers.values()), taken_back, damaged, is_cut=bool(last))


class Agreement(Generic[T]):
    """Groups of what is one and of what is different, of which nothing contradicts what was said before."""

    def __init__(self) -> None:
        self._above: dict[T, T] = {}
        self._others: dict[T, set[T]] = {}  # of a group, by its root: the roots of those that are different

    def root(self, one: T) -> T:
        """The same of all in a group."""
        while (higher := self._above.get(one, one)) != one:
            one = higher
        return one

    def join(self, one: T, other: T) -> bool:
        """They are one; False: that would contradict, and nothing is changed."""
        keep, gone = self.root(one), self.root(other)
        if gone in self._others.get(keep, ()):
            return False
        if keep != gone:
            self._above[gone] = keep
            for third in self._others.pop(gone, set()):
                self._others[third] = self._others[third] - {gone} | {keep}
                self._others.setdefault(keep, set()).add(third)
        return True

    def part(self, one: T, other: T) -> bool:
        """They are different; False: that would contradict, and nothing is changed."""
        first, second = self.root(one), self.root(other)
        if first == second:
            return False
        self._others.setdefault(first, set()).add(second)
        self._others.setdefault(second, set()).add(first)
        return True


def words_of(answers: Sequence[Answer]) -> Words:
    """Of answers in the order in which they were given."""
    latest: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        for pair in answer.pairs:
            latest.pop(pair, None)
            latest[pair] = answer
    kept = Agreement[str]()
    together, apart = list[tuple[str, str]](), list[tuple[str, str]]()
    for pair, answer in reversed(latest.items()):
        if answer.says == "same":
            together += [pair] if kept.join(*pair) else []
        elif answer.says == "different":
            apart += [pair] if kept.part(*pair) else []
    held = {*together, *apart}
    overruled = {one.id: one for pair, one in reversed(latest.items()) if one.says != "unsure" and pair not in held}
    unsure = tuple(pair for pair, answer in latest.items() if answer.says == "unsure")
    return Words(tuple(sorted(together)), tuple(sorted(apart)), unsure, tuple(overruled.values()))


def _answer(values: Mapping[str, Any]) -> Answer:
    pairs = tuple(pair_of(str(one), str(other)) for one, other in values["pairs"])
    when, score = float(values["when"]), values.get("score")
    if values["says"] not in SAYS or not pairs or not math.isfinite(when):
        raise ValueError(brief(values))
    return Answer(
        str(values["id"]), pairs, values["says"], str(values["by"]), when, None if score is None else float(score)
    )
