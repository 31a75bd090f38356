"""The PostgreSQL engine: several replicas may serve one database (SPEC 3.1 to 3.4).

The hot path talks to asyncpg directly, with a pool of its own: through SQLAlchemy's asyncio layer
a statement takes two to three times as long, and asyncpg's own pool adds to every use of a
connection what a statement takes. SQLAlchemy reads the URL.

Statements that write run one transaction for each operation, at READ COMMITTED: what an operation
reads in order to change it, it reads locked, so that it waits for another replica instead of
failing. PostgreSQL shares commits between waiting transactions by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import lru_cache, partial
from typing import Any, Generic, NamedTuple

import sqlalchemy as sa
from msgspec.structs import replace
from typing_extensions import override

from dbservice.engine.dialect import PostgresDialect
from dbservice.engine.engine import Engine
from dbservice.engine.errors import (
    ConflictError,
    EngineError,
    MemoryExceededError,
    NotWritableError,
    OutOfSchemaError,
    StatementTimeoutError,
    UnavailableError,
    UnstoppedError,
)
from dbservice.engine.postgres_errors import COLUMNS_OF_CHECK, CheckError, cannot_open, translated
from dbservice.engine.postgres_memory import MemoryWatch
from dbservice.engine.steps import Result, Statement, Steps, T, weight
from dbservice.engine.turns import Places, ScanTurns
from dbservice.protocol.limits import STATEMENT_TIMEOUT
from dbservice.sqltext.dialects import Dialect, quoted

POOL_SIZE = 10
_CONNECT_TIMEOUT = 10.0
_TRIES = 8
_FIRST_PAUSE = 0.005
_GRACE = 0.2
"""Seconds that a backend has to stop by itself, before it is ended."""

_END = "SELECT pg_terminate_backend(?)"
_END_TIMEOUT = 0.5
"""Seconds to wait for that."""

_IS_THERE = "SELECT 1 FROM pg_stat_activity WHERE pid = ?"
_LOOK_INTERVAL = 1.0
"""Seconds between two looks whether it has ended at last."""

_SCHEMA_LOCK_TIMEOUT = "2s"

_LONG = 65_536
"""Weight of rows, or of parameters, that take milliseconds to digest, here or there."""

_MOST_FETCHED = 1_000
"""Rows that are fetched together where they may be too many."""

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN"
# A schema change that waits for a lock makes everyone behind it wait too, so it does not wait for
# long and comes again later.
_EXCLUSIVE = f"""
BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{_SCHEMA_LOCK_TIMEOUT}'
"""
_PREPARE = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('tables of the service', 0));
CREATE TABLE IF NOT EXISTS _schema_version (version BIGINT NOT NULL);
INSERT INTO _schema_version SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM _schema_version);
COMMIT
"""
_NEXT_VERSION = "UPDATE _schema_version SET version = version + 1"
_SET_VERSION = "UPDATE _schema_version SET version = ?"
_IDENTITY = """
SELECT system_identifier::text || '/' || d.oid::text
FROM pg_control_system(), pg_database d WHERE d.datname = current_database()
"""
_IS_HERE = "SELECT inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()"
_ENCODING = "SELECT current_setting('server_encoding')"

# These travel as text: a value is then bound and read in the same form as on SQLite.
_AS_NUMBER = ("numeric", "float4")
_AS_MOMENT = ("timestamp", "timestamptz")
_AS_THEY_ARE = ("date", "time", "uuid")
_SHOWN_AS_THEY_ARE = frozenset(
    {"bool", "int2", "int4", "int8", "float8", *_AS_NUMBER, *_AS_MOMENT, *_AS_THEY_ARE, "void"}
)
"""Short types, which the SQL tier shows as their own rows do; others it shows as their text."""

_QUOTED_OR_MARK = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(\?)")
_ANSWERS = re.compile(r"\s*(?:SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN)\b", re.IGNORECASE)
_RETURNS = re.compile(r"\bRETURNING\b", re.IGNORECASE)


class PostgresEngine(Engine):
    """A PostgreSQL database.

    Args:
        url: `postgresql+asyncpg://user:password@host:port/database`.
        statement_timeout: seconds after which a statement is cancelled; those of schema changes
            may take longer.
        pool_size: connections at the most, beside one that ends backends; half of them may be busy
            with long reads; no more than there are processors, where the server is on this machine.
        on_commit: told of every commit that one write was in it.
    """

    dialect = Dialect.POSTGRESQL
    apart = None

    def __init__(
        self,
        url: str | sa.URL,
        *,
        statement_timeout: float = STATEMENT_TIMEOUT,
        pool_size: int = POOL_SIZE,
        on_commit: Callable[[int], None] | None = None,
    ) -> None:
        self.url = sa.make_url(url)
        self._timeout = statement_timeout
        self._on_commit = on_commit
        self._pool = _Pool(self._connect, pool_size)
        self._ending = _Pool(self._connect, 1)
        self._memory = MemoryWatch(self._end_process)
        self._scans = max(1, pool_size // 2)
        self._turns = ScanTurns(self._scans, statement_timeout)
        self._long_turns = Places(self._scans)
        self._long: set[str] = set()
        self._version = _SharedQuestion(self._ask_version)
        self._unstopped: Counter[str] = Counter()
        self._watching: set[asyncio.Task[None]] = set()

    @property
    @override
    def busy(self) -> int:
        return self._pool.wanted

    @property
    @override
    def waited(self) -> float:
        return max(self._turns.waited, self._long_turns.waited, self._pool.waited)

    async def identity(self) -> str:
        """Return what tells this database from every other; see Engine.identity.

        A standby has its primary's, also once it is promoted. A clone and a restored dump are
        databases of their own; a physical copy of the whole cluster is not told apart.
        """
        found = await self.read(_identity)
        return hashlib.sha256(found.encode()).hexdigest()[:32]

    async def open(self) -> None:
        """Connect, and see that this is a database to work with.

        Raises:
            UnavailableError: it is not, or cannot be reached; the text says why.
        """
        try:
            async with self._pool.connection() as connection:
                encoding = await connection.raw.fetchval(_ENCODING)
                await connection.raw.execute(_PREPARE)
                if connection.watched_process:
                    # More than there are processors would keep each other, and everybody, waiting.
                    scans = min(self._scans, max(2, os.cpu_count() or 1))
                    self._turns = ScanTurns(scans, self._timeout)
                    self._long_turns = Places(scans)
        except Exception as error:
            await self._pool.close()
            raise cannot_open(self.url, error) from error
        if encoding != "UTF8":
            await self._pool.close()
            raise UnavailableError(
                f"The database '{self.url.database}' has the encoding {encoding}, which does not "
                "hold every character. Create one with ENCODING 'UTF8'."
            )

    async def close(self) -> None:
        """Finish what has been taken, then disconnect."""
        await self._pool.close()
        await self._memory.close()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._ending.close()

    def move(self, url: str | sa.URL) -> None:
        """Go on with another database; only while the engine is not busy.

        Args:
            url: of that database.
        """
        self.url = sa.make_url(url)
        self._pool.cut()
        self._ending.cut()

    async def set_schema_version(self, version: int) -> None:
        """Number the schemas anew, so that what anyone remembers of them no longer fits.

        Args:
            version: one that no other database has which an engine may move to.
        """
        await self.write(lambda: _set_version(version))

    @override
    async def check_writable(self) -> None:
        if await self.read(_is_read_only):
            raise NotWritableError("the server is a standby, or set to read only")

    @override
    async def read(
        self, operation: Callable[[], Steps[T]], *, scan: bool = False, plugin: str = ""
    ) -> T:
        if not scan:
            return await _repeated(lambda: self._read(operation, plugin))
        return await self._turns.run(
            plugin,
            lambda seconds: self._within(
                seconds, partial(self._transaction, operation, plugin=plugin), _SNAPSHOT
            ),
        )

    @override
    async def write(
        self,
        operation: Callable[[], Steps[T]],
        *,
        quick: bool = False,
        scan: bool = False,
        alone: bool = False,
        plugin: str = "",
    ) -> T:
        try:
            written = partial(self._written, operation, plugin=plugin)
            if quick or not plugin:
                is_long = plugin in self._long
                async with self._long_turns.place(plugin) if is_long else nullcontext():
                    answer = await _repeated(lambda: written(_WRITE))
            elif scan:
                answer = await self._turns.run(
                    plugin, lambda seconds: self._within(seconds, written, _WRITE)
                )
            else:
                # As many statements as it has rows: each has its time, and none is begun twice.
                answer = await self._turns.run(
                    plugin, lambda _: _repeated(lambda: written(_WRITE)), tried=False
                )
        except CheckError as error:
            if error.is_named_by_engine:
                error.subject = await self._columns_of(error)
            raise
        if self._on_commit is not None:
            self._on_commit(1)
        return answer

    @override
    async def exclusive(
        self,
        operation: Callable[[], Steps[T]],
        *,
        keep: bool = True,
        checks_references: bool = True,
        plugin: str = "",
    ) -> T:
        del checks_references  # the engine looks at each row, or when a key is put on a table

        def with_version() -> Steps[T]:
            answer = yield from operation()
            yield Statement("SET CONSTRAINTS ALL IMMEDIATE")
            yield Statement(_NEXT_VERSION)
            return answer

        changed = partial(self._transaction, with_version, keep=keep, plugin=plugin)
        if not plugin:
            return await _repeated(lambda: changed(_EXCLUSIVE))
        return await self._turns.run(
            plugin, lambda seconds: self._within(seconds, changed, _EXCLUSIVE), tried=False
        )

    async def _read(self, operation: Callable[[], Steps[T]], plugin: str) -> T:
        """Run a quick read, without a transaction if it turns out to need one statement only.

        A transaction costs two more round trips, which is more than the statement. An operation
        that only reads may be begun, given up and begun again.
        """
        run = _Run(operation)
        await self._tell_version(run)
        if run.statement is None:
            return run.answer
        async with self._pool.connection(plugin) as connection:
            # What a plugin wrote is read-only only within a transaction that says so.
            if run.statement.policy is None and await connection.step(run):
                return run.answer
            run.give_up()
            return await connection.transaction(_Run(operation), _SNAPSHOT)

    async def _written(
        self,
        operation: Callable[[], Steps[T]],
        begin: str,
        seconds: float | None = None,
        *,
        plugin: str,
    ) -> T:
        """Run an operation that writes; once more where its connection was of a read-only time."""
        try:
            return await self._transaction(operation, begin, seconds, plugin=plugin)
        except NotWritableError:
            return await self._transaction(operation, begin, seconds, plugin=plugin)

    async def _transaction(
        self,
        operation: Callable[[], Steps[T]],
        begin: str,
        seconds: float | None = None,
        *,
        plugin: str,
        keep: bool = True,
    ) -> T:
        run = _Run(operation)
        await self._tell_version(run)
        if run.statement is None:
            return run.answer
        async with self._pool.connection(plugin) as connection:
            if seconds is None:
                try:
                    return await connection.transaction(run, begin, keep=keep)
                finally:
                    self._note_long(run, plugin)
            if self._unstopped[plugin]:
                raise UnstoppedError(f"{self._unstopped[plugin]} backends are still at work")
            with self._memory.over(connection.watched_process) as look:
                try:
                    async with asyncio.timeout(seconds):
                        return await connection.transaction(run, begin, keep=keep)
                except TimeoutError:
                    await self._end(connection, plugin)
                    raise StatementTimeoutError(f"a backend was ended after {seconds} s") from None
                except EngineError:
                    if look.has_ended:
                        raise MemoryExceededError("a backend took too much memory") from None
                    raise
                finally:
                    if look.has_ended:  # its end may still be on its way, and meet whoever is next
                        connection.raw.terminate()

    def _note_long(self, run: _Run[Any], plugin: str) -> None:
        """Remember whose newest write was long for all that it is held to be quick.

        One has the server at work for a tenth of a second; its plugin's next one waits for a turn.
        """
        if plugin and run.is_long:  # what the admin writes is no plugin's traffic
            self._long.add(plugin)
        else:
            self._long.discard(plugin)

    async def _within(
        self, seconds: float, run: Callable[[str, float], Awaitable[T]], begin: str
    ) -> T:
        """Run a transaction that is stopped after so many seconds, whatever it is doing.

        The server stops a statement at its timeout, but for some functions that do not look at the
        clock; a little later we end the backend.
        """
        milliseconds = round(seconds * 1000)
        limited = f"{begin}; SET LOCAL statement_timeout = {milliseconds}"
        return await _repeated(lambda: run(limited, seconds + _GRACE))

    async def _end(self, connection: _Connection, plugin: str) -> None:
        """End a backend, and wait until it is gone: what it does is paid for by its own turn.

        One that is within a call that nothing stops goes on. Its plugin begins nothing else
        meanwhile that may take long, so that few are there at a time, whatever it asks for.

        Not with a connection of the pool, whose places would be gone twice as quickly.
        """
        gone = asyncio.Event()
        connection.raw.add_termination_listener(lambda _: gone.set())
        process = connection.raw.get_server_pid()
        await self._end_process(process)
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await gone.wait()
        except TimeoutError:
            self._unstopped[plugin] += 1
            task = asyncio.create_task(self._watch_end(process, plugin), name="rosey-db ending")
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)
        connection.raw.terminate()

    async def _watch_end(self, process: int, plugin: str) -> None:
        try:
            with suppress(EngineError):  # no server, no backend
                while await self._is_there(process):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(_LOOK_INTERVAL)
        finally:
            self._unstopped[plugin] -= 1
            self._unstopped += Counter()  # forgets who has none

    async def _is_there(self, process: int) -> bool:
        async with self._ending.connection() as other:
            return bool((await other.execute(Statement(_IS_THERE, (process,)))).rows)

    async def _end_process(self, process: int) -> None:
        async with self._ending.connection() as other:
            await other.execute(Statement(_END, (process,)))

    async def _columns_of(self, check: CheckError) -> str | None:
        async with self._pool.connection() as connection:
            asked = Statement(COLUMNS_OF_CHECK, (check.table, check.constraint))
            result = await connection.execute(asked)
        return result.rows[0][0] if result.rows else None

    async def _tell_version(self, run: _Run[Any]) -> None:
        """Answer an operation's question for the schema version before it has a connection.

        Operations that begin together share the answer. It is never older than the operation, so
        a migration that any replica has finished is seen; one that is just finishing may be seen
        too late, and then the statement fails and the operation is repeated.
        """
        while run.statement is PostgresDialect.schema_version:
            run.give(Result([(await self._version.ask(),)], -1))

    async def _ask_version(self) -> int:
        async with self._pool.connection() as connection:
            result = await connection.execute(PostgresDialect.schema_version)
        return int(result.rows[0][0])

    async def _connect(self) -> _Connection:
        asyncpg = _driver()
        try:
            raw = await asyncpg.connect(
                dsn(self.url),
                timeout=_CONNECT_TIMEOUT,
                server_settings={
                    "application_name": "rosey-db",
                    "timezone": "UTC",
                    "datestyle": "ISO, YMD",
                    "intervalstyle": "postgres",
                    "statement_timeout": str(round(self._timeout * 1000)),
                },
            )
            try:
                await _set_codecs(raw)
                is_here = await raw.fetchval(_IS_HERE)
            except BaseException:  # also where nobody waits for it any more
                raw.terminate()
                raise
        except Exception as error:
            raise cannot_open(self.url, error) from error
        return _Connection(raw, raw.get_server_pid() if is_here else 0)


class _Run(Generic[T]):
    """An operation under way.

    Attributes:
        statement: what it wants executed next; None when it is done.
        answer: what it returned.
        is_long: what it sent or received is.
    """

    answer: T

    def __init__(self, operation: Callable[[], Steps[T]]) -> None:
        self._steps = operation()
        self.statement: Statement | None = None
        self.is_long = False
        self._go_on(lambda: next(self._steps))

    def give(self, result: Result) -> None:
        """Hand it a result."""
        self._go_on(lambda: self._steps.send(result))

    def fail(self, error: EngineError) -> None:
        """Raise an error where it waits for a result."""
        self._go_on(lambda: self._steps.throw(error))

    def give_up(self) -> None:
        """End it without an answer."""
        self._steps.close()

    def _go_on(self, step: Callable[[], Statement]) -> None:
        try:
            self.statement = step()
        except StopIteration as stop:
            self.statement, self.answer = None, stop.value


class _Connection:
    """A connection of asyncpg's.

    Attributes:
        raw: the driver's.
        watched_process: the backend, if it is on this machine; else 0, which no process has.
        is_read_only: it has refused to write; a new one may find a server that takes writes.
    """

    def __init__(self, raw: Any, watched_process: int) -> None:
        self.raw = raw
        self.watched_process = watched_process
        self.is_read_only = False

    @property
    def is_reusable(self) -> bool:
        """Whether the next operation may have it."""
        is_idle = not self.raw.is_closed() and not self.raw.is_in_transaction()
        return is_idle and not self.is_read_only

    async def transaction(self, run: _Run[T], begin: str, *, keep: bool = True) -> T:
        """Finish an operation within a transaction and return its answer."""
        await self._command(begin)
        try:
            while run.statement is not None and not await self.step(run):
                pass
            await self._command("COMMIT" if keep else "ROLLBACK")
        except Exception:
            await self._undo()
            raise
        return run.answer

    async def step(self, run: _Run[Any]) -> bool:
        """Execute an operation's next statement; return whether it is done then."""
        assert run.statement is not None
        if weight(run.statement.parameters) > _LONG:
            run.is_long = True
        try:
            result = await self.execute(run.statement)
        except EngineError as error:
            run.fail(error)
        else:
            if result.weight > _LONG:  # the event loop goes on meanwhile
                await asyncio.to_thread(run.give, result)
            else:
                run.give(result)
        return run.statement is None

    async def execute(self, statement: Statement) -> Result:
        """Execute one statement.

        Raises:
            EngineError: it failed.
        """
        try:
            return await self._execute(statement)
        except Exception as error:
            failure = self._failure(error)
            self.is_read_only = isinstance(failure, NotWritableError)
            raise failure from error

    async def _execute(self, statement: Statement) -> Result:
        parameters = statement.parameters
        sql, answers, changes = _compiled(statement.sql, bool(parameters))
        if statement.max_weight is not None:
            return await self._bounded(statement, sql, statement.max_weight, changes)
        # WITH may change rows without giving any: only its command tag tells how many.
        is_told = parameters or sql.lstrip()[:4].upper() != "WITH"
        if answers and is_told and statement.policy is None:
            records = await self.raw.fetch(sql, *parameters)
            return Result(_tuples(records), len(records) if changes else -1)
        if parameters and statement.policy is None:
            return Result([], _affected(await self.raw.execute(sql, *parameters)))
        # Without parameters the driver would accept several statements at once.
        prepared = await self.raw.prepare(sql)
        names = [attribute.name for attribute in prepared.get_attributes()]
        records = await prepared.fetch(*parameters)
        return Result(_tuples(records), _affected(prepared.get_statusmsg()), names)

    async def _bounded(self, statement: Statement, sql: str, most: int, changes: bool) -> Result:
        """Execute a statement that gives rows, until there is no room for more."""
        page, parameters = _Page(most), statement.parameters
        if statement.policy is not None:
            attributes = (await self.raw.prepare(sql)).get_attributes()
            names = [attribute.name for attribute in attributes]
            if len(set(names)) < len(names):
                return Result([], -1, names)  # whoever asked refuses them
            shown = f"SELECT {_as_shown(attributes, most)} FROM ({sql}) AS answer"
            prepared = await self.raw.prepare(_weighed(shown, most))
            await page.fill(await prepared.cursor(*parameters))
            return replace(page.result(changes), columns=names)
        weighed = _weighed(sql, most)
        if self.raw.is_in_transaction():
            await page.fill(await self.raw.cursor(weighed, *parameters))
        else:
            page.take(await self.raw.fetch(weighed, *parameters))
        return page.result(changes)

    async def _command(self, sql: str) -> None:
        try:
            await self.raw.execute(sql)
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> EngineError:
        """Return a driver's error as the engine raises it.

        The driver has many kinds for a connection that is lost, by the place where it notices; they
        have in common that it has closed the connection.
        """
        failure = translated(error)
        if type(failure) is EngineError and self.raw.is_closed():
            return UnavailableError(str(error))
        return failure

    async def _undo(self) -> None:
        if not self.raw.is_closed() and self.raw.is_in_transaction():
            with suppress(EngineError):  # a lost connection undoes everything by itself
                await self._command("ROLLBACK")


class _Pool:
    """Connections for whoever comes, opened when needed and kept.

    Args:
        connect: opens one.
        size: how many at the most.
    """

    def __init__(self, connect: Callable[[], Awaitable[_Connection]], size: int) -> None:
        self._connect = connect
        self._places = Places(size)
        self._idle: list[_Connection] = []
        self._is_closed = False
        self.wanted = 0
        """How many have a connection or wait for one."""

    @property
    def waited(self) -> float:
        """For how many seconds has waited who waits longest for a connection."""
        return self._places.waited

    @asynccontextmanager
    async def connection(self, plugin: str = "") -> AsyncIterator[_Connection]:
        """Lend a connection; for a plugin, when its turn has come.

        Raises:
            UnavailableError: none can be opened, or the pool is closed.
        """
        self.wanted += 1
        try:
            async with self._places.place(plugin):
                if self._is_closed:
                    raise UnavailableError("the database is closed")
                connection = await self._take()
                try:
                    yield connection
                finally:
                    self._put_back(connection)
        finally:
            self.wanted -= 1

    def _put_back(self, connection: _Connection) -> None:
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.raw.terminate()
        if connection.is_read_only:
            self.cut()

    async def close(self) -> None:
        """Wait until nothing is lent any more, and disconnect."""
        self._is_closed = True
        await self._places.all_free()
        while self._idle:
            await self._idle.pop().raw.close()

    def cut(self) -> None:
        """Disconnect what is not lent, at once."""
        while self._idle:
            self._idle.pop().raw.terminate()

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return await self._connect()


class _SharedQuestion:
    """A question to the database that is asked once for all who wait for an answer.

    They go on together: behind a lock, where they do one by one, each would wait for all before it.

    Args:
        ask: asks it.
    """

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        self._is_asked = False
        self._waiting: list[asyncio.Future[int]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self) -> int:
        """Return the answer to a question that was asked no earlier than now."""
        if self._is_asked:
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._waiting.append(answer)
            return await answer
        self._is_asked = True
        try:
            return await self._ask()
        finally:
            self._ask_again()

    def _ask_again(self) -> None:
        """Ask for those who came while it was asked."""
        waiting = [answer for answer in self._waiting if not answer.done()]
        self._waiting, self._is_asked = [], bool(waiting)
        if waiting:
            self._asking = asyncio.create_task(self._ask_for(waiting), name="rosey-db version")

    async def _ask_for(self, waiting: list[asyncio.Future[int]]) -> None:
        try:
            answer = await self._ask()
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            for each in waiting:
                if not each.done():
                    each.set_exception(error)
        else:
            for each in waiting:
                if not each.done():
                    each.set_result(answer)
        self._ask_again()


class _Compiled(NamedTuple):
    """A statement in PostgreSQL's form.

    Attributes:
        answers: it gives rows.
        changes: those are the rows it changed.
    """

    sql: str
    answers: bool
    changes: bool


@lru_cache(maxsize=4096)
def _compiled(sql: str, has_parameters: bool) -> _Compiled:
    """Number the placeholders, and look what a statement gives back."""
    outside = _QUOTED_OR_MARK.sub("", sql)
    returns = _RETURNS.search(outside) is not None
    numbers = itertools.count(1)
    numbered = _QUOTED_OR_MARK.sub(
        lambda found: f"${next(numbers)}" if found.group(1) else found.group(), sql
    )
    answers = returns or _ANSWERS.match(outside) is not None
    return _Compiled(numbered if has_parameters else sql, answers, returns)


def _as_shown(attributes: Sequence[Any], most: int) -> str:
    """Return the columns of a query as the SQL tier shows them, none longer than no reply holds.

    Args:
        attributes: the columns; no two have one name.
        most: characters; of what is longer, one more comes, so that it is seen not to fit.
    """
    shown = []
    for attribute in attributes:
        name, kind = quoted(attribute.name), attribute.type.name
        if kind in _SHOWN_AS_THEY_ARE:
            shown.append(name)
        elif kind == "bytea":
            shown.append(f"substr({name}, 1, {most + 1}) AS {name}")
        else:
            shown.append(f"left(CAST({name} AS TEXT), {most + 1}) AS {name}")
    return ", ".join(shown)


def _weighed(sql: str, most: int) -> str:
    """Return a statement that gives rows as long as those before weigh about so much, or little.

    The driver takes in what the server sends, and rows that are asked for together may have a
    megabyte each. Each comes with a last column: whether another one follows.

    The server weighs a row as it sends it, in which a character may have four bytes and a digit
    sixteen. So what it leaves out would not have fitted in any case.
    """
    return (
        f'WITH "the answer" AS ({sql}), weighed AS (SELECT "the answer" AS line, '
        "lead(true, 1, false) OVER before AS is_followed, "
        'sum(octet_length(record_send("the answer".*))) OVER before AS weight FROM "the answer" '
        "WINDOW before AS (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) "
        f"SELECT (line).*, is_followed FROM weighed WHERE weight IS NULL OR weight <= {4 * most}"
    )


def _identity() -> Steps[str]:
    found = yield Statement(_IDENTITY, ())
    return str(found.rows[0][0])


def _is_read_only() -> Steps[bool]:
    # Not of this transaction, which only reads.
    found = yield Statement(
        "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
    )
    return bool(found.rows[0][0])


def _set_version(version: int) -> Steps[None]:
    yield Statement(_SET_VERSION, (version,))


def _tuples(records: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(record) for record in records]


class _Page:
    """Rows of a weighed statement, as many as there is room for and one more.

    Args:
        most: the weight after which there is no room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[tuple[Any, ...]] = []
        self._weight = 0
        self._is_followed = False

    async def fill(self, cursor: Any) -> None:
        """Fetch rows, a few at a time, until there is no room for more."""
        at_once = 1
        while self.take(await cursor.fetch(at_once)):
            room = (self._most - self._weight) * len(self._rows) // max(self._weight, 1)
            at_once = min(_MOST_FETCHED, 1 + room)

    def take(self, records: Sequence[Any]) -> bool:
        """Add rows; return whether there is room for more, and another one."""
        for record in records:
            *row, self._is_followed = record
            self._rows.append(tuple(row))
            self._weight += weight(row)
            if self._weight > self._most:
                return False
        return bool(records) and self._is_followed

    def result(self, changes: bool) -> Result:
        """Return them; `changes` tells whether the statement has changed them."""
        affected = len(self._rows) if changes else -1
        return Result(self._rows, affected, weight=self._weight, cut=self._is_followed)


def _affected(status: str) -> int:
    """Return how many rows a command tag tells of, -1 for one that changes no rows."""
    verb, _, rest = status.partition(" ")
    return int(rest.rpartition(" ")[2]) if verb in ("INSERT", "UPDATE", "DELETE", "MERGE") else -1


async def _repeated(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run an operation until nothing stands in its way, a bounded number of times.

    What is repeated has left nothing behind.
    """
    pause = _FIRST_PAUSE
    for _ in range(_TRIES - 1):
        try:
            return await attempt()
        except (ConflictError, OutOfSchemaError):
            await asyncio.sleep(pause * random.random())  # noqa: S311 - only to part company
            pause *= 2
    return await attempt()


def _driver() -> Any:
    try:
        import asyncpg
    except ImportError:
        raise UnavailableError(
            "PostgreSQL is reached with the asyncpg driver, which is not installed: "
            "pip install 'pytest-rosey[postgres]'."
        ) from None
    return asyncpg


def dsn(url: sa.URL) -> str:
    """Return a URL as libpq and asyncpg spell it, with its password."""
    query = dict(url.query)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    plain = url.set(drivername="postgresql", query=query)
    return plain.render_as_string(hide_password=False)


async def _set_codecs(raw: Any) -> None:
    async def set_codec(
        name: str, encoder: Callable[[Any], str], decoder: Callable[[str], Any]
    ) -> None:
        await raw.set_type_codec(
            name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="text"
        )

    for name in _AS_NUMBER:
        await set_codec(name, str, float)
    for name in _AS_MOMENT:
        await set_codec(name, str, _moment)
    for name in _AS_THEY_ARE:
        await set_codec(name, str, str)


def _moment(text: str) -> str:
    """Return a time stamp as `values` writes it, in ISO 8601 with microseconds and a Z."""
    day, _, rest = text.partition(" ")
    time, _, fraction = rest.removesuffix("+00").partition(".")
    if len(day) != 10 or len(time) != 8:  # infinity, or a year that ISO 8601 has no form for
        return text
    return f"{day}T{time}.{fraction:0<6}Z"
