"""Polls in a chat, over the database service."""

import json

from nats.errors import NoRespondersError


class PollError(Exception):
    """What the chat is told."""


class Polls:
    def __init__(self, nats, timeout=2.0):
        self._nats = nats
        self._timeout = timeout

    # -- polls

    async def ask(self, question, options, user):
        if not question.strip():
            raise PollError("A poll needs a question.")
        if len(options) < 2:
            raise PollError("A poll needs two options.")
        poll = {"question": question.strip(), "options": options, "asked_by": user}
        answer = await self._row("insert", table="polls", data=poll)
        return answer["id"]

    async def open(self, limit=5):
        answer = await self._row(
            "select",
            table="polls",
            filters={"is_open": True},
            sort={"field": "id", "order": "desc"},
            limit=limit,
        )
        return [
            f"#{row['id']} {row['question']} (since {row['asked_at'][11:16]})"
            for row in answer["rows"]
        ]

    async def search(self, words):
        pattern = {"$ilike": f"%{words}%"}
        answer = await self._row("select", table="polls", filters={"question": pattern})
        return [row["id"] for row in answer["rows"]]

    async def asked_by(self, user):
        answer = await self._row("count", table="polls", filters={"asked_by": user})
        return answer["count"]

    async def end(self, poll, user):
        row = await self._poll(poll)
        if row["asked_by"] != user:
            raise PollError("Only who asked may end a poll.")
        await self._row("update", table="polls", id=poll, data={"is_open": False})
        await self._nats.publish("rosey.event.polls.ended", json.dumps({"poll": poll}).encode())

    async def reopen(self, poll):
        answer = await self._row("update", table="polls", id=poll, data={"is_open": True})
        return answer.get("updated", False)

    async def remove(self, poll):
        await self._row("delete", table="votes", filters={"poll": poll})
        answer = await self._row("delete", table="polls", id=poll)
        return answer["deleted"]

    # -- votes

    async def vote(self, poll, user, choice):
        row = await self._poll(poll)
        if not row["is_open"]:
            raise PollError(f"Poll #{poll} is over.")
        if choice not in row["options"]:
            raise PollError(f"Choose one of {', '.join(row['options'])}.")
        answer = await self._row(
            "upsert",
            table="votes",
            data={"poll": poll, "voter": user, "choice": choice},
            on=["poll", "voter"],
        )
        await self._kv("incr", key=f"votes:{user}")
        return "counted" if answer["created"] else "changed"

    async def results(self, poll):
        row = await self._poll(poll)
        answer = await self._row(
            "aggregate",
            table="votes",
            filters={"poll": poll},
            group_by=["choice"],
            compute={"votes": {"$count": "*"}},
        )
        votes = {group["choice"]: group["votes"] for group in answer["rows"]}
        return {option: votes.get(option, 0) for option in row["options"]}

    async def winner(self, poll):
        results = await self.results(poll)
        best = max(results.values())
        if best == 0:
            return None
        return " and ".join(option for option, votes in results.items() if votes == best)

    async def voted(self, user):
        answer = await self._kv("incr", key=f"votes:{user}", by=0)
        return f"{user} voted {answer['value']} times."

    # -- settings

    async def setting(self, name, default=None):
        answer = await self._kv("get", key=f"setting:{name}")
        return answer["value"] if answer["exists"] else default

    async def set(self, name, value, seconds=None):
        await self._kv("set", key=f"setting:{name}", value=value, ttl_seconds=seconds)

    async def unset(self, name):
        return (await self._kv("delete", key=f"setting:{name}"))["deleted"]

    async def settings(self):
        answer = await self._kv("list", prefix="setting:")
        return [key.removeprefix("setting:") for key in answer["keys"]]

    # -- the service

    async def _poll(self, poll):
        answer = await self._row("select", table="polls", id=poll)
        if not answer["exists"]:
            raise PollError(f"There is no poll #{poll}.")
        return answer["data"]

    async def _row(self, operation, **fields):
        return await self._request(f"rosey.db.row.polls.{operation}", fields)

    async def _kv(self, operation, **fields):
        return await self._request(f"rosey.db.kv.polls.{operation}", fields)

    async def _request(self, subject, fields):
        try:
            reply = await self._nats.request(
                subject, json.dumps(fields).encode(), timeout=self._timeout
            )
        except (TimeoutError, NoRespondersError):
            raise PollError("The polls are away for a moment.") from None
        answer = json.loads(reply.data)
        if not answer["success"]:
            raise PollError(answer["error"]["message"])
        return answer
