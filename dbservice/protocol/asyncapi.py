"""The contract as an AsyncAPI 3 document, for generators of clients and of pages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dbservice.protocol.messages import Failure
from dbservice.protocol.migrations import SchemaChanged
from dbservice.protocol.names import PLUGIN_NAME
from dbservice.protocol.operations import OPERATIONS, Operation
from dbservice.protocol.reference import PLACEHOLDER, subjects_of
from dbservice.protocol.subjects import Family, schema_changed_subject

_VERSION: Final = "3.0.0"
_EVENT: Final = "event.schema_changed"
_PLUGIN: Final = {
    "description": f"The plugin's name: {PLUGIN_NAME.pattern}, at most 64 characters.",
    "examples": ["quote-db"],
}


def asyncapi() -> dict[str, Any]:
    """Return the document: a channel for each subject, as the service sees them.

    It receives requests and answers each on the inbox that came with it, and it sends one event.
    """
    channels = {name: _channel(subject, operation) for name, subject, operation in _subjects()}
    operations = {name: _operation(name, operation) for name, _, operation in _subjects()}
    _, schemas = msgspec.json.schema_components(
        dict.fromkeys(_messages()), ref_template="#/components/schemas/{name}"
    )
    return {
        "asyncapi": _VERSION,
        "info": {
            "title": "Rosey database service",
            "version": "1.0.0",
            "description": "Requests and replies over NATS; each is one JSON object in UTF-8.",
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": {
            **channels,
            "reply": {
                "address": None,
                "description": "The inbox that the request names.",
                "messages": {name: _message(name) for name in sorted(_replies())},
            },
            _EVENT: {
                "address": schema_changed_subject("quote-db").replace("quote-db", "{plugin}"),
                "parameters": {"plugin": _PLUGIN},
                "messages": {"SchemaChanged": _message("SchemaChanged")},
            },
        },
        "operations": {
            **operations,
            _EVENT: {"action": "send", "channel": {"$ref": f"#/channels/{_EVENT}"}},
        },
        "components": {
            "messages": {
                message.__name__: {
                    "name": message.__name__,
                    "summary": _first_sentence(message),
                    "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
                }
                for message in dict.fromkeys(_messages())
            },
            "schemas": schemas,
        },
    }


def _subjects() -> list[tuple[str, str, Operation]]:
    """Return each subject with a name of its own, and what is asked for there."""
    return [
        (_name(subject, operation), subject, operation)
        for operation in OPERATIONS.values()
        for subject in subjects_of(operation)
    ]


def _name(subject: str, operation: Operation) -> str:
    is_global = operation.family is not Family.SERVICE and PLACEHOLDER not in subject
    return f"{operation.family}.{operation.name}{'.global' if is_global else ''}"


def _channel(subject: str, operation: Operation) -> dict[str, Any]:
    name = operation.request.__name__
    channel: dict[str, Any] = {
        "address": subject.replace(PLACEHOLDER, "{plugin}"),
        "messages": {name: _message(name)},
    }
    if PLACEHOLDER in subject:
        channel["parameters"] = {"plugin": _PLUGIN}
    return channel


def _operation(name: str, operation: Operation) -> dict[str, Any]:
    replies = [*(reply.__name__ for reply in operation.replies), Failure.__name__]
    request = operation.request.__name__
    return {
        "action": "receive",
        "summary": operation.summary,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{request}"}],
        "reply": {
            "channel": {"$ref": "#/channels/reply"},
            "messages": [{"$ref": f"#/channels/reply/messages/{reply}"} for reply in replies],
        },
    }


def _replies() -> set[str]:
    found = {reply.__name__ for operation in OPERATIONS.values() for reply in operation.replies}
    return found | {Failure.__name__}


def _messages() -> list[type[msgspec.Struct]]:
    messages: list[type[msgspec.Struct]] = [Failure, SchemaChanged]
    for operation in OPERATIONS.values():
        messages += [operation.request, *operation.replies]
    return messages


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _first_sentence(message: type[msgspec.Struct]) -> str:
    return (message.__doc__ or "").strip().split("\n")[0]
