"""Ask people what is worth asking: `reid review`, and what they say: `reid review answer`, `answers`, `undo`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reid_lightning.commands.link import opened, user
from reid_lightning.commands.link_tables import print_answers, print_questions
from reid_lightning.drawing.tables import say
from reid_lightning.errors import ReIDError, count
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking.answers import SAYS, Answers, pair_of
from reid_lightning.search.linking.linker import linked_before
from reid_lightning.search.linking.review import questions, score_of
from reid_lightning.search.output.link_sheet import question_sheet


def review(cfg: DictConfig) -> int:
    """The pairs whose answer is worth most; returns how many there are."""
    gallery = opened(cfg)
    _, problem = linked_before(gallery)
    asked = questions(problem, unsure=Answers(gallery.root).words().unsure, most=cfg.most)
    if not asked:
        say("No question is worth asking: every pair that was compared has an answer, or there is none.")
        return 0
    print_questions(asked, problem)
    if cfg.sheet is not None:
        say(f"wrote {question_sheet(Path(cfg.sheet), gallery, asked, title=str(gallery.root))}")
    say(f"answer: reid review answer pair={asked[0].one},{asked[0].other} says={'|'.join(SAYS)}; then: reid link")
    return len(asked)


def answer(cfg: DictConfig) -> None:
    """Keep what somebody says of a pair."""
    gallery = opened(cfg)
    one, other = pair_in(gallery, cfg.pair)
    kept = Answers(gallery.root).add([(one, other)], cfg.says, by=user(cfg), score=_score(gallery, one, other))
    said = f"{one} and {other} are {_IN_WORDS[kept.says]}, by {kept.by}"
    say(f"answer {kept.id}: {said}; it counts from the next reid link on")


def answers(cfg: DictConfig) -> None:
    """The answers that hold."""
    kept = Answers(opened(cfg).root)
    print_answers(kept.all())
    words = kept.words()
    said = (
        f"{len(words.together):,} pairs the same, {len(words.apart):,} different, {len(words.unsure):,} nobody can say"
    )
    say(f"{count(len(kept.all()), 'answer')}: {said}")
    for one in words.overruled:
        say(f"answer {one.id} contradicts later ones, which hold")
    if kept.damaged:
        raise ReIDError(f"{count(kept.damaged, 'line')} of {kept.path} cannot be read; the others are shown above.")


def undo(cfg: DictConfig) -> None:
    """Take an answer back."""
    taken = Answers(opened(cfg).root).take_back(str(cfg.answer), by=user(cfg))
    say(f"taken back: {taken.says}, of {count(len(taken.pairs), 'pair')}, by {taken.by}; link again: reid link")


_IN_WORDS = {"same": "the same vehicle", "different": "different vehicles", "unsure": "not to be told apart"}


def pair_in(gallery: GalleryReader, pair: object) -> tuple[str, str]:
    """Two sightings that a user has named and that are there. ReIDError: they are none, or one is gone."""
    names = [str(one).strip() for one in pair] if not isinstance(pair, str) else pair.replace(" ", "").split(",")  # type: ignore[attr-defined]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ReIDError(
            f"pair is {','.join(names)!r}; expected two different sightings, as `reid review` shows them: a,b."
        )
    gone = [one for one in names if gallery.find(one) is None]
    if gone:
        raise ReIDError(
            f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} not in {gallery.root} (any more), so nothing "
            "was answered; `reid review` shows pairs that are there."
        )
    return pair_of(*names)


def _score(gallery: GalleryReader, one: str, other: str) -> float | None:
    """What the answer says something of, if anything was linked; an answer counts as well without."""
    try:
        _, problem = linked_before(gallery)
    except ReIDError:
        return None
    return score_of(problem, one, other)
