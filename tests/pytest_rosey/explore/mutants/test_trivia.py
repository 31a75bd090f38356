"""The ordinary suite of the small plugin: the paths its author thought of."""

import pytest
from trivia import Trivia, TriviaError


@pytest.fixture
async def trivia(rosey_plugin):
    return await rosey_plugin(Trivia, namespace="trivia", migrate=False)


async def test_asking(trivia):
    number = await trivia.ask("Which comet came in 1986?")
    assert await trivia.text(number) == "Which comet came in 1986?"
    assert await trivia.total() == 1


async def test_the_event(trivia, nats_client):
    heard = await nats_client.subscribe("rosey.event.trivia.asked")
    await nats_client.flush()
    await trivia.ask("Who wrote the first program?")
    assert (await heard.next_msg()).data == b'{"id": 1}'


async def test_renaming(trivia):
    number = await trivia.ask("old")
    assert await trivia.text(number) == "old"
    await trivia.rename(number, "new")
    assert await trivia.text(number) == "new"


async def test_the_queue(trivia):
    number = await trivia.later("Which planet has a hexagon?")
    assert await trivia.text(number) == "Which planet has a hexagon?"


async def test_winners(trivia):
    assert await trivia.award("ada") == 1
    assert await trivia.award("ada") == 2
    assert await trivia.wins("ada") == 2


async def test_the_limit(trivia):
    assert await trivia.submit("ada", "one") == 1


async def test_too_many(trivia, storage):
    await storage("trivia").kv.set("limit:ada", 10)
    with pytest.raises(TriviaError):
        await trivia.submit("ada", "eleven")


async def test_an_unknown_question(trivia):
    with pytest.raises(TriviaError):
        await trivia.text(99)


async def test_the_breaker(trivia):
    number = await trivia.ask("Which comet came in 1986?")
    assert (await trivia.probe(number))["id"] == number
