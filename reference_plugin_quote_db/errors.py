"""What can be wrong with a request to the plugin (SPEC 6).

What can be wrong with the storage service is a `dbservice.client.StorageError`: of these,
timeouts are also `TimeoutError`s, and an undecodable reply is also a `json.JSONDecodeError`.
"""

from __future__ import annotations


class QuoteError(ValueError):
    """A request that cannot be met as it is. The text is meant for the chat."""


class ValidationError(QuoteError):
    """A value breaks a rule of `reference_plugin_quote_db.validation`."""


class QuoteNotFound(QuoteError):  # noqa: N818 - the name is part of the contract
    """There is no quote with this id.

    Attributes:
        quote_id: the id that was asked for.
    """

    def __init__(self, quote_id: int) -> None:
        super().__init__(f"Quote #{quote_id} not found")
        self.quote_id = quote_id


class ScoreLimitReached(QuoteError):  # noqa: N818 - named like QuoteNotFound
    """The score cannot move further: it is held between -100 and 100.

    Attributes:
        quote_id: the quote that was voted on.
    """

    def __init__(self, quote_id: int, limit: str) -> None:
        super().__init__(f"Quote #{quote_id} is already at the {limit} score")
        self.quote_id = quote_id


class MigrationsPending(RuntimeError):  # noqa: N818 - named like QuoteNotFound
    """The database is not at the version that this plugin needs.

    Attributes:
        pending: the names of the migrations that are to be applied, oldest first.
    """

    def __init__(self, namespace: str, pending: list[str]) -> None:
        missing = f"{', '.join(pending)} pending" if pending else "none of them is applied"
        super().__init__(
            f"Migrations not up to date: {missing}. "
            f"Apply them before starting the plugin: rosey migrate {namespace} apply"
        )
        self.pending = pending
