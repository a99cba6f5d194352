"""What readers of published data sets share: the right folder, and list files whose every line is checked.

A mistake names the file and the line, before a picture is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from reid_lightning.data.images.files import PictureFiles, find_pictures, no_pictures
from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import read_text
from reid_lightning.untrusted.names import composed


def data_folder(root: Path | str, *, needed: Sequence[str], name: str) -> Path:
    """`root` as a path, provided that it holds the files and folders (written with "/" at the end) `needed`.

    Raises `ReIDError` that says what was expected where, and which folder inside `root` looks like the right one.
    """
    root = Path(root).expanduser()
    expected = f"the {name} folder" + (f" with {', '.join(needed)}" if needed else "")
    if not root.is_dir():
        raise ReIDError(
            f"data.root: there is no folder {root} (seen from {Path.cwd()}). Expected {expected}; "
            "set data.root=<that folder>."
        )
    missing = [entry for entry in needed if not _is_there(root, entry)]
    if missing:
        children = (child for child in sorted(root.iterdir()) if child.is_dir())
        inner = next((child for child in children if all(_is_there(child, entry) for entry in needed)), None)
        hint = f"did you mean data.root={inner}?" if inner else "set data.root=<that folder>."
        raise ReIDError(f"data.root: {root} has no {', '.join(missing)}. Expected {expected}; {hint}")
    return root


def check_choice(key: str, came: str, choices: Sequence[str]) -> None:
    """`ReIDError` unless `came`, the value of data.`key`, is one of `choices`."""
    if came not in choices:
        raise ReIDError(f"data.{key} is {came!r}; expected one of {', '.join(choices)}.")


def check_seed(key: str, came: object) -> None:
    """`ReIDError` unless `came`, the value of `key`, is a whole number: text would be one more seed, for a typo."""
    if not isinstance(came, int) or isinstance(came, bool):
        raise ReIDError(f"{key} is {came!r}; expected a whole number such as 0.")


def file_lines(path: Path, *, key: str | None = None) -> list[str]:
    """The lines of a utf-8 text file, with composed letters. `key` is what names the file on the command line, for the
    message."""
    named = f"{key}: " if key else ""
    try:
        return composed(read_text(path)).splitlines()
    except UnicodeDecodeError as error:
        raise ReIDError(f"{named}{path} is not a text file: {error}. Fetch the file again.") from error
    except FileNotFoundError as error:
        fix = f"set {key} to a file that is" if key else "correct the name of the file, or put it"
        raise ReIDError(f"{named}{path} cannot be read: No such file (seen from {Path.cwd()}); {fix} there.") from error
    except OSError as error:
        raise ReIDError(f"{named}{path} cannot be read: {error.strerror}. Give read access to it.") from error


def text_lines(path: Path, *, key: str | None = None) -> list[tuple[int, str]]:
    """(number from 1, text without surrounding blanks) of every line that is not blank; `file_lines`."""
    lines = file_lines(path, key=key)
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise ReIDError(f"{path} is empty; fetch the file again.")
    return numbered


def matched_lines(path: Path, pattern: re.Pattern[str], *, example: str) -> Iterator[tuple[int, re.Match[str]]]:
    """(line number, match) of every line that is not blank; `ReIDError` for the first that is not like `example`.

    Names in the lines become paths, so a pattern must not let "/" or ".." pass where it takes a file's name.
    """
    for number, line in text_lines(path):
        match = pattern.fullmatch(line)
        if match is None:
            raise ReIDError(f"{path}, line {number}: {line[:80]!r}; expected a line such as {example!r}.")
        yield number, match


def picture_names(folder: Path) -> PictureFiles:
    """The pictures that lie in `folder` itself; hidden files are passed over. ReIDError: there are none."""
    found = find_pictures(folder, below=False)
    if not found.names:
        raise ReIDError(no_pictures(found))
    return found


def _is_there(root: Path, entry: str) -> bool:
    return (root / entry).is_dir() if entry.endswith("/") else (root / entry).is_file()
