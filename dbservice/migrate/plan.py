"""Which migrations a request means; those out of order, changed or missing are refused (SPEC 4).

Pure: files and bookkeeping in, migrations out.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from dbservice.migrate.files import MigrationFile
from dbservice.protocol.errors import ErrorCode, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.migrations import HistoryEntry, MigrationStatus, Rollback, Version
from dbservice.sqltext.dialects import Dialect


def to_apply(
    files: Sequence[MigrationFile], history: Sequence[HistoryEntry], version: Version | UnsetType
) -> list[MigrationFile]:
    """Return the migrations to apply, oldest first.

    Args:
        files: all files of the plugin, in order.
        history: its rows of the bookkeeping table.
        version: apply up to and including this one; unset applies all.

    Raises:
        RequestError: CHECKSUM_MISMATCH, MIGRATION_ORDER or MIGRATION_NOT_FOUND.
    """
    check_files(files, history)
    pending = _pending(files, history)
    newest = current_version(history)
    late = [file.file for file in pending if file.number < newest]
    if late:
        raise RequestError(
            ErrorCode.MIGRATION_ORDER,
            f"{', '.join(late)} is pending although version {newest:03} is applied: roll back to "
            f"{int(late[0][:3]) - 1:03} first.",
            files=late,
        )
    if isinstance(version, UnsetType):
        return pending
    target = find(files, version).number
    return [file for file in pending if file.number <= target]


def to_roll_back(
    files: Sequence[MigrationFile],
    history: Sequence[HistoryEntry],
    request: Rollback,
    dialect: Dialect,
) -> list[MigrationFile]:
    """Return the migrations to roll back, newest first.

    Raises:
        RequestError: VALIDATION_ERROR if the request says two things at once, MIGRATION_NOT_FOUND,
            CHECKSUM_MISMATCH for a file whose DOWN may no longer fit, or IRREVERSIBLE.
    """
    floor = _floor(files, history, request)
    entries = [entry for entry in reversed(history) if int(entry.version) > floor]
    chosen = [_file_of(entry, files) for entry in entries]
    check_checksums(chosen, entries)
    for file in chosen:
        if not file.is_reversible(dialect):
            why = (
                f"says that it is irreversible: {file.irreversible}"
                if file.irreversible
                else f"has no DOWN section for {dialect}"
            )
            raise RequestError(
                ErrorCode.IRREVERSIBLE,
                f"{file.file} {why}. Nothing was rolled back.",
                file=file.file,
                reason_given=file.irreversible,
            )
    return chosen


def _floor(
    files: Sequence[MigrationFile], history: Sequence[HistoryEntry], request: Rollback
) -> int:
    """Return the version that stays after the rollback."""
    given = [name for name in ("version", "to") if getattr(request, name) is not UNSET]
    given += ["all"] if request.all else []
    if len(given) > 1:
        raise invalid(
            f"{' and '.join(repr(name) for name in given)} contradict each other: give one of "
            "'version', 'to' and 'all'.",
            field=given[1],
        )
    if request.all:
        return 0
    if not isinstance(request.to, UnsetType):
        return 0 if _number(request.to) == 0 else find(files, request.to).number
    if not isinstance(request.version, UnsetType):
        return find(files, request.version).number - 1
    return current_version(history) - 1


def status(files: Sequence[MigrationFile], history: Sequence[HistoryEntry]) -> MigrationStatus:
    """Return what is applied, what is pending, and which applied files were changed."""
    pending = [file.name for file in _pending(files, history)]
    mismatches, gone = mismatched(files, history), missing(files, history)
    return MigrationStatus(
        up_to_date=not (pending or mismatches or gone),
        current_version=current_version(history),
        pending_count=len(pending),
        applied_migrations=[entry.name for entry in history],
        pending_migrations=pending,
        history=list(history),
        checksum_mismatches=mismatches,
        missing_migrations=gone or UNSET,
    )


def current_version(history: Sequence[HistoryEntry]) -> int:
    """Return the highest applied version, or 0."""
    return max((int(entry.version) for entry in history), default=0)


def mismatched(files: Sequence[MigrationFile], history: Sequence[HistoryEntry]) -> list[str]:
    """Return the names of applied migrations whose files were changed since."""
    known = {file.number: file for file in files}
    return [
        file.name
        for entry in history
        if (file := known.get(int(entry.version))) and file.checksum != entry.checksum
    ]


def missing(files: Sequence[MigrationFile], history: Sequence[HistoryEntry]) -> list[str]:
    """Return the names of applied migrations that no file has: it is gone, or renamed."""
    names = {file.name for file in files}
    return [entry.name for entry in history if entry.name not in names]


def check_files(files: Sequence[MigrationFile], history: Sequence[HistoryEntry]) -> None:
    """Refuse to go on when the files of applied migrations are not as they were.

    Raises:
        RequestError: CHECKSUM_MISMATCH, or MIGRATION_NOT_FOUND for a file that is gone or renamed.
    """
    check_checksums(files, history)
    gone = missing(files, history)
    if not gone:
        return
    present = {file.version: file.file for file in files}
    told = ", ".join(
        f"{name} (its file is called {present[name[:3]]} now)" if name[:3] in present else name
        for name in gone
    )
    renamed = any(name[:3] in present for name in gone)
    hint = "; if the new name is deliberate, 'repair' records it" if renamed else ""
    raise RequestError(
        ErrorCode.MIGRATION_NOT_FOUND,
        f"Applied, but no file has the name any more: {told}. Put the file back under its name"
        f"{hint}.",
        missing=gone,
    )


def check_checksums(files: Sequence[MigrationFile], history: Sequence[HistoryEntry]) -> None:
    """Refuse to go on when the file of an applied migration was changed.

    Raises:
        RequestError: CHECKSUM_MISMATCH naming the files.
    """
    changed = [f"{name}.sql" for name in mismatched(files, history)]
    if changed:
        raise RequestError(
            ErrorCode.CHECKSUM_MISMATCH,
            f"{', '.join(changed)} was changed after it was applied. Put the applied text back "
            "and write the change as a new migration; if the change is deliberate, 'repair' "
            "records it.",
            files=changed,
        )


def find(files: Sequence[MigrationFile], version: Version) -> MigrationFile:
    """Return the migration that `3`, `"003"` or `"003_add_tags_column"` means.

    Raises:
        RequestError: MIGRATION_NOT_FOUND with the nearest name.
    """
    number = _number(version)
    for file in files:
        if file.number == number or file.name == version:
            return file
    names = [file.name for file in files]
    spelled = str(version)[:80]
    known = f" The newest is {names[-1]}." if names else " This plugin has no migrations."
    raise RequestError(
        ErrorCode.MIGRATION_NOT_FOUND,
        f"There is no migration '{spelled}'.{did_you_mean(spelled, names) or known}",
        version=spelled,
        nearest=nearest(spelled, names),
    )


def _number(version: Version) -> int | None:
    if isinstance(version, int):
        return version
    is_number = version.isascii() and version.isdigit() and len(version) <= 9
    return int(version) if is_number else None


def _pending(
    files: Sequence[MigrationFile], history: Sequence[HistoryEntry]
) -> list[MigrationFile]:
    applied = {int(entry.version) for entry in history}
    return [file for file in files if file.number not in applied]


def _file_of(entry: HistoryEntry, files: Sequence[MigrationFile]) -> MigrationFile:
    for file in files:
        if file.number == int(entry.version):
            return file
    raise RequestError(
        ErrorCode.MIGRATION_NOT_FOUND,
        f"{entry.name} is applied, but its file is gone: put {entry.name}.sql back, its DOWN "
        "section is needed.",
        version=entry.version,
    )
