"""When a request to the storage service is repeated. The storage client does it, nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dbservice.client import RetryPolicy

MATRIX: Final = RetryPolicy(
    timeout=(0.1, 0.2, 0.4),
    connection=(0.5, 1.0, 2.0, 4.0, 8.0),
    overloaded=(0.5, 1.0),
    server_error=(1.0, 2.0),
)
"""By kind of failure, the seconds before each repeat. What is wrong with a request stays wrong: it
is not repeated. Writes carry an idempotency key, so that none is carried out twice."""


def at_most(repeats: int, policy: RetryPolicy = MATRIX) -> RetryPolicy:
    """Return a policy with fewer repeats of one request, whatever its failures."""
    return replace(policy, limit=repeats)
