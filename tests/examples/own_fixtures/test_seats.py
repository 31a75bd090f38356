from conftest import OPENING_NIGHT


async def test_the_service_is_filled(plugin):
    assert await plugin.free() == 2


async def test_it_is_evening(db_service):
    assert db_service.clock.time() == OPENING_NIGHT.timestamp()


async def test_a_seat_is_held_for_ten_minutes(plugin, rosey_clock):
    assert await plugin.hold(1, "alice")
    assert not await plugin.hold(1, "bob")
    rosey_clock.advance(601)
    assert await plugin.hold(1, "bob")


async def test_only_what_is_asked_for_is_there(storage):
    assert await storage("seats").rows("seats").count() == 3
    assert await storage("seats").kv.list() == []
