"""`mock_nats` and `make_nats_response` (SPEC 5.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from nats.aio.msg import Msg

import pytest_rosey

Make = Callable[..., Msg]


async def test_it_replaces_a_hand_made_mock(mock_nats: Any, make_nats_response: Make) -> None:
    mock_nats.request.return_value = make_nats_response({"id": 42, "created": True})
    reply = await mock_nats.request("rosey.db.row.quote-db.insert", b"{}", timeout=2.0)
    assert json.loads(reply.data.decode()) == {"success": True, "id": 42, "created": True}
    mock_nats.request.assert_called_once()
    assert mock_nats.request.call_args[0][0] == "rosey.db.row.quote-db.insert"
    assert isinstance(mock_nats.request, AsyncMock)


async def test_side_effects_in_turn(mock_nats: Any, make_nats_response: Make) -> None:
    mock_nats.request.side_effect = [TimeoutError(), make_nats_response({})]
    with pytest.raises(TimeoutError):
        await mock_nats.request("a.b", b"")
    assert (await mock_nats.request("a.b", b"")).data == b'{"success":true}'
    assert mock_nats.request.call_count == 2


async def test_resetting_it_resets_what_is_below_it(mock_nats: Any) -> None:
    mock_nats.request.return_value = b"kept"
    mock_nats.is_connected = False
    await mock_nats.request("a.b", b"")
    await mock_nats.publish("a.b", b"")
    mock_nats.reset_mock()
    mock_nats.request.assert_not_called()
    mock_nats.publish.assert_not_awaited()
    assert await mock_nats.request("a.b", b"") == b"kept"
    mock_nats.reset_mock(return_value=True)
    assert await mock_nats.request("a.b", b"") != b"kept"
    with pytest.raises(TypeError, match="subject"):
        await mock_nats.request()


async def test_calls_are_checked_against_the_real_signatures(mock_nats: Any) -> None:
    with pytest.raises(TypeError, match="subject"):
        await mock_nats.request()
    with pytest.raises(TypeError, match="time_out"):
        await mock_nats.request("a.b", time_out=1)
    with pytest.raises(AttributeError):
        mock_nats.reqest  # noqa: B018


def test_it_says_that_it_is_connected(mock_nats: Any) -> None:
    assert (mock_nats.is_connected, mock_nats.is_closed) == (True, False)


def test_a_mock_for_each_test_is_new(mock_nats: Any) -> None:
    mock_nats.request.assert_not_called()


@pytest.mark.parametrize("success", [True, False])
def test_success_is_kept_where_it_is_given(make_nats_response: Make, success: bool) -> None:
    assert json.loads(make_nats_response({"success": success}).data) == {"success": success}


def test_headers_and_subject(make_nats_response: Make) -> None:
    reply = make_nats_response({}, headers={"Rosey-Request-Id": "7"}, subject="_INBOX.1")
    assert (reply.headers, reply.subject) == ({"Rosey-Request-Id": "7"}, "_INBOX.1")
    assert make_nats_response({}).headers is None


def test_a_suite_may_import_the_function(make_nats_response: Make) -> None:
    assert pytest_rosey.make_nats_response is make_nats_response


@pytest.mark.parametrize("name", pytest_rosey.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(pytest_rosey, name).__name__ == name


def test_an_unknown_name_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FakeNat'"):
        pytest_rosey.FakeNat  # noqa: B018
