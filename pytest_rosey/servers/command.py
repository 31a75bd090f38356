"""Commands of a server's binaries that end by themselves, such as `--version`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def answered(
    command: Sequence[str | Path], seconds: float, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command without input; `.stdout` is all that it wrote, its errors included.

    Args:
        command: the executable and its arguments.
        seconds: how long it may take.
        options: more for `subprocess.run`.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it was ended because it took longer.
    """
    return subprocess.run(  # noqa: S603 - the servers that the user or this machine has
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
        **options,
    )
