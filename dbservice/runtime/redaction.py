"""URLs as they may be shown: whatever part of one can hold a secret is taken out."""

from __future__ import annotations

import re
from typing import Final

_BETWEEN_URLS: Final = re.compile(r",(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_QUERY: Final = re.compile(r"[?#]")
_WITHIN_URL: Final = re.compile(r"[/?#]")


def redacted(url: str) -> str:
    """Return a URL, or several with commas between, without anything that may be secret.

    User, password or token become `***`, and what follows a `?` or `#` is left out: databases take
    passwords there. What cannot be told apart is left out rather than shown.

    Args:
        url: of a NATS server, a database, a Docker engine; well-formed or not.
    """
    return ",".join(map(_one, _BETWEEN_URLS.split(url)))


def _one(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if separator and rest.startswith("/"):  # a path and no host
        return f"{scheme}{separator}{_without_query(rest)}"
    credentials, at, place = rest.rpartition("@")
    if _WITHIN_URL.search(credentials):  # is this the end of a password, or of a query?
        return f"{scheme}{separator}***"
    return f"{scheme}{separator}{'***@' if at and credentials else ''}{_without_query(place)}"


def _without_query(url: str) -> str:
    return _QUERY.split(url, maxsplit=1)[0]
