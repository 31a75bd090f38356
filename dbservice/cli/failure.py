"""How a command ends when it cannot do what was asked."""

from __future__ import annotations

from typing import Any, Final

REFUSED: Final = 1
"""The request was refused, or it failed."""

USAGE: Final = 2
"""The command line is wrong."""

UNREACHABLE: Final = 3
"""Nothing answers: no NATS server, no service, no database."""

OTHER_SERVICE: Final = 4
"""A service of another database answers on this bus."""

DEFECT: Final = 70
"""rosey itself is wrong."""

INTERRUPTED: Final = 130
"""Ctrl-C, as shells tell it."""

HUNG_UP: Final = 141
"""Nobody reads standard output any more, as shells tell it."""

EXIT_CODES: Final = {
    0: "done",
    REFUSED: "refused or failed",
    USAGE: "the command line is wrong",
    UNREACHABLE: "nothing answers (no NATS server, no service, no database)",
    OTHER_SERVICE: "a service of another database answers on this bus",
    DEFECT: "rosey has a defect",
    INTERRUPTED: "interrupted",
    HUNG_UP: "nobody reads the output any more",
}
"""What each means, for help and documents; a command whose help says more is narrower."""

_CODES: Final = {
    REFUSED: "FAILED",
    USAGE: "USAGE",
    UNREACHABLE: "UNREACHABLE",
    OTHER_SERVICE: "OTHER_SERVICE",
}


class CommandFailed(Exception):  # noqa: N818 - it is how a command ends, not a defect
    """Ends the command with a sentence on stderr and an exit code.

    Args:
        message: what happened, what was expected, what to do next.
        exit_code: one of this module.
        details: structured facts, for `--json`.
    """

    def __init__(self, message: str, exit_code: int = REFUSED, **details: Any) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = _CODES.get(exit_code, "FAILED")
        self.details = details
