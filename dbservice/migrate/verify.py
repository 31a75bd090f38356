"""Tries migrations on a scratch database: up, down and up again, with rows (SPEC 4, 5.6).

At every version each table is filled with generated rows, so that the way up and the way down
meet data; then schema and rows before and after the round trip are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbservice.engine.dialect import dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.errors import EngineError, UnavailableError
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate.carried import look_over, spell_alike
from dbservice.migrate.execute import execute, failed
from dbservice.migrate.files import Direction, MigrationFile
from dbservice.migrate.generated_rows import fill
from dbservice.migrate.scratch import Scratch, sqlite_scratch
from dbservice.migrate.script import Script, prepare
from dbservice.migrate.structure import (
    AUTOINCREMENT,
    Rows,
    Structure,
    differences,
    read,
    read_rows,
    reordered,
)
from dbservice.protocol.errors import RequestError
from dbservice.protocol.migrations import Check
from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.functions import NONDETERMINISTIC
from dbservice.sqltext.lexer import Kind
from dbservice.sqltext.sequence import TABLE as COUNTERS
from dbservice.storage import own_tables

_SHOWN = 5


async def verify(
    files: Sequence[MigrationFile],
    namespace: Namespace,
    dialect: Dialect,
    *,
    scratch: Scratch | None = None,
) -> list[Check]:
    """Run migrations up, down and up again on a scratch database and compare.

    Args:
        files: all migrations of the plugin, in order (`files.read_migrations`).
        namespace: of the plugin.
        dialect: the engine to try them on.
        scratch: opens the scratch database; by default SQLite in memory, and PostgreSQL needs one.

    Returns:
        What was looked at, in order. A check's name is `003_add_tags_column: DOWN restores the
        data`; where it did not pass, its message names the file, the direction and the difference.
        It stops at the first migration that does not run.

    Raises:
        ValueError: there is no scratch database for this engine.
    """
    if scratch is None:
        if dialect is not Dialect.SQLITE:
            raise ValueError(f"verify() needs a scratch database for {dialect}: pass scratch=")
        scratch = sqlite_scratch
    try:
        async with scratch() as engine:
            verification = _Verification(engine, namespace)
            await verification.run(files)
    except UnavailableError:
        raise
    except EngineError as error:
        return [Check(name="scratch database", passed=False, message=str(error))]
    return verification.checks


@dataclass(frozen=True, slots=True)
class _State:
    """Schema and rows at one moment.

    Attributes:
        rows: of each table; columns in alphabetical order.
        counters: of SQLite's AUTOINCREMENT, by table.
    """

    structure: Structure
    rows: dict[str, Rows]
    counters: dict[str, int]


class _Verification:
    """One run over all files."""

    def __init__(self, engine: Engine, namespace: Namespace) -> None:
        self._engine = engine
        self._namespace = namespace
        self._dialect = engine.dialect
        self.checks: list[Check] = []

    async def run(self, files: Sequence[MigrationFile]) -> None:
        """Take one step after another, then the whole way down and up."""
        ways: list[tuple[Script, Script | None]] = []
        for file in files:
            way = self._prepared(file)
            if way is None or not await self._round_trip(*way):
                return
            ways.append(way)
        await self._whole_way(ways)

    def _prepared(self, file: MigrationFile) -> tuple[Script, Script | None] | None:
        try:
            up = prepare(file, Direction.UP, self._namespace, self._dialect)
            down = None
            if file.is_reversible(self._dialect):
                down = prepare(file, Direction.DOWN, self._namespace, self._dialect)
        except RequestError as error:
            self._note(f"{file.name}: reads", error.message)
            return None
        return up, down

    # --- one migration -----------------------------------------------------------------------

    async def _round_trip(self, up: Script, down: Script | None) -> bool:
        """Go up, down, up; fill; go down and up with the new rows. False if it cannot go on."""
        name = up.file.name
        before = await self._state()
        if not await self._run(f"{name}: UP runs", up):
            return False
        if down is None:
            self._note_one_way(up.file)
            await self._fill(name)
            return True
        after = await self._state()
        if not await self._run(f"{name}: DOWN runs", down):
            return False
        await self._compare_restored(down, before)
        if not await self._run(f"{name}: UP runs again", up):
            return False
        await self._compare_again(up, after)
        await self._fill(name)
        if not await self._round_trip_of_new_rows(up, down, before.structure):
            return False
        await self._filled()  # the way down and up left new columns at their defaults
        return True

    def _note_one_way(self, file: MigrationFile) -> None:
        name = f"{file.name}: can be rolled back"
        if file.irreversible is not None:
            self._pass(name, f"declared irreversible: {file.irreversible}")
        else:
            self._note(
                name,
                f"{file.file} has no DOWN section for {self._dialect}: write one, or a line "
                "'-- IRREVERSIBLE: reason'.",
            )

    async def _compare_restored(self, down: Script, before: _State) -> None:
        restored = await self._state()
        name, place = down.file.name, f"{down.file.file} DOWN"
        found = differences(before.structure, restored.structure, self._dialect)
        self._note(f"{name}: DOWN restores the schema", _told(place, found))
        lost = [*_changed_rows(before, restored), *_lost_counters(before, restored)]
        self._note(f"{name}: DOWN restores the data", _told(place, lost))
        if moved := reordered(before.structure, restored.structure):
            self._pass(
                f"{name}: DOWN keeps the order of columns",
                f"{place}: the columns of {', '.join(moved)} are in another order than before",
            )

    async def _compare_again(self, up: Script, after: _State) -> None:
        again = await self._state()
        name, place = up.file.name, f"{up.file.file} UP, the second time"
        found = differences(after.structure, again.structure, self._dialect)
        self._note(f"{name}: UP again gives the same schema", _told(place, found))
        changed = _changed_rows(after, again)
        if changed and _may_differ(up.file, self._dialect):
            self._pass(
                f"{name}: UP again gives the same data",
                f"{up.file.file} UP uses the clock or chance, so its rows were not compared",
            )
        elif changed:
            self._note(
                f"{name}: UP again gives the same data",
                _told(place, _changed_rows(after, again, but_generated_ids=True)),
            )
        else:
            self._pass(f"{name}: UP again gives the same data")

    async def _round_trip_of_new_rows(self, up: Script, down: Script, older: Structure) -> bool:
        """Rows written at the new version must survive a rollback, as far as the old one knows."""
        name = up.file.name
        before = await self._shared(older)
        if not await self._run(f"{name}: DOWN runs with rows of the new version", down):
            return False
        if not await self._run(f"{name}: UP runs with those rows", up):
            return False
        after = await self._shared(older)
        lost = [
            f"table {table}: {_loss(rows, after.get(table, Rows()))}"
            for table, rows in before.items()
            if rows != after.get(table)
        ]
        if lost and _may_differ(up.file, self._dialect):
            lost = []
        place = f"{up.file.file} DOWN and UP, with rows of the new version"
        self._note(f"{name}: rows of the new version survive", _told(place, lost))
        return True

    # --- all migrations ----------------------------------------------------------------------

    async def _whole_way(self, ways: Sequence[tuple[Script, Script | None]]) -> None:
        stops = [number for number, (_, down) in enumerate(ways) if down is None]
        reversible = ways[stops[-1] + 1 :] if stops else ways
        if not reversible:
            return
        top = await self._state()
        for _, down in reversed(reversible):
            assert down is not None
            if not await self._run("all: DOWN runs", down):
                return
        if not stops:
            bottom = (await self._state()).structure
            found = differences(Structure({}, {}), bottom, self._dialect)
            self._note("all: DOWN leaves nothing behind", _told("after the last DOWN", found))
        for up, _ in reversible:
            if not await self._run("all: UP runs again", up):
                return
        again = (await self._state()).structure
        found = differences(top.structure, again, self._dialect)
        self._note("all: UP again gives the same schema", _told("all the way down and up", found))

    # --- steps -------------------------------------------------------------------------------

    async def _run(self, name: str, script: Script) -> bool:
        try:
            await self._engine.exclusive(lambda: _performed(script))
        except RequestError as error:
            self._note(name, error.message)
            return False
        except EngineError as error:
            self._note(name, failed(script, None, error).message)
            return False
        if not any(check.name == name for check in self.checks):
            self._pass(name)
        return True

    async def _fill(self, name: str) -> None:
        """Write rows into every table; what took none is said, and does not count as a fault."""
        refused = await self._filled()
        reasons = [f"{table} took no generated row ({why})" for table, why in refused.items()]
        self._pass(f"{name}: tables are filled", "; ".join(reasons))

    async def _filled(self) -> dict[str, str]:
        structure = await self._engine.read(self._read)
        seed = len(self.checks)
        try:
            refused = await self._engine.write(lambda: fill(structure, self._dialect, seed=seed))
            await self._engine.exclusive(lambda: spell_alike(self._namespace, self._dialect))
        except EngineError as error:
            return dict.fromkeys(structure.tables, str(error))
        return refused

    def _read(self) -> Steps[Structure]:
        return read(self._dialect, self._namespace.prefix)

    async def _state(self) -> _State:
        def steps() -> Steps[_State]:
            structure = yield from self._read()
            rows = {}
            for table in structure.tables.values():
                rows[table.name] = yield from read_rows(table, sorted(table.columns))
            counters = yield from self._counters(structure)
            return _State(structure, rows, counters)

        return await self._engine.read(steps, scan=True)

    def _counters(self, structure: Structure) -> Steps[dict[str, int]]:
        if not any(AUTOINCREMENT in table.options for table in structure.tables.values()):
            return {}
        found = yield Statement(f"SELECT name, seq FROM {COUNTERS}")  # noqa: S608 - a constant
        return {
            name.removeprefix(self._namespace.prefix): seq
            for name, seq in found.rows
            if name.startswith(self._namespace.prefix)
        }

    async def _shared(self, older: Structure) -> dict[str, Rows]:
        """Return the rows of the tables and columns that the older version has, too."""

        def steps() -> Steps[dict[str, Rows]]:
            structure = yield from self._read()
            rows = {}
            for name, table in structure.tables.items():
                if name in older.tables:
                    shared = sorted(table.columns.keys() & older.tables[name].columns.keys())
                    rows[name] = yield from read_rows(table, shared)
            return rows

        return await self._engine.read(steps, scan=True)

    def _note(self, name: str, fault: str) -> None:
        self.checks.append(Check(name=name, passed=not fault, message=fault))

    def _pass(self, name: str, remark: str = "") -> None:
        self.checks.append(Check(name=name, passed=True, message=remark))


def _performed(script: Script) -> Steps[None]:
    """Run a script and bring what it wrote into normal form, as applying it does."""
    yield from own_tables.upgrade(dialect_of(script.dialect))
    yield from execute(script)
    yield from look_over(script)


def _changed_rows(before: _State, after: _State, *, but_generated_ids: bool = False) -> list[str]:
    found = []
    for name, rows in before.rows.items():
        table, now = before.structure.tables[name], after.rows.get(name, Rows())
        then = rows
        if but_generated_ids and table.counts_itself:
            place = sorted(table.columns).index(table.counts_itself)
            then, now = _without(then, place), _without(now, place)
        if then != now:
            found.append(f"table {name}: {_loss(then, now)}")
    return found


def _without(rows: Rows, place: int) -> Rows:
    kept: Rows = Rows()
    for row, times in rows.items():
        kept[row[:place] + row[place + 1 :]] += times
    return kept


def _loss(before: Rows, after: Rows) -> str:
    lost, added = before - after, after - before
    if lost.total() == added.total():
        example = next(iter(sorted(lost)), ())
        return (
            f"{lost.total()} of {before.total()} rows changed, for example ({', '.join(example)})"
        )
    return f"{before.total()} rows became {after.total()}"


def _lost_counters(before: _State, after: _State) -> list[str]:
    """A counter that goes back would give the id of a deleted row to another one."""
    return [
        f"table {name}: the AUTOINCREMENT counter went back from {was} to "
        f"{after.counters.get(name, 0)}, so ids of deleted rows would be given again"
        for name, was in before.counters.items()
        if after.counters.get(name, 0) < was
    ]


def _may_differ(file: MigrationFile, dialect: Dialect) -> bool:
    return any(
        token.keyword.lower() in NONDETERMINISTIC
        or (token.kind is Kind.STRING and token.value.lower() == "now")
        for command in file.commands(Direction.UP, dialect)
        for token in command.tokens
    )


def _told(place: str, found: Sequence[str]) -> str:
    if not found:
        return ""
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{place}: {'; '.join(found[:_SHOWN])}{more}"
