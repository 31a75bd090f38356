"""Carries the rows of an existing database to the service (SPEC 7, `rosey scaffold --import`).

Rows go in batches with their own ids, parents before children. Each batch is named by its
content, so that an import that was interrupted can be repeated within 24 hours: what is there
already is answered, not inserted again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from dbservice.client import StorageClient
from dbservice.migrate.structure import ForeignKey
from dbservice.protocol.codec import encode_json
from dbservice.scaffold.source import Source, SourceTable

Row = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""Told the table, how many of its rows are there, and how many there will be."""

ROWS_OF_BATCH: Final = 500
BYTES_OF_BATCH: Final = 400_000
_TIMEOUT: Final = 60.0


async def carry(
    source: Source, storage: StorageClient, progress: Progress | None = None
) -> dict[str, int]:
    """Insert the rows of all tables; return how many each got, by its new name.

    Args:
        source: the existing database.
        storage: the service; the tables are there and empty.
        progress: told after every batch.

    Raises:
        StorageError: a row was refused; earlier batches stay.
    """
    carried = {}
    for table in source.tables:
        rows, done = storage.rows(table.name), 0
        for number, batch in enumerate(_batches(_insertable(source, table))):
            key = f"{table.name}-{number}-{hashlib.sha256(encode_json(batch)).hexdigest()[:32]}"
            await rows.insert_many(batch, idempotency_key=key, timeout=_TIMEOUT)
            done += len(batch)
            if progress is not None:
                progress(table.name, done, table.rows)
        carried[table.name] = done
    for table in source.tables:
        await _fill_later(source, table, storage)
    return carried


def _insertable(source: Source, table: SourceTable) -> Iterator[Row]:
    """Yield rows in an order in which each finds the rows it refers to."""
    empty = {name for key in table.later for name in _new_names(table, key.columns)}
    rows = source.rows(table)
    own = [key for key in table.foreign_keys if key.table.lower() == table.table.name.lower()]
    for key in own:
        rows = iter(_parents_first(list(rows), table, key))
    for row in rows:
        yield row | dict.fromkeys(empty) if empty else row


def _parents_first(rows: list[Row], table: SourceTable, key: ForeignKey) -> list[Row]:
    """Order rows of a table that refers to itself; rows in a circle stay at the end."""
    referring, referred = _new_names(table, key.columns), _new_names(table, key.referred)
    waiting: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    ready: list[Row] = []
    for row in rows:
        parent = tuple(row[name] for name in referring)
        is_free = None in parent or parent == tuple(row[name] for name in referred)
        (ready if is_free else waiting[parent]).append(row)
    for row in ready:  # grows while it is walked
        ready += waiting.pop(tuple(row[name] for name in referred), [])
    return ready + [row for left in waiting.values() for row in left]


async def _fill_later(source: Source, table: SourceTable, storage: StorageClient) -> None:
    """Set the columns that refer to tables which were filled after this one."""
    if not table.later:
        return
    names = {name for key in table.later for name in _new_names(table, key.columns)}
    keys = _new_names(table, table.table.primary_key)
    for row in source.rows(table):
        data = {name: row[name] for name in names if row[name] is not None}
        if data:
            filters = {name: row[name] for name in keys}
            await storage.rows(table.name).update(filters, data=data, timeout=_TIMEOUT)


def _new_names(table: SourceTable, columns: Iterable[str]) -> list[str]:
    names = {old.lower(): new for old, new in table.columns.items()}
    return [names[column.lower()] for column in columns]


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        weight = len(encode_json(row))
        if batch and (len(batch) >= ROWS_OF_BATCH or size + weight > BYTES_OF_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += weight
    if batch:
        yield batch
