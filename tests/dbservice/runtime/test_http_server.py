"""The HTTP server over a real socket on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

import pytest

from dbservice.runtime.http import SECURITY_HEADERS, Response, json_response
from dbservice.runtime.http_server import HttpServer


async def hello(request):
    return json_response({"path": request.path, "query": dict(request.query)})


async def page(_request):
    return Response(201, "text/plain", b"made", {"X-Frame-Options": "SAMEORIGIN"})


async def broken(_request):
    raise KeyError("secret")


async def forger(_request):
    return Response(200, headers={"X-Name": "a\r\nX-Forged: yes"})


async def odd(_request):
    return Response(299)


async def user_agent(request):
    return json_response(request.headers["user-agent"])


ROUTES = {
    "/hello": hello,
    "/quotes/": hello,
    "/quotes/page": page,
    "/broken": broken,
    "/forger": forger,
    "/odd": odd,
    "/agent": user_agent,
}


@pytest.fixture
async def server():
    server = HttpServer(ROUTES, header_limit=1024)
    await server.start()
    yield server
    await server.stop()


async def exchange(server, request, *, half_close=False):
    """Send bytes and return the status line, the headers and the body that came back."""
    url = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        writer.write(request)
        if half_close:
            writer.write_eof()
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines if line), body


async def get(server, target, method="GET"):
    return await exchange(server, f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_get(server):
    status, headers, body = await get(server, "/hello?a=1&b=&a=%C3%A9")

    assert status == "HTTP/1.1 200 OK"
    assert headers.pop("Date").endswith("GMT")
    assert headers == {
        **SECURITY_HEADERS,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Server": "rosey",
    }
    assert json.loads(body) == {"path": "/hello", "query": {"a": "é", "b": ""}}


async def test_head_has_no_body(server):
    _, expected, body = await get(server, "/hello")

    status, headers, nothing = await get(server, "/hello", "HEAD")

    assert (status, nothing) == ("HTTP/1.1 200 OK", b"")
    assert headers.keys() == expected.keys()
    assert headers["Content-Length"] == str(len(body))


async def test_a_response_is_sent_as_it_is(server):
    status, headers, body = await get(server, "/quotes/page")

    assert (status, body) == ("HTTP/1.1 201 Created", b"made")
    assert headers["Content-Type"] == "text/plain"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"


async def test_a_status_without_a_name_of_its_own(server):
    status, _, _ = await get(server, "/odd")

    assert status == "HTTP/1.1 299 "


async def test_a_path_that_ends_in_a_slash_takes_what_is_below(server):
    _, _, body = await get(server, "/quotes/42%2F7")

    assert json.loads(body)["path"] == "/quotes/42/7"


AGENT = b"GET /agent HTTP/1.1\r\nHost: x\r\nUser-AGENT:  probe \r\n\r\n"


async def test_headers_are_handed_on(server):
    _, _, body = await exchange(
        server, b"GET /agent HTTP/1.1\r\nHost: x\r\nUser-AGENT:  probe \r\n\r\n"
    )

    assert json.loads(body) == "probe"


@pytest.mark.parametrize("target", ["/nothing", "/hello/", "/quotes", "/"])
async def test_unknown_paths(server, target):
    status, _, body = await get(server, target)

    assert status == "HTTP/1.1 404 Not Found"
    assert json.loads(body) == {
        "error": {
            "status": 404,
            "message": f"Nothing is served at '{target}'. Served here: /hello, /quotes/, "
            "/quotes/page, /broken, /forger, /odd, /agent.",
        }
    }


async def test_other_methods(server):
    body = b"x" * 5000
    status, headers, answer = await exchange(
        server, b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + body
    )

    assert status == "HTTP/1.1 405 Method Not Allowed"
    assert headers["Allow"] == "GET, HEAD"
    assert json.loads(answer) == {
        "error": {"status": 405, "message": "'POST' is not served here: expected GET or HEAD."}
    }


SMUGGLED = (
    b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"
)
"""Two lengths: what a proxy and a server may read differently."""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET /hello SPDY/3\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        SMUGGLED,
        b"GET /hello HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 2000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http(server, request_bytes):
    status, headers, body = await exchange(server, request_bytes)

    assert status.endswith(" 400 Bad Request")
    assert headers["X-Frame-Options"] == "DENY"
    error = json.loads(body)["error"]
    assert error["status"] == 400
    assert error["message"].startswith("Not an HTTP/1.1 request: ")


async def test_a_handler_that_fails_tells_the_log_only(server, caplog):
    status, _, body = await get(server, "/broken")

    assert status == "HTTP/1.1 500 Internal Server Error"
    assert json.loads(body) == {
        "error": {
            "status": 500,
            "message": "The request failed; the log of this process says why.",
        }
    }
    [record] = caplog.records
    assert record.path == "/broken"
    assert record.exc_info[0] is KeyError


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        ("200", b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("400", b"hello\r\n\r\n"),
        ("404", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("405", b"DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("500", b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
async def test_every_answer_keeps_browsers_from_doing_harm(server, status, request_bytes):
    line, headers, _ = await exchange(server, request_bytes)

    assert line.split()[1] == status
    assert headers["Content-Security-Policy"] == "default-src 'self'; script-src 'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


async def test_a_header_cannot_forge_another(server):
    _, headers, _ = await get(server, "/forger")

    assert headers["X-Name"] == "a  X-Forged: yes"
    assert "X-Forged" not in headers


async def test_a_client_that_hangs_up_early_gets_nothing(server):
    status, _, body = await exchange(server, b"GET /hel", half_close=True)

    assert (status, body) == ("", b"")


async def test_a_client_that_says_nothing_is_dropped():
    server = HttpServer(ROUTES, read_timeout=0.01)
    await server.start()
    try:
        status, _, body = await exchange(server, b"GET /hello HTTP/1.1\r\nHost: x\r\n")
    finally:
        await server.stop()

    assert (status, body) == ("", b"")


async def test_no_more_than_so_many_connections_are_open():
    server = HttpServer(ROUTES, max_connections=2)
    await server.start()
    url = urlsplit(server.url)
    try:
        idle = [await asyncio.open_connection(url.hostname, url.port) for _ in range(2)]
        with contextlib.suppress(ConnectionResetError):
            assert (await get(server, "/hello"))[0] == ""
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            while not await answered(server):
                pass
    finally:
        await server.stop()


async def answered(server):
    """Whether the server takes a connection again; it learns of the closed ones by and by."""
    try:
        return (await get(server, "/hello"))[0] == "HTTP/1.1 200 OK"
    except ConnectionResetError:
        return False


async def test_requests_are_served_side_by_side():
    both_are_here = asyncio.Barrier(2)

    async def meet(_request):
        await both_are_here.wait()
        return json_response("met")

    server = HttpServer({"/meet": meet})
    await server.start()
    try:
        answers = await asyncio.gather(get(server, "/meet"), get(server, "/meet"))
    finally:
        await server.stop()

    assert [body for _, _, body in answers] == [b'"met"', b'"met"']


async def test_stopping_drops_open_connections():
    arrived = asyncio.Event()

    async def forever(_request):
        arrived.set()
        await asyncio.Event().wait()

    server = HttpServer({"/forever": forever})
    await server.start()
    url = server.url
    waiting = asyncio.create_task(get(server, "/forever"))
    await arrived.wait()

    await server.stop()
    await server.stop()

    assert await waiting == ("", {}, b"")
    parts = urlsplit(url)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(parts.hostname, parts.port)


async def test_the_address_is_known_only_while_it_listens(server):
    assert server.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError) as failure:
        _ = HttpServer({}).url
    assert str(failure.value) == ("The HTTP server has no address before start() and after stop().")
