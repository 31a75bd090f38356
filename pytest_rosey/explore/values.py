"""Values that are compared: answers and payloads, down to what they consist of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

Leaves = dict[str, Any]
"""What a value consists of, by the path to it."""


def payload_of(payload: bytes) -> Any:
    """Return the JSON of a payload, or what else it is."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def agree(one: Any, other: Any, third: Any) -> bool:
    """Return whether a third value has, where two agree, what they have."""
    ours, theirs, its = leaves_of(one), leaves_of(other), leaves_of(third)
    differing = {path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path)}
    return {p: v for p, v in ours.items() if p not in differing} == {
        p: v for p, v in its.items() if p not in differing
    }


def leaves_of(value: Any) -> Leaves:
    """Return what a value consists of; of objects without a known inside, only their kind."""
    return dict(_walked(value, ""))


def _walked(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = _children(value)
    if children is None:
        plain = value is None or isinstance(value, str | int | float | bytes)
        yield path, (type(value).__name__, value if plain else None)
        return
    yield path, (type(value).__name__, len(children))
    for name, child in children:
        yield from _walked(child, f"{path}.{name}")


def _children(value: Any) -> list[tuple[object, Any]] | None:
    if isinstance(value, bytes):
        decoded = payload_of(value)
        return None if isinstance(decoded, bytes) else [("json", decoded)]
    if isinstance(value, Mapping):
        return sorted(value.items(), key=lambda item: str(item[0]))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, set | frozenset):
        return list(enumerate(sorted(value, key=repr)))
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return None
