"""The chat commands: a table of actions, what each does, and what it answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dbservice.client import StorageError
from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.correlation import bound_request_id, current_request_id, new_request_id
from reference_plugin_quote_db import schema
from reference_plugin_quote_db.authorization import refuse_banned
from reference_plugin_quote_db.chat.parser import (
    COMMAND,
    Command,
    number,
    parse,
    text_and_author,
    unquoted,
)
from reference_plugin_quote_db.errors import (
    QuoteError,
    QuoteNotFound,
    ServiceUnavailableError,
    ValidationError,
)
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.validation import UNKNOWN_AUTHOR, search_query

if TYPE_CHECKING:
    from reference_plugin_quote_db.plugin import QuoteDBPlugin

logger = logging.getLogger(__name__)

TRY_AGAIN: Final = "The quote database does not answer. Please try again in a moment."
FAILED: Final = "That did not work, and it is not your fault. The log has the reason."
SEARCH_IS_OFF: Final = "Searching is switched off at the moment."
NO_QUOTES: Final = f'There are no quotes yet. Type: {COMMAND} add "text" Author'
NO_TOP_QUOTES: Final = f"No quote has been upvoted yet. Type: {COMMAND} upvote <id>"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who typed a command.

    Attributes:
        user: the display name.
        role: `user`, `moderator`, `admin` or `banned`.
    """

    user: str
    role: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the chat is told.

    Attributes:
        success: whether the command was carried out.
        reply: the text.
    """

    success: bool
    reply: str


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the table.

    Attributes:
        usage: what to type behind `!quote`.
        summary: what it does, for `help`.
        run: does it and returns the reply.
    """

    usage: str
    summary: str
    run: Callable[[QuoteDBPlugin, Caller, str], Awaitable[str]]


class ChatCommands:
    """Carries out chat commands on a plugin."""

    def __init__(self, plugin: QuoteDBPlugin) -> None:
        self._plugin = plugin

    async def handle(self, user: str, role: str, text: str) -> str:
        """Return the reply to a line of chat."""
        answer = await self.answer(Caller(user, role), parse(text))
        return answer.reply

    async def answer(self, caller: Caller, command: Command) -> Answer:
        """Carry out a command. What the user or the database did wrong becomes the reply.

        Everything that is done and logged for it has one request id.
        """
        with bound_request_id(current_request_id() or new_request_id()):
            return await self._answer(caller, command)

    async def _answer(self, caller: Caller, command: Command) -> Answer:
        name = ALIASES.get(command.action, command.action)
        action = ACTIONS.get(name)
        if action is None:
            return Answer(False, _unknown(command.action))
        try:
            return Answer(True, await action.run(self._plugin, caller, command.arguments))
        except ValidationError as error:
            return Answer(False, f"{error}. Type: {COMMAND} {action.usage}")
        except (QuoteError, PermissionError) as error:
            return Answer(False, str(error))
        except StorageError as error:
            logger.exception("%s %s failed", COMMAND, name)
            return Answer(False, TRY_AGAIN if error.retryable else FAILED)
        except ServiceUnavailableError as error:
            logger.warning("%s %s: %s", COMMAND, name, error)
            return Answer(False, TRY_AGAIN)


async def _add(plugin: QuoteDBPlugin, caller: Caller, arguments: str) -> str:
    text, author = text_and_author(arguments)
    quote_id = await plugin.submit_quote(text, author, caller.user, caller.role)
    return f"Quote #{quote_id} added"


async def _get(plugin: QuoteDBPlugin, _: Caller, arguments: str) -> str:
    quote_id = number(arguments)
    quote = await plugin.get_quote_with_fallback(quote_id)
    if quote is None:
        raise QuoteNotFound(quote_id)
    return _shown(quote)


async def _random(plugin: QuoteDBPlugin, _: Caller, __: str) -> str:
    quote = await plugin.random_quote()
    return _shown(quote) if quote else NO_QUOTES


async def _search(plugin: QuoteDBPlugin, _: Caller, arguments: str) -> str:
    query = search_query(unquoted(arguments))
    if not await plugin.is_search_enabled():
        raise QuoteError(SEARCH_IS_OFF)
    page = await plugin.search_page_degraded(query)
    if not page.rows:
        return f"No quotes found for '{query}'"
    ids = ", ".join(f"#{quote[schema.ID]}" for quote in page.rows)
    more = ", …" if page.truncated else ""
    return f"Found {_counted(page.total)}: {ids}{more}\n{_shown(page.rows[0])}"


async def _delete(plugin: QuoteDBPlugin, caller: Caller, arguments: str) -> str:
    quote_id = number(arguments)
    if not await plugin.delete_quote_authorized(quote_id, caller.user, caller.role):
        raise QuoteNotFound(quote_id)
    return f"Quote #{quote_id} deleted"


async def _count(plugin: QuoteDBPlugin, _: Caller, __: str) -> str:
    return f"Total quotes: {await plugin.count_quotes()}"


async def _upvote(plugin: QuoteDBPlugin, caller: Caller, arguments: str) -> str:
    refuse_banned(caller.role, "voting")
    quote_id = number(arguments)
    return f"Quote #{quote_id} score: {await plugin.upvote_quote(quote_id)} (+1)"


async def _downvote(plugin: QuoteDBPlugin, caller: Caller, arguments: str) -> str:
    refuse_banned(caller.role, "voting")
    quote_id = number(arguments)
    return f"Quote #{quote_id} score: {await plugin.downvote_quote(quote_id)} (-1)"


async def _top(plugin: QuoteDBPlugin, _: Caller, arguments: str) -> str:
    quotes = await (plugin.top_quotes(number(arguments)) if arguments else plugin.top_quotes())
    if not quotes:
        return NO_TOP_QUOTES
    scores = (f"#{quote[schema.ID]} (score: {quote[schema.SCORE]})" for quote in quotes)
    return f"Top {_counted(len(quotes))}: {', '.join(scores)}"


async def _help(_: QuoteDBPlugin, __: Caller, arguments: str) -> str:
    action = ACTIONS.get(arguments.lower())
    shown = [action] if action else ACTIONS.values()
    return "\n".join(f"{COMMAND} {action.usage}: {action.summary}" for action in shown)


ACTIONS: Final[Mapping[str, Action]] = {
    "add": Action('add "text" Author', "add a quote; or: add text -- Author", _add),
    "get": Action("get <id>", "show a quote", _get),
    "random": Action("random", "show any quote", _random),
    "search": Action("search <words>", "find quotes by text or author", _search),
    "delete": Action("delete <id>", "delete a quote of yours", _delete),
    "count": Action("count", "say how many quotes there are", _count),
    "upvote": Action("upvote <id>", "raise the score of a quote", _upvote),
    "downvote": Action("downvote <id>", "lower the score of a quote", _downvote),
    "top": Action("top [limit]", "show the quotes with the highest scores", _top),
    "help": Action("help", "show this list", _help),
}
ALIASES: Final[Mapping[str, str]] = {"stats": "count"}


def _shown(quote: Quote) -> str:
    author = quote[schema.AUTHOR] or UNKNOWN_AUTHOR
    return f"#{quote[schema.ID]}: '{quote[schema.TEXT]}' — {author}"


def _counted(total: int) -> str:
    return f"{total} quote" if total == 1 else f"{total} quotes"


def _unknown(action: str) -> str:
    known = [*ACTIONS, *ALIASES]
    return f"Unknown command '{action[:40]}'.{did_you_mean(action, known)} Type: {COMMAND} help"
