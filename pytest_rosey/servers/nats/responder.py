"""Does somebody already answer a subject on a server? Asked with the standard library alone.

A test run that shares a server with a forgotten service would be answered by it, and be green or
red for the wrong reasons (SPEC 5.3). nats-py is asynchronous and slow to import; asking one
question takes three lines of the NATS protocol.
"""

from __future__ import annotations

import socket
import uuid
from urllib.parse import unquote, urlsplit

from dbservice.bus import wire
from pytest_rosey.servers.address import Address
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.nats.banner import address_of, connect, receive_banner

SILENT = b""
"""The answer of a responder that is there and said nothing in time."""

_CHUNK = 65536


def answer_to(url: str, subject: str, timeout: float) -> bytes | None:
    """Send an empty request and return the first reply.

    Args:
        url: a `nats://` or `tls://` URL, with credentials if the server asks for them.
        subject: what to ask.
        timeout: seconds for each step. Only a silent responder takes that long, since the server
            itself says at once that there is none.

    Returns:
        The reply's payload, `SILENT` if somebody listens and said nothing, None if nobody does.

    Raises:
        ServerUnavailable: the server cannot be reached or refused the connection.
    """
    address = address_of(url)
    inbox = f"_INBOX.{uuid.uuid4().hex}"
    with _greeted(connect(address, timeout), address, timeout) as connection:
        connection.settimeout(timeout)
        try:
            connection.sendall(_question(url, subject, inbox))
            return _first_reply(connection, address)
        except TimeoutError:
            return SILENT
        except (ConnectionError, wire.MalformedError):
            raise _hung_up(address) from None


def _greeted(connection: socket.socket, address: Address, timeout: float) -> socket.socket:
    """Take the server's greeting, and change to TLS if it says so."""
    try:
        banner = receive_banner(connection, address, timeout)
        if not banner.tls_required:
            return connection
        import ssl  # only for servers that ask for it

        connection.settimeout(timeout)
        return ssl.create_default_context().wrap_socket(connection, server_hostname=address.host)
    except OSError as error:
        connection.close()
        raise ServerUnavailable(f"{address} asks for TLS, and that failed: {error}") from None
    except BaseException:
        connection.close()
        raise


def _question(url: str, subject: str, inbox: str) -> bytes:
    options = {
        "verbose": False,
        "pedantic": False,
        "lang": "pytest-rosey",
        "version": "1",
        "protocol": 1,
        "headers": True,
        "no_responders": True,
        **_credentials(url),
    }
    inbox_name = inbox.encode()
    return (
        wire.connect(options)
        + wire.subscription(inbox_name, b"1")
        + wire.publication(subject.encode(), inbox_name, b"")
    )


def _credentials(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password:
        return {"user": user, "pass": password}
    return {"auth_token": user} if user else {}


def _first_reply(connection: socket.socket, address: Address) -> bytes | None:
    frames = wire.Frames()
    while data := connection.recv(_CHUNK):
        for frame in frames.feed(data):
            if frame.verb == b"-ERR":
                raise ServerUnavailable(
                    f"{address} refused the connection: "
                    f"{frame.arguments.decode(errors='replace')}.\n"
                    "Are user and password, or the token, in the URL, and right?"
                )
            if frame.head is not None:
                return None if wire.is_no_responders(frame.header_block) else frame.payload
    raise _hung_up(address)


def _hung_up(address: Address) -> ServerUnavailable:
    return ServerUnavailable(f"{address} closed the connection before it answered.")
