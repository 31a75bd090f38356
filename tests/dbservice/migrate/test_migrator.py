"""Running migrations: all or nothing, once, recorded, and without a trace when dry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbservice.engine.errors import UnavailableError
from dbservice.engine.steps import Steps
from dbservice.migrate import ledger
from dbservice.migrate.files import parse
from dbservice.migrate.migrator import Migrator
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import Namespace, namespace
from dbservice.runtime.clock import ManualClock
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import Command, commands
from tests.dbservice.migrate.migrated_database import Database

Add = Callable[[str, str], Path]

FIRST = "-- UP\nCREATE TABLE a (b INTEGER CHECK (b > 0));\n-- DOWN\nDROP TABLE a;\n"
SECOND = "-- UP\nINSERT INTO a VALUES (1), (2);\n-- DOWN\nDELETE FROM a WHERE b IN (1, 2);\n"


async def test_apply_records_what_it_did(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add, clock: ManualClock
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    reply = await migrator.apply(quotes, Apply(applied_by="me"))
    assert (reply.applied, reply.skipped, reply.dry_run) == (True, False, False)
    assert (reply.version, reply.current_version, reply.warnings) == ("002", 2, [])
    assert [(step.version, step.name, step.statements) for step in reply.migrations] == [
        ("001", "001_first", 1),
        ("002", "002_second", 1),
    ]
    assert reply.duration_ms == pytest.approx(sum(s.duration_ms for s in reply.migrations))
    status = await migrator.status(quotes)
    assert status.up_to_date
    assert [
        (entry.version, entry.applied_at, entry.applied_by, entry.state, len(entry.checksum))
        for entry in status.history
    ] == [
        ("001", "2027-01-15T08:00:00.000000Z", "me", "applied", 64),
        ("002", "2027-01-15T08:00:00.000000Z", "me", "applied", 64),
    ]
    assert await database.rows("SELECT b FROM quote_db__a") == [(1,), (2,)]


async def test_applying_again_is_skipped(migrator: Migrator, quotes: Namespace, add: Add) -> None:
    add("001_first.sql", FIRST)
    await migrator.apply(quotes, Apply())
    for request in (Apply(), Apply(version=1), Apply(dry_run=True)):
        reply = await migrator.apply(quotes, request)
        assert (reply.applied, reply.skipped, reply.migrations) == (False, True, [])
        assert (reply.version, reply.current_version) == ("001", 1)


async def test_a_plugin_without_migrations(
    migrator: Migrator, database: Database, quotes: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dbservice.migrate")
    asked = (
        lambda: migrator.status(quotes),
        lambda: migrator.apply(quotes, Apply()),
        lambda: migrator.rollback(quotes, Rollback(all=True)),
        lambda: migrator.verify(quotes),
        lambda: migrator.repair(quotes),
    )
    for ask in asked:
        with pytest.raises(RequestError) as caught:
            await ask()
        assert caught.value.code is ErrorCode.MIGRATION_NOT_FOUND
        assert caught.value.message.startswith("This service has no migrations for 'quote-db'")
        assert caught.value.details == {"plugin": "quote-db", "roots": 1}
    assert await database.everything() == [], "asking never writes"
    [record] = caplog.records  # who asks again and again does not fill the log
    assert "Looked in:" in record.message


async def test_what_was_applied_is_told_when_its_files_are_gone(
    migrator: Migrator, quotes: Namespace, add: Add
) -> None:
    path = add("001_first.sql", FIRST)
    await migrator.apply(quotes, Apply())
    path.rename(path.with_name("001_other.sql"))
    assert (await migrator.status(quotes)).missing_migrations == ["001_first"]
    assert await migrator.repair(quotes) == ["001_other"]
    status = await migrator.status(quotes)
    assert (status.up_to_date, status.applied_migrations) == (True, ["001_other"])
    path.with_name("001_other.sql").unlink()
    status = await migrator.status(quotes)
    assert (status.up_to_date, status.missing_migrations) == (False, ["001_other"])
    for ask in (lambda: migrator.apply(quotes, Apply()), lambda: migrator.repair(quotes)):
        with pytest.raises(RequestError, match=r"001_other\. Put the file back under its name\.$"):
            await ask()


@pytest.mark.parametrize("name", ["002_second.SQL", "2_second.sql", "002-second.sql", "002.sql"])
async def test_what_is_almost_a_migration_is_told(
    migrator: Migrator, quotes: Namespace, add: Add, name: str
) -> None:
    add("001_first.sql", FIRST)
    add(name, SECOND)
    for ask in (lambda: migrator.status(quotes), lambda: migrator.apply(quotes, Apply())):
        with pytest.raises(RequestError, match=f"{name}: this is not a migration's file name"):
            await ask()


async def test_rollback_goes_back_step_by_step(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    await migrator.apply(quotes, Apply())
    first = await migrator.rollback(quotes, Rollback())
    assert (first.rolled_back, first.version, first.current_version) == (True, "002", 1)
    assert await database.rows("SELECT * FROM quote_db__a") == []
    second = await migrator.rollback(quotes, Rollback(all=True))
    assert (second.version, second.current_version) == ("001", 0)
    assert [warning["code"] for warning in second.warnings] == ["DROP_TABLE"]
    assert await database.rows("SELECT * FROM _migrations") == []


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("INSERT INTO a VALUES (0);", "CHECK constraint failed"),
        ("INSERT INTO nowhere VALUES (0);", "no such table: quote_db__nowhere"),
        ("SELEC 1;", None),
        ("CREATE TABLE c (;", None),
    ],
)
async def test_a_failing_migration_leaves_nothing(
    migrator: Migrator,
    database: Database,
    quotes: Namespace,
    add: Add,
    statement: str,
    reason: str | None,
) -> None:
    add("001_first.sql", FIRST)
    await migrator.apply(quotes, Apply())
    before = await database.everything()
    add("002_bad.sql", f"-- UP\nCREATE TABLE x (y);\nINSERT INTO a VALUES (5);\n\n{statement}\n")
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.MIGRATION_FAILED
    assert caught.value.message.startswith("002_bad.sql line 5")
    if reason:
        assert caught.value.message.startswith("002_bad.sql line 5, UP statement 3: ")
        assert reason in caught.value.message
        assert caught.value.message.endswith(". Nothing of this migration was kept.")
        assert caught.value.details["statement"] == 3
    assert await database.everything() == before
    assert await database.rows("SELECT * FROM quote_db__a") == []
    assert (await migrator.status(quotes)).current_version == 1


async def test_migrations_before_the_failing_one_are_kept(
    migrator: Migrator, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_bad.sql", "-- UP\nINSERT INTO a VALUES (0);\n-- DOWN\nSELECT 1;")
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.details["applied"] == ["001_first"]
    status = await migrator.status(quotes)
    assert (status.applied_migrations, status.pending_migrations) == (["001_first"], ["002_bad"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("-- UP\nDROP TABLE trivia__scores;\n", 2),
        ("-- UP\nSELECT 1;\n-- DOWN\nDROP TABLE trivia__scores;\n", 4),
        ("-- UP\nSELECT 1;\n-- DOWN\nSELECT 'a;\n", 4),
        ("-- UP\nSELECT 1;\nCOMMIT;\n", 3),
    ],
)
async def test_what_is_refused_is_refused_before_anything_runs(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add, text: str, line: int
) -> None:
    add("001_first.sql", FIRST)
    add("002_bad.sql", text)
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.MIGRATION_FAILED
    assert caught.value.message.startswith(f"002_bad.sql line {line}: ")
    assert await database.everything() == [], "not even the first migration ran"


async def test_a_migration_for_the_other_engine_only_is_refused(
    migrator: Migrator, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", "-- UP (postgresql)\nSELECT 1;\n")
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.message == (
        "001_first.sql: there are no UP statements for sqlite. Expected SQL after '-- UP', or "
        "'-- UP (sqlite)' with nothing below it if there is nothing to do."
    )
    add("001_first.sql", "-- UP (postgresql)\nSELECT 1;\n-- UP (sqlite): nothing to do\n")
    reply = await migrator.apply(quotes, Apply())
    assert (reply.applied, reply.migrations[0].statements) == (True, 0)


async def test_foreign_keys_are_checked_at_the_end(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add(
        "001_first.sql",
        "-- UP\nCREATE TABLE p (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE c (p INTEGER REFERENCES p (id));\nINSERT INTO c VALUES (7);\n",
    )
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.MIGRATION_FAILED
    assert caught.value.message.startswith("001_first.sql, at the end of UP: ")
    assert await database.everything() == []


async def test_a_rebuild_keeps_the_rows_that_refer_to_the_table(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add(
        "001_first.sql",
        "-- UP\nCREATE TABLE p (id INTEGER PRIMARY KEY, x TEXT);\n"
        "CREATE TABLE c (p INTEGER REFERENCES p (id) ON DELETE CASCADE);\n"
        "INSERT INTO p VALUES (1, 'a');\nINSERT INTO c VALUES (1);\n",
    )
    add(
        "002_rebuild.sql",
        "-- UP\nCREATE TABLE n (id INTEGER PRIMARY KEY);\nINSERT INTO n SELECT id FROM p;\n"
        "DROP TABLE p;\nALTER TABLE n RENAME TO p;\n",
    )
    await migrator.apply(quotes, Apply())
    assert await database.rows("SELECT * FROM quote_db__c") == [(1,)]


async def test_a_dry_run_reports_and_leaves_no_trace(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    add(
        "003_more.sql", "-- UP\nWITH x AS (SELECT 9) INSERT INTO a SELECT * FROM x;\nDELETE FROM a;"
    )
    reply = await migrator.apply(quotes, Apply(dry_run=True))
    assert await database.everything() == []
    assert (reply.applied, reply.skipped, reply.dry_run) == (False, False, True)
    assert (reply.version, reply.current_version) == ("003", 0)
    executed = [report for step in reply.migrations for report in step.executed]
    assert [(report.sql, report.rows) for report in executed] == [
        ("CREATE TABLE quote_db__a (b INTEGER CHECK (b > 0))", -1),
        ("INSERT INTO quote_db__a VALUES (1), (2)", 2),
        ("WITH x AS (SELECT 9) INSERT INTO quote_db__a SELECT * FROM x", 1),
        ("DELETE FROM quote_db__a", 3),
    ]
    assert [warning["code"] for warning in reply.warnings] == [
        "DELETE_WITHOUT_WHERE",
        "DOWN_MISSING",
    ]


async def test_a_dry_rollback_leaves_no_trace(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    await migrator.apply(quotes, Apply())
    before = await database.everything()
    reply = await migrator.rollback(quotes, Rollback(all=True, dry_run=True))
    assert await database.everything() == before
    assert await database.rows("SELECT * FROM quote_db__a") == [(1,), (2,)]
    assert (reply.rolled_back, reply.dry_run, reply.current_version) == (False, True, 2)
    assert [step.version for step in reply.migrations] == ["002", "001"]


async def test_a_failing_dry_run_says_why(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_bad.sql", "-- UP\nINSERT INTO a VALUES (0);\n")
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply(dry_run=True))
    assert caught.value.message.startswith("002_bad.sql line 2, UP statement 1: ")
    assert await database.everything() == []


async def test_a_changed_file_stops_until_it_is_repaired(
    migrator: Migrator, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    await migrator.apply(quotes, Apply())
    add("001_first.sql", f"{FIRST}-- a remark\n")
    add("002_second.sql", SECOND)
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH
    assert caught.value.details["files"] == ["001_first.sql"]
    assert (await migrator.status(quotes)).checksum_mismatches == ["001_first"]
    assert await migrator.repair(quotes) == ["001_first"]
    assert await migrator.repair(quotes) == []
    assert (await migrator.apply(quotes, Apply())).version == "002"
    assert [entry.state for entry in (await migrator.status(quotes)).history] == [
        "repaired",
        "applied",
    ]


async def test_requests_at_the_same_time_apply_once(
    database: Database, root: Path, quotes: Namespace, add: Add
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    # Two migrators share no asyncio lock: they are what two replicas would be.
    migrators = [Migrator(database.engine, [root]) for _ in range(2)]
    replies = await asyncio.gather(
        *(migrator.apply(quotes, Apply()) for migrator in migrators for _ in range(4))
    )
    assert sum(len(reply.migrations) for reply in replies) == 2
    assert {reply.current_version for reply in replies} == {2}
    assert await database.rows("SELECT b FROM quote_db__a") == [(1,), (2,)]


async def test_waiting_for_the_lock_has_a_limit(
    database: Database, root: Path, quotes: Namespace, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("001_first.sql", FIRST)
    migrator = Migrator(database.engine, [root], lock_timeout=0.01)
    entered, leave = asyncio.Event(), asyncio.Event()
    exclusive = database.engine.exclusive

    async def slow(*args: object, **options: object) -> object:
        entered.set()
        await leave.wait()
        return await exclusive(*args, **options)

    monkeypatch.setattr(database.engine, "exclusive", slow)
    running = asyncio.create_task(migrator.apply(quotes, Apply()))
    await entered.wait()
    with pytest.raises(RequestError) as caught:
        await migrator.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.LOCK_TIMEOUT
    assert "already in progress" in caught.value.message
    with pytest.raises(RequestError, match="no migrations for 'trivia'"):  # it is not held up
        await migrator.apply(namespace("trivia"), Apply())
    leave.set()
    assert (await running).applied


async def test_another_replica_holds_the_lock(
    database: Database, root: Path, quotes: Namespace, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("001_first.sql", FIRST)
    answers = [False, False, True]

    def taken(_dialect: Dialect, _plugin: str) -> Steps[bool]:
        return answers.pop(0)
        yield  # pragma: no cover - makes it a generator

    monkeypatch.setattr(ledger, "try_lock", taken)
    reply = await Migrator(database.engine, [root]).apply(quotes, Apply())
    assert (reply.applied, answers) == (True, [])
    answers += [False]
    with pytest.raises(RequestError) as caught:
        await Migrator(database.engine, [root], lock_timeout=0.0).rollback(quotes, Rollback())
    assert caught.value.code is ErrorCode.LOCK_TIMEOUT


async def test_somebody_else_migrated_between_plan_and_transaction(
    database: Database, root: Path, quotes: Namespace, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", SECOND)
    other, slow = Migrator(database.engine, [root]), Migrator(database.engine, [root])
    await other.apply(quotes, Apply(version=1))
    transaction = Migrator._transaction

    async def meanwhile(self: Migrator, *args: object, **options: object) -> object:
        if self is slow:
            await other.rollback(quotes, Rollback())
        return await transaction(self, *args, **options)

    monkeypatch.setattr(Migrator, "_transaction", meanwhile)
    with pytest.raises(RequestError) as caught:
        await slow.apply(quotes, Apply())
    assert caught.value.code is ErrorCode.MIGRATION_ORDER
    assert (await other.status(quotes)).current_version == 0


async def test_a_lost_database_is_not_called_a_failed_migration(
    database: Database, root: Path, quotes: Namespace, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("001_first.sql", FIRST)

    async def gone(*_args: object, **_options: object) -> object:
        raise UnavailableError("the database went away")

    monkeypatch.setattr(database.engine, "exclusive", gone)
    with pytest.raises(UnavailableError):
        await Migrator(database.engine, [root]).apply(quotes, Apply())


async def test_errors_hold_no_path(
    migrator: Migrator, root: Path, quotes: Namespace, add: Add
) -> None:
    for text in ("-- UP\nSELECT no_such;", "-- UP\nSELECT 'a", "SELECT 1;", "-- UP\nVACUUM;"):
        add("001_first.sql", text)
        with pytest.raises(RequestError) as caught:
            await migrator.apply(quotes, Apply())
        assert str(root) not in f"{caught.value.message}{caught.value.details}"


async def test_triggers_and_views_run(
    migrator: Migrator, database: Database, quotes: Namespace, add: Add
) -> None:
    add(
        "001_first.sql",
        "-- UP\nCREATE TABLE a (b INTEGER);\nCREATE TABLE log (b INTEGER, what TEXT);\n"
        "CREATE TRIGGER noted AFTER INSERT ON a BEGIN\n"
        "    INSERT INTO log SELECT a.b, CASE WHEN a.b > 1 THEN 'big;' ELSE 'small' END\n"
        "    FROM a WHERE a.b = new.b;\nEND;\n"
        "CREATE VIEW big (b) AS SELECT log.b FROM log WHERE log.what = 'big;';\n"
        "INSERT INTO a VALUES (1), (2);\n"
        "-- DOWN\nDROP VIEW big;\nDROP TRIGGER noted;\nDROP TABLE log;\nDROP TABLE a;\n",
    )
    await migrator.apply(quotes, Apply())
    assert await database.rows("SELECT * FROM quote_db__big") == [(2,)]
    await migrator.rollback(quotes, Rollback())
    assert await database.rows("SELECT name FROM sqlite_master WHERE name LIKE 'quote%'") == []


@pytest.mark.parametrize("count", [3, 12])
async def test_a_file_is_read_once_per_direction(
    migrator: Migrator,
    quotes: Namespace,
    add: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    read = 0

    def counted(*arguments: Any, **more: Any) -> list[Command]:
        nonlocal read
        read += 1
        return commands(*arguments, **more)

    monkeypatch.setattr("dbservice.migrate.files.commands", counted)
    parse.cache_clear()
    for number in range(1, count + 1):
        table = f"t{number}"
        add(
            f"{number:03}_{table}.sql",
            f"-- UP\nCREATE TABLE {table} (id INTEGER);\n-- DOWN\nDROP TABLE {table};\n",
        )
    await migrator.apply(quotes, Apply())
    await migrator.rollback(quotes, Rollback(all=True))
    assert read == 2 * count
