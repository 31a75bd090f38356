"""`rosey permissions`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.protocol.errors import RequestError
from dbservice.server.permissions import ROLES, accounts_configuration, users_configuration


def print_permissions(plugins: Sequence[str], *, users: bool, password_file: Path | None) -> int:
    """Print a nats-server configuration; return the exit code.

    Args:
        plugins: their names.
        users: one account with permissions instead of an account for each plugin.
        password_file: passwords to write into the configuration, `NAME=password` a line.

    Raises:
        CommandFailed: a name or the file is wrong; the text says how.
    """
    if not plugins:
        raise CommandFailed("Name the plugins: rosey permissions quote-db trivia", USAGE)
    make = users_configuration if users else accounts_configuration
    passwords = {} if password_file is None else _passwords(password_file, plugins)
    try:
        sys.stdout.write(make(plugins, passwords))
    except RequestError as error:
        raise CommandFailed(error.message, USAGE) from None
    return 0


def _passwords(path: Path, plugins: Sequence[str]) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--password-file {path} cannot be read: {error}", USAGE) from None
    known = {*ROLES, *plugins}
    passwords: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, separator, password = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not separator or not password or name not in known:
            # Never the line itself: it holds a password.
            raise CommandFailed(
                f"--password-file {path} line {number}: expected NAME=password, with one of "
                f"{', '.join(sorted(known))}.",
                USAGE,
            )
        passwords[name] = password
    return passwords
