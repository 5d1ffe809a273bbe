from typing import ClassVar


class OsteonError(Exception):
    """Something the user can put right. Its text is one line: what is wrong, where, and what to do.

    The command line prints the text without a traceback and ends with the exit code of its class.
    """

    exit_code: ClassVar[int] = 2


class UnreachableError(OsteonError):
    """A server that does not answer, so that nothing is known; tried again later, the same may succeed."""


class UnfitFilmsError(OsteonError):
    """A folder that could be read, and whose films are not fit to test this model on."""

    exit_code = 3


class UnreadableFilmError(OsteonError):
    """A file that cannot be taken for a film; the text is the reason, short enough for a table.

    It never names the file: whoever catches it knows the path and adds it.
    """
