"""A nats-server configuration in which every plugin reaches its own namespace only (SPEC 3.6).

Two forms. With **accounts**, each plugin lives in an account of its own, in which other plugins'
subjects do not exist: a request to one is answered "no responders" at once, inboxes are private,
and the global key-value subjects are mapped onto the plugin's own, so that a plugin name in a
payload proves nothing and is not needed. With **users**, all share one account, and each user may
publish and subscribe only to the subjects listed for it; a refused request then looks like a
timeout, and the global key-value subjects are closed, because nothing could check the name in them.

What each may do stands beside each operation in the table of the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import namespace
from dbservice.protocol.operations import GLOBAL_KV_OPERATIONS, OPERATIONS, Callers
from dbservice.protocol.subjects import (
    ALL_REQUESTS,
    QUEUE_GROUP,
    Family,
    command_subject,
    event_subjects,
    plugin_event_subject,
    subject_for,
)

SERVICE: Final = "ROSEY_DB"
ADMIN: Final = "ROSEY_ADMIN"
GATEWAY: Final = "ROSEY_GATEWAY"
ROLES: Final = (SERVICE, ADMIN, GATEWAY)
"""Accounts beside those of the plugins. No plugin name has capital letters, so none is taken."""

_DISCOVERY = "$SRV.>"


def allowed(caller: Callers, plugin: str | None = None) -> list[str]:
    """Return the request subjects that a caller may use.

    Args:
        caller: who asks.
        plugin: whose data they are about; None for the subjects of the service itself.
    """
    return [
        subject_for(family, name, plugin)
        for (family, name), operation in OPERATIONS.items()
        if caller in operation.callers and (family is Family.SERVICE) == (plugin is None)
    ]


_OF_PLUGINS = allowed(Callers.PLUGIN)
_OF_ADMIN = allowed(Callers.ADMIN)


def password_variable(user: str) -> str:
    """Return the environment variable that a nats-server reads a user's password from."""
    if user in ROLES:
        return f"{user}_PASSWORD"
    return f"ROSEY_PASSWORD_{user.replace('-', '_').upper()}"


def accounts_configuration(plugins: Sequence[str], passwords: Mapping[str, str]) -> str:
    """Return a configuration with an account for each plugin.

    Args:
        plugins: their names.
        passwords: by user; the others become references to environment variables.

    Raises:
        RequestError: INVALID_SUBJECT if one is not a plugin name, NAMESPACE_CONFLICT if two share
            a namespace.
    """
    names = _checked(plugins)
    lines = [*_preamble(names, passwords, "Accounts: one for each plugin."), "accounts {"]
    lines += _account(SERVICE, passwords, exports=_service_exports(names))
    lines += _account(ADMIN, passwords, imports=_admin_imports(names))
    lines += _account(GATEWAY, passwords, imports=_gateway_imports(names))
    for name in names:
        lines += _account(
            name, passwords, exports=_plugin_exports(name), imports=_plugin_imports(name)
        )
    return "\n".join([*lines, "}", ""])


def users_configuration(plugins: Sequence[str], passwords: Mapping[str, str]) -> str:
    """Return a configuration with one account, and a user with permissions for each plugin.

    Args:
        plugins: their names.
        passwords: by user; the others become references to environment variables.

    Raises:
        RequestError: INVALID_SUBJECT if one is not a plugin name, NAMESPACE_CONFLICT if two share
            a namespace.
    """
    names = _checked(plugins)
    lines = [*_preamble(names, passwords, "Users: one account, with permissions."), *_USERS_NOTES]
    lines += ["authorization {", "  users = ["]
    lines += _user(
        SERVICE,
        passwords,
        publish=["_INBOX.>", "$SRV.>", *map(event_subjects, names)],
        subscribe=[f"{ALL_REQUESTS} {QUEUE_GROUP}", "$SRV.>", _inbox(SERVICE)],
    )
    lines += _user(
        ADMIN,
        passwords,
        publish=[
            *_OF_ADMIN,
            _DISCOVERY,
            *(s for name in names for s in allowed(Callers.ADMIN, name)),
        ],
        subscribe=[_inbox(ADMIN), *map(event_subjects, names)],
    )
    lines += _user(
        GATEWAY,
        passwords,
        publish=[command_subject(name) for name in names],
        subscribe=[_inbox(GATEWAY), *(plugin_event_subject(name, ">") for name in names)],
    )
    for name in names:
        own_events = plugin_event_subject(name, ">")
        lines += _user(
            name,
            passwords,
            publish=[*_OF_PLUGINS, *allowed(Callers.PLUGIN, name), own_events, _inbox(GATEWAY)],
            subscribe=[_inbox(name), command_subject(name), event_subjects(name), own_events],
        )
    return "\n".join([*lines, "  ]", "}", ""])


_USERS_NOTES = (
    "#",
    '# Clients connect with inbox_prefix="_INBOX.<user>"; without it every request times out.',
    "# The global key-value subjects (rosey.db.kv.get …) are closed: use the plugin form, or",
    "# accounts.",
)


def _checked(plugins: Sequence[str]) -> list[str]:
    """Return the names once each."""
    owners: dict[str, str] = {}
    for name in plugins:
        own = namespace(name)
        if owners.setdefault(own.prefix, own.plugin) != own.plugin:
            raise RequestError(
                ErrorCode.NAMESPACE_CONFLICT,
                f"'{owners[own.prefix]}' and '{name}' are two spellings of one namespace ('-' and "
                "'_' are the same in table names). Name one of them.",
            )
    return list(owners.values())


def _preamble(names: Sequence[str], passwords: Mapping[str, str], form: str) -> Iterator[str]:
    yield "# nats-server configuration for the Rosey database service."
    yield f"# {form}"
    yield "# Made by `rosey permissions`; make it anew when a plugin comes or goes."
    wanted = [name for name in (*ROLES, *names) if name not in passwords]
    if len(wanted) < len(names) + len(ROLES):
        yield "# This file holds passwords: keep it from other users of the machine."
    if wanted:
        yield "# Before nats-server is started, these environment variables must be set:"
        yield from (f"#   {password_variable(name)}" for name in wanted)


# --- accounts ----------------------------------------------------------------------------------


def _account(
    name: str,
    passwords: Mapping[str, str],
    *,
    exports: Iterable[str] = (),
    imports: Iterable[str] = (),
) -> Iterator[str]:
    yield f"  {_quoted(name)} {{"
    yield f"    users = [ {{ {_credentials(name, passwords)} }} ]"
    yield from _block("exports", exports)
    yield from _block("imports", imports)
    yield "  }"


def _block(title: str, entries: Iterable[str]) -> Iterator[str]:
    lines = [f"      {{ {entry} }}" for entry in entries]
    if lines:
        yield f"    {title} = ["
        yield from lines
        yield "    ]"


def _service_exports(names: Sequence[str]) -> Iterator[str]:
    everyone = ", ".join(map(_quoted, (ADMIN, *names)))
    for subject in _OF_PLUGINS:
        yield f"service: {subject}, accounts: [{everyone}]"
    for subject in sorted(set(_OF_ADMIN) - set(_OF_PLUGINS)):
        yield f"service: {subject}, accounts: [{ADMIN}]"
    yield f"service: {_quoted(_DISCOVERY)}, response: stream, accounts: [{ADMIN}]"
    for name in names:
        plugin_may, admin_may = allowed(Callers.PLUGIN, name), allowed(Callers.ADMIN, name)
        for subject in dict.fromkeys([*plugin_may, *admin_may]):
            who = [_quoted(name)] if subject in plugin_may else []
            who += [ADMIN] if subject in admin_may else []
            yield f"service: {subject}, accounts: [{', '.join(who)}]"
        yield f"stream: {event_subjects(name)}, accounts: [{_quoted(name)}, {ADMIN}]"


def _plugin_imports(name: str) -> Iterator[str]:
    for subject in (*_OF_PLUGINS, *allowed(Callers.PLUGIN, name)):
        yield _service_import(SERVICE, subject)
    for operation in GLOBAL_KV_OPERATIONS:
        own = subject_for(Family.KV, operation, name)
        yield f"{_service_import(SERVICE, own)}, to: {subject_for(Family.KV, operation)}"
    yield _stream_import(SERVICE, event_subjects(name))


def _plugin_exports(name: str) -> Iterator[str]:
    yield f"service: {command_subject(name)}, accounts: [{GATEWAY}]"
    yield f"stream: {plugin_event_subject(name, '>')}, accounts: [{GATEWAY}]"


def _admin_imports(names: Sequence[str]) -> Iterator[str]:
    yield from (_service_import(SERVICE, subject) for subject in (*_OF_ADMIN, _DISCOVERY))
    for name in names:
        yield from (_service_import(SERVICE, subject) for subject in allowed(Callers.ADMIN, name))
        yield _stream_import(SERVICE, event_subjects(name))


def _gateway_imports(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield _service_import(name, command_subject(name))
        yield _stream_import(name, plugin_event_subject(name, ">"))


def _service_import(account: str, subject: str) -> str:
    return f"service: {{ account: {_quoted(account)}, subject: {_quoted(subject)} }}"


def _stream_import(account: str, subject: str) -> str:
    return f"stream: {{ account: {_quoted(account)}, subject: {_quoted(subject)} }}"


# --- users -------------------------------------------------------------------------------------


def _user(
    name: str, passwords: Mapping[str, str], *, publish: Iterable[str], subscribe: Iterable[str]
) -> Iterator[str]:
    yield f"    {{ {_credentials(name, passwords)}"
    yield "      permissions {"
    yield f"        publish: {{ allow: [{', '.join(map(_quoted, publish))}] }}"
    yield f"        subscribe: {{ allow: [{', '.join(map(_quoted, subscribe))}] }}"
    yield "      } }"


def _inbox(name: str) -> str:
    return f"_INBOX.{name}.>"


def _credentials(name: str, passwords: Mapping[str, str]) -> str:
    secret = _quoted(passwords[name]) if name in passwords else f"${password_variable(name)}"
    return f"user: {_quoted(name)}, password: {secret}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
