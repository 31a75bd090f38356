"""The `rosey` command (SPEC 7)."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave the process with its exit code.

    Args:
        arguments: what stands behind `rosey`; by default the process's own.

    Exit codes: 0 done; 1 the request was refused or failed; 2 the command line is wrong;
    3 nothing answers (no NATS server, no service, no database).
    """
    from dbservice.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
