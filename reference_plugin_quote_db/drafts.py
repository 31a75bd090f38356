"""Quotes on their way in: what users gave, checked and made into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbservice.protocol.limits import MAX_BATCH
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.errors import ValidationError


class Drafts:
    """Makes rows.

    Args:
        clock: tells when a quote was added.
        strict_authors: allow only ASCII letters, digits, blanks and `- _ . '` in authors' names.
    """

    def __init__(self, clock: Clock, *, strict_authors: bool) -> None:
        self._clock = clock
        self._strict_authors = strict_authors

    def author(self, name: str | None) -> str:
        """Return an author's name as `validation.author()` has it."""
        return validation.author(name, strict=self._strict_authors)

    def row(self, text: str, author: str | None, added_by: str) -> dict[str, Any]:
        """Return the row of a quote that is added now.

        Raises:
            ValidationError: if one of the values breaks a rule.
        """
        return {
            schema.TEXT: validation.quote_text(text),
            schema.AUTHOR: self.author(author),
            schema.ADDED_BY: validation.username(added_by),
            schema.TIMESTAMP: int(self._clock.time()),
        }

    def rows(self, quotes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of quotes that are added together.

        Raises:
            ValidationError: if there are over 1000, or naming the first one that is not valid.
        """
        if len(quotes) > MAX_BATCH:
            raise ValidationError(f"Too many quotes at once (max {MAX_BATCH})")
        return [self._numbered(number, quote) for number, quote in enumerate(quotes, 1)]

    def _numbered(self, number: int, quote: Mapping[str, Any]) -> dict[str, Any]:
        unknown = quote.keys() - _FIELDS
        if unknown:
            raise ValidationError(
                f"Quote {number}: unknown {', '.join(sorted(unknown))}; "
                f"expected {', '.join(_FIELDS)}"
            )
        text, author, added_by = (quote.get(field) for field in _FIELDS)
        try:
            return self.row(text or "", author, added_by or "")
        except ValidationError as error:
            raise ValidationError(f"Quote {number}: {error}") from error


_FIELDS = (schema.TEXT, schema.AUTHOR, schema.ADDED_BY)
