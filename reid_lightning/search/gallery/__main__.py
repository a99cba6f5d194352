"""Where earlier releases had the command `reid gallery`, which this runs: `rename A B --gallery G` is
`rename vehicle=A to=B gallery=G`."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

_BARE: dict[str, tuple[str, ...]] = {
    **{"rename": ("vehicle", "to"), "merge": ("vehicle", "into")},
    **dict.fromkeys(("delete", "restore", "purge"), ("vehicle",)),
    **dict.fromkeys(("export", "import"), ("file",)),
}
_STORE = {"uri", "name", "token"}


def todays_words(words: Sequence[str]) -> Iterator[str]:
    """The words of such a command as `reid gallery` takes them; those of today stay what they are."""
    rest = iter(words)
    yield (command := next(rest, "--help"))
    keys = iter(_BARE.get(command, ()))
    for word in rest:
        key, sign, value = word.removeprefix("--").partition("=")
        if word in ("-h", "--help") or re.match(r"[\w.]+=", word):
            yield word
        elif word == "--now":
            yield "now=true"
        elif word.startswith("--"):
            yield f"{'stores.' * (key in _STORE)}{key}={value if sign else next(rest, '')}"
        else:
            bare = next(keys, None)
            yield word if bare is None else f"{bare}={word}"


if __name__ == "__main__":
    command = [sys.executable, "-m", "reid_lightning.commands", "gallery", *todays_words(sys.argv[1:])]
    sys.exit(subprocess.call(command))
