"""The same on stubs that know the contract, and on the service, where time can be moved."""

import pytest
from reminders import Reminders

pytestmark = pytest.mark.asyncio


async def test_remember(fake_nats):
    fake_nats.respond("rosey.db.kv.reminders.set", {"success": True})
    await Reminders(fake_nats).remember("tea", 240)
    fake_nats.assert_requested("rosey.db.kv.reminders.set", json={"ttl_seconds": 240}, times=1)


async def test_due(nats_client, db_service, rosey_clock):
    reminders = Reminders(nats_client)
    await reminders.remember("tea", 240)
    assert not await reminders.is_due("tea")
    rosey_clock.advance(241)
    assert await reminders.is_due("tea")


async def test_refused(nats_client, db_service):
    with pytest.raises(RuntimeError, match="key"):
        await Reminders(nats_client).remember("x" * 1000, 1)
