"""Runs migrations: one transaction each, together with its bookkeeping row (SPEC 4)."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from msgspec import UNSET, UnsetType

from dbservice.engine.dialect import dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.errors import EngineError, UnavailableError
from dbservice.engine.steps import Steps
from dbservice.engine.turns import ScanTurns
from dbservice.migrate import ledger, orphans, plan
from dbservice.migrate.carried import look_over
from dbservice.migrate.execute import execute, failed
from dbservice.migrate.files import Direction, MigrationFile, read_migrations
from dbservice.migrate.orphans import Orphans
from dbservice.migrate.roots import no_migrations, places_told
from dbservice.migrate.scratch import scratch_beside
from dbservice.migrate.script import Script, prepare
from dbservice.migrate.verify import verify
from dbservice.migrate.warnings import warnings_of
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.limits import MIGRATION_LOCK_TIMEOUT
from dbservice.protocol.migrations import (
    Applied,
    Apply,
    Check,
    HistoryEntry,
    MigrationStatus,
    Rollback,
    RolledBack,
    Step,
    Verified,
)
from dbservice.protocol.names import Namespace
from dbservice.runtime.clock import Clock, SystemClock, timestamp
from dbservice.runtime.logs import SparingLog
from dbservice.sqltext.dialects import Dialect
from dbservice.storage import own_tables

T = TypeVar("T")

log = logging.getLogger(__name__)

UNKNOWN_AUTHOR = "unknown"
_LOCK_POLL = 0.05


class Migrator:
    """Applies, rolls back and reports the migrations of all plugins on one engine.

    Args:
        engine: an open engine.
        roots: folders with migrations (`dbservice.migrate.roots`). They are read anew for every
            request, so a new file needs no restart.
        clock: tells when a migration was applied.
        lock_timeout: seconds to wait while another migration of the same plugin runs.
    """

    def __init__(
        self,
        engine: Engine,
        roots: Iterable[Path],
        *,
        clock: Clock | None = None,
        lock_timeout: float = MIGRATION_LOCK_TIMEOUT,
    ) -> None:
        self._engine = engine
        self._roots = tuple(roots)
        self._clock = clock or SystemClock()
        self._lock_timeout = lock_timeout
        self._scratch = scratch_beside(engine)
        self._log = SparingLog(log, interval=1.0)
        self._verifying = ScanTurns(1, MIGRATION_LOCK_TIMEOUT)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def status(self, namespace: Namespace) -> MigrationStatus:
        """Return what is applied and what is pending. Reads only.

        Raises:
            RequestError: MIGRATION_ORDER or MIGRATION_FAILED if the files are no sound sequence.
            UnavailableError: what could be read is a database that nobody will find again, or
                that takes no writes.
        """
        await self._engine.check_writable()
        files, history = await self._files_and_history(namespace)
        return plan.status(files, history)

    async def apply(self, namespace: Namespace, request: Apply) -> Applied:
        """Apply pending migrations, each in a transaction of its own.

        Raises:
            RequestError: any of the migration codes. A migration that failed left nothing; those
                before it, which `details.applied` lists, are kept.
        """
        async with self._lock(namespace):
            files, history = await self._files_and_history(namespace)
            chosen = plan.to_apply(files, history, request.version)
            scripts = self._prepared(chosen, Direction.UP, namespace)
            reversible = [file for file in chosen if file.is_reversible(self._engine.dialect)]
            self._prepared(reversible, Direction.DOWN, namespace)  # found now, not when needed
            warnings = warnings_of(files, scripts, namespace, self._engine.dialect)
            if request.strict and warnings:
                raise _unsafe(warnings)
            steps = await self._run(namespace, scripts, request, warnings)
            history = await self._history(namespace)
        return Applied(
            applied=bool(steps) and not request.dry_run,
            skipped=not steps,
            version=steps[-1].version if steps else _newest(history),
            current_version=plan.current_version(history),
            duration_ms=_total(steps),
            migrations=steps,
            warnings=warnings,
            dry_run=request.dry_run,
        )

    async def rollback(self, namespace: Namespace, request: Rollback) -> RolledBack:
        """Roll back applied migrations, newest first, each in a transaction of its own.

        Raises:
            RequestError: any of the migration codes.
        """
        async with self._lock(namespace):
            files, history = await self._files_and_history(namespace)
            chosen = plan.to_roll_back(files, history, request, self._engine.dialect)
            scripts = self._prepared(chosen, Direction.DOWN, namespace)
            warnings = warnings_of(files, scripts, namespace, self._engine.dialect)
            steps = await self._run(namespace, scripts, request, warnings)
            history = await self._history(namespace)
        return RolledBack(
            rolled_back=bool(steps) and not request.dry_run,
            version=steps[-1].version if steps else None,
            current_version=plan.current_version(history),
            duration_ms=_total(steps),
            migrations=steps,
            warnings=warnings,
            dry_run=request.dry_run,
        )

    async def verify(self, namespace: Namespace) -> Verified:
        """Try all migrations on a scratch database (`dbservice.migrate.verify`).

        Raises:
            RequestError: MIGRATION_ORDER or MIGRATION_FAILED if the files are no sound sequence.
        """
        files = await self.read_files(namespace.plugin)
        if not files:
            raise self._no_migrations(namespace)

        def trying() -> Coroutine[Any, Any, list[Check]]:
            return verify(files, namespace, self._engine.dialect, scratch=self._scratch)

        async def tried(_seconds: float) -> list[Check]:
            if self._engine.apart is None:
                return await trying()
            # A scratch database in memory takes its event loop, which is not the service's here.
            return await asyncio.to_thread(lambda: asyncio.run(trying()))

        checks = await self._verifying.run(namespace.plugin, tried, tried=False)
        return Verified(verified=all(check.passed for check in checks), checks=checks)

    async def repair(self, namespace: Namespace) -> list[str]:
        """Record names and checksums of applied migrations whose files were changed on purpose.

        Returns:
            The names of the migrations that were repaired.

        Raises:
            RequestError: MIGRATION_NOT_FOUND: the file of an applied migration is gone; there is
                nothing that could be recorded in its place.
        """
        plugin = namespace.plugin
        async with self._lock(namespace):
            files, history = await self._files_and_history(namespace)
            present = {file.version for file in files}
            plan.check_files(files, [entry for entry in history if entry.version not in present])
            recorded = {entry.version: (entry.name, entry.checksum) for entry in history}
            repaired = [
                file for file in files if recorded.get(file.version, file.recorded) != file.recorded
            ]

            def steps() -> Steps[None]:
                for file in repaired:
                    yield from ledger.replace_file(plugin, file.version, *file.recorded)

            if repaired:
                await self._engine.write(steps)
        return [file.name for file in repaired]

    def forget(self, namespace: Namespace) -> Steps[int]:
        """Return the steps that delete a plugin's bookkeeping, and give the number of its rows."""
        return ledger.forget(self._engine.dialect, namespace.plugin)

    def history(self, namespace: Namespace) -> Steps[list[HistoryEntry]]:
        """Return the steps that read a plugin's bookkeeping, oldest version first."""
        return ledger.read(self._engine.dialect, namespace.plugin)

    def replayed(self, namespace: Namespace, history: Sequence[HistoryEntry]) -> Steps[None]:
        """Bring an empty namespace to where another was: its tables, and its bookkeeping as it is.

        Args:
            namespace: whose; it has no tables.
            history: the bookkeeping of the other, oldest version first.

        Raises:
            RequestError: MIGRATION_NOT_FOUND or CHECKSUM_MISMATCH if this service has other
                files, MIGRATION_FAILED if a statement failed.
        """
        dialect = self._engine.dialect
        if not (yield from ledger.try_lock(dialect, namespace.plugin)):
            raise self._busy(namespace)
        same = self.same_files(namespace, history)
        yield from own_tables.upgrade(dialect_of(dialect))
        scripts = self._prepared(same, Direction.UP, namespace)
        for entry, script in zip(history, scripts, strict=True):
            yield from execute(script)
            yield from look_over(script)
            yield from ledger.insert(namespace.plugin, entry)

    # --- reading -----------------------------------------------------------------------------

    def same_files(
        self, namespace: Namespace, history: Sequence[HistoryEntry]
    ) -> list[MigrationFile]:
        """Return the files that the bookkeeping of another database tells of.

        Raises:
            RequestError: MIGRATION_NOT_FOUND or CHECKSUM_MISMATCH if this service has others.
        """
        files = read_migrations(self._roots, namespace.plugin) if history else []
        by_version = {file.version: file for file in files}
        return [_same_file(entry, by_version.get(entry.version)) for entry in history]

    async def read_files(self, plugin: str) -> list[MigrationFile]:
        """Read a plugin's files, where a slow disk holds nobody up."""
        return await asyncio.to_thread(read_migrations, self._roots, plugin)

    async def _files_and_history(
        self, namespace: Namespace
    ) -> tuple[list[MigrationFile], list[HistoryEntry]]:
        files = await self.read_files(namespace.plugin)
        history = await self._history(namespace)
        if not files and not history:
            raise self._no_migrations(namespace)
        return files, history

    def _no_migrations(self, namespace: Namespace) -> RequestError:
        """Return the error that names no place, and log the places."""
        self._log.info("places", "%s", places_told(self._roots, namespace.plugin))
        return no_migrations(self._roots, namespace.plugin)

    async def _history(self, namespace: Namespace) -> list[HistoryEntry]:
        dialect = self._engine.dialect
        return await self._engine.read(lambda: ledger.read(dialect, namespace.plugin))

    def _prepared(
        self, files: Sequence[MigrationFile], direction: Direction, namespace: Namespace
    ) -> list[Script]:
        """Check every statement of every chosen file before the first one runs."""
        return [prepare(file, direction, namespace, self._engine.dialect) for file in files]

    # --- locking -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _lock(self, namespace: Namespace) -> AsyncIterator[None]:
        """Hold the plugin's lock within this process."""
        lock = self._locks.setdefault(namespace.plugin, asyncio.Lock())
        try:
            async with asyncio.timeout(self._lock_timeout):
                await lock.acquire()
        except TimeoutError:
            raise self._busy(namespace) from None
        try:
            yield
        finally:
            lock.release()

    def _busy(self, namespace: Namespace) -> RequestError:
        return RequestError(
            ErrorCode.LOCK_TIMEOUT,
            f"A migration of '{namespace.plugin}' is already in progress; waited "
            f"{self._lock_timeout:g} seconds for it. Try again later.",
        )

    async def _retried(self, namespace: Namespace, run: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction again while another replica holds the plugin's lock."""
        deadline = asyncio.get_running_loop().time() + self._lock_timeout
        while True:
            try:
                return await run()
            except _LockedElsewhereError:
                if asyncio.get_running_loop().time() >= deadline:
                    raise self._busy(namespace) from None
            await asyncio.sleep(_LOCK_POLL)

    # --- running -----------------------------------------------------------------------------

    async def _orphans(self, namespace: Namespace) -> Orphans:
        dialect = self._engine.dialect
        return await self._engine.read(lambda: orphans.find(dialect, namespace), scan=True)

    async def _run(
        self,
        namespace: Namespace,
        scripts: Sequence[Script],
        request: Apply | Rollback,
        warnings: list[dict[str, Any]],
    ) -> list[Step]:
        """Run the scripts and return a report of each that was not already done elsewhere.

        What is to be said about the data that they met and left is added to `warnings`.
        """
        found = await self._orphans(namespace) if scripts else {}
        warnings += orphans.warned(found, namespace)
        author = UNKNOWN_AUTHOR if isinstance(request.applied_by, UnsetType) else request.applied_by
        strict = isinstance(request, Apply) and request.strict
        run = _Run(self._engine.dialect, namespace, self._clock, author, bool(found), strict)
        done: list[Step] = []
        if scripts and request.dry_run:
            done = await self._transaction(
                namespace, partial(run.all_of, scripts), scripts[-1], keep=False
            )
            scripts = ()
        for script in scripts:
            try:
                step = await self._transaction(
                    namespace, partial(run.one, script, report=False), script
                )
            except RequestError as error:
                kept = "applied" if script.is_up else "rolled_back"
                error.details[kept] = [entry.name for entry in done]
                raise
            if step is not None:
                done.append(step)
        warnings += chain.from_iterable(run.found.values())
        return done

    async def _transaction(
        self,
        namespace: Namespace,
        make_steps: Callable[[], Steps[T]],
        script: Script,
        *,
        keep: bool = True,
    ) -> T:
        try:
            return await self._retried(
                namespace, lambda: self._engine.exclusive(make_steps, keep=keep)
            )
        except UnavailableError:
            raise
        except EngineError as error:
            # Statements report their own failures; what is left is the check at the end.
            raise failed(script, None, error) from error


class _LockedElsewhereError(Exception):
    """Another replica is migrating this plugin at this moment."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The steps of one request.

    Attributes:
        strict: what is found in the data refuses a migration.
        found: what is to be said about the data that each migration left, by its name.
    """

    dialect: Dialect
    namespace: Namespace
    clock: Clock
    author: str
    has_orphans: bool
    strict: bool = False
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def all_of(self, scripts: Sequence[Script]) -> Steps[list[Step]]:
        """Run all scripts in the same transaction, with reports (dry run)."""
        done = []
        for script in scripts:
            step = yield from self.one(script, report=True)
            if step is not None:
                done.append(step)
        return done

    def one(self, script: Script, *, report: bool) -> Steps[Step | None]:
        """Run one script with its bookkeeping; None if another replica did it meanwhile."""
        plugin, file = self.namespace.plugin, script.file
        if not (yield from ledger.try_lock(self.dialect, plugin)):
            raise _LockedElsewhereError
        yield from own_tables.upgrade(dialect_of(self.dialect))
        history = yield from ledger.read(self.dialect, plugin)
        if self._is_done(script, history):
            return None
        started = time.perf_counter()
        executed = yield from execute(script)
        if self.has_orphans:
            left = yield from orphans.find(self.dialect, self.namespace)
            orphans.refuse(script, left, self.namespace)
        self.found[file.name] = yield from look_over(script)
        if self.strict and self.found[file.name]:
            raise _unsafe(self.found[file.name])
        yield from dialect_of(self.dialect).keys_were_given(self.namespace.prefix)
        duration = round((time.perf_counter() - started) * 1000, 3)
        if script.is_up:
            yield from ledger.insert(plugin, self._entry(file, duration))
        else:
            yield from ledger.delete(plugin, file.version)
        return Step(
            version=file.version,
            name=file.name,
            duration_ms=duration,
            statements=len(executed),
            executed=executed if report else UNSET,
        )

    def _is_done(self, script: Script, history: Sequence[HistoryEntry]) -> bool:
        """Compare with the bookkeeping as it is inside the transaction.

        Raises:
            RequestError: MIGRATION_ORDER if it is not the state that was planned for.
        """
        number, current = script.file.number, plan.current_version(history)
        is_up = script.is_up
        if current >= number if is_up else current < number:
            return True
        if current != (number - 1 if is_up else number):
            raise RequestError(
                ErrorCode.MIGRATION_ORDER,
                f"{script.file.file} was planned for another version than {current:03}, which is "
                "applied now: somebody else migrated meanwhile. Ask again.",
                current_version=current,
            )
        return False

    def _entry(self, file: MigrationFile, duration: float) -> HistoryEntry:
        return HistoryEntry(
            version=file.version,
            name=file.name,
            checksum=file.checksum,
            applied_at=timestamp(self.clock.time()),
            applied_by=self.author,
            execution_ms=duration,
            state=ledger.APPLIED,
        )


def _unsafe(warnings: Sequence[dict[str, Any]]) -> RequestError:
    first = warnings[0]
    more = f" There are {len(warnings) - 1} more warnings." if len(warnings) > 1 else ""
    return RequestError(
        ErrorCode.MIGRATION_FAILED,
        f"{first['file']} {first['message']}, and with 'strict' a warning is a refusal: "
        f"{first['safer']}.{more} Nothing was applied.",
        warnings=list(warnings),
    )


def _same_file(entry: HistoryEntry, file: MigrationFile | None) -> MigrationFile:
    if file is None:
        raise RequestError(
            ErrorCode.MIGRATION_NOT_FOUND,
            f"This service has no migration {entry.version[:40]} of this plugin, which the export "
            "was made with. Start it with the folder that has it.",
            version=entry.version[:40],
        )
    if file.checksum != entry.checksum:
        raise RequestError(
            ErrorCode.CHECKSUM_MISMATCH,
            f"{file.file} is not the file that the export was made with. Restore that file.",
            file=file.file,
        )
    return file


def _newest(history: Sequence[HistoryEntry]) -> str | None:
    return history[-1].version if history else None


def _total(steps: Sequence[Step]) -> float:
    return round(math.fsum(step.duration_ms for step in steps), 3)
