"""How a command ends when it cannot do what was asked."""

from __future__ import annotations

REFUSED = 1
USAGE = 2
UNREACHABLE = 3


class CommandFailed(Exception):  # noqa: N818 - it is how a command ends, not a defect
    """Ends the command with a sentence on stderr and an exit code.

    Args:
        message: what happened, what was expected, what to do next.
        exit_code: 1 refused or failed, 2 wrong command line, 3 nothing answers.
    """

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
