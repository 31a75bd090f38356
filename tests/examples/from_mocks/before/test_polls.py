"""Forty tests with a hand-made mock: each writes down what it believes the service would answer."""

import json

import pytest
from polls import PollError, Polls

POLL = {
    "id": 7,
    "question": "Tea?",
    "options": ["yes", "no"],
    "asked_by": "ada",
    "is_open": True,
    "asked_at": 1767261600,
}


@pytest.fixture
def polls(mock_nats):
    return Polls(mock_nats)


@pytest.fixture
def found(make_nats_response):
    def make(**changes):
        row = {**POLL, **changes}
        return make_nats_response({"exists": True, "data": row, "rows": [row], "count": 1})

    return make


@pytest.fixture
def missing(make_nats_response):
    return make_nats_response({"exists": False, "rows": [], "count": 0})


def sent(mock_nats, number=-1):
    subject, payload = mock_nats.request.call_args_list[number][0]
    return subject, json.loads(payload)


class TestAsk:
    async def test_returns_the_number(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"id": 7, "created": True})
        assert await polls.ask("Tea?", ["yes", "no"], "ada") == 7

    async def test_stores_the_poll(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"id": 7, "created": True})
        await polls.ask("Tea?", ["yes", "no"], "ada")
        subject, payload = sent(mock_nats)
        assert subject == "rosey.db.row.polls.insert"
        assert payload["table"] == "polls"
        assert payload["data"] == {
            "question": "Tea?",
            "options": ["yes", "no"],
            "asked_by": "ada",
        }

    async def test_trims_the_question(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"id": 7, "created": True})
        await polls.ask("  Tea? ", ["yes", "no"], "ada")
        _, payload = sent(mock_nats)
        assert payload["data"]["question"] == "Tea?"

    async def test_needs_a_question(self, polls, mock_nats):
        with pytest.raises(PollError, match="question"):
            await polls.ask(" ", ["yes", "no"], "ada")
        mock_nats.request.assert_not_awaited()

    async def test_needs_two_options(self, polls, mock_nats):
        with pytest.raises(PollError, match="two options"):
            await polls.ask("Tea?", ["yes"], "ada")
        mock_nats.request.assert_not_awaited()

    async def test_says_why_it_is_refused(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response(
            {"success": False, "error": "the question is too long"}
        )
        with pytest.raises(PollError) as caught:
            await polls.ask("x" * 201, ["yes", "no"], "ada")
        assert isinstance(caught.value.args[0], str)


class TestOpen:
    async def test_newest_first(self, polls, mock_nats, make_nats_response):
        rows = [{**POLL, "id": 8, "question": "Cake?"}, POLL]
        mock_nats.request.return_value = make_nats_response({"rows": rows, "count": 2})
        lines = await polls.open()
        assert [line.split()[0] for line in lines] == ["#8", "#7"]
        _, payload = sent(mock_nats)
        assert payload["sort"] == {"field": "id", "order": "desc"}

    async def test_says_since_when(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"rows": [POLL], "count": 1})
        assert await polls.open() == ["#7 Tea? (since 10:00)"]

    async def test_leaves_ended_ones_out(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"rows": [], "count": 0})
        await polls.open()
        _, payload = sent(mock_nats)
        assert payload["filters"] == {"is_open": True}

    async def test_not_more_than_asked_for(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"rows": [POLL], "count": 1})
        assert len(await polls.open(limit=1)) == 1
        _, payload = sent(mock_nats)
        assert payload["limit"] == 1


class TestSearch:
    async def test_finds_whatever_the_case(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"rows": [POLL], "count": 1})
        assert await polls.search("TEA") == [7]
        subject, payload = sent(mock_nats)
        assert subject == "rosey.db.row.polls.select"
        assert "tea" in str(payload["filters"])

    async def test_finds_nothing(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"rows": [], "count": 0})
        assert await polls.search("coffee") == []

    async def test_counts_the_polls_of_a_user(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"count": 2})
        assert await polls.asked_by("ada") == 2
        _, payload = sent(mock_nats)
        assert "ada" in str(payload)


class TestEnd:
    async def test_by_who_asked(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [found(), make_nats_response({"id": 7, "updated": True})]
        await polls.end(7, "ada")
        subject, payload = sent(mock_nats)
        assert subject == "rosey.db.row.polls.update"
        assert payload["id"] == 7
        assert payload["data"] == {"is_open": False}

    async def test_tells_the_chat(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [found(), make_nats_response({"id": 7, "updated": True})]
        await polls.end(7, "ada")
        mock_nats.publish.assert_awaited_once_with("rosey.event.polls.ended", {"poll": 7})

    async def test_not_by_others(self, polls, mock_nats, found):
        mock_nats.request.return_value = found()
        with pytest.raises(PollError, match="Only who asked"):
            await polls.end(7, "bob")
        assert mock_nats.request.await_count == 1

    async def test_no_such_poll(self, polls, mock_nats, missing):
        mock_nats.request.return_value = missing
        with pytest.raises(PollError, match="no poll #7"):
            await polls.end(7, "ada")

    async def test_reopen(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"id": 7, "updated": True})
        assert await polls.reopen(7)
        _, payload = sent(mock_nats)
        assert payload["data"] == {"is_open": True}

    async def test_reopen_no_such_poll(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"updated": 0})
        assert not await polls.reopen(7)


class TestRemove:
    async def test_with_its_votes(self, polls, mock_nats, make_nats_response):
        mock_nats.request.side_effect = [
            make_nats_response({"deleted": 3}),
            make_nats_response({"deleted": True}),
        ]
        assert await polls.remove(7)
        subject, payload = sent(mock_nats, 0)
        assert subject == "rosey.db.row.polls.delete"
        assert payload["table"] == "votes"

    async def test_no_such_poll(self, polls, mock_nats, make_nats_response):
        mock_nats.request.side_effect = [
            make_nats_response({"deleted": 0}),
            make_nats_response({"deleted": False}),
        ]
        assert not await polls.remove(7)


class TestVote:
    async def test_is_counted(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [
            found(),
            make_nats_response({"id": 1, "created": True}),
            make_nats_response({"value": "1"}),
        ]
        assert await polls.vote(7, "bob", "yes") == "counted"
        subject, payload = sent(mock_nats, 1)
        assert subject == "rosey.db.row.polls.upsert"
        assert payload["data"] == {"poll": 7, "voter": "bob", "choice": "yes"}
        assert payload["on"] == ["poll", "voter"]

    async def test_can_be_changed(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [
            found(),
            make_nats_response({"id": 1, "updated": True}),
            make_nats_response({"value": "2"}),
        ]
        assert await polls.vote(7, "bob", "no") == "changed"

    async def test_counts_for_the_user(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [
            found(),
            make_nats_response({"id": 1, "created": True}),
            make_nats_response({"value": "1"}),
        ]
        await polls.vote(7, "bob", "yes")
        subject, payload = sent(mock_nats)
        assert subject == "rosey.db.kv.polls.incr"
        assert payload["key"] == "votes:bob"

    async def test_over(self, polls, mock_nats, found):
        mock_nats.request.return_value = found(is_open=False)
        with pytest.raises(PollError, match="over"):
            await polls.vote(7, "bob", "yes")
        assert mock_nats.request.await_count == 1

    async def test_no_such_poll(self, polls, mock_nats, missing):
        mock_nats.request.return_value = missing
        with pytest.raises(PollError, match="no poll #7"):
            await polls.vote(7, "bob", "yes")

    async def test_no_such_option(self, polls, mock_nats, found):
        mock_nats.request.return_value = found()
        with pytest.raises(PollError, match="yes, no"):
            await polls.vote(7, "bob", "maybe")
        assert mock_nats.request.await_count == 1

    async def test_says_how_often(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"value": "3"})
        assert await polls.voted("bob") == "bob voted 3 times."


class TestResults:
    @staticmethod
    def votes(make_nats_response, *choices):
        rows = [{"choice": choice} for choice in choices]
        return make_nats_response({"rows": rows, "count": len(rows)})

    async def test_by_option(self, polls, mock_nats, make_nats_response, found):
        votes = self.votes(make_nats_response, "yes", "no", "yes")
        mock_nats.request.side_effect = [found(), votes]
        assert await polls.results(7) == {"yes": 2, "no": 1}

    async def test_no_votes(self, polls, mock_nats, make_nats_response, found):
        mock_nats.request.side_effect = [found(), self.votes(make_nats_response)]
        assert await polls.results(7) == {"yes": 0, "no": 0}

    async def test_a_whole_stream_votes(self, polls, mock_nats, make_nats_response, found):
        votes = self.votes(make_nats_response, *["yes"] * 1200)
        mock_nats.request.side_effect = [found(), votes]
        assert await polls.results(7) == {"yes": 1200, "no": 0}

    async def test_winner(self, polls, mock_nats, make_nats_response, found):
        votes = self.votes(make_nats_response, "yes", "no", "yes")
        mock_nats.request.side_effect = [found(), votes]
        assert await polls.winner(7) == "yes"

    async def test_a_tie(self, polls, mock_nats, make_nats_response, found):
        votes = self.votes(make_nats_response, "yes", "no")
        mock_nats.request.side_effect = [found(), votes]
        assert await polls.winner(7) == "yes and no"


class TestSettings:
    async def test_default(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"value": None})
        assert await polls.setting("quiet", "off") == "off"

    async def test_given(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"exists": True, "value": "on"})
        assert await polls.setting("quiet", "off") == "on"

    async def test_for_a_while(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({})
        await polls.set("quiet", "on", seconds=60)
        subject, payload = sent(mock_nats)
        assert subject == "rosey.db.kv.polls.set"
        assert payload == {"key": "setting:quiet", "value": "on", "ttl_seconds": 60}

    async def test_unset(self, polls, mock_nats, make_nats_response):
        mock_nats.request.return_value = make_nats_response({"deleted": True})
        assert await polls.unset("quiet")
        _, payload = sent(mock_nats)
        assert payload == {"key": "setting:quiet"}

    async def test_listed(self, polls, mock_nats, make_nats_response):
        keys = [{"key": "setting:quiet", "value": "on"}, {"key": "setting:theme", "value": 1}]
        mock_nats.request.return_value = make_nats_response({"keys": keys, "count": 2})
        assert await polls.settings() == ["quiet", "theme"]


class TestAway:
    async def test_a_service_that_is_silent(self, polls, mock_nats):
        mock_nats.request.side_effect = TimeoutError
        with pytest.raises(PollError, match="away"):
            await polls.results(7)

    async def test_no_service(self, polls, mock_nats):
        mock_nats.request.side_effect = ConnectionError("no responders")
        with pytest.raises(PollError, match="away"):
            await polls.results(7)
