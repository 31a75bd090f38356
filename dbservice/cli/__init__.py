"""The `rosey` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave the process with its exit code.

    Args:
        arguments: what stands behind `rosey`; by default the process's own.
    """
    _prepare_environment()
    try:
        from dbservice.cli.app import run
    except KeyboardInterrupt:  # a moment too early for the boundary
        sys.exit(130)
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def _prepare_environment() -> None:
    """Take what a shell or a supervisor may leave out or empty for not given."""
    for name in [name for name, value in os.environ.items() if not value]:
        if name.startswith("ROSEY_"):
            del os.environ[name]
    if sys.stdout is None:  # closed by the shell, as in `rosey serve >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
