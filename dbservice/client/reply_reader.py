"""Replies: read what the caller needs, refuse what is not a reply."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from dbservice.client.errors import MalformedReply, StorageError, error_for
from dbservice.protocol.messages import Problem, Reply

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

R = TypeVar("R", bound=Reply)

_SHOWN = 200


class ReplyReader(Generic[R]):
    """Reads the reply to one kind of request.

    A reader is more tolerant than the contract: fields it does not know are passed over (a newer
    service may send them), and so is the absence of fields that nobody reads here. `success` is
    always required.

    Args:
        message: the message of the contract.
        reads: the required fields that the caller looks at; by default all of them. The others
            are UNSET in what `read` returns if they did not come.
    """

    def __init__(self, message: type[R], *reads: str) -> None:
        required = [field for field in msgspec.structs.fields(message) if field.required]
        self._reads = reads or tuple(field.encode_name for field in required)
        unread = [
            (field.name, field.type | UnsetType, UNSET)
            for field in required
            if field.encode_name not in self._reads
        ]
        tolerant = msgspec.defstruct(
            message.__name__,
            [("success", Literal[True]), *unread],
            bases=(message,),
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=False,
        )
        self._decoder: msgspec.json.Decoder[R] = msgspec.json.Decoder(tolerant)

    def read(self, payload: bytes, subject: str) -> R:
        """Return the reply.

        Args:
            payload: what came.
            subject: what it answers, for errors.

        Raises:
            StorageError: the one that a failed reply names.
            MalformedReply: it is not a reply of the contract.
        """
        try:
            return self._decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise self._diagnosed(payload, subject, error) from None

    def _diagnosed(self, payload: bytes, subject: str, error: Exception) -> StorageError:
        try:
            reply = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as cause:
            return self._malformed(payload, subject, f"is not JSON ({cause})")
        if not isinstance(reply, dict):
            return self._malformed(payload, subject, "is not a JSON object")
        if "success" not in reply:
            return self._malformed(
                payload,
                subject,
                "has no 'success'",
                " A hand-made mock may have left it out: build the reply with "
                "make_nats_response(…), which adds it.",
            )
        if reply["success"] is not False:
            return self._malformed(payload, subject, f"is not as expected ({error})")
        return self._failure(reply, payload, subject)

    def _failure(self, reply: dict[str, Any], payload: bytes, subject: str) -> StorageError:
        try:
            problem = msgspec.convert(reply.get("error"), Problem)
        except msgspec.ValidationError:
            return self._malformed(
                payload, subject, "is a failure without 'error': {'code', 'message'}"
            )
        return error_for(problem.code, problem.message, problem.details)

    def _malformed(self, payload: bytes, subject: str, what: str, hint: str = "") -> MalformedReply:
        text = _text(payload)
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        fields = "".join(f', "{name}": …' for name in self._reads)
        return MalformedReply(
            f"The reply from '{subject}' {what}: got {shown or 'nothing'}. "
            f'Expected {{"success": true{fields}}} or '
            f'{{"success": false, "error": {{"code": …, "message": …}}}}.{hint}',
            doc=text,
        )


def _text(payload: object) -> str:
    # A mock's reply can be anything at all.
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else repr(payload)
