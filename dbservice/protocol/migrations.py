"""Messages of the migration family."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from dbservice.protocol.messages import Reply, Request

Version = int | str
"""`3`, `"003"` or `"003_add_tags_column"`."""


class Apply(Request, frozen=True, kw_only=True):
    """Apply pending migrations, up to and including `version`; by default all.

    Attributes:
        dry_run: execute, report what every statement touched, and undo everything.
        strict: refuse to run what there is a warning about.
        applied_by: who asks, for the history.
    """

    version: Version | UnsetType = UNSET
    dry_run: bool = False
    strict: bool = False
    applied_by: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET


class Rollback(Request, frozen=True, kw_only=True):
    """Roll back the newest migration, or more.

    Attributes:
        version: roll back this one and all above it.
        to: roll back all above this one; `0` rolls back all.
        all: roll back every migration.
    """

    version: Version | UnsetType = UNSET
    to: Version | UnsetType = UNSET
    all: bool = False
    dry_run: bool = False
    applied_by: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET


class Status(Request, frozen=True, kw_only=True):
    """Ask which migrations are applied and which are pending. Reads only."""


class Verify(Request, frozen=True, kw_only=True):
    """Run all migrations up, down and up again on a scratch copy."""


class Repair(Request, frozen=True, kw_only=True):
    """Record that the files of applied migrations were changed on purpose."""


class StatementReport(Struct, frozen=True):
    """One executed statement and the rows it touched; -1 where the engine does not say."""

    sql: str
    rows: int


class Step(Struct, frozen=True, kw_only=True):
    """One migration that was applied or rolled back."""

    version: str
    name: str
    duration_ms: float
    statements: int
    executed: list[StatementReport] | UnsetType = UNSET


class Applied(Reply, frozen=True, kw_only=True):
    """Answer to `apply`; nothing to do is `applied: false, skipped: true`."""

    applied: bool
    skipped: bool
    version: str | None
    current_version: int
    duration_ms: float
    migrations: list[Step]
    warnings: list[dict[str, Any]]
    dry_run: bool


class RolledBack(Reply, frozen=True, kw_only=True):
    """Answer to `rollback`."""

    rolled_back: bool
    version: str | None
    current_version: int
    duration_ms: float
    migrations: list[Step]
    warnings: list[dict[str, Any]]
    dry_run: bool


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One row of the bookkeeping table."""

    version: str
    name: str
    checksum: str
    applied_at: str
    applied_by: str
    execution_ms: float
    state: str


class MigrationStatus(Reply, frozen=True, kw_only=True):
    """Answer to `status`. Names are file names without their ending.

    `missing_migrations` are applied, and no file has their name any more; absent if there are none.
    """

    up_to_date: bool
    current_version: int
    pending_count: int
    applied_migrations: list[str]
    pending_migrations: list[str]
    history: list[HistoryEntry]
    checksum_mismatches: list[str]
    missing_migrations: list[str] | UnsetType = UNSET


class Check(Struct, frozen=True, kw_only=True):
    """One finding of `verify`."""

    name: str
    passed: bool
    message: str = ""


class Verified(Reply, frozen=True, kw_only=True):
    """Answer to `verify`."""

    verified: bool
    checks: list[Check]


class Repaired(Reply, frozen=True, kw_only=True):
    """Answer to `repair`: the migrations whose checksums were replaced; none if all matched."""

    repaired: list[str]


class SchemaChanged(Struct, frozen=True, kw_only=True):
    """The event published after a migration."""

    plugin: str
    current_version: int
