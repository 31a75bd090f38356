"""Users of the embedded broker and what each may publish and subscribe to (SPEC 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dbservice.embedded.interest import covers, is_literal


@dataclass(frozen=True, slots=True)
class Rules:
    """Which subjects one direction allows.

    Attributes:
        allow: Patterns that are allowed; None allows everything, an empty sequence nothing. For
            subscriptions an entry may be ``"pattern queue"``, which allows that queue group only.
        deny: Patterns taken away again from what is allowed.
    """

    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Responses:
    """Permission to answer requests on the reply subjects they carry.

    Attributes:
        limit: Replies to each request; 0 or less means any number.
        expires: Seconds for which a reply subject stays open; 0 or less means for ever.
    """

    limit: int = 1
    expires: float = 120.0


@dataclass(frozen=True, slots=True)
class User:
    """One user of the broker.

    Attributes:
        name: The name given as ``user=`` on connecting.
        password: The matching ``password=``.
        publish: What the user may publish to.
        subscribe: What the user may subscribe to.
        allow_responses: Lets the user publish to the reply subject of what was delivered to it,
            whatever `publish` says; without `publish.allow` nothing else may then be published.
    """

    name: str
    password: str = ""
    publish: Rules = Rules()
    subscribe: Rules = Rules()
    allow_responses: Responses | None = None

    def may_publish(self, subject: bytes) -> bool:
        """Tell whether the rules for publishing allow `subject`."""
        allow = self.publish.allow
        if allow is None and self.allow_responses is not None:
            allow = ()
        return (allow is None or _any_covers(allow, subject)) and not _any_covers(
            self.publish.deny, subject
        )

    def may_subscribe(self, pattern: bytes, queue: bytes | None) -> bool:
        """Tell whether the rules for subscribing allow `pattern` in the group `queue`."""
        allow = self.subscribe.allow
        allowed = allow is None or _grants(allow, pattern, queue)
        return allowed and not _grants(self.subscribe.deny, pattern, queue)

    def may_receive(self, pattern: bytes, subject: bytes) -> bool:
        """Tell whether a message reaches this user's subscription to `pattern`.

        A wildcard subscription may be broader than a denied subject inside it: the subscription
        stands, and the denied messages are left out.
        """
        return is_literal(pattern) or not _any_covers(self.subscribe.deny, subject)


def _any_covers(patterns: Iterable[str], subject: bytes) -> bool:
    return any(covers(pattern.encode(), subject) for pattern in patterns)


def _grants(entries: Iterable[str], pattern: bytes, queue: bytes | None) -> bool:
    """Apply `entries` as a server does: entries that name a queue decide for queue subscribers."""
    plain = False
    queues: list[bytes] = []
    for entry in entries:
        subject, _, group = entry.partition(" ")
        if not covers(subject.encode(), pattern):
            continue
        if group:
            queues.append(group.strip().encode())
        else:
            plain = True
    if queue is not None and queues:
        return any(covers(group, queue) for group in queues)
    return plain
