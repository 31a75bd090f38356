"""One direction of a migration file, ready to run: split, qualified, checked (SPEC 4)."""

from __future__ import annotations

from dataclasses import dataclass

from dbservice.migrate.files import Direction, MigrationFile, refusal
from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import Command, SqlError
from dbservice.sqltext.qualify import qualify


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """One statement as it will be executed.

    Attributes:
        sql: with the plugin's prefix on its names.
        line: where it starts in the file.
        number: its place among the statements of this direction, from 1.
        is_uncounted: the driver does not say how many rows it wrote, so ask the engine.
    """

    sql: str
    line: int
    number: int
    is_uncounted: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """All statements that take a database one version up or down."""

    file: MigrationFile
    direction: Direction
    statements: tuple[PreparedStatement, ...]
    namespace: Namespace
    dialect: Dialect

    @property
    def is_up(self) -> bool:
        """Whether it applies the migration."""
        return self.direction is Direction.UP


def prepare(
    file: MigrationFile, direction: Direction, namespace: Namespace, dialect: Dialect
) -> Script:
    """Return the statements of one direction, after checking every one of them.

    Raises:
        RequestError: MIGRATION_FAILED with file and line if a statement is refused, or if there
            is no SQL for this engine and no section that says so.
    """
    commands = file.commands(direction, dialect)
    if not commands and not file.marks(direction, dialect):
        raise refusal(
            file.file,
            None,
            f"there are no {direction} statements for {dialect}",
            expected=f"SQL after '-- {direction}', or '-- {direction} ({dialect})' with nothing "
            "below it if there is nothing to do",
        )
    prepared = []
    for number, command in enumerate(commands, 1):
        try:
            sql = qualify(command, namespace, dialect)
        except SqlError as error:
            raise refusal(file.file, error.line, error.message) from None
        uncounted = dialect is Dialect.SQLITE and _writes_after_with(command)
        prepared.append(PreparedStatement(sql, command.line, number, uncounted))
    return Script(file, direction, tuple(prepared), namespace, dialect)


def _writes_after_with(command: Command) -> bool:
    """Whether this is `WITH … INSERT`, `UPDATE` or `DELETE`, which sqlite3 takes for a query."""
    words = {token.keyword for token in command.tokens}
    return command.tokens[0].keyword == "WITH" and bool(words & {"INSERT", "UPDATE", "DELETE"})
