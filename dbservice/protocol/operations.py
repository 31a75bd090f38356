"""The table of operations: the one place that says what the service serves.

The service decodes with it, the client encodes with it, the fake checks stubs against it, and
the documents are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from functools import lru_cache

from dbservice.protocol import kv, migrations, rows, sql, system
from dbservice.protocol.errors import ErrorCode, RequestError, did_you_mean, nearest
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.subjects import Address, Family, parse


class Effect(Enum):
    """What an operation does to the database."""

    READ = auto()
    WRITE = auto()
    ADMIN = auto()
    """Changes what all requests of the plugin depend on: schema, bookkeeping, everything."""


class Callers(Flag):
    """Whom a NATS server lets through to an operation; `dbservice.server.permissions` tells it."""

    PLUGIN = auto()
    """The plugin, under its own name."""
    ADMIN = auto()
    EVERYBODY = PLUGIN | ADMIN


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract.

    Attributes:
        family: the part of the contract.
        name: its name in the subject, for example `schema.register`.
        request: the message it takes.
        replies: the messages it may answer with; which one depends on what the request names.
        effect: what it does to the database.
        callers: who may ask for it where the NATS server tells users apart.
    """

    family: Family
    name: str
    request: type[Request]
    replies: tuple[type[Reply], ...]
    effect: Effect
    callers: Callers

    @property
    def summary(self) -> str:
        """The first sentence of the request's description."""
        return (self.request.__doc__ or "").strip().split("\n")[0]


def _table(*operations: Operation) -> Mapping[tuple[Family, str], Operation]:
    return {(operation.family, operation.name): operation for operation in operations}


_READ, _WRITE, _ADMIN = Effect.READ, Effect.WRITE, Effect.ADMIN
_PLUGIN_ONLY, _ADMIN_ONLY, _EVERYBODY = Callers.PLUGIN, Callers.ADMIN, Callers.EVERYBODY
_KV, _ROW, _SQL = Family.KV, Family.ROW, Family.SQL
_MIGRATE, _NAMESPACE, _SERVICE = Family.MIGRATE, Family.NAMESPACE, Family.SERVICE

OPERATIONS: Mapping[tuple[Family, str], Operation] = _table(
    Operation(_KV, "set", kv.KvSet, (kv.KvStored,), _WRITE, _PLUGIN_ONLY),
    Operation(_KV, "get", kv.KvGet, (kv.KvFound,), _READ, _PLUGIN_ONLY),
    Operation(_KV, "delete", kv.KvDelete, (kv.KvDeleted,), _WRITE, _PLUGIN_ONLY),
    Operation(_KV, "list", kv.KvList, (kv.KvKeys,), _READ, _PLUGIN_ONLY),
    Operation(_KV, "incr", kv.KvIncr, (kv.KvValue,), _WRITE, _PLUGIN_ONLY),
    Operation(
        _ROW, "insert", rows.Insert, (rows.Inserted, rows.InsertedMany), _WRITE, _PLUGIN_ONLY
    ),
    Operation(_ROW, "insert_batch", rows.InsertBatch, (rows.InsertedMany,), _WRITE, _PLUGIN_ONLY),
    Operation(_ROW, "select", rows.Select, (rows.Selected, rows.SelectedById), _READ, _PLUGIN_ONLY),
    Operation(_ROW, "search", rows.Search, (rows.Found,), _READ, _PLUGIN_ONLY),
    Operation(
        _ROW,
        "update",
        rows.Update,
        (rows.Updated, rows.UpdatedById, rows.NoSuchRow),
        _WRITE,
        _PLUGIN_ONLY,
    ),
    Operation(_ROW, "upsert", rows.Upsert, (rows.Upserted,), _WRITE, _PLUGIN_ONLY),
    Operation(_ROW, "delete", rows.Delete, (rows.Deleted,), _WRITE, _PLUGIN_ONLY),
    Operation(_ROW, "count", rows.Count, (rows.Counted,), _READ, _PLUGIN_ONLY),
    Operation(_ROW, "aggregate", rows.Aggregate, (rows.Aggregated,), _READ, _PLUGIN_ONLY),
    Operation(_ROW, "schema.register", rows.Register, (rows.Registered,), _ADMIN, _PLUGIN_ONLY),
    Operation(_ROW, "schema.describe", rows.Describe, (rows.Described,), _READ, _PLUGIN_ONLY),
    Operation(_ROW, "schema.drop", rows.Drop, (rows.Dropped,), _ADMIN, _PLUGIN_ONLY),
    Operation(_MIGRATE, "apply", migrations.Apply, (migrations.Applied,), _ADMIN, _ADMIN_ONLY),
    Operation(
        _MIGRATE, "rollback", migrations.Rollback, (migrations.RolledBack,), _ADMIN, _ADMIN_ONLY
    ),
    Operation(
        _MIGRATE, "status", migrations.Status, (migrations.MigrationStatus,), _READ, _EVERYBODY
    ),
    Operation(_MIGRATE, "verify", migrations.Verify, (migrations.Verified,), _READ, _EVERYBODY),
    Operation(_MIGRATE, "repair", migrations.Repair, (migrations.Repaired,), _ADMIN, _ADMIN_ONLY),
    Operation(_SQL, "execute", sql.ExecuteQuery, (sql.QueryResult,), _READ, _PLUGIN_ONLY),
    Operation(
        _NAMESPACE,
        "describe",
        system.DescribeNamespace,
        (system.NamespaceDescribed,),
        _READ,
        _EVERYBODY,
    ),
    Operation(_NAMESPACE, "clear", system.Clear, (system.Cleared,), _ADMIN, _ADMIN_ONLY),
    Operation(_NAMESPACE, "export", system.Export, (system.Exported,), _READ, _EVERYBODY),
    Operation(_NAMESPACE, "import", system.Import, (system.Imported,), _ADMIN, _ADMIN_ONLY),
    Operation(_SERVICE, "ping", system.Ping, (system.Pong,), _READ, _EVERYBODY),
    Operation(_SERVICE, "info", system.Info, (system.ServiceInfo,), _READ, _ADMIN_ONLY),
)

GLOBAL_KV_OPERATIONS = ("set", "get", "delete", "list")
"""The KV operations that have a global subject, with the plugin's name in the payload."""


def operation_at(address: Address) -> Operation:
    """Return the operation a subject names.

    Raises:
        RequestError: INVALID_SUBJECT if there is no such operation.
    """
    operation = OPERATIONS.get((address.family, address.operation))
    if operation is None or not _has_global_form(operation, address):
        raise _unknown(address)
    return operation


@lru_cache(maxsize=4096)
def find(subject: str) -> tuple[Address, Operation]:
    """Return what a request subject says and the operation it names.

    Raises:
        RequestError: INVALID_SUBJECT if the subject is malformed or names no operation.
    """
    address = parse(subject)
    return address, operation_at(address)


def _has_global_form(operation: Operation, address: Address) -> bool:
    return not address.is_global_kv or operation.name in GLOBAL_KV_OPERATIONS


def _unknown(address: Address) -> RequestError:
    known = (
        list(GLOBAL_KV_OPERATIONS)
        if address.is_global_kv
        else [name for family, name in OPERATIONS if family is address.family]
    )
    got = address.operation[:80]
    return RequestError(
        ErrorCode.INVALID_SUBJECT,
        f"'{got}' is not an operation of '{address.family}': expected one of "
        f"{', '.join(known)}.{did_you_mean(got, known)}",
        expected=known,
        got=got,
        nearest=nearest(got, known),
    )
