"""The suite with mocks; only the fixtures in its conftest are gone."""

import json

import pytest
from reminders import Reminders

pytestmark = pytest.mark.asyncio


async def test_remember(mock_nats, make_nats_response):
    mock_nats.request.return_value = make_nats_response({})
    await Reminders(mock_nats).remember("tea", 240)
    subject, payload = mock_nats.request.call_args[0]
    assert subject == "rosey.db.kv.reminders.set"
    assert json.loads(payload)["ttl_seconds"] == 240


async def test_due(mock_nats, make_nats_response):
    mock_nats.request.side_effect = [
        make_nats_response({"exists": True, "value": True}),
        make_nats_response({"exists": False, "value": None}),
    ]
    reminders = Reminders(mock_nats)
    assert not await reminders.is_due("tea")
    assert await reminders.is_due("tea")
    assert mock_nats.request.call_count == 2


async def test_refused(mock_nats, make_nats_response):
    error = {"code": "VALIDATION_ERROR", "message": "too long"}
    mock_nats.request.return_value = make_nats_response({"success": False, "error": error})
    with pytest.raises(RuntimeError, match="too long"):
        await Reminders(mock_nats).remember("x" * 1000, 1)


async def test_a_call_that_nats_py_would_not_take(mock_nats):
    with pytest.raises(TypeError):
        await mock_nats.request("a.subject", b"", time_out=1)
