"""The greeting of a NATS server: who answers at an address, and is it NATS at all?

A NATS server speaks first (`INFO {...}`), so reading that one line is a better readiness check
than connecting: the proxy of a container engine accepts connections before the server does.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dbservice.bus import wire
from dbservice.runtime.redaction import redacted
from pytest_rosey.servers.address import Address
from pytest_rosey.servers.errors import ServerUnavailable

DEFAULT_PORT = 4222
_MAX_LINE = 64 * 1024
_SHOWN_BYTES = 60


class BannerError(ServerUnavailable):
    """No NATS server greeted at an address."""


@dataclass(frozen=True, slots=True)
class Banner:
    """What a server says of itself.

    Attributes:
        version: for example `2.15.1`.
        server_id: differs from one start of a server to the next.
        server_name: the configured name, else the id.
        max_payload: the largest message in bytes.
        auth_required: clients must identify themselves.
        tls_required: clients must speak TLS after this line.
    """

    version: str
    server_id: str
    server_name: str
    max_payload: int
    auth_required: bool = False
    tls_required: bool = False


def address_of(url: str) -> Address:
    """Return host and port of a NATS URL.

    Raises:
        ServerUnavailable: it is not a URL of one NATS server.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in {"nats", "tls"} or not host:
        raise ServerUnavailable(
            f"{redacted(url)!r} is not the URL of a NATS server.\n"
            "Expected one server as nats://HOST:PORT or tls://HOST:PORT, "
            "with USER:PASSWORD@ or TOKEN@ in front of HOST if it asks for them."
        )
    return Address(host, DEFAULT_PORT if port is None else port)


def read_banner(address: Address, timeout: float) -> Banner:
    """Connect, read the server's first line and hang up.

    Args:
        address: where to connect.
        timeout: seconds for everything but the resolving of the host's name.

    Raises:
        BannerError: nothing listens, nothing is said in time, or what is said is not NATS.
    """
    deadline = time.monotonic() + timeout
    with connect(address, timeout) as connection:
        return receive_banner(connection, address, deadline - time.monotonic())


def connect(address: Address, timeout: float) -> socket.socket:
    """Open a TCP connection.

    Raises:
        BannerError: it was refused, or not accepted within `timeout` seconds.
    """
    try:
        return socket.create_connection(address, timeout)
    except TimeoutError:
        raise BannerError(
            f"{address} did not accept a connection within {timeout:g} s. "
            "Is the host up, and does a firewall let the port through?"
        ) from None
    except socket.gaierror as error:
        raise BannerError(
            f"The host name {address.host!r} is not known here ({error.strerror})."
        ) from None
    except ConnectionRefusedError:
        raise BannerError(
            f"Nothing listens on {address} (connection refused); expected a nats-server."
        ) from None
    except OSError as error:
        raise BannerError(f"{address} cannot be reached: {error.strerror or error}.") from None


def receive_banner(connection: socket.socket, address: Address, timeout: float) -> Banner:
    """Read the first line on a fresh connection to `address`.

    Raises:
        BannerError: nothing is said within `timeout` seconds, or what is said is not NATS.
    """
    line = _first_line(connection, address, timeout)
    try:
        return _banner(wire.info_of(line))
    except (ValueError, TypeError, KeyError):
        raise _not_nats(address, line) from None


def _banner(info: Any) -> Banner:
    """Pick what we need from a decoded INFO object; whoever sent it may not be NATS at all."""
    return Banner(
        version=str(info["version"]),
        server_id=str(info["server_id"]),
        server_name=str(info.get("server_name", info["server_id"])),
        max_payload=int(info["max_payload"]),
        auth_required=bool(info.get("auth_required", False)),
        tls_required=bool(info.get("tls_required", False)),
    )


def _first_line(connection: socket.socket, address: Address, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    received = b""
    while b"\n" not in received:
        if len(received) > _MAX_LINE:
            raise _not_nats(address, received)
        try:
            connection.settimeout(max(deadline - time.monotonic(), 1e-6))
            chunk = connection.recv(_MAX_LINE)
        except TimeoutError:
            raise _silent(address, received, timeout) from None
        except OSError as error:
            raise BannerError(
                f"{address} broke the connection ({error.strerror}) where a nats-server greets."
            ) from None
        if not chunk:
            raise _hung_up(address, received)
        received += chunk
    return received.split(b"\n", 1)[0]


def _silent(address: Address, received: bytes, timeout: float) -> BannerError:
    if received:
        return _not_nats(address, received)
    return BannerError(
        f"{address} accepted the connection and said nothing for {timeout:g} s, where a "
        "nats-server greets at once. Either it hangs (paused?), or another service listens there."
    )


def _hung_up(address: Address, received: bytes) -> BannerError:
    if received:
        return _not_nats(address, received)
    return BannerError(
        f"{address} accepted the connection and closed it without a word, where a nats-server "
        "greets. Does anything listen behind that port?"
    )


def _not_nats(address: Address, received: bytes) -> BannerError:
    shown = received[:_SHOWN_BYTES]
    more = "" if len(received) <= _SHOWN_BYTES else "…"
    return BannerError(
        f"What listens on {address} is not NATS: it sent {shown!r}{more} "
        "where a nats-server sends 'INFO {…}'."
    )
