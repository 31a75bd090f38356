"""`rosey check`: find code of a plugin that goes past the storage service (SPEC 7)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pytest_rosey.checks.storage_access import findings, python_files

FOUND = 1
USAGE = 2


def check(
    *paths: Path,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON, for scripts.")
    ] = False,
) -> int:
    """Find imports of database drivers, and SQL, in the code of plugins.

    Folders are searched for Python files; tests, hidden folders and installed packages below them
    are left out. Nothing is imported or run. `# rosey: allow` at the end of a line lets it pass.

    Exit codes: 0 nothing found, 1 something found, 2 the command line is wrong.

    Example: `rosey check src/my_plugin`

    Parameters
    ----------
    paths
        Files and folders with the plugin's code.
    """
    if not paths:
        return _misused("Name the files or folders: rosey check src/my_plugin")
    try:
        files = python_files(paths)
    except FileNotFoundError as error:
        return _misused(f"{error}.")
    found = [finding for file in files for finding in findings(file)]
    if json:
        from dbservice.protocol import encode_json

        report = {"files": len(files), "findings": [asdict(finding) for finding in found]}
        sys.stdout.write(encode_json(report).decode() + "\n")
    else:
        sys.stdout.writelines(f"{finding}\n" for finding in found)
        sys.stdout.write(f"{len(found)} findings in {len(files)} files\n")
    return FOUND if found else 0


def _misused(message: str) -> int:
    sys.stderr.write(f"rosey: {message}\n")
    return USAGE
