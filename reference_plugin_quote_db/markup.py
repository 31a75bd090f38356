"""Quotes for web pages."""

from __future__ import annotations

import html

from reference_plugin_quote_db.schema import Quote


def escaped(quote: Quote) -> Quote:
    """Return a copy of a quote whose texts can stand in HTML: `<` is `&lt;`, and so on."""
    return {name: _escaped(value) for name, value in quote.items()}


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return html.escape(value)
    return [_escaped(each) for each in value] if isinstance(value, list) else value
