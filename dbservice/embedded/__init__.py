"""Everything in one process: a NATS broker and a database service on it (SPEC 1, 5.2).

The names are imported when they are first used: a test that only needs the bus does not pay for
the service and its database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbservice.embedded.broker import Broker
    from dbservice.embedded.client import EmbeddedClient
    from dbservice.embedded.connection import Publication
    from dbservice.embedded.permissions import Responses, Rules, User
    from dbservice.embedded.stack import Stack

__all__ = ["Broker", "EmbeddedClient", "Publication", "Responses", "Rules", "Stack", "User"]

_HOMES = {
    "Broker": "broker",
    "EmbeddedClient": "client",
    "Publication": "connection",
    "Responses": "permissions",
    "Rules": "permissions",
    "Stack": "stack",
    "User": "permissions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
