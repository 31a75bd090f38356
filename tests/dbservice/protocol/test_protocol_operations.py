"""The table of operations: every entry is complete, reachable and describes itself (SPEC 2.1)."""

from __future__ import annotations

import json

import msgspec
import pytest

from dbservice.protocol import (
    OPERATIONS,
    Effect,
    Operation,
    decode_request,
    encode_request,
    find,
    subject_for,
)
from dbservice.protocol.messages import Request, Write
from tests.dbservice.protocol.request_examples import EXAMPLES, fullest, smallest, subject_parts

pytestmark = pytest.mark.parametrize(
    "operation",
    list(OPERATIONS.values()),
    ids=lambda operation: f"{operation.family}.{operation.name}",
)


def test_an_operation_is_found_by_the_subject_that_is_built_for_it(operation: Operation) -> None:
    family, name, plugin = subject_parts(operation)
    address, found = find(subject_for(family, name, plugin))
    assert found is operation
    assert address.namespace is None if plugin is None else address.namespace.plugin == plugin


@pytest.mark.parametrize("example", [smallest, fullest])
def test_an_example_survives_decoding_and_encoding(operation: Operation, example) -> None:
    payload = example(operation)
    address, _ = find(subject_for(*subject_parts(operation)))
    request = decode_request(operation, address, json.dumps(payload).encode())
    encoded = encode_request(request)
    assert decode_request(operation, address, encoded) == request
    assert json.loads(encoded).keys() <= payload.keys()


def test_the_fullest_example_names_every_field(operation: Operation) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(operation.request)}
    assert fullest(operation).keys() == names
    assert (operation.family, operation.name) in EXAMPLES


def test_only_writes_take_an_idempotency_key(operation: Operation) -> None:
    assert issubclass(operation.request, Request)
    if issubclass(operation.request, Write):
        assert operation.effect is not Effect.READ
    if operation.effect is Effect.WRITE:
        assert issubclass(operation.request, Write)


def test_an_operation_describes_itself_in_one_sentence(operation: Operation) -> None:
    assert operation.summary.endswith((".", ":"))
    assert all(reply.__doc__ for reply in operation.replies)
