"""Find code of a plugin that goes past the storage service."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.options import Output
from dbservice.cli.output import counted, tell
from pytest_rosey.checks.storage_access import findings, python_files

FOUND = 1


def check(
    *paths: Path,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Find imports of database drivers, and SQL, in the code of plugins.

    Folders are searched for Python files; tests, hidden folders and installed packages below them
    are left out. Nothing is imported or run. `# rosey: allow` at the end of a line lets it pass.

    It ends with 1 when something was found.

    Example: `rosey check src/my_plugin`

    Parameters
    ----------
    paths
        Files and folders with the plugin's code.
    """
    if not paths:
        raise CommandFailed("Name the files or folders: rosey check src/my_plugin", USAGE)
    try:
        files = python_files(paths)
    except FileNotFoundError as error:
        raise CommandFailed(f"{error}.", USAGE) from None
    found = [finding for file in files for finding in findings(file)]
    report = {"files": len(files), "findings": [asdict(finding) for finding in found]}
    lines = [f"{finding}\n" for finding in found]
    lines.append(f"{counted(len(found), 'finding')} in {counted(len(files), 'file')}\n")
    tell(report, "".join(lines), as_json=output.json)
    return FOUND if found else 0
