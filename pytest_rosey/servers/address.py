"""Where a server listens."""

from __future__ import annotations

from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
