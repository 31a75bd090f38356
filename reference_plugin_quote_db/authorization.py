"""Who may do what. Rights are given for exact names; being banned holds in any spelling."""

from __future__ import annotations

from typing import Final

from reference_plugin_quote_db.schema import ADDED_BY, Quote
from reference_plugin_quote_db.validation import same_user

MAY_DELETE_ANY: Final = frozenset({"admin", "moderator"})
BANNED: Final = "banned"


def may_delete(quote: Quote, user: str, role: str) -> bool:
    """Return whether a user may delete a quote: moderators and admins any, others their own."""
    return role in MAY_DELETE_ANY or same_user(quote[ADDED_BY], user)


def refuse_banned(role: str, doing: str) -> None:
    """Do nothing for anybody who is not banned.

    Args:
        role: what they are.
        doing: what they want to do, for the message: `adding quotes`.

    Raises:
        PermissionError: for those who are.
    """
    if role.strip().casefold() == BANNED:
        raise PermissionError(f"User is banned from {doing}")
