"""The one exception for mistakes that the user can fix."""


class ReIDError(Exception):
    """Says what came, what was expected and how to fix it.

    Entry points print it alone, without a traceback, and exit with status 1; anything else that is raised is a bug.
    """
