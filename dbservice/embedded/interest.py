"""Who wants which subject: the broker's index of subscriptions (SPEC 5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

C = TypeVar("C")
"""What subscribes: a connection."""

ONE_TOKEN = b"*"
ONE_OR_MORE_TOKENS = b">"


def is_valid_pattern(pattern: bytes) -> bool:
    """Tell whether a server accepts `pattern` in SUB: no empty token, and ``>`` only at the end."""
    tokens = pattern.split(b".")
    return b"" not in tokens and ONE_OR_MORE_TOKENS not in tokens[:-1]


def is_literal(subject: bytes) -> bool:
    """Tell whether `subject` is well formed and holds no wildcard token."""
    tokens = subject.split(b".")
    return not {b"", ONE_TOKEN, ONE_OR_MORE_TOKENS}.intersection(tokens)


def covers(pattern: bytes, subject: bytes) -> bool:
    """Tell whether a subscription to `pattern` would receive `subject`.

    ``*`` stands for exactly one token and ``>`` for one or more. Wildcards inside `subject` are
    plain tokens, as they are when somebody publishes to them. A subject with an empty token is
    covered by nothing.
    """
    wanted, given = pattern.split(b"."), subject.split(b".")
    if b"" in given:
        return False
    for position, token in enumerate(wanted):
        if position == len(given):
            return False
        if token == ONE_OR_MORE_TOKENS:
            return True
        if token not in (ONE_TOKEN, given[position]):
            return False
    return len(wanted) == len(given)


@dataclass(slots=True, eq=False)
class Subscription(Generic[C]):
    """One SUB of one connection.

    Attributes:
        connection: The connection that subscribed.
        pattern: The subject it asked for, wildcards included.
        queue: Its queue group, or None for a plain subscription.
        sid: The subscription id the client chose; opaque to the server.
        order: Rises with every subscription of the broker; deliveries follow it.
        limit: Messages after which it ends (UNSUB with a maximum); 0 means no limit.
        delivered: Messages handed over so far.
    """

    connection: C
    pattern: bytes
    queue: bytes | None
    sid: bytes
    order: int
    limit: int = 0
    delivered: int = 0


def _order(subscription: Subscription[C]) -> int:
    return subscription.order


@dataclass(slots=True)
class _Node(Generic[C]):
    """What is subscribed below one prefix of tokens."""

    children: dict[bytes, _Node[C]] = field(default_factory=dict)
    any_child: _Node[C] | None = None
    here: list[Subscription[C]] = field(default_factory=list)
    everything_below: list[Subscription[C]] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (self.here or self.everything_below or self.children or self.any_child)

    def child(self, token: bytes) -> _Node[C] | None:
        return self.any_child if token == ONE_TOKEN else self.children.get(token)

    def grow(self, token: bytes) -> _Node[C]:
        found = self.child(token)
        if found is None:
            found = _Node()
            if token == ONE_TOKEN:
                self.any_child = found
            else:
                self.children[token] = found
        return found

    def cut(self, token: bytes) -> None:
        if token == ONE_TOKEN:
            self.any_child = None
        else:
            del self.children[token]


class Interest(Generic[C]):
    """All subscriptions of a broker, found by subject through a trie of tokens."""

    __slots__ = ("_root", "_subscriptions")

    def __init__(self) -> None:
        self._root: _Node[C] = _Node()
        self._subscriptions: set[Subscription[C]] = set()

    def __iter__(self) -> Iterator[Subscription[C]]:
        return iter(sorted(self._subscriptions, key=_order))

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, subscription: Subscription[C]) -> None:
        """Index `subscription`, whose pattern must be valid."""
        node = self._root
        *tokens, last = subscription.pattern.split(b".")
        for token in tokens:
            node = node.grow(token)
        if last == ONE_OR_MORE_TOKENS:
            node.everything_below.append(subscription)
        else:
            node.grow(last).here.append(subscription)
        self._subscriptions.add(subscription)

    def remove(self, subscription: Subscription[C]) -> None:
        """Forget `subscription` and the branches that only it held."""
        self._subscriptions.remove(subscription)
        path = [self._root]
        tokens = subscription.pattern.split(b".")
        below = tokens[-1] == ONE_OR_MORE_TOKENS
        if below:
            tokens.pop()
        for token in tokens:
            path.append(path[-1].grow(token))
        (path[-1].everything_below if below else path[-1].here).remove(subscription)
        while tokens and path.pop().is_empty():
            path[-1].cut(tokens.pop())

    def match(self, subject: bytes) -> list[Subscription[C]]:
        """Return the subscriptions that `subject` reaches, oldest first.

        A subject with an empty token (``a..b``) reaches nobody, not even ``>``.
        """
        tokens = subject.split(b".")
        if b"" in tokens:
            return []
        found: list[Subscription[C]] = []
        nodes = [self._root]
        for token in tokens:
            following = []
            for node in nodes:
                if node.everything_below:
                    found += node.everything_below
                if token in node.children:
                    following.append(node.children[token])
                if node.any_child is not None:
                    following.append(node.any_child)
            nodes = following
            if not nodes:
                break
        for node in nodes:
            found += node.here
        if len(found) > 1:
            found.sort(key=_order)
        return found
