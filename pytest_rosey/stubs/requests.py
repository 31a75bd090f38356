"""What was asked of the fake, and how a part of a request is compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dbservice.embedded.interest import covers, is_valid_pattern

__tracebackhide__ = True

_SHOWN = 300
_LISTED = 20


@dataclass(frozen=True)
class SentRequest:
    """One request as the code under test sent it.

    Attributes:
        subject: where to.
        data: the payload.
        headers: the headers; empty if there were none.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def json(self) -> Any:
        """The decoded payload; an empty one counts as `{}`.

        Raises:
            ValueError: the payload is not JSON.
        """
        return json.loads(self.data or b"{}")

    def __str__(self) -> str:
        return f"{self.subject} with {short(self.content)}"

    @property
    def content(self) -> Any:
        """The decoded payload, or the payload itself if it is not JSON."""
        try:
            return self.json
        except ValueError:
            return self.data

    def matches(self, subject: str, part: Mapping[str, Any] | None) -> bool:
        """Return whether this request is on `subject` (wildcards allowed) and contains `part`."""
        return subject_matches(subject, self.subject) and difference(part, self) is None


def check_pattern(subject: str) -> None:
    """Refuse what no subject can fall under, in which nothing would ever be found.

    Raises:
        ValueError: it is no subject with NATS wildcards.
    """
    if not is_valid_pattern(subject.encode()):
        raise ValueError(f"{subject!r} is not a subject: empty token, or '>' before its end.")


def subject_matches(pattern: str, subject: str) -> bool:
    """Return whether a subject falls under a pattern with NATS wildcards."""
    return covers(pattern.encode(), subject.encode())


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a request does not contain what was looked for."""

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


def difference(part: Mapping[str, Any] | None, request: SentRequest) -> Difference | None:
    """Return where `request` does not contain `part`, or None if it does.

    Objects may have more fields than `part` names; lists must have the same length; `true` is not
    1.
    """
    if part is None:
        return None
    return _difference(part, request.content, "")


def seen_by(parts: Iterable[Mapping[str, Any] | None], request: SentRequest) -> Any:
    """Return of a request only the fields that at least one of `parts` looks at, or None."""
    wanted: dict[str, Any] = {}
    for part in parts:
        _merge(wanted, part or {})
    return _projection(wanted, request.content) if wanted else None


def listed(requests: Iterable[SentRequest]) -> str:
    """Return requests as a list of lines, the oldest first."""
    lines = [f"- {request}" for request in requests]
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"- … and {len(lines) - _LISTED} more"]
    return "\n".join(lines)


def short(value: Any) -> str:
    """Return the text of a value, cut to a length that can be read."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _difference(part: Any, whole: Any, path: str) -> Difference | None:
    if isinstance(part, Mapping) and isinstance(whole, dict):
        for name, value in part.items():
            place = f"{path}.{name}" if path else str(name)
            if name not in whole:
                return Difference(place, short(value), "nothing")
            if found := _difference(value, whole[name], place):
                return found
        return None
    if isinstance(part, list | tuple) and isinstance(whole, list) and len(part) == len(whole):
        for position, (wanted, given) in enumerate(zip(part, whole, strict=True)):
            if found := _difference(wanted, given, f"{path}[{position}]"):
                return found
        return None
    if isinstance(part, bool) is isinstance(whole, bool) and part == whole:
        return None
    return Difference(path or "the payload", short(part), short(whole))


def _merge(wanted: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        inner = wanted.setdefault(name, {})
        if isinstance(value, Mapping):
            _merge(inner, value)


def _projection(wanted: Mapping[str, Any], whole: Any) -> Any:
    if not wanted or not isinstance(whole, dict):
        return whole
    return {name: _projection(part, whole[name]) for name, part in wanted.items() if name in whole}
