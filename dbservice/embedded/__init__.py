"""Everything in one process: a NATS broker and a database service on it (SPEC 1, 5.2)."""

from dbservice.embedded.broker import Broker
from dbservice.embedded.client import EmbeddedClient
from dbservice.embedded.stack import Stack

__all__ = ["Broker", "EmbeddedClient", "Stack"]
