"""The wire contract: subjects, typed messages, error codes, limits. No I/O, no SQL."""

from dbservice.protocol.codec import (
    decode_request,
    encode_failure,
    encode_json,
    encode_reply,
    encode_request,
)
from dbservice.protocol.errors import RETRYABLE, ErrorCode, Reason, RequestError
from dbservice.protocol.names import Namespace, namespace
from dbservice.protocol.operations import OPERATIONS, Effect, Operation, find
from dbservice.protocol.subjects import Address, Family, parse, subject_for

__all__ = [
    "OPERATIONS",
    "RETRYABLE",
    "Address",
    "Effect",
    "ErrorCode",
    "Family",
    "Namespace",
    "Operation",
    "Reason",
    "RequestError",
    "decode_request",
    "encode_failure",
    "encode_json",
    "encode_reply",
    "encode_request",
    "find",
    "namespace",
    "parse",
    "subject_for",
]
