"""`rosey contract asyncapi`: a document that the official schema takes, and that is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dbservice.cli.app import run
from dbservice.protocol.operations import OPERATIONS
from dbservice.protocol.reference import subjects_of

SCHEMA = Path(__file__).parent / "asyncapi" / "3.0.0.json"


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["contract", "asyncapi"]) == 0
    return json.loads(capsys.readouterr().out)


def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))


def test_the_official_schema_takes_it(document: dict[str, Any]) -> None:
    assert [error.message for error in validator().iter_errors(document)] == []


def test_the_official_schema_refuses_what_is_wrong(document: dict[str, Any]) -> None:
    name = next(iter(document["operations"]))
    for wrong in ({"action": "ask"}, {"channel": "x"}, {"reply": 1}):
        operation = {**document["operations"][name], **wrong}
        broken = {**document, "operations": {name: operation}}
        assert not validator().is_valid(broken)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in set(references(document)):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_every_subject_has_its_channel(document: dict[str, Any]) -> None:
    addresses = [channel["address"] for channel in document["channels"].values()]
    for operation in OPERATIONS.values():
        for subject in subjects_of(operation):
            assert addresses.count(subject.replace("<plugin>", "{plugin}")) == 1
    assert "rosey.db.event.{plugin}.schema_changed" in addresses
