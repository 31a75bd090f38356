"""Names that come from messages: plugins, tables, columns."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.limits import MAX_IDENTIFIER, MAX_PLUGIN_NAME

PLUGIN_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")

PLUGIN_RULE = (
    "lower-case letters and digits, starting with a letter, in words joined by single '-' or '_', "
    f"at most {MAX_PLUGIN_NAME} characters"
)
IDENTIFIER_RULE = (
    "lower-case letters, digits and single underscores, starting with a letter, without '__'"
)


class Namespace(msgspec.Struct, frozen=True):
    """The part of the database that belongs to one plugin.

    Make one with `namespace()`, which checks the name.

    Attributes:
        plugin: the plugin's name as it stands in subjects, for example `quote-db`.
        prefix: what its table names start with, for example `quote_db__`.
    """

    plugin: str
    prefix: str

    def table(self, name: str) -> str:
        """Return the full name of a table of this plugin.

        Args:
            name: the bare table name, as it stands in requests.

        Raises:
            RequestError: VALIDATION_ERROR if the name is malformed or an engine's own, or with
                reason LIMIT if the full name would be longer than an engine keeps.
        """
        full = self.prefix + identifier(name, field="table")
        if full.startswith("sqlite_"):
            raise invalid(
                f"The plugin '{self.plugin}' cannot have tables: SQLite keeps every name that "
                "begins with 'sqlite_' to itself. Rename the plugin.",
                field="table",
            )
        if len(full) > MAX_IDENTIFIER:
            raise invalid(
                f"The table name '{name[:64]}' is too long: with the plugin's prefix it has "
                f"{len(full)} characters, and the limit is {MAX_IDENTIFIER}.",
                reason=Reason.LIMIT,
                field="table",
                limit=MAX_IDENTIFIER,
                got=len(full),
            )
        return full


@lru_cache(maxsize=4096)
def namespace(plugin: str) -> Namespace:
    """Return the namespace of a plugin.

    Raises:
        RequestError: INVALID_SUBJECT if `plugin` is not a plugin name.
    """
    if len(plugin) > MAX_PLUGIN_NAME or not PLUGIN_NAME.fullmatch(plugin):
        raise RequestError(
            ErrorCode.INVALID_SUBJECT,
            f"'{plugin[:80]}' is not a plugin name: expected {PLUGIN_RULE}.",
            field="plugin",
            expected=PLUGIN_NAME.pattern,
            got=plugin[:80],
        )
    return Namespace(plugin, plugin.replace("-", "_") + "__")


def identifier(name: str, *, field: str) -> str:
    """Return `name` if it is a well-formed table or column name.

    Args:
        name: what the message said.
        field: where it stood in the message, for the error.

    Raises:
        RequestError: VALIDATION_ERROR otherwise.
    """
    if len(name) > MAX_IDENTIFIER or "__" in name or not IDENTIFIER.fullmatch(name):
        raise invalid(
            f"'{name[:80]}' is not a valid name: expected {IDENTIFIER_RULE}, "
            f"at most {MAX_IDENTIFIER} characters.",
            field=field[:200],
            expected=IDENTIFIER.pattern,
            got=name[:80],
        )
    return name
