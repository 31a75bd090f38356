"""A client that talks to a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dbservice.client import StorageClient
from tests.dbservice.client.stub_nats import StubNats

Connect = Callable[..., tuple[StorageClient, StubNats]]


@pytest.fixture
def connect() -> Connect:
    """Return a client of quote-db whose requests get these replies, and what it talks to."""

    def connect(*replies: Any, **options: Any) -> tuple[StorageClient, StubNats]:
        nats = StubNats(list(replies))
        return StorageClient(nats, "quote-db", **options), nats

    return connect
