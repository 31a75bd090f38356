"""What `import-legacy` shows: a progress bar, and what became of every quote."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dbservice.client import StorageClient
from reference_plugin_quote_db.legacy.file import legacy_file
from reference_plugin_quote_db.legacy.importer import LegacyImport, Report

COMPLETE: Final = 0
INCOMPLETE: Final = 1
"""Exit statuses: every quote is in the service; some are refused or different."""


async def import_legacy(storage: StorageClient, path: Path, *, again: bool) -> int:
    """Import a legacy file and print the report. Return the exit status.

    Raises:
        LegacyFileError: if the file cannot be read.
        ImportConflict: if other quotes have ids of the file.
        MigrationsPending: if the tables are not ready.
        StorageError: if the service fails; the next run goes on from here.
    """
    from rich.console import Console
    from rich.progress import Progress

    # On stderr, so that a pipe gets the report alone.
    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks = {phase: bars.add_task(phase, total=None) for phase in ("import", "verify")}

        def progress(phase: str, done: int, total: int) -> None:
            bars.update(tasks[phase], completed=done, total=total)

        async with legacy_file(path) as file:
            report = await LegacyImport(storage, file, progress).run(again=again)
    print("\n".join(lines(report)))  # noqa: T201 - the report is what the command is for
    return COMPLETE if report.verified and not report.refused else INCOMPLETE


def lines(report: Report) -> list[str]:
    """Return a report as lines of text."""
    shown = [f"Read {report.read} quotes, {report.found} are in the service"]
    if report.resumed_after is not None:
        shown.append(f"Went on after quote #{report.resumed_after}")
    if report.first_quotes_removed:
        shown.append(f"Removed {report.first_quotes_removed} quotes that migration 001 had brought")
    if report.cleaned:
        shown.append(f"Cleaned as the plugin cleans what users type: {_ids(report.cleaned)}")
    shown += [f"Refused #{row.quote_id}: {row.reason}" for row in report.refused]
    if report.different:
        shown.append(f"Missing or different in the service: {_ids(report.different)}")
    shown.append(
        f"Verified by count and checksum: sha256 {report.checksum[:16]}"
        if report.verified
        else f"NOT verified: sha256 {report.checksum[:16]} in the file, "
        f"{report.service_checksum[:16]} in the service"
    )
    return shown


def _ids(numbers: list[int]) -> str:
    return ", ".join(f"#{number}" for number in numbers)
