"""Who may do what."""

from __future__ import annotations

from typing import Final

from reference_plugin_quote_db.schema import ADDED_BY, Quote
from reference_plugin_quote_db.validation import same_user

MAY_DELETE_ANY: Final = frozenset({"admin", "moderator"})


def may_delete(quote: Quote, user: str, role: str) -> bool:
    """Return whether a user may delete a quote: moderators and admins any, others their own."""
    return role in MAY_DELETE_ANY or same_user(quote[ADDED_BY], user)
