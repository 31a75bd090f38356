"""PostgreSQL servers for a test run: binaries, a container, or one that runs already (SPEC 5.3).

Everything here is synchronous, and needs neither asyncpg nor SQLAlchemy.
"""

from pytest_rosey.servers.postgres.binary import PostgresServer
from pytest_rosey.servers.postgres.container import PostgresContainer
from pytest_rosey.servers.postgres.provider import PostgresProvider
from pytest_rosey.servers.postgres.search import (
    PostgresSearch,
    find_postgres,
    postgres_version,
    require_postgres,
    unavailable_reason,
)

__all__ = [
    "PostgresContainer",
    "PostgresProvider",
    "PostgresSearch",
    "PostgresServer",
    "find_postgres",
    "postgres_version",
    "require_postgres",
    "unavailable_reason",
]
