"""A plugin's whole namespace as JSON lines, out and in."""
# ruff: noqa: ASYNC109 - the timeout is that of the request, and part of the contract

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from uuid import uuid4

from msgspec import UNSET, UnsetType

from dbservice.client.channel import Channel
from dbservice.client.errors import ValueTooLarge
from dbservice.client.reply_reader import ReplyReader
from dbservice.protocol.limits import MAX_EXPORT_PAGE
from dbservice.protocol.system import Export, Exported, Import, Imported

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

Lines = Iterable[str] | AsyncIterable[str]

_EXPORTED = ReplyReader(Exported)
_IMPORTED = ReplyReader(Imported)
_SMALLEST_PAGE = 1024


async def exported(channel: Channel, timeout: float | None) -> AsyncIterator[str]:
    """Yield the lines of an export; see `StorageClient.export`."""
    unfinished = ""
    async for page in pages(channel, UNSET, timeout):
        *lines, unfinished = (unfinished + page.text).split("\n")
        for line in lines:
            yield line


async def pages(
    channel: Channel, after: str | UnsetType, timeout: float | None
) -> AsyncIterator[Exported]:
    """Yield the pages of an export; see `StorageClient.export_pages`."""
    limit = MAX_EXPORT_PAGE
    while True:
        try:
            page = await channel.call(Export(after=after, limit=limit), _EXPORTED, timeout)
        except ValueTooLarge:
            # This server takes smaller messages than is usual.
            if limit <= _SMALLEST_PAGE:
                raise
            limit //= 2
            continue
        yield page
        if page.next is UNSET:
            return
        after = page.next


async def imported(channel: Channel, lines: Lines, session: str | None, timeout: float) -> Imported:
    """Send an export to the service; see `StorageClient.import_`."""
    upload = _Upload(channel, session or uuid4().hex, timeout)
    async for line in _each(lines):
        await upload.add(line.rstrip("\r\n") + "\n")
    return await upload.finish()


class _Upload:
    """Sends a text in parts that the server takes."""

    def __init__(self, channel: Channel, session: str, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout
        self._session = session
        self._part = 0
        self._given = 0  # characters that were handed over
        self._there = 0  # characters that the service has
        self._limit = MAX_EXPORT_PAGE
        self._waiting = ""

    async def add(self, text: str) -> None:
        """Take more text, and send what fills a part."""
        # What an import that was interrupted has brought is not sent again.
        self._waiting += text[max(0, self._there - self._given) :]
        self._given += len(text)
        while len(self._waiting) > self._limit:
            await self._send(finish=False)

    async def finish(self) -> Imported:
        """Send the rest."""
        while not (reply := await self._send(finish=True)).finished:
            pass
        return reply

    async def _send(self, *, finish: bool) -> Imported:
        """Send one part; the last one only if nothing is left behind it."""
        while True:
            text = self._waiting[: self._limit]
            is_last = finish and len(text) == len(self._waiting)
            request = Import(session=self._session, part=self._part, text=text, finish=is_last)
            try:
                reply = await self._channel.call(request, _IMPORTED, self._timeout)
            except ValueTooLarge:
                if self._limit <= _SMALLEST_PAGE:
                    raise
                self._limit //= 2
                continue
            begin = self._given - len(self._waiting)
            self._part, self._there = reply.parts, reply.characters
            self._waiting = self._waiting[max(0, self._there - begin) :]
            return reply


async def _each(lines: Lines) -> AsyncIterator[str]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    else:
        for line in lines:
            yield line
