"""What `pytest --help`, `--markers` and `--fixtures` say, and which settings are refused."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def test_help_has_one_group_with_every_option(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--help")
    result.stdout.fnmatch_lines(
        [
            "rosey (NATS bus and database for storage-backed plugins):",
            "  --rosey-real-nats *",
            "  --rosey-nats=auto|container|binary|URL",
            "  --rosey-nats-image=IMAGE",
            "  --rosey-nats-config=FILE",
            "  --rosey-migrations=DIR",
            "  --rosey-db=memory|file|postgres|PATH|URL",
            "  rosey_real_nats (bool)*",
            "  rosey_nats (string)*",
            "  rosey_nats_image *",
            "  rosey_nats_config *",
            "  rosey_migrations (paths)*",
            "  rosey_db (string)*",
            "  rosey_contract (bool)*",
            "  rosey_allow_hosts (args)*",
            "  rosey_strict_cleanup *",
        ]
    )


def test_markers_are_explained_with_their_signatures(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--markers")
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.rosey_fake(assert_all_called=True, contract=True): how strict *",
            '@pytest.mark.rosey_nats("fake" | "real", ...): which bus *',
            '@pytest.mark.rosey_allow_hosts("host", ...): NATS servers outside this machine *',
        ]
    )


SUMMARIES = {
    "fake_nats": "A nats-py client whose requests are answered by stubs, for unit tests.",
    "mock_nats": "A mock of a connected nats-py client whose `request` is an AsyncMock.",
    "make_nats_response": 'Function that makes a reply: `make_nats_response({"id": 42})`.',
    "nats_server [[]session scope[]]": "A real nats-server on this machine*",
    "nats_client": "A connected nats-py client, closed after the test.",
    "nats_faults": "Injects faults: lost, late, doubled and broken messages, dead and slow*",
    "db_service": "The running database service, empty: no migration is applied.",
    "rosey_clock": "The clock of db_service, frozen: it stands still until*",
    "storage": 'Function that makes a storage client: `storage("quote-db")`*',
    "rosey_migrations": "Applies, rolls back and inspects migrations on db_service.",
    "plugin_namespace": "A plugin name that only this test has*",
    "cleanup_plugin_namespace": "Coroutine function that empties a namespace.",
    "rosey_plugin": "Coroutine function that starts a plugin on db_service.",
}


def test_fixtures_are_explained_and_private_ones_are_not_advertised(
    project: pytest.Pytester,
) -> None:
    result = project.runpytest_inprocess("--fixtures")
    for name, summary in SUMMARIES.items():
        result.stdout.fnmatch_lines([f"{name} -- *fixtures/*.py:*", f"    {summary}"])
    result.stdout.no_fnmatch_line("_rosey_*")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--rosey-db=postgers"],
            (
                "ERROR: --rosey-db: 'postgers' is no database: expected memory, file, postgres, "
                "the path of an SQLite file such as ./test.db, or a URL that begins with "
                "postgresql+asyncpg:// or sqlite:///."
            ),
        ),
        (
            ["--rosey-migrations=nowhere"],
            (
                "ERROR: rosey: there is no migrations folder *nowhere. --rosey-migrations and "
                "rosey_migrations name a folder with one directory for each plugin."
            ),
        ),
        (
            ["--rosey-nats=dokcer"],
            (
                "ERROR: --rosey-nats=dokcer: expected auto, container, binary, or the URL of a "
                "running server such as nats://127.0.0.1:4222."
            ),
        ),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(
    project: pytest.Pytester, arguments: list[str], text: str
) -> None:
    project.makepyfile("def test_nothing(): pass")
    result = project.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([text])


def test_help_survives_settings_that_make_no_sense(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--help", "--rosey-db=postgers", "--rosey-nats=dokcer")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["  --rosey-real-nats *"])


@pytest.mark.process
@pytest.mark.parametrize(
    ("ini", "arguments", "line"),
    [
        ("", [], "rosey: nats=in-process (default), db=memory (default)"),
        ("", ["--rosey-db=file"], "rosey: nats=in-process (default), db=file (--rosey-db)"),
        (
            "rosey_db = a.db",
            [],
            "rosey: nats=in-process (default), db=*/a.db (rosey_db in tox.ini)",
        ),
    ],
)
def test_header_says_what_was_chosen_and_why(
    project: pytest.Pytester, ini: str, arguments: list[str], line: str
) -> None:
    project.makeini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{ini}")
    project.makepyfile("def test_nothing(): pass")
    result = project.runpytest_inprocess(*arguments)
    result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        (
            'rosey_nats("fak")',
            '*::test_x: @pytest.mark.rosey_nats takes "fake", "real", or both, got \'fak\'.',
        ),
        (
            "rosey_nats()",
            '*::test_x: @pytest.mark.rosey_nats takes "fake", "real", or both, got nothing.',
        ),
        (
            "rosey_fake(assert_all_caled=False)",
            (
                "*::test_x: @pytest.mark.rosey_fake takes assert_all_called=True|False and "
                "contract=True|False, got assert_all_caled=False."
            ),
        ),
    ],
)
def test_a_wrong_marker_is_an_error(project: pytest.Pytester, marker: str, text: str) -> None:
    project.makepyfile(
        f"import pytest\n@pytest.mark.{marker}\nasync def test_x(fake_nats, nats_client): pass"
    )
    result = project.runpytest_inprocess()
    assert result.ret != 0
    result.stdout.fnmatch_lines([text])
