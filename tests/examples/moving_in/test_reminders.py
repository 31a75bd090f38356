from reminders import Reminders


async def test_karma_adds_up_and_reminders_are_found(rosey_plugin):
    plugin = await rosey_plugin(Reminders, namespace="reminders")
    await plugin.give("ada")
    await plugin.give("ada")
    number = await plugin.remind("ada", "Water the plants", 60)
    assert await plugin.find("PLANTS") == [{"id": number, "text": "Water the plants"}]
    assert await plugin.busiest() == [{"user": "ada", "points": 2, "reminders": 1}]
