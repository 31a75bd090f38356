"""Live data on its way from the legacy plugin's file into the storage service (SPEC 6).

Ids and timestamps stay what they are. Every batch is one transaction with an idempotency key, and
a checkpoint in the KV store says how far the import has come, so that it can be killed at any
moment and started again. In the end everything is read back and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from dbservice.client import ConstraintViolation, StorageClient
from dbservice.protocol.limits import MAX_INTEGER
from dbservice.runtime.clock import SystemClock
from reference_plugin_quote_db import validation
from reference_plugin_quote_db.errors import MigrationsPending, ValidationError
from reference_plugin_quote_db.legacy.file import BATCH, LegacyFile, Row
from reference_plugin_quote_db.parts.total import KeptTotal
from reference_plugin_quote_db.quotes import counting
from reference_plugin_quote_db.schema import (
    ADDED_BY,
    AUTHOR,
    ID,
    QUOTES,
    SCORE,
    TAGS,
    TEXT,
    TIMESTAMP,
    TOTAL_COUNT,
)
from reference_plugin_quote_db.shipped import PLUGIN

Progress = Callable[[Literal["import", "verify"], int, int], None]
"""Called after every batch: what is done now, how many rows so far, how many in all."""

CHECKPOINT: Final = "legacy_import"
"""The KV key under which an import notes how far it has come."""

NEEDED_VERSION: Final = 2
"""The migration that adds the score."""

TAGS_VERSION: Final = 3
"""The migration that adds tags, and fills them; if it came before the import, the import does."""

MAX_SCORE: Final = 100
"""The CHECK of migration 002, up and down."""

COLUMNS: Final = (ID, TEXT, AUTHOR, ADDED_BY, TIMESTAMP, SCORE)
_WHAT_VOTES_LEAVE_ALONE: Final = (ID, TEXT, AUTHOR, ADDED_BY, TIMESTAMP)

_FIRST_QUOTES: Final = {
    ID: {"$lte": 5},
    AUTHOR: "MST3K",
    ADDED_BY: "system",
    TIMESTAMP: {"$between": [1_700_000_000, 1_700_000_400]},
    SCORE: {"$in": [0, 5]},
}
"""The quotes of migration 001 as long as nobody has voted on them. They make way for live data."""


class ImportConflict(RuntimeError):  # noqa: N818 - it is named like the plugin's other errors
    """The service has other quotes under ids of the legacy file.

    Attributes:
        ids: which.
    """

    def __init__(self, ids: list[int]) -> None:
        super().__init__(
            f"The service has other quotes under ids of the legacy file: {_listed(ids)}. "
            "Nothing was overwritten. Delete or move them, or import into an empty database."
        )
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Refused:
    """A legacy quote that the modern plugin would not take.

    Attributes:
        quote_id: its id.
        reason: which rule it breaks.
    """

    quote_id: int
    reason: str


@dataclass(slots=True)
class Report:
    """What became of every row of the legacy file.

    Attributes:
        read: rows in the legacy file.
        found: rows that are in the service as they should be.
        refused: rows that are not imported, and why.
        cleaned: ids of rows whose blanks, control characters or missing author were mended, as
            the modern plugin does with what users type.
        different: ids of rows that are missing in the service, or are not the same there.
        first_quotes_removed: quotes of migration 001 that made way.
        resumed_after: the last id of an earlier run, None if this was the first.
        checksum: SHA-256 over all rows that could be imported, as the legacy file has them.
        service_checksum: the same over what the service has under their ids.
    """

    read: int = 0
    found: int = 0
    refused: list[Refused] = field(default_factory=list)
    cleaned: list[int] = field(default_factory=list)
    different: list[int] = field(default_factory=list)
    first_quotes_removed: int = 0
    resumed_after: int | None = None
    checksum: str = ""
    service_checksum: str = ""

    @property
    def verified(self) -> bool:
        """Whether the service has every row that could be imported, by count and checksum."""
        count = self.read - len(self.refused)
        return self.found == count and self.checksum == self.service_checksum


def draft(row: Row) -> Row:
    """Return a legacy row as the modern plugin would store it.

    Raises:
        ValidationError: if the modern plugin, or its table, would not take it.
    """
    return {
        ID: validation.quote_id(row[ID]),
        TEXT: validation.quote_text(row[TEXT]),
        AUTHOR: validation.author(row[AUTHOR]),
        ADDED_BY: validation.username(row[ADDED_BY]),
        TIMESTAMP: _integer(row[TIMESTAMP], "Timestamp", 1, MAX_INTEGER),
        SCORE: _integer(row[SCORE] or 0, "Score", -MAX_SCORE, MAX_SCORE),
    }


class LegacyImport:
    """Imports one legacy file.

    Args:
        storage: the service, as the plugin's storage client.
        file: the legacy file.
        progress: told after every batch.
    """

    def __init__(
        self, storage: StorageClient, file: LegacyFile, progress: Progress | None = None
    ) -> None:
        self._storage = storage
        self._quotes = storage.rows(QUOTES)
        self._total = KeptTotal(storage.kv, self._quotes, TOTAL_COUNT, SystemClock())
        self._file = file
        self._progress = progress or _silent
        self._has_tags = False

    async def run(self, *, again: bool = False) -> Report:
        """Import what was not imported yet, then compare everything.

        Args:
            again: look at all rows again, for example when refused ones were repaired. Rows that
                are in the service already are passed over.

        Raises:
            MigrationsPending: if the table is not there, or has no scores.
            ImportConflict: if other quotes have ids of the legacy file.
            StorageError: if the service refuses or does not answer; run it again.
        """
        report = Report()
        await self._check_migrations()
        checkpoint = await self._begin(report, again=again)
        await self._import(checkpoint)
        await self._verify(report)
        return report

    async def _check_migrations(self) -> None:
        status = await self._storage.migrations.status()
        if status.current_version < NEEDED_VERSION:
            raise MigrationsPending(PLUGIN, status.pending_migrations)
        self._has_tags = status.current_version >= TAGS_VERSION

    async def _begin(self, report: Report, *, again: bool) -> _Checkpoint:
        await self._total.repair()  # from here on, every write keeps it right
        stored = await self._storage.kv.get(CHECKPOINT)
        if stored is None:
            report.first_quotes_removed = await counting(
                self._total,
                -1,
                lambda counters: self._quotes.delete(_FIRST_QUOTES, counters=counters),
            )
        checkpoint = _Checkpoint(uuid4().hex)
        if stored is not None and not again:
            checkpoint = msgspec.convert(stored, _Checkpoint)
            report.resumed_after = checkpoint.last_id
        await self._note(checkpoint)
        return checkpoint

    async def _note(self, checkpoint: _Checkpoint) -> None:
        await self._storage.kv.set(CHECKPOINT, msgspec.to_builtins(checkpoint))

    async def _import(self, checkpoint: _Checkpoint) -> None:
        total = await self._file.count()
        done = 0
        async for batch in self._file.batches(checkpoint.last_id):
            rows = [
                drafted for drafted in map(_draft_or_refusal, batch) if isinstance(drafted, dict)
            ]
            if rows:
                await self._insert(rows, checkpoint.run)
            checkpoint.last_id = batch[-1][ID]
            await self._note(checkpoint)
            done += len(batch)
            self._progress("import", done, total)

    async def _insert(self, rows: list[Row], run: str) -> None:
        try:
            await self._insert_new(rows, run)
        except ConstraintViolation:
            # Some are there: the checkpoint was lost, or is older than the idempotency window.
            missing = await self._missing(rows)
            if len(missing) == len(rows):
                raise
            if missing:
                await self._insert_new(missing, run)

    async def _insert_new(self, rows: list[Row], run: str) -> None:
        # The key says what is written: a repaired row is a new request, a repeated batch is not.
        key = f"{CHECKPOINT}-{run}-{_checksum(rows)}"
        stored = [_tagged(row) for row in rows] if self._has_tags else rows
        await counting(
            self._total,
            len(rows),
            lambda counters: self._quotes.insert_many(stored, counters, idempotency_key=key),
        )

    async def _missing(self, rows: list[Row]) -> list[Row]:
        """Return the rows whose ids are free in the service.

        Raises:
            ImportConflict: if an id has another quote.
        """
        there = await self._in_service(rows)
        other = [
            row[ID]
            for row in rows
            if row[ID] in there
            and any(there[row[ID]][name] != row[name] for name in _WHAT_VOTES_LEAVE_ALONE)
        ]
        if other:
            raise ImportConflict(other)
        return [row for row in rows if row[ID] not in there]

    async def _in_service(self, rows: list[Row]) -> dict[int, Row]:
        filters = {ID: {"$in": [row[ID] for row in rows]}}
        found = await self._quotes.select(filters, columns=list(COLUMNS), limit=BATCH)
        return {row[ID]: row for row in found}

    async def _verify(self, report: Report) -> None:
        expected, actual = hashlib.sha256(), hashlib.sha256()
        total = await self._file.count()
        async for batch in self._file.batches():
            rows = _sorted_out(batch, report)
            there = await self._in_service(rows) if rows else {}
            for row in rows:
                stored = there.get(row[ID])
                expected.update(_canonical(row))
                actual.update(_canonical(stored) if stored else b"")
                if stored == row:
                    report.found += 1
                else:
                    report.different.append(row[ID])
            self._progress("verify", report.read, total)
        report.checksum, report.service_checksum = expected.hexdigest(), actual.hexdigest()


class _Checkpoint(msgspec.Struct):
    """How far an import has come.

    Attributes:
        run: names the import; part of its idempotency keys.
        last_id: the last id of the last batch that was acknowledged.
    """

    run: str
    last_id: int | None = None


def _tagged(row: Row) -> Row:
    """Return a row with the tags that migration 003 would have given it."""
    tags = validation.hashtags(row[TEXT])
    if row[AUTHOR] == "MST3K":
        tags += [tag for tag in ("mst3k", "classic") if tag not in tags]
    return {**row, TAGS: tags}


def _draft_or_refusal(row: Row) -> Row | Refused:
    try:
        return draft(row)
    except ValidationError as error:
        return Refused(row[ID], str(error))


def _sorted_out(batch: list[Row], report: Report) -> list[Row]:
    """Note refused and cleaned rows in the report, and return those that can be imported."""
    rows = []
    for row in batch:
        report.read += 1
        drafted = _draft_or_refusal(row)
        if isinstance(drafted, Refused):
            report.refused.append(drafted)
            continue
        if any(drafted[name] != row[name] for name in (TEXT, AUTHOR, ADDED_BY)):
            report.cleaned.append(drafted[ID])
        rows.append(drafted)
    return rows


def _integer(value: Any, what: str, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise ValidationError(f"{what} must be an integer from {lowest} to {highest}")
    return value


def _canonical(row: Row) -> bytes:
    return msgspec.json.encode([row[name] for name in COLUMNS]) + b"\n"


def _checksum(rows: list[Row]) -> str:
    return hashlib.sha256(b"".join(map(_canonical, rows))).hexdigest()


def _listed(ids: list[int]) -> str:
    shown = ", ".join(map(str, ids[:20]))
    return shown if len(ids) <= 20 else f"{shown} and {len(ids) - 20} more"


def _silent(_phase: str, _done: int, _total: int) -> None:
    """Tell nobody."""
