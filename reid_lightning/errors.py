"""The one exception for mistakes that the user can fix, and what of a value fits into a message."""

import contextlib
import reprlib
from collections.abc import Iterator


class ReIDError(Exception):
    """Says what came, what was expected and how to fix it.

    Entry points print it alone, without a traceback, and exit with status 1; anything else that is raised is a bug.
    """


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """`with extra("search"): import av`: for packages that come with an extra of this one.

    Raises:
        ReIDError: one of them is not installed, or has no display library that it asks for.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ReIDError(
            f'{error.name} is not installed; it comes with the extra {name}: pip install "reid_lightning[{name}]".'
        ) from error
    except ImportError as error:
        if "libGL" not in str(error) and "libgthread" not in str(error):
            raise
        raise ReIDError(
            f"this machine has no display libraries for OpenCV ({first_line(error)}). Put the one that needs none "
            "in its place: pip install --force-reinstall --no-deps opencv-python-headless."
        ) from error


def first_line(error: BaseException) -> str:
    """What an error of a library says, for a message of ours: its first line, or its kind where it says nothing."""
    return shortened(next(iter(str(error).strip().splitlines()), type(error).__name__), 300)


def printable(text: str) -> str:
    """The lines of a message without signs that a terminal would obey: names in a file from elsewhere may hold any."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)


def shortened(value: object, longest: int = 120) -> str:
    """A value in a message: of a long text the beginning and the end, because a damaged file may hold any."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 vehicle`, `2,000 vehicles`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def one_screen(text: str, lines: int = 20, characters: int = 2000) -> str:
    """A message that fits on a screen, whatever a file has put into it: of a long one the beginning and the end."""
    kept = text.split("\n")
    if len(kept) > lines:
        kept = [*kept[: lines - 5], f"... {len(kept) - lines + 1:,} more lines ...", *kept[-4:]]
    return shortened("\n".join(kept), characters)


def brief(value: object) -> str:
    """A value of a file in a message: a text in quotes, of a long one the beginning and the end; of a list or an object
    the first entries, no deeper than two levels."""
    return shortened(_BRIEF.repr(value), 200)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 120
_BRIEF.maxlevel = 2
