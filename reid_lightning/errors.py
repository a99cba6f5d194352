"""The one exception for mistakes that the user can fix."""


class ReIDError(Exception):
    """Says what came, what was expected and how to fix it.

    Entry points print it alone, without a traceback, and exit with status 1; anything else that is raised is a bug.
    """


def shortened(value: object, longest: int = 120) -> str:
    """A value in a message: of a long text the beginning and the end, because a damaged file may hold any."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
