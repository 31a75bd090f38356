"""`rosey permissions`: what it prints, and what it never prints."""

from __future__ import annotations

import subprocess

import pytest
from nats.aio.client import Client

from dbservice.cli.app import run
from dbservice.protocol import OPERATIONS, Effect, Family, RequestError
from dbservice.server.permissions import ROLES, accounts_configuration, password_variable
from pytest_rosey.servers.nats import BinaryServer, find_binary

PLUGINS = ("quote-db", "trivia")


def checked_by_the_server(text: str, directory, **environment: str) -> str:
    """Return what `nats-server -t` says about a configuration; empty if it has no objection."""
    path = directory / "rosey.conf"
    path.write_text(text, "utf-8")
    done = subprocess.run(
        [find_binary().path, "-t", "-c", path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stderr if done.returncode else ""


@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("--users",)])
def test_the_server_takes_what_is_printed(options, capsys, tmp_path):
    assert run(["permissions", *PLUGINS, *options]) == 0
    text = capsys.readouterr().out
    secrets = {password_variable(name): f"secret{name[0]}" for name in (*ROLES, *PLUGINS)}
    assert checked_by_the_server(text, tmp_path, **secrets) == ""


@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("--users",)])
def test_the_server_refuses_to_start_without_a_password(options, capsys, tmp_path):
    run(["permissions", *PLUGINS, *options])
    text = capsys.readouterr().out
    assert "ROSEY_DB_PASSWORD" in checked_by_the_server(text, tmp_path)


@pytest.mark.process
async def test_passwords_come_from_the_environment(capsys, tmp_path, monkeypatch):
    for name in (*ROLES, *PLUGINS):
        monkeypatch.setenv(password_variable(name), f"secret-of-{name}")
    run(["permissions", *PLUGINS])
    text = capsys.readouterr().out
    assert "secret-of" not in text
    path = tmp_path / "rosey.conf"
    path.write_text(text, "utf-8")
    binary = find_binary().path
    assert binary is not None
    with BinaryServer(binary, config=path) as server:
        client = Client()
        await client.connect(server.url, user="trivia", password="secret-of-trivia")
        assert client.is_connected
        await client.close()


def test_passwords_of_a_file_are_written(capsys, tmp_path):
    path = tmp_path / "passwords"
    path.write_text('# made by hand\n\nquote-db=a"b\\c\nROSEY_ADMIN=d=e\n')
    assert run(["permissions", *PLUGINS, "--password-file", str(path)]) == 0
    text = capsys.readouterr().out
    assert 'password: "a\\"b\\\\c"' in text
    assert 'password: "d=e"' in text
    assert "password: $ROSEY_PASSWORD_TRIVIA" in text
    assert "keep it from other users" in text


@pytest.mark.parametrize("line", ["quote-db", "quote-db=", "stranger=hush-hush", "=hush-hush"])
def test_a_wrong_password_file_is_refused_without_being_quoted(line, capsys, tmp_path):
    path = tmp_path / "passwords"
    path.write_text(line + "\n", "utf-8")
    refused = run(["permissions", *PLUGINS, "--password-file", str(path)])
    told = capsys.readouterr()
    if line.startswith("="):
        assert refused == 0
    else:
        assert refused == 2
        assert "line 1" in told.err
    assert "hush" not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name the plugins"),
        (["Quote"], "not a plugin name"),
        (["ROSEY_DB"], "not a plugin name"),
        (['x" } ] } evil { users = ['], "not a plugin name"),
        (["quote-db", "quote_db"], "two spellings"),
        (["quote-db", "--password-file", "/nowhere/at/all"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told, capsys):
    assert run(["permissions", *arguments]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert output.out == ""


def test_two_spellings_of_a_namespace_have_no_configuration():
    with pytest.raises(RequestError, match="two spellings"):
        accounts_configuration(["a-b", "a_b"], {})


def test_a_plugin_may_change_nothing_that_is_the_admins():
    text = accounts_configuration(["quote-db"], {})
    account = text[text.index('  "quote-db" {') :]
    of_the_admin = {
        f"rosey.db.{operation.family}.quote-db.{operation.name}"
        for operation in OPERATIONS.values()
        if operation.effect is Effect.ADMIN and operation.family is not Family.ROW
    }
    assert len(of_the_admin) >= 4
    assert [subject for subject in of_the_admin if subject in account] == []
