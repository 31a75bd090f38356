"""Tests of any plugin's migrations (SPEC 5.6).

`pytest --rosey-check-migrations` runs them for every plugin below the migration roots. Or import
those you want into a test file of your own, where they are ordinary tests:

    from pytest_rosey.checks.migrations import *
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from operator import methodcaller

from dbservice.migrate.changes import Schema, changes_of
from dbservice.migrate.files import (
    EXPECTED_NAME,
    FILE_NAME,
    Direction,
    MigrationFile,
    check_numbering,
)
from dbservice.migrate.script import prepare
from dbservice.migrate.structure import differences
from dbservice.migrate.verify import verify
from dbservice.migrate.warnings import warnings_of
from dbservice.protocol import RequestError
from dbservice.protocol.migrations import Apply, Check, Rollback
from dbservice.sqltext.dialects import Dialect
from pytest_rosey.checks.failure import CheckFailed, listed
from pytest_rosey.checks.under_check import MigrationWarning, PluginMigrations, postgres, run, trial

__tracebackhide__ = methodcaller("errisinstance", CheckFailed)

__all__ = [
    "test_apply_again_changes_nothing",
    "test_apply_all",
    "test_apply_one_by_one",
    "test_dry_run_leaves_no_trace",
    "test_engines_agree",
    "test_names_and_numbering",
    "test_no_foreign_tables",
    "test_round_trip_restores_schema_and_data",
    "test_safety_warnings",
    "test_up_and_down_present",
]


def test_names_and_numbering(rosey_plugin_migrations: PluginMigrations) -> None:
    """The directory is named like a plugin, the files NNN_snake_name.sql from 001 without gaps."""
    migrations = rosey_plugin_migrations
    migrations.owner()
    names = [path.name for path in migrations.paths]
    wrong = [name for name in names if not FILE_NAME.fullmatch(name)]
    if wrong:
        raise CheckFailed(
            f"These are no names of migrations: {', '.join(wrong)}. Expected {EXPECTED_NAME}.",
            [(str(migrations.directory), listed(names))],
        )
    try:
        check_numbering(
            MigrationFile(int(name[:3]), name.removesuffix(".sql"), "", {}, (), None)
            for name in names
        )
    except RequestError as error:
        raise CheckFailed(error.message, [(str(migrations.directory), listed(names))]) from None


def test_up_and_down_present(rosey_plugin_migrations: PluginMigrations) -> None:
    """Each file has an UP, and a DOWN or a line that says why not, for both engines."""
    missing = [
        f"{file.file}: {what}"
        for file in rosey_plugin_migrations.files()
        for what in _missing_sections(file)
    ]
    if missing:
        raise CheckFailed(
            "Sections are missing. Write '-- UP' and '-- DOWN' (or '-- DOWN (sqlite)' and so on "
            "for one engine), or a line '-- IRREVERSIBLE: reason' instead of DOWN.",
            [(str(rosey_plugin_migrations.directory), listed(missing))],
        )


def test_apply_all(rosey_plugin_migrations: PluginMigrations) -> None:
    """All migrations run on an empty database."""

    async def check() -> None:
        files = rosey_plugin_migrations.files()
        async with trial(rosey_plugin_migrations) as tried:
            applied = await tried.migrator.apply(rosey_plugin_migrations.owner(), Apply())
            _expect_version(applied.current_version, len(files))

    run(check)


def test_apply_one_by_one(rosey_plugin_migrations: PluginMigrations) -> None:
    """Stopping at every version leads to the same tables as going straight to the newest."""

    async def check() -> None:
        owner = rosey_plugin_migrations.owner()
        async with trial(rosey_plugin_migrations) as straight:
            await straight.migrator.apply(owner, Apply())
            expected = await straight.structure()
        async with trial(rosey_plugin_migrations) as tried:
            for file in rosey_plugin_migrations.files():
                applied = await tried.migrator.apply(owner, Apply(version=file.version))
                _expect_version(applied.current_version, file.number)
            found = differences(expected, await tried.structure(), Dialect.SQLITE)
        if found:
            raise CheckFailed(
                "Applied one by one, the migrations make other tables than applied together.",
                [("Differences", listed(found))],
            )

    run(check)


def test_round_trip_restores_schema_and_data(rosey_plugin_migrations: PluginMigrations) -> None:
    """Down and up again, at every version, with rows in all tables, loses nothing."""

    async def check() -> list[Check]:
        files, owner = rosey_plugin_migrations.files(), rosey_plugin_migrations.owner()
        return await verify(files, owner, Dialect.SQLITE)

    _expect_all_passed(run(check), Dialect.SQLITE)


def test_apply_again_changes_nothing(rosey_plugin_migrations: PluginMigrations) -> None:
    """Applying what is applied does nothing and says so."""

    async def check() -> None:
        owner = rosey_plugin_migrations.owner()
        async with trial(rosey_plugin_migrations) as tried:
            await tried.migrator.apply(owner, Apply())
            before = tried.content()
            again = await tried.migrator.apply(owner, Apply())
            _expect_same(before, tried.content(), "Applying all migrations a second time")
            if not again.skipped:
                names = [step.name for step in again.migrations]
                raise CheckFailed("These were applied a second time.", [("Again", listed(names))])

    run(check)


def test_dry_run_leaves_no_trace(rosey_plugin_migrations: PluginMigrations) -> None:
    """A dry run of each migration, up and down, leaves the database as it was."""

    async def check() -> None:
        owner = rosey_plugin_migrations.owner()
        async with trial(rosey_plugin_migrations) as tried:
            for file in rosey_plugin_migrations.files():
                before = tried.content()
                await tried.migrator.apply(owner, Apply(version=file.version, dry_run=True))
                _expect_same(before, tried.content(), f"The dry run of {file.file} UP")
                await tried.migrator.apply(owner, Apply(version=file.version))
                if file.is_reversible(Dialect.SQLITE):
                    before = tried.content()
                    await tried.migrator.rollback(owner, Rollback(dry_run=True))
                    _expect_same(before, tried.content(), f"The dry run of {file.file} DOWN")

    run(check)


def test_no_foreign_tables(rosey_plugin_migrations: PluginMigrations) -> None:
    """Every statement, on both engines, stays within the plugin's own tables."""
    refused: dict[str, RequestError] = {}
    for file in rosey_plugin_migrations.files():
        for direction, dialect in _ways(file):
            try:
                prepare(file, direction, rosey_plugin_migrations.owner(), dialect)
            except RequestError as error:
                refused.setdefault(error.message, error)
    if refused:
        context = [
            block
            for error in refused.values()
            for block in rosey_plugin_migrations.failure(error).context
        ]
        raise CheckFailed("\n".join(refused), context)


def test_safety_warnings(rosey_plugin_migrations: PluginMigrations) -> None:
    """What applying may destroy is listed among pytest's warnings; it fails where they do."""
    files, owner = rosey_plugin_migrations.files(), rosey_plugin_migrations.owner()
    said: dict[str, tuple[MigrationFile, int]] = {}
    for dialect in Dialect:
        for file in files:
            for text, line in _warnings(rosey_plugin_migrations, files, file, dialect):
                said.setdefault(text, (file, line))
    errors = []
    for text, (file, line) in said.items():
        path = rosey_plugin_migrations.directory / file.file
        try:
            warnings.warn_explicit(text, MigrationWarning, str(path), line, owner.plugin)
        except MigrationWarning:
            errors.append(text)
    if errors:
        raise CheckFailed(
            "What applying may destroy is an error in this run, where warnings are.",
            [(str(rosey_plugin_migrations.directory), listed(errors))],
        )


def test_engines_agree(rosey_plugin_migrations: PluginMigrations) -> None:
    """Both engines take every statement, and get the same tables, columns and indexes.

    Where PostgreSQL's server and asyncpg are installed, the round trip runs there, too.
    """
    files, owner = rosey_plugin_migrations.files(), rosey_plugin_migrations.owner()
    test_no_foreign_tables(rosey_plugin_migrations)
    shapes = {dialect: Schema() for dialect in Dialect}
    for file in files:
        for dialect, shape in shapes.items():
            shape.take(changes_of(file.commands(Direction.UP, dialect), owner.prefix))
        found = _apart(shapes[Dialect.SQLITE], shapes[Dialect.POSTGRESQL])
        if found:
            raise CheckFailed(
                f"After {file.file} the engines have different tables.",
                [("Differences", listed(found))],
            )
    scratch = postgres()
    if scratch is not None:
        checks = run(lambda: verify(files, owner, Dialect.POSTGRESQL, scratch=scratch))
        _expect_all_passed(checks, Dialect.POSTGRESQL)


def _missing_sections(file: MigrationFile) -> Iterator[str]:
    for dialect in Dialect:
        try:
            if not file.commands(Direction.UP, dialect) and not file.marks(Direction.UP, dialect):
                yield f"no UP for {dialect}"
            if file.irreversible is None and not file.is_reversible(dialect):
                yield f"no DOWN for {dialect}"
        except RequestError as error:
            yield error.message


def _ways(file: MigrationFile) -> Iterator[tuple[Direction, Dialect]]:
    for dialect in Dialect:
        yield Direction.UP, dialect
        if file.is_reversible(dialect):
            yield Direction.DOWN, dialect


def _warnings(
    migrations: PluginMigrations,
    files: Sequence[MigrationFile],
    file: MigrationFile,
    dialect: Dialect,
) -> Iterator[tuple[str, int]]:
    owner = migrations.owner()
    try:
        script = prepare(file, Direction.UP, owner, dialect)
    except RequestError as error:
        raise migrations.failure(error) from None
    for found in warnings_of(files, [script], owner, dialect):
        text = f"{file.file} {found['message']}; safer: {found['safer']} [{found['code']}]"
        yield text, found["line"] or 1


def _apart(sqlite: Schema, postgresql: Schema) -> list[str]:
    """Return what one engine has and the other has not."""
    had = {Dialect.SQLITE: set(_things(sqlite)), Dialect.POSTGRESQL: set(_things(postgresql))}
    return [
        f"{thing} is there on {dialect} only"
        for dialect, other in zip(Dialect, reversed(Dialect), strict=True)
        for thing in sorted(had[dialect] - had[other])
    ]


def _things(shape: Schema) -> Iterator[str]:
    for table, columns in shape.tables.items():
        yield f"table {table}"
        yield from (f"column {table}.{column}" for column in columns)
    yield from (f"index {index} of {table}" for index, table in shape.indexes.items())


def _expect_version(got: int, expected: int) -> None:
    if got != expected:
        raise CheckFailed(f"The database is at version {got:03}, expected {expected:03}.")


def _expect_same(before: Sequence[str], after: Sequence[str], what: str) -> None:
    if before != after:
        changes = [line for line in difflib.ndiff(before, after) if not line.startswith("  ")]
        raise CheckFailed(
            f"{what} left a trace in the database.", [("Changes", "\n".join(changes))]
        )


def _expect_all_passed(checks: Sequence[Check], dialect: Dialect) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        raise CheckFailed(
            f"The migrations do not survive the way up, down and up again on {dialect}.",
            [(check.name, check.message) for check in failed],
        )
