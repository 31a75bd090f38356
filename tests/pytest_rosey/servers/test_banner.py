"""Reading a server's greeting, and saying what answered instead."""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest

from pytest_rosey.servers.nats import (
    Address,
    Banner,
    BannerError,
    ServerUnavailable,
    address_of,
    read_banner,
)
from pytest_rosey.servers.nats.banner import connect, receive_banner
from tests.pytest_rosey.servers.process_watch import PATIENCE

INFO = {
    "server_id": "NABC",
    "server_name": "one",
    "version": "2.15.1",
    "max_payload": 1048576,
    "auth_required": True,
}


def test_greeting_of_a_real_server(server):
    banner = read_banner(address_of(server.url), 2)
    assert banner.version == server.version
    assert banner.max_payload == 1024 * 1024
    assert len(banner.server_id) == 56
    assert not banner.auth_required


def test_greeting_in_pieces(listener):
    def drip(connection: socket.socket) -> None:
        for byte in f"INFO {json.dumps(INFO)}\r\n".encode():
            connection.sendall(bytes([byte]))

    assert read_banner(listener(drip), 2) == Banner(
        version="2.15.1",
        server_id="NABC",
        server_name="one",
        max_payload=1048576,
        auth_required=True,
        tls_required=False,
    )


def test_nothing_listens(unused_address):
    with pytest.raises(BannerError) as caught:
        read_banner(unused_address, 2)
    assert str(caught.value) == (
        f"Nothing listens on {unused_address} (connection refused); expected a nats-server."
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            TimeoutError(),
            (
                "db.example:4222 did not accept a connection within 2 s. "
                "Is the host up, and does a firewall let the port through?"
            ),
        ),
        (
            socket.gaierror(-2, "Name or service not known"),
            "The host name 'db.example' is not known here (Name or service not known).",
        ),
        (
            OSError(101, "Network is unreachable"),
            "db.example:4222 cannot be reached: Network is unreachable.",
        ),
    ],
)
def test_host_that_cannot_be_reached(monkeypatch, error, text):
    def fail(address: Address, timeout: float) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(BannerError) as caught:
        read_banner(Address("db.example", 4222), 2)
    assert str(caught.value) == text


def test_connection_is_reset(listener):
    connected = threading.Event()

    def reset(connection: socket.socket) -> None:
        connected.wait(PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    address = listener(reset)
    with connect(address, 2) as connection:
        connected.set()
        with pytest.raises(BannerError) as caught:
            receive_banner(connection, address, 2)
    assert str(caught.value) == (
        f"{address} broke the connection (Connection reset by peer) where a nats-server greets."
    )


def test_says_nothing(listener):
    address = listener(lambda connection: connection.recv(1))
    with pytest.raises(BannerError) as caught:
        read_banner(address, 0.05)
    said_for = str(caught.value).partition("nothing for ")[2].partition(" s,")[0]
    assert 0 < float(said_for) <= 0.05
    assert str(caught.value) == (
        f"{address} accepted the connection and said nothing for {said_for} s, where a nats-server "
        "greets at once. Either it hangs (paused?), or another service listens there."
    )


def test_hangs_up(listener):
    address = listener(lambda connection: None)
    with pytest.raises(BannerError) as caught:
        read_banner(address, 2)
    assert str(caught.value) == (
        f"{address} accepted the connection and closed it without a word, where a nats-server "
        "greets. Does anything listen behind that port?"
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", r"b'SSH-2.0-OpenSSH_9.6\r'"),
        (b"INFO \r\n", r"b'INFO \r'"),
        (b"INFO {\r\n", r"b'INFO {\r'"),
        (b"INFO [1]\r\n", r"b'INFO [1]\r'"),
        (b'INFO {"version": 2}\r\n', """b'INFO {"version": 2}\\r'"""),
        (b"220 no line end", "b'220 no line end'"),
        (b"x" * 70_000, f"b'{'x' * 60}'…"),
    ],
)
def test_something_else_answers(listener, sent, shown):
    address = listener(lambda connection: connection.sendall(sent))
    with pytest.raises(BannerError) as caught:
        read_banner(address, 2)
    assert str(caught.value) == (
        f"What listens on {address} is not NATS: it sent {shown} "
        "where a nats-server sends 'INFO {…}'."
    )


def test_paused_server_says_nothing_and_recovers(server):
    address = address_of(server.url)
    server.pause()
    with pytest.raises(BannerError, match="said nothing for"):
        read_banner(address, 0.1)
    server.resume()
    assert read_banner(address, 5).version == server.version


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("nats://127.0.0.1:4333", Address("127.0.0.1", 4333)),
        ("nats://user:pass@example.org", Address("example.org", 4222)),
        ("tls://[::1]:5", Address("::1", 5)),
    ],
)
def test_address_of(url, address):
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://h:1",
        "nats://",
        "nats://h:port",
        "nats://h:99999",
        "localhost:4222",
        "nats://a:1,nats://b:2",
        "nats://[::1",
        "ws://h:1",
    ],
)
def test_address_of_no_nats_url(url):
    with pytest.raises(ServerUnavailable) as caught:
        address_of(url)
    assert str(caught.value) == (
        f"{url!r} is not the URL of a NATS server.\n"
        "Expected one server as nats://HOST:PORT or tls://HOST:PORT, "
        "with USER:PASSWORD@ or TOKEN@ in front of HOST if it asks for them."
    )
