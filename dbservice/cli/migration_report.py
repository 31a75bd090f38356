"""What `rosey migrate` says: plain lines for a pipe, tables on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbservice.cli.output import counted
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import (
    Applied,
    Check,
    HistoryEntry,
    MigrationStatus,
    Repaired,
    RolledBack,
    Verified,
)


def report(
    reply: Reply,
    *,
    history: bool = False,
    standing: MigrationStatus | None = None,
    directory: Path | None = None,
) -> None:
    """Write an answer to stdout.

    Args:
        reply: of any operation of the migration family.
        history: of a status, list who applied what and when.
        standing: how things stand where nothing was done.
        directory: where the files lie, if that is known here.
    """
    match reply:
        case MigrationStatus() if is_terminal():
            _print_table(reply)
            sys.stdout.write("" if history else _status_text(reply, directory))
        case MigrationStatus() if history:
            sys.stdout.write("".join(map(_history_line, reply.history)) or "Nothing is applied.\n")
        case MigrationStatus():
            sys.stdout.write(_status_text(reply, directory))
        case Applied(migrations=[], current_version=version):
            sys.stdout.write(_not_applied_text(version, standing))
        case RolledBack(migrations=[], current_version=version):
            sys.stdout.write(f"Nothing to roll back: at version {version}.\n")
        case Applied() | RolledBack():
            sys.stdout.write(_steps_text(reply))
        case Verified():
            sys.stdout.write(_verified_text(reply))
        case Repaired():
            sys.stdout.write(_repaired_text(reply.repaired, standing))
        case _:
            raise AssertionError(f"{type(reply).__name__} is no answer of this command")


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def warning_lines(warnings: Sequence[dict[str, Any]]) -> list[str]:
    """Return what each warning says, where, and what would be safer."""
    lines = []
    for warning in warnings:
        place = "".join(f"{warning[key]}:" for key in ("file", "line") if warning.get(key))
        told = f"{place} {warning.get('message')}".strip()
        lines.append(f"warning: {told} [{warning.get('code')}]")
        if safer := warning.get("safer"):
            lines.append(f"  safer: {safer}")
    return lines


def _steps_text(reply: Applied | RolledBack) -> str:
    done = "Applied" if isinstance(reply, Applied) else "Rolled back"
    would = "Would have " + done.lower()
    lines = []
    for step in reply.migrations:
        verb = would if reply.dry_run else done
        lines.append(
            f"{verb} {step.name} ({step.statements} statements, {step.duration_ms:.1f} ms)"
        )
        for statement in step.executed or ():
            if statement.rows >= 0:
                lines.append(f"-- {statement.rows} rows:")
            lines.append(f"{statement.sql};")  # as it stands: blanks inside a string count
    lines += warning_lines(reply.warnings)
    lines.append(f"Now at version {reply.current_version}.")
    return "\n".join(lines) + "\n"


def _status_text(status: MigrationStatus, directory: Path | None) -> str:
    files = f"Files: {directory}\n" if directory else ""
    return _state_text(status) + files


def _state_text(status: MigrationStatus) -> str:
    if status.checksum_mismatches:
        changed = ", ".join(status.checksum_mismatches)
        return (
            f"Changed after they were applied: {changed}. Restore these files, or record a "
            "deliberate change with 'repair'.\n"
        )
    if status.missing_migrations:
        gone = ", ".join(status.missing_migrations)
        return (
            f"Applied, but no file has the name any more: {gone}. Put the files back under their "
            "names, or record a deliberate new name with 'repair'.\n"
        )
    applied = counted(len(status.applied_migrations), "migration")
    if status.up_to_date:
        return f"Up to date: {applied} applied\n"
    lines = [f"{applied} applied, {status.pending_count} pending:"]
    lines += [f"  {name}" for name in status.pending_migrations]
    return "\n".join(lines) + "\n"


def _history_line(entry: HistoryEntry) -> str:
    remark = "" if entry.state == "applied" else f" ({entry.state})"
    return (
        f"{entry.applied_at[:19]}Z  {entry.name}{remark}  by {entry.applied_by}, "
        f"{entry.execution_ms:.1f} ms\n"
    )


def _print_table(status: MigrationStatus) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "Migration", "Applied at", "By", "ms"):
        table.add_column(heading, justify="right" if heading == "ms" else "left")
    for entry in status.history:
        gone = status.missing_migrations or ()
        odd = "changed" if entry.name in status.checksum_mismatches else ""
        odd = "missing" if entry.name in gone else odd
        state = f"[red]{odd}[/]" if odd else f"[green]{escape(entry.state)}[/]"
        table.add_row(
            state,
            escape(entry.name),
            f"{entry.applied_at[:19]}Z",
            escape(entry.applied_by),
            f"{entry.execution_ms:.1f}",
        )
    for name in status.pending_migrations:
        table.add_row("[yellow]pending[/]", escape(name), "", "", "")
    Console().print(table)


def _verified_text(reply: Verified) -> str:
    failed = [check for check in reply.checks if not check.passed]
    lines = [f"FAILED  {check.name}\n        {check.message}" for check in failed]
    lines += [_remark(check) for check in reply.checks if check.passed and check.message]
    verdict = "Verified" if reply.verified else "Not verified"
    lines.append(
        f"{verdict}: {len(reply.checks) - len(failed)} of {len(reply.checks)} checks passed"
    )
    return "\n".join(lines) + "\n"


def _remark(check: Check) -> str:
    return f"note    {check.name}\n        {check.message}"


def _not_applied_text(version: int, standing: MigrationStatus | None) -> str:
    pending = standing.pending_migrations if standing else []
    if not pending:
        return f"Nothing to apply: version {version} is the newest.\n"
    left = f"{len(pending)} later ones are pending: {', '.join(pending)}"
    return f"Nothing to apply: at version {version} already; {left}.\n"


def _repaired_text(names: Sequence[str], standing: MigrationStatus | None) -> str:
    if standing is not None and not standing.applied_migrations:
        return "Nothing is applied, so there is nothing to repair.\n"
    if not names:
        return "Nothing to repair: every applied file is as it was.\n"
    return "".join(f"Recorded the change of {name}\n" for name in names)
