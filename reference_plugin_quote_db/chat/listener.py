"""Chat commands over the bus: `rosey.command.<plugin>.<action>` (SPEC 6)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from dbservice.protocol.subjects import command_subject
from dbservice.runtime.barrier import barrier
from dbservice.runtime.correlation import bound_request_id, request_id_of
from reference_plugin_quote_db.bus import Bus, Message, Subscription
from reference_plugin_quote_db.chat.commands import FAILED, Caller, ChatCommands, Reply
from reference_plugin_quote_db.chat.parser import Command, join
from reference_plugin_quote_db.validation import printable

logger = logging.getLogger(__name__)

AT_ONCE: Final = 256
"""Commands in progress at the most; more wait in the subscription. More than writes can wait in
the queue, so that these never keep a `get` from being answered."""


class ChatMessage(msgspec.Struct, frozen=True):
    """The payload of a command; other fields of the gateway's are ignored.

    Attributes:
        user: the display name of who typed it.
        role: `user`, `moderator`, `admin` or `banned`.
        args: what was typed behind the action, as one text or as a list of words.
    """

    user: str
    role: str = "user"
    args: str | list[str] = ""


class CommandListener:
    """Answers the commands that the chat gateway sends to one plugin."""

    def __init__(self, nats: Bus, namespace: str, commands: ChatCommands) -> None:
        self._nats = nats
        self._namespace = namespace
        self._commands = commands
        self._subscription: Subscription | None = None
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe. Of several replicas of the plugin, one gets each command."""
        if self._subscription is not None:
            return
        self._subscription = await self._nats.subscribe(
            command_subject(self._namespace), queue=self._namespace, cb=self._accept
        )
        await barrier(self._nats)

    async def stop(self) -> None:
        """Take no more commands and finish those that have come."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._nats.is_closed:
            await subscription.drain()
        await asyncio.gather(*self._tasks)

    async def _accept(self, message: Message) -> None:
        # nats-py waits for this coroutine before it delivers the next message, so the work is
        # done elsewhere.
        await self._free.acquire()
        task = asyncio.create_task(self._respond(message))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()

    async def _respond(self, message: Message) -> None:
        try:
            with bound_request_id(request_id_of(message.headers)):
                answer = await self._answer(message)
            if message.reply:
                await message.respond(msgspec.json.encode(answer))
        except Exception:
            logger.exception("A command on %s was not answered", message.subject)

    async def _answer(self, message: Message) -> Reply:
        try:
            chat = msgspec.json.decode(message.data, type=ChatMessage)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return Reply(False, printable(f"Expected {{'user', 'role', 'args'}} as JSON: {error}"))
        arguments = chat.args if isinstance(chat.args, str) else join(chat.args)
        action = message.subject.rpartition(".")[2]
        try:
            return await self._commands.answer(
                Caller(chat.user, chat.role), Command(action.lower(), arguments.strip())
            )
        except Exception:
            logger.exception("The command %s failed", action)
            return Reply(False, FAILED)
