"""The mock of NATS that every suite of this chat has a copy of."""

import json
from unittest.mock import AsyncMock, MagicMock

import pytest


@pytest.fixture
def mock_nats():
    nats = MagicMock()
    nats.request = AsyncMock()
    nats.publish = AsyncMock()
    nats.subscribe = AsyncMock()
    nats.is_connected = True
    return nats


@pytest.fixture
def make_nats_response():
    def make(data):
        response = MagicMock()
        response.data = json.dumps({"success": True, **data}).encode()
        return response

    return make
