"""Subjects: built and parsed here and nowhere else."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dbservice.protocol.errors import ErrorCode, RequestError, did_you_mean, nearest
from dbservice.protocol.names import Namespace, namespace

ROOT = "rosey.db"
ALL_REQUESTS = f"{ROOT}.>"
"""What the service subscribes to."""

QUEUE_GROUP = "rosey-db"
SERVICE_NAME = "rosey-db"


class Family(StrEnum):
    """The token behind the root: which part of the contract a subject belongs to."""

    KV = "kv"
    ROW = "row"
    MIGRATE = "migrate"
    SQL = "sql"
    NAMESPACE = "namespace"
    SERVICE = "service"
    """Has no token of its own: `rosey.db.ping`, `rosey.db.info`."""

    __hash__ = str.__hash__  # it is part of what is looked up for each request


EVENT = "event"


class Address(msgspec.Struct, frozen=True):
    """What a request subject says.

    Attributes:
        family: the part of the contract.
        operation: the operation's name, for example `insert` or `schema.register`.
        namespace: the plugin's namespace; None on the global KV subjects and for the service.
    """

    family: Family
    operation: str
    namespace: Namespace | None = None

    @property
    def is_global_kv(self) -> bool:
        """Whether the plugin's name is to be found in the payload."""
        return self.family is Family.KV and self.namespace is None


def subject_for(family: Family, operation: str, plugin: str | None = None) -> str:
    """Return the subject of a request.

    Args:
        family: the part of the contract.
        operation: the operation's name.
        plugin: the plugin's name; None for the global KV form and for the service family.

    Raises:
        RequestError: INVALID_SUBJECT if `plugin` is not a plugin name.
    """
    if family is Family.SERVICE:
        return f"{ROOT}.{operation}"
    if plugin is None:
        return f"{ROOT}.{family}.{operation}"
    return f"{ROOT}.{family}.{namespace(plugin).plugin}.{operation}"


def subject_pattern(family: Family, operation: str) -> str:
    """Return the subject of an operation with `*` in the place of the plugin's name."""
    if family is Family.SERVICE:
        return f"{ROOT}.{operation}"
    return f"{ROOT}.{family}.*.{operation}"


def schema_changed_subject(plugin: str) -> str:
    """Return the subject of the event that follows a migration."""
    return f"{ROOT}.{EVENT}.{namespace(plugin).plugin}.schema_changed"


def event_subjects(plugin: str) -> str:
    """Return the pattern of all events that the service publishes about a plugin."""
    return f"{ROOT}.{EVENT}.{namespace(plugin).plugin}.>"


def command_subject(plugin: str, action: str = "*") -> str:
    """Return the subject on which the chat gateway sends a plugin its commands."""
    return f"rosey.command.{namespace(plugin).plugin}.{action}"


def plugin_event_subject(plugin: str, event: str) -> str:
    """Return the subject on which a plugin publishes what happened."""
    return f"rosey.event.{namespace(plugin).plugin}.{event}"


def is_event(subject: str) -> bool:
    """Return whether a subject below the root is an event, to which nobody answers."""
    return subject.startswith(f"{ROOT}.{EVENT}.")


def is_storage_subject(subject: str) -> bool:
    """Return whether a subject belongs to this contract."""
    return subject.startswith(f"{ROOT}.")


def parse(subject: str) -> Address:
    """Return what a request subject says. Whether the operation exists is not checked here.

    Raises:
        RequestError: INVALID_SUBJECT if the subject is malformed.
    """
    tokens = subject.split(".")[2:]
    if not is_storage_subject(subject) or not all(tokens):
        raise _malformed(subject)
    if len(tokens) == 1:
        return Address(Family.SERVICE, tokens[0])
    family = _family(tokens[0])
    if family is Family.KV and len(tokens) == 2:
        return Address(family, tokens[1])
    if len(tokens) < 3:
        raise _malformed(subject)
    return Address(family, ".".join(tokens[2:]), namespace(tokens[1]))


def _family(token: str) -> Family:
    known = {family.value: family for family in Family if family is not Family.SERVICE}
    if token not in known:
        raise RequestError(
            ErrorCode.INVALID_SUBJECT,
            f"'{token[:80]}' is not a family of operations: expected one of "
            f"{', '.join(known)}.{did_you_mean(token, known)}",
            expected=list(known),
            got=token[:80],
            nearest=nearest(token, known),
        )
    return known[token]


def _malformed(subject: str) -> RequestError:
    return RequestError(
        ErrorCode.INVALID_SUBJECT,
        f"'{subject[:120]}' is not a request subject: expected "
        f"'{ROOT}.<family>.<plugin>.<operation>'.",
        expected=f"{ROOT}.<family>.<plugin>.<operation>",
        got=subject[:120],
    )
