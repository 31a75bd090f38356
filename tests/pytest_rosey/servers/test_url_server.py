"""The provider for a server that somebody else runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from dbservice.protocol import Family, subject_for
from pytest_rosey.servers.nats import (
    Address,
    BinaryServer,
    ServerControlError,
    ServerUnavailable,
    UrlServer,
    address_of,
)
from pytest_rosey.servers.nats.responder import SILENT, answer_to

PING = subject_for(Family.SERVICE, "ping")


@pytest.fixture
def responder():
    """Subscribe to a subject and answer each request with the given bytes, None for never."""
    with ExitStack() as stack:

        def respond(address: Address, subject: str, reply: bytes | None) -> None:
            connection = stack.enter_context(socket.create_connection(address))
            stack.callback(connection.shutdown, socket.SHUT_RDWR)
            stream = connection.makefile("rwb")
            stream.write(f'CONNECT {{"headers":true}}\r\nSUB {subject} 1\r\nPING\r\n'.encode())
            stream.flush()
            while not stream.readline().startswith(b"PONG"):
                pass

            def serve() -> None:
                for line in stream:
                    if line.startswith(b"MSG") and reply is not None:
                        inbox = line.split()[3]
                        stream.write(b"PUB %s %d\r\n%s\r\n" % (inbox, len(reply), reply))
                        stream.flush()

            def serve_until_closed() -> None:
                # Closing resets the connection where the server has said something meanwhile.
                with suppress(ConnectionError):
                    serve()

            threading.Thread(target=serve_until_closed, daemon=True).start()

        yield respond


# -- a server that is there ----------------------------------------------------------------------


def test_running_server(server):
    given = UrlServer(server.url)
    given.start()
    assert given.provider == "url"
    assert given.url == server.url
    assert given.version == server.version
    assert given.log_tail() == ""


def test_stop_leaves_it_running(server):
    with UrlServer(server.url):
        pass
    with UrlServer(server.url):
        pass


@pytest.mark.parametrize(
    ("act", "participle"),
    [("restart", "restarted"), ("kill", "killed"), ("pause", "paused"), ("resume", "resumed")],
)
def test_it_is_not_ours_to_stop(server, act, participle):
    given = UrlServer(server.url.replace("://", "://me:secret@"))
    with pytest.raises(ServerControlError) as caught:
        getattr(given, act)()
    assert str(caught.value) == (
        f"The server at nats://***@{address_of(server.url)} cannot be {participle}: it was given "
        "by its URL, so it is not ours to stop.\n"
        "Tests that need this run with a server of our own: --rosey-nats=binary or "
        "--rosey-nats=container."
    )


# -- a server that is not there ------------------------------------------------------------------


def test_nobody_answers(unused_address):
    with pytest.raises(ServerUnavailable) as caught:
        UrlServer(f"nats://token@{unused_address}").start()
    assert str(caught.value) == (
        f"No NATS server answers at nats://***@{unused_address}, which --rosey-nats names.\n"
        f"Nothing listens on {unused_address} (connection refused); expected a nats-server.\n"
        "Start one there, or let pytest-rosey start one: --rosey-nats=auto."
    )


def test_something_else_answers(listener):
    address = listener(lambda connection: connection.sendall(b"220 mail.example.org ESMTP\r\n"))
    with pytest.raises(ServerUnavailable) as caught:
        UrlServer(f"nats://{address}").start()
    assert str(caught.value) == (
        f"No NATS server answers at nats://{address}, which --rosey-nats names.\n"
        f"What listens on {address} is not NATS: it sent b'220 mail.example.org ESMTP\\r' "
        "where a nats-server sends 'INFO {…}'.\n"
        "Start one there, or let pytest-rosey start one: --rosey-nats=auto."
    )


# -- pytest-xdist --------------------------------------------------------------------------------


def test_worker_in_the_url():
    assert UrlServer("nats://{worker}:pw@h:1", worker="gw3", workers=4).url == "nats://gw3:pw@h:1"


def test_several_workers_on_one_url():
    with pytest.raises(ServerUnavailable) as caught:
        UrlServer("nats://me:secret@h:1", worker="gw0", workers=2)
    assert str(caught.value) == (
        "2 workers would share nats://***@h:1, and answer each other's requests.\n"
        "Give each one a server or an account of its own with {worker} in the URL, as in "
        "--rosey-nats='nats://{worker}:PASSWORD@HOST:PORT' ({worker} becomes gw0, gw1, …), "
        "or run with -n0."
    )


# -- another service on the same server ----------------------------------------------------------


def test_another_service_is_refused(server, responder):
    responder(address_of(server.url), "rosey.>", b'{"success":true,"service":"rosey-db"}')
    given = UrlServer(server.url)
    with pytest.raises(ServerUnavailable) as caught:
        given.start()
    assert str(caught.value) == (
        f"Another service is already on {server.url}: asked {PING}, it answered "
        '{"success":true,"service":"rosey-db"}.\n'
        "It would answer the tests' requests. Stop it (a process left by an earlier run?), or give "
        "the tests a server or an account of their own."
    )
    with pytest.raises(ServerUnavailable):
        given.start()


def test_silent_service_is_refused(server, responder, monkeypatch):
    monkeypatch.setattr("pytest_rosey.servers.nats.url._TIMEOUT", 0.2)
    responder(address_of(server.url), PING, None)
    with pytest.raises(ServerUnavailable) as caught:
        UrlServer(server.url).start()
    assert str(caught.value).splitlines()[0] == (
        f"Another service is already on {server.url}: asked {PING}, it is subscribed and says "
        "nothing."
    )


def test_other_subjects_are_no_concern(server, responder):
    responder(address_of(server.url), "rosey.command.>", b"{}")
    UrlServer(server.url).start()


@pytest.mark.parametrize("reply", [b"{}", b"", b"MSG x 1 3\r\nabc"])
def test_answer_is_handed_over(server, responder, reply):
    responder(address_of(server.url), "some.subject", reply)
    assert answer_to(server.url, "some.subject", 5) == reply


def test_no_answer(server):
    assert answer_to(server.url, "some.subject", 5) is None


def test_silence(server, responder):
    responder(address_of(server.url), "some.subject", None)
    assert answer_to(server.url, "some.subject", 0.1) is SILENT


# -- credentials ---------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path, nats_binary) -> Callable[[str], BinaryServer]:
    def configured(authorization: str) -> BinaryServer:
        config = tmp_path / "auth.conf"
        config.write_text(f"authorization {{ {authorization} }}\n", "utf-8")
        return BinaryServer(nats_binary, config=config)

    return configured


@pytest.mark.parametrize(
    ("authorization", "credentials"),
    [('user: "me", password: "a@b"', "me:a%40b"), ('token: "s3cr3t"', "s3cr3t")],
)
def test_credentials_in_the_url(guarded, authorization, credentials):
    with guarded(authorization) as server:
        UrlServer(f"nats://{credentials}@{address_of(server.url)}").start()


@pytest.mark.parametrize("credentials", ["", "me:wrong@", "wrong@"])
def test_wrong_credentials(guarded, credentials):
    with guarded('user: "me", password: "right"') as server:
        address = address_of(server.url)
        with pytest.raises(ServerUnavailable) as caught:
            UrlServer(f"nats://{credentials}{address}").start()
    assert str(caught.value) == (
        f"{address} refused the connection: 'Authorization Violation'.\n"
        "Are user and password, or the token, in the URL, and right?"
    )


def test_server_that_hangs_up_after_its_greeting(listener):
    def greet(connection: socket.socket) -> None:
        connection.sendall(b'INFO {"version":"2","server_id":"N","max_payload":1}\r\n')
        connection.recv(4096)

    address = listener(greet)
    with pytest.raises(ServerUnavailable) as caught:
        answer_to(f"nats://{address}", "a", 5)
    assert str(caught.value) == f"{address} closed the connection before it answered."


def test_server_that_asks_for_tls_and_does_not_speak_it(listener):
    def greet(connection: socket.socket) -> None:
        info = b'INFO {"version":"2","server_id":"N","max_payload":1,"tls_required":true}\r\n'
        connection.sendall(info)
        connection.recv(4096)
        connection.sendall(b"not TLS")

    address = listener(greet)
    with pytest.raises(ServerUnavailable) as caught:
        answer_to(f"tls://{address}", "a", 5)
    assert str(caught.value).startswith(f"{address} asks for TLS, and that failed: ")
