"""Every way a call can fail has its class and its sentence."""

from __future__ import annotations

import json
import pickle
from unittest.mock import Mock

import nats.errors
import pytest

from dbservice.client import (
    ConstraintViolation,
    Disconnected,
    MalformedReply,
    NoService,
    RequestTimeout,
    StorageError,
    ValueTooLarge,
    errors,
)
from dbservice.protocol import RETRYABLE, ErrorCode, RequestError

SUBJECT = "rosey.db.row.quote-db.count"


async def failure_of(connect, reply):
    storage, _ = connect(reply)
    with pytest.raises(StorageError) as failure:
        await storage.rows("quotes").count()
    return failure.value


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_exactly_one_class(code):
    own = [kind for kind in subclasses(StorageError) if kind.code == code]

    assert own == [errors.CLASSES[code]]
    assert own[0].retryable is (code in RETRYABLE)


def test_no_class_stands_for_a_code_that_does_not_exist():
    transport = {RequestTimeout, NoService, Disconnected, MalformedReply}

    assert set(subclasses(StorageError)) - transport == set(errors.CLASSES.values())
    assert not {kind.code for kind in transport} & set(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
async def test_a_failed_reply_raises_the_class_of_its_code(connect, code):
    error = await failure_of(connect, RequestError(code, "Sentence.", field="score"))

    assert type(error) is errors.CLASSES[code]
    assert str(error) == error.message == "Sentence."
    assert (error.code, error.details) == (code, {"field": "score"})


async def test_a_code_of_a_newer_service(connect):
    reply = {"success": False, "error": {"code": "QUOTA", "message": "Too much."}, "more": 1}

    error = await failure_of(connect, reply)

    assert type(error) is StorageError
    assert (error.code, error.message, error.details) == ("QUOTA", "Too much.", {})
    assert error.retryable is False


async def test_no_reply_in_time(connect):
    error = await failure_of(connect, nats.errors.TimeoutError())

    assert type(error) is RequestTimeout
    assert isinstance(error, TimeoutError)
    assert error.retryable is True
    assert error.details == {"subject": SUBJECT, "timeout_s": 2.0}
    assert str(error) == (
        f"No reply on '{SUBJECT}' within 2 s. The request may still have been executed: repeat a "
        "write only with the same idempotency_key."
    )


async def test_nobody_answers(connect):
    error = await failure_of(connect, nats.errors.NoRespondersError())

    assert type(error) is NoService
    assert isinstance(error, ConnectionError)
    assert error.retryable is True
    assert str(error) == (
        f"No database service answers on '{SUBJECT}': none is connected to this NATS server, or "
        "this connection may not use the subject. Start one with "
        "'rosey serve --nats URL --db FILE'; in a test, ask for the fixture db_service."
    )


@pytest.mark.parametrize(
    "cause",
    [
        nats.errors.ConnectionClosedError(),
        nats.errors.ConnectionDrainingError(),
        nats.errors.ConnectionReconnectingError(),
        nats.errors.OutboundBufferLimitError(),
        nats.errors.UnexpectedEOF(),
        ConnectionResetError("gone"),
    ],
    ids=lambda cause: type(cause).__name__,
)
async def test_the_connection_is_gone(connect, cause):
    error = await failure_of(connect, cause)

    assert type(error) is Disconnected
    assert error.__cause__ is cause
    assert str(error) == (
        f"The request on '{SUBJECT}' was not answered because the connection to the NATS server "
        f"is not usable: {cause}."
    )


async def test_a_request_that_the_nats_server_would_refuse(connect):
    error = await failure_of(connect, nats.errors.MaxPayloadError())

    assert type(error) is ValueTooLarge
    assert str(error) == (
        f"The request on '{SUBJECT}' has 18 bytes, more than the NATS server takes in one "
        "message. Split it."
    )


async def test_an_unexpected_error_of_the_connection_stays_itself(connect):
    storage, _ = connect(AssertionError("Client.connect must be called first"))

    with pytest.raises(AssertionError, match="must be called first"):
        await storage.rows("quotes").count()


EXPECTED = (
    'Expected {"success": true, "count": …} or '
    '{"success": false, "error": {"code": …, "message": …}}.'
)


HINT = (
    " A hand-made mock may have left it out: build the reply with make_nats_response(…), which "
    "adds it."
)


@pytest.mark.parametrize(
    ("reply", "what", "shown", "hint"),
    [
        (
            b"invalid json",
            "is not JSON (JSON is malformed: invalid character (byte 0))",
            "invalid json",
            "",
        ),
        (b"", "is not JSON (Input data was truncated)", "nothing", ""),
        (b"[1]", "is not a JSON object", "[1]", ""),
        (b'{"count":3}', "has no 'success'", '{"count":3}', HINT),
        (
            b'{"success":true}',
            "is not as expected (Object missing required field `count`)",
            '{"success":true}',
            "",
        ),
        (
            b'{"success":true,"count":"3"}',
            "is not as expected (Expected `int`, got `str` - at `$.count`)",
            '{"success":true,"count":"3"}',
            "",
        ),
        (
            b'{"success":"yes","count":3}',
            "is not as expected (Expected `bool`, got `str` - at `$.success`)",
            '{"success":"yes","count":3}',
            "",
        ),
        (
            b'{"success":false,"error":"boom"}',
            "is a failure without 'error': {'code', 'message'}",
            '{"success":false,"error":"boom"}',
            "",
        ),
    ],
)
async def test_what_is_not_a_reply_is_refused(connect, reply, what, shown, hint):
    error = await failure_of(connect, reply)

    assert type(error) is MalformedReply
    assert isinstance(error, json.JSONDecodeError)
    assert error.retryable is False
    assert str(error) == f"The reply from '{SUBJECT}' {what}: got {shown}. {EXPECTED}{hint}"


async def test_bytes_that_are_no_text_are_refused(connect):
    error = await failure_of(connect, b'{"success": true, "x": "\xff"}')

    assert type(error) is MalformedReply
    assert str(error).startswith(f"The reply from '{SUBJECT}' is not JSON (")


async def test_a_mock_without_data_is_named(connect):
    error = await failure_of(connect, Mock(name="reply"))

    assert type(error) is MalformedReply
    assert "got <Mock name='reply'" in str(error)


async def test_a_long_reply_is_shown_in_part_and_kept_whole(connect):
    error = await failure_of(connect, b"x" * 500)

    assert f"got {'x' * 200}…. Expected" in str(error)
    assert error.doc == "x" * 500


async def test_unknown_fields_of_a_reply_are_passed_over(connect):
    storage, _ = connect({"success": True, "count": 3, "took_ms": 1, "replayed": True})

    assert await storage.rows("quotes").count() == 3


async def test_fields_that_nobody_reads_may_be_absent(connect):
    storage, _ = connect({"success": True, "rows": [{"id": 1}]}, {"success": True, "id": 42})

    assert await storage.rows("quotes").get(1) == {"id": 1}
    assert await storage.rows("quotes").insert({"text": "a"}) == 42


@pytest.mark.parametrize(
    "error",
    [
        ConstraintViolation("No.", details={"field": "score"}),
        RequestTimeout("Late.", details={"timeout_s": 2.0}),
        StorageError("Odd.", code="QUOTA"),
        MalformedReply("Garbled.", doc="{"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.code, copy.message, copy.details) == (error.code, error.message, error.details)
