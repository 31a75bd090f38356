"""Housekeeping of SQLite's AUTOINCREMENT counters (SPEC 4).

All plugins share the table `sqlite_sequence`, so a command that touches it must have one of a few
exact shapes, each of which names the one table of this plugin that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dbservice.sqltext.lexer import Kind, SqlError, Token, at

TABLE = "sqlite_sequence"
_PINNED = "FROM sqlite_sequence WHERE name = 'table'"
SHAPES = (
    f"… {_PINNED}",
    "UPDATE sqlite_sequence SET seq = … WHERE name = 'table'",
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('table', …)",
    f"INSERT INTO sqlite_sequence (name, seq) SELECT 'table', … {_PINNED}",
)


def qualified(
    tokens: Sequence[Token], index: int, full_table: Callable[[str, int], str]
) -> dict[int, str]:
    """Return the string literals to replace, with the plugin's prefix on the table they name.

    Args:
        tokens: of the whole command.
        index: where `sqlite_sequence` stands.
        full_table: gives the full name of a table, or refuses it.

    Raises:
        SqlError: the command has none of the allowed shapes.
    """
    literal = _find_literal(tokens, index)
    if literal is None:
        shapes = "; ".join(SHAPES)
        raise SqlError(
            f"{TABLE} holds the counters of all plugins, so it is used only as: {shapes}",
            tokens[index].line,
        )
    token = tokens[literal]
    return {literal: f"'{full_table(token.value, token.line)}'"}


def _find_literal(tokens: Sequence[Token], index: int) -> int | None:
    """Return the index of the literal that names the table, if the shape is an allowed one."""
    before = tokens[index - 1].keyword
    if before == "FROM":
        return _where(tokens, index + 1)
    stop = _stop(tokens, index)
    if before == "UPDATE" and _reads(tokens, index + 1, "SET", "SEQ", "="):
        one_column = "," not in _outside_parentheses(tokens, index, stop)
        return _where(tokens, stop - 4) if one_column else None
    columns = ("(", "NAME", ",", "SEQ", ")")
    if before == "INTO" and _reads(tokens, index + 1, *columns):
        return _inserted(tokens, index + 1 + len(columns), stop)
    return None


def _inserted(tokens: Sequence[Token], index: int, stop: int) -> int | None:
    if _reads(tokens, index, "VALUES", "("):
        literal = index + 2
        one_row = _outside_parentheses(tokens, index + 1, stop) == []
        return literal if one_row and _is_literal(tokens, literal, ",") else None
    if _reads(tokens, index, "SELECT"):
        literal, outside = index + 1, _outside_parentheses(tokens, index, stop)
        # Another arm or another source could bring rows that name other plugins' tables.
        alone = outside[-6:-4] == ["FROM", TABLE.upper()] and outside.count(",") == 1
        alone = alone and not {"UNION", "JOIN"} & set(outside)
        return literal if alone and _is_literal(tokens, literal, ",") else None
    return None


def _where(tokens: Sequence[Token], index: int) -> int | None:
    """Return the literal of `WHERE name = 'table'`, if that is all there is."""
    if not _reads(tokens, index, "WHERE", "NAME", "="):
        return None
    literal = index + 3
    ends = at(tokens, literal + 1).text in ("", ")", ";")
    return literal if ends and _is_literal(tokens, literal) else None


def _is_literal(tokens: Sequence[Token], index: int, follower: str | None = None) -> bool:
    token = at(tokens, index)
    if token.kind is not Kind.STRING or not token.text.startswith("'"):
        return False
    return follower is None or _reads(tokens, index + 1, follower)


def _reads(tokens: Sequence[Token], index: int, *words: str) -> bool:
    return [token.text.upper() for token in tokens[index : index + len(words)]] == list(words)


def _stop(tokens: Sequence[Token], index: int) -> int:
    """Return where the command that stands at `index` ends (in a trigger, at its semicolon)."""
    for position in range(index, len(tokens)):
        if tokens[position].text == ";":
            return position
    return len(tokens)


def _outside_parentheses(tokens: Sequence[Token], start: int, stop: int) -> list[str]:
    depth, found = 0, []
    for token in tokens[start:stop]:
        if token.text == "(":
            depth += 1
        elif token.text == ")":
            depth -= 1
        elif depth == 0:
            found.append(token.text.upper())
    return found
