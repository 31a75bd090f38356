"""However a command ends: one sentence, a documented exit code, JSON where it was asked for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from dbservice.cli import app as commands
from dbservice.cli import plugins
from pytest_rosey.bench import contestants, machine
from tests.dbservice.cli.conftest import Say

WRONG = [
    (["serve"], 2, "Say where the NATS server is: --nats nats://127.0.0.1:4222"),
    (["serve", "--nats", "nats://127.0.0.1:1"], 2, "Say where the data is: --db FILE"),
    (["serve", "--nats", "h:1", "--db", "x", "--http", "127.0.0.1:99999"], 2, "a port of 0 to"),
    (["serve", "--nats", "h:1", "--db", "x", "--http", "127.0.0.1:٣"], 2, "a port of 0 to"),
    (["serve", "--nats", "h:1", "--db", "x", "--http", "80"], 2, "expected HOST:PORT"),
    (["serve", "--nats", "h:1", "--db", "x", "--migrations", "gone"], 2, "is not a folder"),
    (
        ["serve", "--nats", "h:1", "--db", "x", "--migrate", "--migrations", "."],
        2,
        "--migrate has nothing to apply: there are no migrations in .",
    ),
    (["serve", "--nats", "h:1", "--db", "mysql://x/y"], 2, "'mysql' is not an engine"),
    (["serve", "--nats", "nats://h:99999", "--db", "x"], 2, "is not the URL of a NATS server"),
    (["serve", "--nats", "nats://u:secret@", "--db", "x"], 2, "'nats://***@' is not the URL"),
    (["serve", "--nats", "http://h:1", "--db", "x"], 2, "is not the URL of a NATS server"),
    (["serve", "--max-in-flight", "0"], 2, "--max-in-flight: expected more than 0, got 0"),
    (["serve", "--statement-timeout", "nan"], 2, "expected more than 0, got nan"),
    (["serve", "--inbox-prefix", ""], 2, "--inbox-prefix: expected a text, got none"),
    (["serve", "--workers", "-1"], 2, "Must be >= 0"),
    (["serve", "--nats", "h:1", "--db", ""], 2, "Say where the data is: --db FILE"),
    (["serve", "--drain-timeout", "soon"], 2, 'unable to convert "soon" into float'),
    (["serve", "--log-level", "loud"], 2, 'Choose from: "debug", "info"'),
    (["serve", "--nast", "x"], 2, "Unknown option: --nast. Did you mean --nats?"),
    (["plugin", "start"], 2, "requires an argument"),
    (["plugin", "start", "quotedb"], 2, "Did you mean 'quote-db'?"),
    (["plugin", "start", "quote-db"], 2, "Say where the NATS server is"),
    (["plugin", "start", "quote-db", "--http", "x:99999"], 2, "a port of 0 to 65535"),
    (["plugin", "strat"], 2, "'strat' is not a command. Did you mean 'start'?"),
    (["migrate", "quote-db", "status"], 2, "Say where: --nats nats://127.0.0.1:4222"),
    (["migrate", "quote-db", "statos"], 2, 'Did you mean "status"?'),
    (["migrate", "quote-db", "new", "x", "--migrations", "gone"], 2, "gone is not a folder"),
    (["migrate", "quote-db", "new"], 2, "rosey migrate quote-db new add_tags_column"),
    (["migrate", "quote-db", "apply", "1", "2", "--db", "x"], 2, "'2' is more than this command"),
    (["migrate", "quote-db", "apply", "--db", "x", "--nats", "y"], 2, "not to both"),
    (["migrate", "quote-db", "apply", "--db", "no/x.db"], 3, "cannot be opened"),
    (["migrate", "quote-db", "apply", "--db", "postgresql://"], 3, ""),
    (
        ["migrate", "quote-db", "apply", "--db", "postgresql://u:secret@h:abc/x"],
        2,
        "cannot be read",
    ),
    (
        ["migrate", "q", "status", "--db", "postgresql://u:p@127.0.0.1:1/x?password=secret"],
        3,
        "No PostgreSQL server answers",
    ),
    (["migrate", "quote-db", "apply", "--to", "2", "--db", "x"], 2, "--to does not go with apply"),
    (["migrate", "quote-db", "verify", "--dry-run"], 2, "--dry-run does not go with verify"),
    (["migrate", "quote-db", "status", "2", "--db", "x"], 2, "A version does not go with status"),
    (["export", "quote-db", "x", "--db", ":memory:"], 1, "nothing to export"),
    (["export", "Quote", "x", "--db", "x"], 2, "is not a plugin name"),
    (["export", "quote-db", "x", "--db", "gone.db"], 3, "There is no database"),
    (["import", "quote-db", "gone", "--db", "x.db"], 1, "gone: No such file"),
    (["import", "quote-db", "gone", "--db", ":memory:"], 2, "is gone at once"),
    (["new", "class"], 2, "is a word of the language"),
    (["completion", "tcsh"], 2, "Choose from"),
    (["permissions"], 2, "Name the plugins: rosey permissions quote-db trivia"),
    (["permissions", "a.b"], 2, "'a.b' is not a plugin name"),
    (["permissions", "a", "--password-file", "gone"], 2, "cannot be read"),
    (["contract", "pdf"], 2, 'Choose from: "markdown", "jsonschema"'),
    (["scaffold", "gone.db", "--plugin", "shop"], 1, "gone.db"),
    (["check"], 2, "rosey check src/my_plugin"),
    (["check", "gone"], 2, "there is no file or folder gone"),
    (["chat", "--database", "no/such/x.db"], 3, "cannot be opened"),
    (["chat", "--role", "king"], 2, 'Choose from: "user", "moderator", "admin"'),
    (["bench", "legacy", "--plugin", "mine"], 2, "No installed package has a benchmark of 'mine'"),
    (["bench", "legacy", "--html", "no/such/x.html"], 1, "no/such/x.html: No such file"),
    (["bench", "legacy", "--directory", "gone"], 2, "there is no folder gone"),
    (["bench", "legacy", "--largest", "7"], 2, "Must be >= 100"),
    (["bench", "legacy", "--quick", "--full"], 2, "exclude each other"),
    (["bench", "report", "gone.json"], 2, "rosey: gone.json: No such file"),
    (["bench", "guard", "gone.json"], 2, "rosey: gone.json: No such file"),
]


@pytest.mark.parametrize(
    ("words", "code", "told"), [pytest.param(*each, id=" ".join(each[0])) for each in WRONG]
)
def test_what_goes_wrong_is_a_sentence_and_a_code(
    say: Say, words: list[str], code: int, told: str
) -> None:
    ended, out, err = say(*words)
    assert (ended, out.strip()) == (code, "")
    assert err.strip().startswith("rosey: ")
    assert told in err
    assert "Traceback" not in err
    assert "secret" not in err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["serve", "--json"], "USAGE"),
        (["serve", "--nats", "h:1", "--db", "x", "--max-queued", "x", "--json"], "USAGE"),
        (["nonsense", "--json"], "USAGE"),
        (["plugin", "start", "quotedb", "--json"], "USAGE"),
        (["migrate", "quote-db", "status", "--json"], "USAGE"),
        (["migrate", "quote-db", "apply", "--db", "no/x.db", "--json"], "DATABASE_UNAVAILABLE"),
        (
            ["migrate", "quote-db", "apply", "99", "--db", ":memory:", "--json"],
            "MIGRATION_NOT_FOUND",
        ),
        (["permissions", "a.b", "--json"], "INVALID_SUBJECT"),
        (["check", "gone", "--json"], "USAGE"),
        (["chat", "--database", "no/x.db", "--json"], "DATABASE_UNAVAILABLE"),
        (["scaffold", "gone.db", "--plugin", "shop", "--json"], "FAILED"),
    ],
)
def test_errors_are_json_where_json_was_asked_for(say: Say, words: list[str], code: str) -> None:
    ended, out, err = say(*words)
    told = json.loads(out)
    assert ended > 0
    assert (told["success"], told["error"]["code"]) == (False, code)
    assert err == f"rosey: {told['error']['message']}\n"


def test_an_unknown_command_lists_all_of_them(say: Say) -> None:
    _, _, err = say("doctr")
    assert "'doctr' is not a command. Did you mean 'doctor'?" in err
    for command in ("serve", "migrate", "plugin", "bench", "chat", "check", "doctor"):
        assert command in err


# -- what other packages bring ---------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], EntryPoint]:
    """Install a module with some source as a plugin, a benchmark and a command named `mine`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(source: str) -> None:
        (tmp_path / "mine_module.py").write_text(source, "utf-8")
        sys.modules.pop("mine_module", None)

        def found(*, group: str) -> Any:
            target = "mine_module" if group == contestants.GROUP else "mine_module:make"
            return [EntryPoint("mine", target, group)]

        for module in (plugins, contestants):
            monkeypatch.setattr(module, "entry_points", found)

    return install


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def other(): ...", "AttributeError"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_a_plugin_that_does_not_import(say: Say, installed: Any, source: str, told: str) -> None:
    installed(source)
    code, _, err = say("plugin", "start", "mine", "--nats", "nats://127.0.0.1:1")
    assert code == 1
    assert "The plugin 'mine' cannot be loaded from mine_module:make" in err
    assert told in err
    assert "python -c 'import mine_module'" in err
    assert "Traceback" not in err


@pytest.mark.process
@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import not_there_at_all", "cannot be loaded from mine_module: ModuleNotFoundError"),
        ("def legacy(path): ...", "(mine_module) has no modern()"),
        (
            "def legacy(path): return object()\ndef modern(nats): ...",
            "object, of the benchmark of 'mine', has no fill(), add()",
        ),
    ],
)
def test_a_benchmark_that_is_none(
    say: Say,
    installed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    told: str,
) -> None:
    monkeypatch.setattr(machine, "IN_MEMORY", frozenset())  # nothing is measured here
    installed(source)
    code, _, err = say("bench", "legacy", "--plugin", "mine", "--directory", str(tmp_path))
    assert code == 2, err
    assert told in err
    assert "Traceback" not in err


def test_a_defect_is_told_as_one_and_how_to_report_it(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(commands.app["permissions"], "default_command", broken)
    monkeypatch.setattr(sys, "argv", ["rosey", "permissions", "it's"])
    code, out, err = say("permissions")
    assert code == 70
    assert err.startswith("rosey: rosey has a defect (KeyError: 'x'). ")
    assert "Traceback" not in err
    monkeypatch.setenv("ROSEY_DEBUG", "1")
    assert "Traceback" in say("permissions")[2]
    del out


# -- as processes ----------------------------------------------------------------------------------

ROSEY = [sys.executable, "-m", "dbservice"]


@pytest.mark.process
def test_nobody_reads_any_more(tmp_path: Path) -> None:
    talks = subprocess.Popen(
        [*ROSEY, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert talks.stdout is not None
    talks.stdout.close()
    _, err = talks.communicate(b"!quote count\n" * 3, timeout=60)
    assert (talks.returncode, err) == (141, b"")


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*ROSEY, "contract"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, b"rosey: No space left on device.\n")


@pytest.mark.process
def test_ctrl_c_is_no_traceback(tmp_path: Path) -> None:
    talks = subprocess.Popen(
        [*ROSEY, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert talks.stdin is not None
    assert talks.stdout is not None
    talks.stdin.write(b"!quote count\n")
    talks.stdin.flush()
    assert talks.stdout.readline()
    talks.send_signal(signal.SIGINT)
    _, err = talks.communicate(timeout=60)
    assert (talks.returncode, err) == (130, b"rosey: Interrupted.\n")


@pytest.mark.process
def test_a_line_of_three_megabytes(tmp_path: Path) -> None:
    typed = b"!quote add " + b"x" * 3_000_000 + b"\n!quote count\n"
    talked = subprocess.run(
        [*ROSEY, "chat"], input=typed, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert talked.returncode == 0
    refused, counted = talked.stdout.decode().splitlines()
    assert refused.startswith("Quote text too long")
    assert counted == "Total quotes: 5"


def test_a_defect_shows_no_password(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(commands.app["permissions"], "default_command", broken)
    words = ["--db", "postgresql://ann:secret@h/x?password=secret", "--nats", "nats://t0ken@h:1"]
    monkeypatch.setattr(sys, "argv", ["rosey", "permissions", *words])
    _, _, err = say("permissions")
    assert "postgresql://h/x" in err
    assert "secret" not in err
    assert "t0ken" not in err


@pytest.mark.process
def test_empty_and_odd_settings_of_the_environment(rosey: Any) -> None:
    empty = rosey("serve", ROSEY_NATS="", ROSEY_DB="", ROSEY_HTTP="", ROSEY_MAX_IN_FLIGHT="")
    assert (empty.returncode, "Say where the NATS server is" in empty.stderr) == (2, True)
    for name, value in {
        "ROSEY_MAX_IN_FLIGHT": "many",
        "ROSEY_LOOP": "x",
        "ROSEY_LOG_LEVEL": "x",
    }.items():
        odd = rosey("serve", **{name: value})
        assert odd.returncode == 2
        assert f"{name} from env" in odd.stderr


@pytest.mark.process
def test_a_serve_that_never_started_has_lost_no_connection(rosey: Any, nats_server: Any) -> None:
    failed = rosey("serve", "--nats", nats_server.url, "--db", "no/such/x.db")
    assert failed.returncode == 3
    assert "cannot be opened" in failed.stderr
    assert "is lost" not in failed.stderr


@pytest.mark.process
@pytest.mark.parametrize("name", ["na\u00efve \u2014", "\U0001f99c", "ascii"])
def test_a_terminal_without_a_character_is_shown_its_number(rosey: Any, name: str) -> None:
    """What is printed stays JSON, whatever the encoding; it was a traceback."""
    ended = rosey(
        "plugin", "start", name, "--json", PYTHONIOENCODING="ascii:strict", PYTHONUTF8="1"
    )
    assert ended.returncode == 2
    assert ended.stdout.isascii()
    assert f"'{name}'" in json.loads(ended.stdout)["error"]["message"]
