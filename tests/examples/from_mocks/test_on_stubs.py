"""The forty tests on `fake_nats`: what a stub says, the service could say, and what is asked, it
would take.
"""

import pytest
from polls import PollError, Polls

INSERT = "rosey.db.row.polls.insert"
SELECT = "rosey.db.row.polls.select"
UPDATE = "rosey.db.row.polls.update"
UPSERT = "rosey.db.row.polls.upsert"
DELETE = "rosey.db.row.polls.delete"
AGGREGATE = "rosey.db.row.polls.aggregate"
INCR = "rosey.db.kv.polls.incr"

POLL = {
    "id": 7,
    "question": "Tea?",
    "options": ["yes", "no"],
    "asked_by": "ada",
    "is_open": True,
    "asked_at": "2026-01-01T10:00:00Z",
}


@pytest.fixture
def polls(fake_nats):
    return Polls(fake_nats)


@pytest.fixture
def found(fake_nats):
    def found(**changes):
        row = {**POLL, **changes}
        fake_nats.respond(SELECT, {"exists": True, "data": row, "rows": [row]}, when={"id": 7})

    return found


@pytest.fixture
def missing(fake_nats):
    fake_nats.respond(SELECT, {"exists": False, "rows": []}, when={"id": 7})


class TestAsk:
    async def test_returns_the_number(self, polls, fake_nats):
        fake_nats.respond(INSERT, {"id": 7})
        assert await polls.ask("Tea?", ["yes", "no"], "ada") == 7

    async def test_stores_the_poll(self, polls, fake_nats):
        fake_nats.respond(INSERT, {"id": 7})
        await polls.ask("Tea?", ["yes", "no"], "ada")
        poll = {"question": "Tea?", "options": ["yes", "no"], "asked_by": "ada"}
        fake_nats.assert_requested(INSERT, json={"table": "polls", "data": poll})

    async def test_trims_the_question(self, polls, fake_nats):
        fake_nats.respond(INSERT, {"id": 7})
        await polls.ask("  Tea? ", ["yes", "no"], "ada")
        fake_nats.assert_requested(INSERT, json={"data": {"question": "Tea?"}})

    async def test_needs_a_question(self, polls, fake_nats):
        with pytest.raises(PollError, match="question"):
            await polls.ask(" ", ["yes", "no"], "ada")
        fake_nats.assert_no_requests()

    async def test_needs_two_options(self, polls, fake_nats):
        with pytest.raises(PollError, match="two options"):
            await polls.ask("Tea?", ["yes"], "ada")
        fake_nats.assert_no_requests()

    async def test_says_why_it_is_refused(self, polls, fake_nats):
        fake_nats.fail(INSERT, "CONSTRAINT_VIOLATION", "the question is too long")
        with pytest.raises(PollError, match="^the question is too long$"):
            await polls.ask("x" * 201, ["yes", "no"], "ada")


class TestOpen:
    async def test_newest_first(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": [{**POLL, "id": 8, "question": "Cake?"}, POLL]})
        assert [line.split()[0] for line in await polls.open()] == ["#8", "#7"]
        fake_nats.assert_requested(SELECT, json={"sort": {"field": "id", "order": "desc"}})

    async def test_says_since_when(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": [POLL]})
        assert await polls.open() == ["#7 Tea? (since 10:00)"]

    async def test_leaves_ended_ones_out(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": []}, when={"filters": {"is_open": True}})
        assert await polls.open() == []

    async def test_not_more_than_asked_for(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": [POLL]}, when={"limit": 1})
        assert len(await polls.open(limit=1)) == 1


class TestSearch:
    async def test_finds_whatever_the_case(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": [POLL]}, when={"filters": {"question": {}}})
        assert await polls.search("TEA") == [7]

    async def test_finds_nothing(self, polls, fake_nats):
        fake_nats.respond(SELECT, {"rows": []})
        assert await polls.search("coffee") == []

    async def test_counts_the_polls_of_a_user(self, polls, fake_nats):
        fake_nats.respond("rosey.db.row.polls.count", {"count": 2})
        assert await polls.asked_by("ada") == 2
        fake_nats.assert_requested("rosey.db.row.polls.count", json={"filters": {"asked_by": "ada"}})


class TestEnd:
    async def test_by_who_asked(self, polls, fake_nats, found):
        found()
        fake_nats.respond(UPDATE, {"id": 7, "updated": True})
        await polls.end(7, "ada")
        fake_nats.assert_requested(UPDATE, json={"id": 7, "data": {"is_open": False}})

    async def test_tells_the_chat(self, polls, fake_nats, found, rosey_events):
        found()
        fake_nats.respond(UPDATE, {"id": 7, "updated": True})
        await polls.end(7, "ada")
        assert (await rosey_events.wait("rosey.event.polls.ended")).json == {"poll": 7}

    async def test_not_by_others(self, polls, fake_nats, found):
        found()
        with pytest.raises(PollError, match="Only who asked"):
            await polls.end(7, "bob")
        fake_nats.assert_no_requests(UPDATE)

    async def test_no_such_poll(self, polls, missing):
        with pytest.raises(PollError, match="no poll #7"):
            await polls.end(7, "ada")

    async def test_reopen(self, polls, fake_nats):
        fake_nats.respond(UPDATE, {"id": 7, "updated": True}, when={"data": {"is_open": True}})
        assert await polls.reopen(7)

    async def test_reopen_no_such_poll(self, polls, fake_nats):
        fake_nats.respond(UPDATE, {"exists": False})
        assert not await polls.reopen(7)


class TestRemove:
    async def test_with_its_votes(self, polls, fake_nats):
        fake_nats.respond(DELETE, {"deleted": 3}, when={"table": "votes"})
        fake_nats.respond(DELETE, {"deleted": True}, when={"table": "polls"})
        assert await polls.remove(7)

    async def test_no_such_poll(self, polls, fake_nats):
        fake_nats.respond(DELETE, [{"deleted": 0}, {"deleted": False}])
        assert not await polls.remove(7)


class TestVote:
    async def test_is_counted(self, polls, fake_nats, found):
        found()
        vote = {"poll": 7, "voter": "bob", "choice": "yes"}
        fake_nats.respond(UPSERT, {"id": 1, "created": True}, when={"data": vote})
        fake_nats.respond(INCR, {"value": 1})
        assert await polls.vote(7, "bob", "yes") == "counted"

    async def test_can_be_changed(self, polls, fake_nats, found):
        found()
        fake_nats.respond(UPSERT, {"id": 1, "created": False}, when={"on": ["poll", "voter"]})
        fake_nats.respond(INCR, {"value": 2})
        assert await polls.vote(7, "bob", "no") == "changed"

    async def test_counts_for_the_user(self, polls, fake_nats, found):
        found()
        fake_nats.respond(UPSERT, {"id": 1, "created": True})
        fake_nats.respond(INCR, {"value": 1}, when={"key": "votes:bob"})
        await polls.vote(7, "bob", "yes")

    async def test_over(self, polls, fake_nats, found):
        found(is_open=False)
        with pytest.raises(PollError, match="over"):
            await polls.vote(7, "bob", "yes")

    async def test_no_such_poll(self, polls, missing):
        with pytest.raises(PollError, match="no poll #7"):
            await polls.vote(7, "bob", "yes")

    async def test_no_such_option(self, polls, found):
        found()
        with pytest.raises(PollError, match="yes, no"):
            await polls.vote(7, "bob", "maybe")

    async def test_says_how_often(self, polls, fake_nats):
        fake_nats.respond(INCR, {"value": 3}, when={"by": 0})
        assert await polls.voted("bob") == "bob voted 3 times."


class TestResults:
    @pytest.fixture
    def votes(self, fake_nats, found):
        def votes(**numbers):
            found()
            groups = [{"choice": choice, "votes": number} for choice, number in numbers.items()]
            fake_nats.respond(AGGREGATE, {"rows": groups}, when={"filters": {"poll": 7}})

        return votes

    async def test_by_option(self, polls, votes):
        votes(yes=2, no=1)
        assert await polls.results(7) == {"yes": 2, "no": 1}

    async def test_no_votes(self, polls, votes):
        votes()
        assert await polls.results(7) == {"yes": 0, "no": 0}

    async def test_a_whole_stream_votes(self, polls, votes):
        votes(yes=1200)
        assert await polls.results(7) == {"yes": 1200, "no": 0}

    async def test_winner(self, polls, votes):
        votes(yes=2, no=1)
        assert await polls.winner(7) == "yes"

    async def test_a_tie(self, polls, votes):
        votes(yes=1, no=1)
        assert await polls.winner(7) == "yes and no"


class TestSettings:
    async def test_default(self, polls, fake_nats):
        fake_nats.respond("rosey.db.kv.polls.get", {"exists": False})
        assert await polls.setting("quiet", "off") == "off"

    async def test_given(self, polls, fake_nats):
        fake_nats.respond("rosey.db.kv.polls.get", {"exists": True, "value": "on"})
        assert await polls.setting("quiet", "off") == "on"

    async def test_for_a_while(self, polls, fake_nats):
        quiet = {"key": "setting:quiet", "value": "on", "ttl_seconds": 60}
        fake_nats.respond("rosey.db.kv.polls.set", {}, when=quiet)
        await polls.set("quiet", "on", seconds=60)

    async def test_unset(self, polls, fake_nats):
        key = {"key": "setting:quiet"}
        fake_nats.respond("rosey.db.kv.polls.delete", {"deleted": True}, when=key)
        assert await polls.unset("quiet")

    async def test_listed(self, polls, fake_nats):
        fake_nats.respond("rosey.db.kv.polls.list", {"keys": ["setting:quiet", "setting:theme"]})
        assert await polls.settings() == ["quiet", "theme"]


class TestAway:
    async def test_a_service_that_is_silent(self, polls, fake_nats):
        fake_nats.timeout(SELECT)
        with pytest.raises(PollError, match="away"):
            await polls.results(7)

    async def test_no_service(self, polls, fake_nats):
        fake_nats.no_responders(SELECT)
        with pytest.raises(PollError, match="away"):
            await polls.results(7)
