"""`rosey permissions`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.server.permissions import ROLES, accounts_configuration, users_configuration


def configuration(plugins: Sequence[str], *, users: bool, password_file: Path | None) -> str:
    """Return a nats-server configuration.

    Args:
        plugins: their names.
        users: one account with permissions instead of an account for each plugin.
        password_file: passwords to write into the configuration, `NAME=password` a line.

    Raises:
        CommandFailed: a name or the file is wrong; the text says how.
        RequestError: a name is none of a plugin.
    """
    if not plugins:
        raise CommandFailed("Name the plugins: rosey permissions quote-db trivia", USAGE)
    make = users_configuration if users else accounts_configuration
    passwords = {} if password_file is None else _passwords(password_file, plugins)
    return make(list(dict.fromkeys(plugins)), passwords)


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
