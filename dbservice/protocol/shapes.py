"""What a message allows at a place within it, for the errors about that place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import inspect

from dbservice.protocol.messages import Request

_STEP = re.compile(r"\[[^\]]*\]|[^.\[]+")


def fields_at(message: type[Request], path: str) -> list[str]:
    """Return the field names of the object that a message has at a path.

    Args:
        message: the type of the request.
        path: where, for example `schema.fields[2]`.
    """
    return [
        field.encode_name
        for shape in _shapes_at(message, path)
        if isinstance(shape, inspect.StructType)
        for field in shape.fields
    ]


def values_at(message: type[Request], path: str) -> list[str]:
    """Return the fixed values that a message allows at a path.

    Args:
        message: the type of the request.
        path: where, for example `schema.fields[2].type`.
    """
    return [value for shape in _shapes_at(message, path) for value in _values(shape)]


def _shapes_at(message: type[Request], path: str) -> list[inspect.Type]:
    shapes = _alternatives(inspect.type_info(message))
    for step in _STEP.findall(path):
        shapes = [inner for shape in shapes for inner in _within(shape, step)]
    return shapes


def _alternatives(shape: inspect.Type) -> list[inspect.Type]:
    match shape:
        case inspect.UnionType(types):
            return [inner for part in types for inner in _alternatives(part)]
        case inspect.Metadata(part):
            return _alternatives(part)
        case _:
            return [shape]


def _within(shape: inspect.Type, step: str) -> Iterator[inspect.Type]:
    match shape:
        case inspect.StructType(fields=fields):
            for field in fields:
                if field.encode_name == step:
                    yield from _alternatives(field.type)
        case inspect.ListType(item_type=item) if step.startswith("["):
            yield from _alternatives(item)


def _values(shape: inspect.Type) -> list[str]:
    match shape:
        case inspect.EnumType(cls=choices):
            return [str(choice.value) for choice in choices]
        case inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case _:
            return []
