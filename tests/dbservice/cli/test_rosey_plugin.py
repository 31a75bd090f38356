"""`rosey plugin` as a process: what it lists, starts and refuses."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.process


def test_the_list_names_the_package(rosey):
    listed = rosey("plugin", "list")
    assert listed.returncode == 0, listed.stderr
    assert "quote-db  (pytest-rosey " in listed.stdout
    (plugin,) = [
        each
        for each in json.loads(rosey("plugin", "list", "--json").stdout)
        if each["name"] == "quote-db"
    ]
    assert plugin["entry_point"] == "reference_plugin_quote_db:QuoteDBPlugin"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("quotedb",), 2, "Did you mean 'quote-db'? Installed: quote-db"),
        (("quote-db", "--nats", "nats://127.0.0.1:1"), 3, "No NATS server answers at"),
        (
            ("quote-db", "--http", "8080"),
            2,
            "--http: expected HOST:PORT with a port of 0 to 65535, as 127.0.0.1:8080, got '8080'.",
        ),
        (("quote-db", "--http", "localhost:99999"), 2, "--http: expected HOST:PORT"),
    ],
)
def test_a_wrong_command_line_has_a_sentence_and_a_code(rosey, arguments, code, told):
    failed = rosey("plugin", "start", *arguments)
    assert failed.returncode == code
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_plugin_does_not_start_without_a_service_or_its_tables(rosey, serve, nats_server):
    alone = rosey("plugin", "start", "quote-db", "--nats", nats_server.url)
    assert alone.returncode == 3
    assert "No database service answers" in alone.stderr
    serve("--nats", nats_server.url, "--db", ":memory:")
    behind = rosey("plugin", "start", "quote-db", "--nats", nats_server.url)
    assert behind.returncode == 1
    assert "rosey migrate quote-db apply" in behind.stderr
    assert "Traceback" not in behind.stderr


def test_the_chat_is_a_command_too(rosey):
    ran = rosey("chat", "--help")
    assert ran.returncode == 0
    assert "--role" in ran.stdout
