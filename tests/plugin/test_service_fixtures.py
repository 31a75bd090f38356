"""`db_service` and the fixtures that stand on it (SPEC 5.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import nats.errors
import pytest

from dbservice.client import MigrationNotFound, NoService, StorageClient
from dbservice.runtime.clock import ManualClock
from pytest_rosey import (
    FakeNats,
    MigrationRunner,
    NamespaceCleaner,
    PluginFactory,
    ServiceUnderTest,
)

# ruff: noqa: PT019 - the private fixtures have values, and these tests look at them

pytest_plugins = ["pytester"]

Storage = Callable[..., StorageClient]

CREATE = """
-- UP
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO notes (text) VALUES ('first'), ('second');
-- DOWN
DROP TABLE notes;
"""
ADD = """
-- UP
ALTER TABLE notes ADD COLUMN score INTEGER NOT NULL DEFAULT 0;
-- DOWN
ALTER TABLE notes DROP COLUMN score;
"""


@pytest.fixture(scope="module")
def _rosey_migration_roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    borrowed, root = tmp_path_factory.mktemp("borrowed"), tmp_path_factory.mktemp("migrations")
    (root / "notes").mkdir()
    (root / "notes" / "001_create_notes.sql").write_text(CREATE)
    (root / "notes" / "002_add_score.sql").write_text(ADD)
    return [borrowed, root]


class Notes:
    """A plugin as small as can be."""

    def __init__(self, nats: Any, namespace: str = "notes", *, greeting: str = "hello") -> None:
        self.nats = nats
        self.greeting = greeting
        self.table = StorageClient(nats, namespace).rows("notes")
        self.state = "made"

    async def initialize(self) -> None:
        self.state = "initialized"

    async def close(self) -> None:
        await self.table.count()
        self.state = "closed"


class Tableless:
    """A plugin without `initialize()` and `close()`."""

    def __init__(self, nats: Any) -> None:
        self.nats = nats


class TestService:
    async def test_it_answers_on_the_bus(self, nats_client: Any, db_service: Any) -> None:
        reply = await nats_client.request("rosey.db.ping", b"")
        assert json.loads(reply.data)["service"] == "rosey-db"

    async def test_it_starts_empty(self, storage: Storage) -> None:
        for _ in range(2):
            assert (await storage("notes").migrations.status()).applied_migrations == []
        await storage("notes").kv.set("left", 1)

    async def test_it_starts_empty_again(self, storage: Storage) -> None:
        assert await storage("notes").kv.list() == []

    async def test_its_clock(
        self, storage: Storage, db_service: ServiceUnderTest, rosey_clock: ManualClock
    ) -> None:
        assert db_service.clock is rosey_clock
        await storage("notes").kv.set("k", 1, ttl_seconds=10)
        rosey_clock.advance(9)
        assert await storage("notes").kv.get("k") == 1
        rosey_clock.advance(2)
        assert await storage("notes").kv.get("k") is None

    async def test_its_requests(
        self, nats_client: Any, storage: Storage, db_service: ServiceUnderTest
    ) -> None:
        await storage("notes").kv.set("k", 1)
        await nats_client.request("rosey.db.kv.notes.get", b"{}")
        stored, refused = db_service.requests
        assert stored.subject == "rosey.db.kv.notes.set"
        assert (stored.json["key"], stored.code) == ("k", None)
        assert json.loads(stored.reply) == {"success": True}
        assert refused.code == "MISSING_FIELD"

    async def test_it_outlives_the_client_of_the_test(
        self, nats_client: Any, db_service: ServiceUnderTest, _rosey_connect: Any
    ) -> None:
        await nats_client.close()
        other = await _rosey_connect("other")
        assert (await other.request("rosey.db.ping", b"")).data

    async def test_a_test_may_stop_it(self, storage: Storage, db_service: ServiceUnderTest) -> None:
        await db_service.stop()
        await db_service.stop()
        with pytest.raises(NoService):
            await storage("notes").kv.get("k")

    async def test_it_answers_fake_nats_where_no_stub_does(
        self, fake_nats: FakeNats, db_service: ServiceUnderTest
    ) -> None:
        fake_nats.timeout("rosey.db.kv.notes.set")
        storage = StorageClient(fake_nats, "notes")
        with pytest.raises(TimeoutError):
            await storage.kv.set("k", 1)
        assert await storage.kv.get("k", default="none") == "none"


class TestMigrations:
    async def test_step_by_step(self, rosey_migrations: MigrationRunner) -> None:
        first = await rosey_migrations.apply("notes", "001")
        assert (first["success"], first["applied"], first["current_version"]) == (True, True, 1)
        assert await rosey_migrations.tables("notes") == ["notes__notes"]
        assert await rosey_migrations.columns("notes", "notes") == ["id", "text"]
        assert await rosey_migrations.rows("notes", "notes") == [
            {"id": 1, "text": "first"},
            {"id": 2, "text": "second"},
        ]
        second = await rosey_migrations.apply("notes")
        assert second["current_version"] == 2
        assert await rosey_migrations.columns("notes", "notes") == ["id", "text", "score"]
        status = await rosey_migrations.status("notes")
        assert status["applied_migrations"] == ["001_create_notes", "002_add_score"]
        assert (await rosey_migrations.apply("notes"))["skipped"] is True

    async def test_back_again(self, rosey_migrations: MigrationRunner) -> None:
        await rosey_migrations.apply("notes")
        assert (await rosey_migrations.rollback("notes"))["current_version"] == 1
        assert await rosey_migrations.columns("notes", "notes") == ["id", "text"]
        assert (await rosey_migrations.rollback_all("notes"))["success"] is True
        assert await rosey_migrations.tables("notes") == []

    async def test_dry_run(self, rosey_migrations: MigrationRunner) -> None:
        assert (await rosey_migrations.apply("notes", dry_run=True))["dry_run"] is True
        assert await rosey_migrations.tables("notes") == []

    async def test_failures_are_those_of_the_client(
        self, rosey_migrations: MigrationRunner
    ) -> None:
        with pytest.raises(MigrationNotFound):
            await rosey_migrations.apply("notes", "007")

    async def test_they_are_not_among_the_requests(
        self, rosey_migrations: MigrationRunner, db_service: ServiceUnderTest
    ) -> None:
        await rosey_migrations.apply("notes")
        assert db_service.requests == []


class TestNamespaces:
    names: ClassVar[list[str]] = []

    @pytest.mark.parametrize("n", [1, 2])
    async def test_a_name_for_each_test(
        self, n: int, plugin_namespace: str, storage: Storage
    ) -> None:
        await storage(plugin_namespace).kv.set("k", n)
        self.names.append(plugin_namespace)
        assert len(set(self.names)) == len(self.names)

    async def test_without_a_service_it_starts_none(
        self, plugin_namespace: str, nats_client: Any
    ) -> None:
        with pytest.raises(nats.errors.NoRespondersError):
            await nats_client.request(f"rosey.db.kv.{plugin_namespace}.get", b'{"key": "k"}')

    async def test_cleaning(
        self,
        storage: Storage,
        rosey_migrations: MigrationRunner,
        cleanup_plugin_namespace: NamespaceCleaner,
    ) -> None:
        await rosey_migrations.apply("notes")
        await storage("notes").kv.set("k", 1)
        await storage("other").kv.set("k", 2)
        await cleanup_plugin_namespace("notes")
        assert await rosey_migrations.tables("notes") == []
        assert (await rosey_migrations.status("notes"))["applied_migrations"] == []
        assert await storage("notes").kv.list() == []
        assert await storage("other").kv.get("k") == 2


def test_namespaces_are_emptied_after_the_test_on_a_database_that_stays(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        import pytest

        class Plugin:
            def __init__(self, nats): pass

        @pytest.mark.parametrize("n", [1, 2])
        async def test_x(
            n, storage, plugin_namespace, cleanup_plugin_namespace, rosey_plugin, rosey_clock
        ):
            await cleanup_plugin_namespace("cleaned")
            await rosey_plugin(Plugin, namespace="plugin", migrate=False)
            for name in ("cleaned", "plugin", plugin_namespace, "kept"):
                await storage(name).kv.set("k", n)
            assert n == 1 or len(await storage("kept").kv.list()) == 1

        async def test_what_is_left(db_service):
            assert await db_service.database.plugins() == ["kept"]
        """
    )
    kept = ("--rosey-db=./test.db", "-o", "rosey_strict_cleanup=false")
    project.runpytest_inprocess(*kept).assert_outcomes(passed=3)
    assert (project.path / "test.db").exists()
    project.runpytest_inprocess("--rosey-db=./test.db", "-k", "left").assert_outcomes(passed=1)


def test_a_file_for_each_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        async def test_x(n, storage, db_service):
            assert db_service.database.engine.path.endswith("rosey.db")
            assert await storage("notes").kv.incr("n") == 1
        """
    )
    project.runpytest_inprocess("--rosey-db=file").assert_outcomes(passed=2)


class TestPlugins:
    async def test_it_is_migrated_made_and_initialized(self, rosey_plugin: PluginFactory) -> None:
        plugin = await rosey_plugin(Notes, namespace="notes", greeting="hi")
        assert (plugin.state, plugin.greeting) == ("initialized", "hi")
        assert await plugin.table.count() == 2

    async def test_without_migrating(
        self, rosey_plugin: PluginFactory, rosey_migrations: MigrationRunner
    ) -> None:
        await rosey_plugin(Tableless, namespace="notes", migrate=False)
        assert await rosey_migrations.tables("notes") == []

    async def test_it_is_closed_and_its_client_after_it(
        self, rosey_plugin: PluginFactory, _rosey_connect: Any
    ) -> None:
        plugin = await rosey_plugin(Notes, namespace="notes")
        await rosey_plugin.close_all()
        assert (plugin.state, plugin.nats.is_closed) == ("closed", False)
        await _rosey_connect.close_all()
        assert plugin.nats.is_closed

    async def test_files_of_another_plugin(
        self, rosey_plugin: PluginFactory, plugin_namespace: str, _rosey_migration_roots: list[Path]
    ) -> None:
        plugin = await rosey_plugin(Notes, namespace=plugin_namespace, migrations="notes")
        assert await plugin.table.count() == 2
        assert (_rosey_migration_roots[0] / plugin_namespace).is_dir()
        await rosey_plugin.close_all()
        assert list(_rosey_migration_roots[0].iterdir()) == []

    async def test_files_that_are_not_there(self, rosey_plugin: PluginFactory) -> None:
        with pytest.raises(pytest.fail.Exception) as raised:
            await rosey_plugin(Notes, namespace="mine", migrations="theirs")
        text = str(raised.value)
        assert text.startswith(
            "rosey_plugin: there are no migrations of 'theirs'. Looked in:\n  - "
        )
        assert text.endswith(
            "rosey_migrations in the ini file, or --rosey-migrations, names more folders."
        )

    async def test_two_plugins_have_a_client_each(self, rosey_plugin: PluginFactory) -> None:
        first = await rosey_plugin(Notes, namespace="notes")
        second = await rosey_plugin(Notes, namespace="other", migrations="notes")
        assert first.nats is not second.nats
        await first.table.insert({"text": "third"})
        assert (await first.table.count(), await second.table.count()) == (3, 2)


@pytest.mark.parametrize("place", ["ini", "option", "rootdir"])
def test_migrations_of_the_project_are_found(project: pytest.Pytester, place: str) -> None:
    root = project.mkdir("migrations" if place == "rootdir" else "sql")
    (root / "notes").mkdir()
    (root / "notes" / "001_create_notes.sql").write_text(CREATE)
    project.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        + ("rosey_migrations = sql" if place == "ini" else "")
    )
    project.makepyfile(
        """
        async def test_x(rosey_migrations):
            assert (await rosey_migrations.apply("notes"))["applied"] is True
        """
    )
    options = ["--rosey-migrations=sql"] if place == "option" else []
    project.runpytest_inprocess(*options).assert_outcomes(passed=1)


OVERRIDES = """
import pytest
import pytest_asyncio
from dbservice.runtime.clock import ManualClock

@pytest.fixture
def rosey_clock():
    return ManualClock(start=1_000_000.0)

@pytest.fixture
def plugin_namespace(plugin_namespace):
    return f"mine-{plugin_namespace}"

@pytest_asyncio.fixture
async def nats_client(nats_client):
    nats_client.greeting = "hello"
    yield nats_client

@pytest_asyncio.fixture
async def db_service(db_service, nats_client):
    await nats_client.request("rosey.db.kv.seeded.set", b'{"key": "k", "value": 1}')
    return db_service
"""


def test_a_conftest_overrides_fixtures_in_the_usual_way(project: pytest.Pytester) -> None:
    project.makeconftest(OVERRIDES)
    project.makepyfile(
        """
        async def test_x(db_service, nats_client, storage, plugin_namespace, rosey_migrations):
            assert db_service.clock.time() == 1_000_000.0
            assert nats_client.greeting == "hello"
            assert plugin_namespace.startswith("mine-test-")
            assert await storage("seeded").kv.get("k") == 1
            assert await rosey_migrations.tables("seeded") == []
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=1)
