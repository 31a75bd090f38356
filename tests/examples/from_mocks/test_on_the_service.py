"""The forty tests on the database service: no test writes down what it would say."""

import re

import pytest
from polls import PollError, Polls


@pytest.fixture
async def polls(rosey_plugin):
    return await rosey_plugin(Polls, namespace="polls")


@pytest.fixture
async def tea(polls):
    return await polls.ask("Tea?", ["yes", "no"], "ada")


class TestAsk:
    async def test_returns_the_number(self, polls):
        assert await polls.ask("Tea?", ["yes", "no"], "ada") == 1

    async def test_stores_the_poll(self, polls, tea, rosey_migrations):
        (row,) = await rosey_migrations.rows("polls", "polls")
        assert row["question"] == "Tea?"
        assert row["options"] == ["yes", "no"]
        assert row["asked_by"] == "ada"

    async def test_trims_the_question(self, polls, rosey_migrations):
        await polls.ask("  Tea? ", ["yes", "no"], "ada")
        assert (await rosey_migrations.rows("polls", "polls"))[0]["question"] == "Tea?"

    async def test_needs_a_question(self, polls, db_service):
        with pytest.raises(PollError, match="question"):
            await polls.ask(" ", ["yes", "no"], "ada")
        assert db_service.requests == []

    async def test_needs_two_options(self, polls, db_service):
        with pytest.raises(PollError, match="two options"):
            await polls.ask("Tea?", ["yes"], "ada")
        assert db_service.requests == []

    async def test_says_why_it_is_refused(self, polls):
        with pytest.raises(PollError) as caught:
            await polls.ask("x" * 201, ["yes", "no"], "ada")
        assert isinstance(caught.value.args[0], str)


class TestOpen:
    async def test_newest_first(self, polls, tea):
        cake = await polls.ask("Cake?", ["yes", "no"], "ada")
        assert [line.split()[0] for line in await polls.open()] == [f"#{cake}", f"#{tea}"]

    async def test_says_since_when(self, polls, tea):
        (line,) = await polls.open()
        assert re.fullmatch(rf"#{tea} Tea\? \(since \d\d:\d\d\)", line)

    async def test_leaves_ended_ones_out(self, polls, tea):
        await polls.end(tea, "ada")
        assert await polls.open() == []

    async def test_not_more_than_asked_for(self, polls, tea):
        await polls.ask("Cake?", ["yes", "no"], "ada")
        assert len(await polls.open(limit=1)) == 1


class TestSearch:
    async def test_finds_whatever_the_case(self, polls, tea):
        assert await polls.search("TEA") == [tea]

    async def test_finds_nothing(self, polls, tea):
        assert await polls.search("coffee") == []

    async def test_counts_the_polls_of_a_user(self, polls, tea):
        await polls.ask("Cake?", ["yes", "no"], "bob")
        assert await polls.asked_by("ada") == 1


class TestEnd:
    async def test_by_who_asked(self, polls, tea):
        await polls.end(tea, "ada")
        assert await polls.open() == []

    async def test_tells_the_chat(self, polls, tea, rosey_events):
        await polls.end(tea, "ada")
        assert (await rosey_events.wait("rosey.event.polls.ended")).json == {"poll": tea}

    async def test_not_by_others(self, polls, tea):
        with pytest.raises(PollError, match="Only who asked"):
            await polls.end(tea, "bob")

    async def test_no_such_poll(self, polls):
        with pytest.raises(PollError, match="no poll #7"):
            await polls.end(7, "ada")

    async def test_reopen(self, polls, tea):
        await polls.end(tea, "ada")
        assert await polls.reopen(tea)
        assert len(await polls.open()) == 1

    async def test_reopen_no_such_poll(self, polls):
        assert not await polls.reopen(7)


class TestRemove:
    async def test_with_its_votes(self, polls, tea, rosey_migrations):
        await polls.vote(tea, "bob", "yes")
        assert await polls.remove(tea)
        assert await rosey_migrations.rows("polls", "votes") == []

    async def test_no_such_poll(self, polls):
        assert not await polls.remove(7)


class TestVote:
    async def test_is_counted(self, polls, tea):
        assert await polls.vote(tea, "bob", "yes") == "counted"

    async def test_can_be_changed(self, polls, tea):
        await polls.vote(tea, "bob", "yes")
        assert await polls.vote(tea, "bob", "no") == "changed"

    async def test_counts_for_the_user(self, polls, tea, storage):
        await polls.vote(tea, "bob", "yes")
        assert await storage("polls").kv.get("votes:bob") == 1

    async def test_over(self, polls, tea):
        await polls.end(tea, "ada")
        with pytest.raises(PollError, match="over"):
            await polls.vote(tea, "bob", "yes")

    async def test_no_such_poll(self, polls):
        with pytest.raises(PollError, match="no poll #7"):
            await polls.vote(7, "bob", "yes")

    async def test_no_such_option(self, polls, tea):
        with pytest.raises(PollError, match="yes, no"):
            await polls.vote(tea, "bob", "maybe")

    async def test_says_how_often(self, polls, tea):
        await polls.vote(tea, "bob", "yes")
        assert await polls.voted("bob") == "bob voted 1 times."


class TestResults:
    async def test_by_option(self, polls, tea):
        for voter, choice in {"bob": "yes", "cid": "no", "dan": "yes"}.items():
            await polls.vote(tea, voter, choice)
        assert await polls.results(tea) == {"yes": 2, "no": 1}

    async def test_no_votes(self, polls, tea):
        assert await polls.results(tea) == {"yes": 0, "no": 0}

    async def test_a_whole_stream_votes(self, polls, tea, storage):
        votes = [{"poll": tea, "voter": f"viewer{n}", "choice": "yes"} for n in range(1200)]
        await storage("polls").rows("votes").insert_many(votes[:600])
        await storage("polls").rows("votes").insert_many(votes[600:])
        assert await polls.results(tea) == {"yes": 1200, "no": 0}

    async def test_winner(self, polls, tea):
        await polls.vote(tea, "bob", "yes")
        assert await polls.winner(tea) == "yes"

    async def test_a_tie(self, polls, tea):
        await polls.vote(tea, "bob", "yes")
        await polls.vote(tea, "cid", "no")
        assert await polls.winner(tea) == "yes and no"


class TestSettings:
    async def test_default(self, polls):
        assert await polls.setting("quiet", "off") == "off"

    async def test_given(self, polls):
        await polls.set("quiet", "on")
        assert await polls.setting("quiet", "off") == "on"

    async def test_for_a_while(self, rosey_clock, polls):
        await polls.set("quiet", "on", seconds=60)
        rosey_clock.advance(61)
        assert await polls.setting("quiet", "off") == "off"

    async def test_unset(self, polls):
        await polls.set("quiet", "on")
        assert await polls.unset("quiet")

    async def test_listed(self, polls):
        await polls.set("theme", 1)
        await polls.set("quiet", "on")
        assert await polls.settings() == ["quiet", "theme"]


class TestAway:
    async def test_a_service_that_is_silent(self, rosey_plugin, nats_faults):
        polls = await rosey_plugin(Polls, namespace="polls", timeout=0.01)
        nats_faults.drop_request("rosey.db.row.polls.select")
        with pytest.raises(PollError, match="away"):
            await polls.results(7)

    async def test_no_service(self, polls, tea, nats_faults):
        nats_faults.no_responders("rosey.db.row.polls.select")
        with pytest.raises(PollError, match="away"):
            await polls.results(tea)
