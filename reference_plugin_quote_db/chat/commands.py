"""The chat commands: a table of actions, what each does, and what it answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dbservice.client import Page, StorageError
from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.correlation import bound_request_id, current_request_id, new_request_id
from reference_plugin_quote_db import schema
from reference_plugin_quote_db.authorization import refuse_banned
from reference_plugin_quote_db.chat.parser import (
    COMMAND,
    Command,
    number,
    number_and_word,
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
from reference_plugin_quote_db.flags import SEARCH
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.validation import UNKNOWN_AUTHOR, printable, search_query, tag

logger = logging.getLogger(__name__)

TOP: Final = 10
"""Quotes of `top`, unless told otherwise."""

TRY_AGAIN: Final = "The quote database does not answer. Please try again in a moment."
FAILED: Final = "That did not work, and it is not your fault. The log has the reason."
SEARCH_IS_OFF: Final = "Searching is switched off at the moment."
NO_QUOTES: Final = f'There are no quotes yet. Type: {COMMAND} add "text" Author'
NO_TOP_QUOTES: Final = f"No quote has been upvoted yet. Type: {COMMAND} upvote <id>"
NO_FAVOURITE: Final = f"You have no favourite quote. Type: {COMMAND} fav <id>"
AS_IT_WAS: Final = "(The quote database does not answer: this is how the quote was last seen.)"
NOT_ALL: Final = "(The quote database does not answer: only quotes seen lately were searched.)"


class Quotes(Protocol):
    """What can be done with quotes by anybody. Methods say what the plugin's say."""

    async def random_quote(self) -> Quote | None: ...
    async def quotes_tagged(self, tag: str) -> Page: ...
    async def top_quotes(self, limit: int) -> list[Quote]: ...
    async def count_quotes(self) -> int: ...
    async def stats(self) -> list[dict[str, Any]]: ...
    async def choose_favourite(self, user: str, quote_id: int) -> None: ...
    async def favourite_quote(self, user: str) -> Quote | None: ...
    async def upvote_quote(self, quote_id: int) -> int: ...
    async def downvote_quote(self, quote_id: int) -> int: ...


class Authorization(Protocol):
    """What can be done by those who may."""

    async def submit_quote(self, text: str, author: str | None, user: str, role: str) -> int: ...
    async def delete_quote(self, quote_id: int, user: str, role: str) -> bool: ...
    async def tag_quote(
        self, quote_id: int, tag: str, user: str, role: str, *, remove: bool
    ) -> list[str]: ...


class Fallback(Protocol):
    """What can be read while the service is away."""

    async def get(self, quote_id: int) -> tuple[Quote | None, bool]: ...
    async def search(self, query: str) -> tuple[Page, bool]: ...


class Flags(Protocol):
    """What is switched on."""

    async def is_enabled(self, name: str) -> bool: ...


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
class Reply:
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
    run: Callable[[ChatCommands, Caller, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class ChatCommands:
    """Carries out chat commands.

    Attributes:
        quotes: for commands that anybody may use.
        authorization: for those that not everybody may use.
        fallback: for those that work while the service is away.
        flags: tell what is switched off.
    """

    quotes: Quotes
    authorization: Authorization
    fallback: Fallback
    flags: Flags

    async def handle(self, user: str, role: str, text: str) -> str:
        """Return the reply to a line of chat."""
        answer = await self.answer(Caller(user, role), parse(text))
        return answer.reply

    async def answer(self, caller: Caller, command: Command) -> Reply:
        """Carry out a command. What the user or the database did wrong becomes the reply.

        Everything that is done and logged for it has one request id. The reply has nothing that
        controls how a chat shows it, whoever typed that.
        """
        with bound_request_id(current_request_id() or new_request_id()):
            success, reply = await self._answer(caller, command)
        return Reply(success, printable(reply))

    async def _answer(self, caller: Caller, command: Command) -> tuple[bool, str]:
        name = command.action
        action = ACTIONS.get(name)
        if action is None:
            return False, _unknown(name)
        try:
            return True, await action.run(self, caller, command.arguments)
        except ValidationError as error:
            return False, f"{error}. Type: {COMMAND} {action.usage}"
        except (QuoteError, PermissionError) as error:
            return False, str(error)
        except StorageError as error:
            logger.exception("%s %s failed", COMMAND, name)
            return False, TRY_AGAIN if error.retryable else FAILED
        except ServiceUnavailableError as error:
            logger.warning("%s %s: %s", COMMAND, name, error)
            return False, TRY_AGAIN


async def _add(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    text, author = text_and_author(arguments)
    quote_id = await chat.authorization.submit_quote(text, author, caller.user, caller.role)
    return f"Quote #{quote_id} added"


async def _get(chat: ChatCommands, _: Caller, arguments: str) -> str:
    quote_id = number(arguments)
    quote, is_now = await chat.fallback.get(quote_id)
    if quote is None:
        raise QuoteNotFound(quote_id)
    return _shown(quote) if is_now else f"{_shown(quote)}\n{AS_IT_WAS}"


async def _random(chat: ChatCommands, _: Caller, __: str) -> str:
    quote = await chat.quotes.random_quote()
    return _shown(quote) if quote else NO_QUOTES


async def _search(chat: ChatCommands, _: Caller, arguments: str) -> str:
    query = search_query(unquoted(arguments))
    if not await chat.flags.is_enabled(SEARCH):
        raise QuoteError(SEARCH_IS_OFF)
    page, complete = await chat.fallback.search(query)
    found = _found(page, f"No quotes found for '{' '.join(query.split())}'")
    return found if complete else f"{found}\n{NOT_ALL}"


async def _tagged(chat: ChatCommands, _: Caller, arguments: str) -> str:
    wanted = tag(arguments)
    return _found(await chat.quotes.quotes_tagged(wanted), f"No quotes are tagged #{wanted}")


async def _tag(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    return await _retagged(chat, caller, arguments, remove=False)


async def _untag(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    return await _retagged(chat, caller, arguments, remove=True)


async def _retagged(chat: ChatCommands, caller: Caller, arguments: str, *, remove: bool) -> str:
    quote_id, word = number_and_word(arguments)
    tags = await chat.authorization.tag_quote(
        quote_id, tag(word), caller.user, caller.role, remove=remove
    )
    shown = " ".join(f"#{each}" for each in tags)
    return f"Quote #{quote_id} tags: {shown or 'none'}"


async def _delete(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    quote_id = number(arguments)
    if not await chat.authorization.delete_quote(quote_id, caller.user, caller.role):
        raise QuoteNotFound(quote_id)
    return f"Quote #{quote_id} deleted"


async def _count(chat: ChatCommands, _: Caller, __: str) -> str:
    return f"Total quotes: {await chat.quotes.count_quotes()}"


async def _stats(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    lines = [
        f"{row[schema.AUTHOR] or UNKNOWN_AUTHOR}: {_counted(row['quotes'])}, score {row['score']}"
        for row in await chat.quotes.stats()
    ]
    return "\n".join([await _count(chat, caller, arguments), *lines])


async def _fav(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    if not arguments:
        quote = await chat.quotes.favourite_quote(caller.user)
        return _shown(quote) if quote else NO_FAVOURITE
    refuse_banned(caller.role, "choosing a favourite")
    quote_id = number(arguments)
    await chat.quotes.choose_favourite(caller.user, quote_id)
    return f"Quote #{quote_id} is your favourite"


async def _upvote(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    refuse_banned(caller.role, "voting")
    quote_id = number(arguments)
    return f"Quote #{quote_id} score: {await chat.quotes.upvote_quote(quote_id)} (+1)"


async def _downvote(chat: ChatCommands, caller: Caller, arguments: str) -> str:
    refuse_banned(caller.role, "voting")
    quote_id = number(arguments)
    return f"Quote #{quote_id} score: {await chat.quotes.downvote_quote(quote_id)} (-1)"


async def _top(chat: ChatCommands, _: Caller, arguments: str) -> str:
    quotes = await chat.quotes.top_quotes(number(arguments) if arguments else TOP)
    if not quotes:
        return NO_TOP_QUOTES
    scores = (f"#{quote[schema.ID]} (score: {quote[schema.SCORE]})" for quote in quotes)
    return f"Top {_counted(len(quotes))}: {', '.join(scores)}"


async def _help(_: ChatCommands, __: Caller, arguments: str) -> str:
    action = ACTIONS.get(arguments.lower())
    shown = [action] if action else ACTIONS.values()
    return "\n".join(f"{COMMAND} {action.usage}: {action.summary}" for action in shown)


ACTIONS: Final[Mapping[str, Action]] = {
    "add": Action('add "text" Author', "add a quote; or: add text -- Author", _add),
    "get": Action("get <id>", "show a quote", _get),
    "random": Action("random", "show any quote", _random),
    "search": Action("search <words>", "find quotes by text or author", _search),
    "tagged": Action("tagged <tag>", "find quotes by a tag", _tagged),
    "tag": Action("tag <id> <tag>", "give a quote of yours a tag", _tag),
    "untag": Action("untag <id> <tag>", "take a tag from a quote of yours", _untag),
    "delete": Action("delete <id>", "delete a quote of yours", _delete),
    "count": Action("count", "say how many quotes there are", _count),
    "stats": Action("stats", "show who is quoted most, and how they score", _stats),
    "upvote": Action("upvote <id>", "raise the score of a quote", _upvote),
    "downvote": Action("downvote <id>", "lower the score of a quote", _downvote),
    "top": Action("top [limit]", "show the quotes with the highest scores", _top),
    "fav": Action("fav [id]", "choose your favourite quote, or show it", _fav),
    "help": Action("help", "show this list", _help),
}


def _shown(quote: Quote) -> str:
    author = quote[schema.AUTHOR] or UNKNOWN_AUTHOR
    return f"#{quote[schema.ID]}: '{quote[schema.TEXT]}' — {author}"


def _found(page: Page, nothing: str) -> str:
    if not page.rows:
        return nothing
    ids = ", ".join(f"#{quote[schema.ID]}" for quote in page.rows)
    more = ", …" if page.truncated else ""
    return f"Found {_counted(page.total)}: {ids}{more}\n{_shown(page.rows[0])}"


def _counted(total: int) -> str:
    return f"{total} quote" if total == 1 else f"{total} quotes"


def _unknown(action: str) -> str:
    known = list(ACTIONS)
    return f"Unknown command '{action[:40]}'.{did_you_mean(action, known)} Type: {COMMAND} help"
