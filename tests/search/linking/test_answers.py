"""Answers of people: kept before anybody hears of it, taken back, and never contradicting each other."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_lightning.errors import ReIDError
from reid_lightning.search.linking.answers import FOLDER, SAYS, Answer, Answers, pair_of, words_of


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path)


def file_of(root: Path) -> Path:
    return root / FOLDER / "answers.jsonl"


def test_what_was_said_is_there_for_others_in_one_order(answers: Answers, tmp_path: Path) -> None:
    answers.add([("b", "a")], "same", by=" Anna ", score=0.71234, when=5.0)
    (found,) = Answers(tmp_path).all()
    assert (found.pairs, found.says, found.by, found.when, found.score) == ((("a", "b"),), "same", "Anna", 5.0, 0.7123)


def test_an_answer_is_taken_back_once_and_stays_in_the_file(answers: Answers, tmp_path: Path) -> None:
    first = answers.add([("a", "b")], "same", by="Anna")
    second = answers.add([("c", "d")], "different", by="Ben")
    assert answers.take_back(first.id, by="Ben") == first
    assert answers.all() == [second]
    assert first.id in file_of(tmp_path).read_text()
    with pytest.raises(ReIDError, match="was taken back before"):
        answers.take_back(first.id, by="Ben")
    with pytest.raises(ReIDError, match="'nothing' is not known"):
        answers.take_back("nothing", by="Ben")


@pytest.mark.parametrize(
    ("pairs", "says", "by", "message"),
    [
        ([("a", "b")], "maybe", "Anna", "says is 'maybe'; expected one of: same, different, unsure"),
        ([("a", "a")], "same", "Anna", "two different sightings"),
        ([], "same", "Anna", "two different sightings"),
        ([("a", "b")], "same", "  ", "the name of whoever answers"),
        ([("a", "b")], "same", "x" * 101, "at most 100 signs"),
    ],
)
def test_what_is_no_answer_is_refused_and_leaves_nothing(
    answers: Answers, tmp_path: Path, pairs: list[tuple[str, str]], says: str, by: str, message: str
) -> None:
    with pytest.raises(ReIDError, match=message):
        answers.add(pairs, says, by=by)
    assert not file_of(tmp_path).exists()


def test_a_line_that_was_cut_off_hides_no_later_one(answers: Answers, tmp_path: Path) -> None:
    answers.add([("a", "b")], "same", by="Anna")
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"format": 1, "id": "half", "pa')
    assert [one.pairs for one in answers.all()] == [(("a", "b"),)]
    assert answers.damaged == 0  # nobody was told that it is kept
    answers.add([("c", "d")], "different", by="Ben")
    assert [one.pairs for one in answers.all()] == [(("a", "b"),), (("c", "d"),)]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[]", b'{"format": 2}', b'{"format": 1, "id": "x", "pairs": [], "says": "same"}', b"[" * 9999],
)
def test_lines_that_nobody_can_read_are_counted_and_left_out(answers: Answers, tmp_path: Path, line: bytes) -> None:
    answers.add([("a", "b")], "same", by="Anna")
    with file_of(tmp_path).open("ab") as file:
        file.write(line + b"\n")
    assert len(answers.all()) == 1
    assert answers.damaged == 1


def test_no_answer_without_a_gallery_nor_through_a_link(tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="There is no gallery"):
        Answers(tmp_path / "nowhere").add([("a", "b")], "same", by="Anna")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReIDError, match="is a link"):
        Answers(tmp_path).add([("a", "b")], "same", by="Anna")


def _add_some(root: Path, name: str) -> None:
    for number in range(20):
        Answers(root).add([(f"{name}{number}", f"{name}x")], "same", by=name)


def test_several_processes_lose_none_of_their_answers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add_some, args=(tmp_path, name)) for name in ("anna", "ben", "eva")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(Answers(tmp_path).all()) == 60
    assert all(json.loads(line) for line in file_of(tmp_path).read_text().splitlines())


def said(*words: tuple[str, str, str]) -> list[Answer]:
    return [
        Answer(str(number), (pair_of(one, other),), what, "Anna", number)
        for number, (one, other, what) in enumerate(words)
    ]


def test_the_later_of_two_words_holds() -> None:
    words = words_of(said(("a", "b", "same"), ("b", "a", "different")))
    assert (words.together, words.apart, words.overruled) == ((), (("a", "b"),), ())


def test_a_word_that_contradicts_later_ones_by_others_is_named() -> None:
    answers = said(("a", "c", "different"), ("a", "b", "same"), ("b", "c", "same"))
    words = words_of(answers)
    assert (words.together, words.apart) == ((("a", "b"), ("b", "c")), ())
    assert words.overruled == (answers[0],)
    later = words_of(said(("a", "b", "same"), ("b", "c", "same"), ("a", "c", "different")))
    assert (later.together, later.apart) == ((("b", "c"),), (("a", "c"),))
    assert [one.id for one in later.overruled] == ["0"]


def test_cannot_say_takes_back_what_was_said_of_the_pair() -> None:
    words = words_of(said(("a", "b", "same"), ("a", "b", "unsure")))
    assert (words.together, words.unsure) == ((), (("a", "b"),))


_NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(_NAMES, _NAMES, st.sampled_from(SAYS)).filter(lambda one: one[0] != one[1]), max_size=25))
def test_words_never_contradict_each_other_and_keep_all_that_can_be_kept(spoken: list[tuple[str, str, str]]) -> None:
    """Against an oracle that tries the words from the latest back, and keeps each that still has a grouping."""
    answers = said(*spoken)
    words = words_of(answers)
    latest = {answer.pairs[0]: answer for answer in answers}
    kept: list[Answer] = []
    for answer in sorted(latest.values(), key=lambda one: -one.when):
        if answer.says != "unsure" and _has_a_grouping([*kept, answer]):
            kept.append(answer)
    assert set(words.together) == {one.pairs[0] for one in kept if one.says == "same"}
    assert set(words.apart) == {one.pairs[0] for one in kept if one.says == "different"}


def _has_a_grouping(answers: list[Answer]) -> bool:
    names = {name: name for name in "abcdef"}
    for _ in names:
        for answer in answers:
            if answer.says == "same":
                one, other = answer.pairs[0]
                names[one] = names[other] = min(names[one], names[other])
    return all(names[a.pairs[0][0]] != names[a.pairs[0][1]] for a in answers if a.says == "different")
