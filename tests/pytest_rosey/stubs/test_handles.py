"""What `fake_nats.respond()` returns, and what a stub may do to its test (SPEC 5.2)."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest
from nats.micro import add_service
from nats.micro.request import ServiceError

from pytest_rosey import FakeNats, Stub

pytest_plugins = ["pytester"]


def run(project: pytest.Pytester, body: str) -> pytest.RunResult:
    project.makepyfile(f"import pytest\n{body}")
    return project.runpytest_inprocess()


async def test_a_stub_knows_what_it_answered(fake_nats: FakeNats) -> None:
    stub = fake_nats.respond("a.*", {"n": 1})
    other = fake_nats.fail("rosey.db.kv.q.get", "TIMEOUT")
    assert (stub.called, stub.requests) == (False, [])
    await fake_nats.request("a.b", b'{"k": 1}')
    await fake_nats.request("a.c", b"")
    assert stub.called
    assert [(sent.subject, sent.json) for sent in stub.requests] == [("a.b", {"k": 1}), ("a.c", {})]
    assert isinstance(other, Stub)
    assert not other.called
    other.remove()


async def test_a_removed_stub_answers_nothing_more(fake_nats: FakeNats) -> None:
    fake_nats.respond("a.b", {"n": "general"})
    special = fake_nats.respond("a.b", {"n": "special"})
    assert b"special" in (await fake_nats.request("a.b")).data
    special.remove()
    assert b"general" in (await fake_nats.request("a.b")).data
    assert len(special.requests) == 1


async def test_headers_of_the_reply(fake_nats: FakeNats) -> None:
    fake_nats.respond("a.b", {}, headers={"Rosey-Request-Id": "7"})
    assert (await fake_nats.request("a.b")).headers == {"Rosey-Request-Id": "7"}


def test_a_stub_may_be_left_unused_alone(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_optional(fake_nats):
    fake_nats.respond("a.b", {}, optional=True)

async def test_the_other_is_still_asked_for(fake_nats):
    fake_nats.respond("a.b", {}, optional=True)
    fake_nats.respond("a.c", {})
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["- a.c (never used)"])
    result.stdout.no_fnmatch_line("- a.b (never used)")


def test_a_default_stub_gives_way_to_a_later_one(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
import pytest

@pytest.fixture
def fake_nats(fake_nats):
    fake_nats.respond("a.b", {"from": "conftest"})
    return fake_nats
"""
    )
    result = run(
        project,
        """
async def test_superseded(fake_nats):
    fake_nats.respond("a.b", {"from": "test"})
    assert b"test" in (await fake_nats.request("a.b")).data

async def test_superseded_for_some_requests_only(fake_nats):
    fake_nats.respond("a.b", {"from": "test"}, when={"k": 1})
    await fake_nats.request("a.b", b'{"k": 1}')

async def test_the_later_one_must_be_used(fake_nats):
    fake_nats.respond("a.b", {"from": "test"})
""",
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(["*ERROR*test_superseded_for_some_requests_only*"])
    result.stdout.fnmatch_lines(["*ERROR*test_the_later_one_must_be_used*"])


BROKEN = {
    "an assert": "assert request.json == {}",
    "a TypeError": "return {'n': len(5)}",
    "a forgotten return": "{'n': 1}",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_stub_function_that_fails_fails_the_test(
    project: pytest.Pytester, body: str, kind: str
) -> None:
    result = run(
        project,
        f"""
async def asks(nats):
    try:
        await nats.request("a.b", b'{{"k": 1}}')
    except Exception:
        return "unknown"

async def test_swallowed(fake_nats):
    {kind} reply(request):
        {body}
    fake_nats.respond("a.b", reply)
    assert await asks(fake_nats) == "unknown"
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["The code under test swallowed what the function of a stub*"])


def test_pytest_fail_in_a_stub_function_fails_the_test_whoever_swallows_it(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        """
async def test_swallowed(fake_nats):
    fake_nats.respond("a.b", lambda request: pytest.fail("not this one"))
    try:
        await fake_nats.request("a.b")
    except BaseException:
        pass
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["The code under test swallowed what the function of a stub*"])


async def test_a_condition_that_is_none_is_refused_where_it_is_written(fake_nats: FakeNats) -> None:
    with pytest.raises(TypeError, match=r"when= takes the part of its JSON"):
        fake_nats.respond("a.b", {}, when=lambda request: True)  # type: ignore[arg-type]


def test_a_stub_function_that_fails_openly_is_told_once(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_it(fake_nats):
    fake_nats.respond("a.b", lambda request: request.nothing)
    await fake_nats.request("a.b")

async def test_returned_exceptions_are_replies(fake_nats):
    fake_nats.respond("a.b", lambda request: TimeoutError())
    with pytest.raises(TimeoutError):
        await fake_nats.request("a.b")
""",
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("*swallowed*")


def test_a_callback_of_the_test_that_fails_fails_the_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
import asyncio

class Plugin:
    async def listens(self, nats):
        async def heard(message):
            raise RuntimeError("the plugin's own matter")
        heard.__code__ = heard.__code__.replace(co_filename="/plugin.py")
        await nats.subscribe("b", cb=heard)

@pytest.mark.parametrize("client", ["nats_client", "fake_nats"])
async def test_it(client, request, nats_client, fake_nats):
    async def heard(message):
        HEARD.append(message)
        assert message.data == b"right"
    HEARD = []
    await (nats_client if client == "nats_client" else fake_nats).subscribe("a", cb=heard)
    await nats_client.publish("a", b"wrong")
    while not HEARD:
        await asyncio.sleep(0)

async def test_of_the_plugin(nats_client):
    await Plugin().listens(nats_client)
    await nats_client.publish("b", b"")
    await nats_client.flush()
""",
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(["A callback of the test failed:", "AssertionError: *"])


def test_between_the_examples_of_a_property_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_reset(fake_nats):
    for n in range(3):
        fake_nats.reset()
        assert fake_nats.requests == []
        fake_nats.respond("a.b", {"n": n})
        assert b"%d" % n in (await fake_nats.request("a.b")).data
        fake_nats.assert_requested("a.b", times=1)

async def test_what_was_swallowed_before_is_not_forgotten(fake_nats):
    try:
        await fake_nats.request("nobody.there")
    except AssertionError:
        pass
    fake_nats.reset()
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["No stub answers the request on nobody.there*"])


OF_NATS_MICRO = "ignore:datetime.datetime.utcnow:DeprecationWarning"

CALLBACKS = {
    "positional": 'await nats_client.subscribe("a", "", fails)',
    "partial": 'await nats_client.subscribe("a", cb=partial(partial(decorated), message=None))',
    "decorated": 'await nats_client.subscribe("a", cb=decorated)',
    "method": 'await nats_client.subscribe("a", cb=Listener().hears)',
    "pytest.fail": 'await nats_client.subscribe("a", cb=gives_up)',
    "endpoint": "await serve(nats_client)",
}


@pytest.mark.parametrize("shape", CALLBACKS)
def test_a_callback_of_the_test_in_whatever_shape(project: pytest.Pytester, shape: str) -> None:
    result = run(
        project,
        f"""
import asyncio
from functools import partial, wraps
from nats.micro import add_service

pytestmark = pytest.mark.filterwarnings("{OF_NATS_MICRO}")

async def fails(message):
    CALLED.set()
    raise ValueError("of the test")

async def gives_up(message):
    CALLED.set()
    pytest.fail("of the test")

@wraps(fails)
async def decorated(message_of_nats, message=None):
    await fails(message)

class Listener:
    async def hears(self, message):
        await fails(message)

async def serve(client):
    service = await add_service(client, name="service", version="1.0.0")
    await service.add_endpoint(name="a", handler=fails)

async def test_it(nats_client):
    global CALLED
    CALLED = asyncio.Event()
    {CALLBACKS[shape]}
    await nats_client.publish("a", b"")
    await CALLED.wait()
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["A callback of the test failed:", "*: of the test"])


def test_a_callback_that_pytest_fail_ends_hears_the_next_message(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        """
async def test_it(nats_client):
    async def hears(message):
        HEARD.append(message.data)
        pytest.fail("of the test")
    HEARD = []
    await nats_client.subscribe("a", cb=hears)
    for data in (b"1", b"2"):
        await nats_client.publish("a", data)
    await nats_client.drain()
    assert HEARD == [b"1", b"2"]
""",
    )
    result.assert_outcomes(passed=1, errors=1)


def test_a_callback_of_a_test_that_is_inherited(project: pytest.Pytester) -> None:
    project.makepyfile(
        suite="""
        import asyncio

        class Suite:
            async def test_it(self, nats_client):
                async def hears(message):
                    called.set()
                    raise ValueError("of the test")
                called = asyncio.Event()
                await nats_client.subscribe("a", cb=hears)
                await nats_client.publish("a", b"")
                await called.wait()
        """
    )
    result = run(project, "from suite import Suite\nclass TestIt(Suite): pass")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["A callback of the test failed:", "*: of the test"])


@pytest.mark.filterwarnings(OF_NATS_MICRO)
async def test_what_the_handler_of_an_endpoint_raises_to_be_answered_is_a_reply(
    nats_client: Any,
) -> None:
    async def refuses(_: object) -> None:
        raise ServiceError("404", "not here")

    service = await add_service(nats_client, name="service", version="1.0.0")
    await service.add_endpoint(name="a", handler=refuses)
    reply = await nats_client.request("a")
    assert reply.headers["Nats-Service-Error"] == "not here"
    await service.stop()


async def test_a_mock_may_be_a_callback(nats_client: Any) -> None:
    heard, hears = asyncio.Event(), AsyncMock()
    hears.side_effect = lambda _: heard.set()
    await nats_client.subscribe("a", cb=hears)
    await nats_client.publish("a", b"")
    await heard.wait()


def test_what_was_swallowed_is_told_beside_a_client_that_cannot_be_closed(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        """
async def test_it(fake_nats):
    async def close():
        raise OSError("cannot close")
    fake_nats.close = close
    try:
        await fake_nats.request("nobody.there")
    except AssertionError:
        pass
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines_random(["*cannot close*", "*answers the request on nobody.there*"])
