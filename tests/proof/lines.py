"""What is claimed, and which tests show it: each line is one row of the table of `tests.proof`.

Nothing is tested here. A line names tests that are there, and the knobs that make them short or
long. How often something was tried, the tests say themselves: they print `<number> <unit>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Knobs = Mapping[str, int | str]

SERVERS = "tests/pytest_rosey/servers"
PLUGIN_TESTS = "reference_plugin_quote_db/tests"
PASSED = "passed"
"""The unit of tests that are counted one by one: pytest's own last line says it."""


@dataclass(frozen=True)
class Line:
    """One property.

    Attributes:
        name: a short one, to choose the line by.
        holds: the property, as a sentence.
        tried: how it is tried.
        tests: what stands behind `pytest`; or behind `python -m`, if it is a module.
        bounded: the knobs in CI; None if the line has no place there.
        long: the knobs of the long form.
        unit: what is counted.
        found: the tests that came from what this line has found.
    """

    name: str
    holds: str
    tried: str
    tests: str
    bounded: Knobs | None = field(default_factory=dict)
    long: Knobs = field(default_factory=dict)
    unit: str = PASSED
    found: tuple[str, ...] = ()


LINES = [
    # -- two ways to the same answer ---------------------------------------------------------------
    Line(
        "buses",
        "The in-process bus answers as nats-server does",
        "random sessions of three clients, step by step on both",
        "tests/dbservice/embedded/test_random_sessions.py --hypothesis-show-statistics",
        {"ROSEY_SESSIONS": 40},
        {"ROSEY_SESSIONS": 3_000},
        unit="passing",
    ),
    Line(
        "engines",
        "SQLite in memory, an SQLite file and PostgreSQL answer alike",
        "one generated stream of requests to all three; the file is read by worker processes",
        "tests/dbservice/storage/test_engines_agree.py",
        {"ROSEY_STREAM_OPS": 1_500, "ROSEY_STREAM_WORKERS": 1},
        {"ROSEY_STREAM_OPS": 125_000, "ROSEY_STREAM_WORKERS": 1},
        unit="operations",
    ),
    Line(
        "pressure",
        "What is refused under pressure changed nothing, on every engine",
        "queues that are full, locks, stops and deadlines; each refusal is repeated",
        "tests/dbservice/storage/test_engines_under_pressure.py",
        {"ROSEY_PRESSURE_ROUNDS": 3},
        {"ROSEY_PRESSURE_ROUNDS": 250},
        unit="rounds",
    ),
    Line(
        "index",
        "A search index changes no result, on every engine",
        "generated patterns on two tables with the same rows, one of them with an index",
        "tests/dbservice/storage/test_search_index.py -k changes_no_result",
        {"ROSEY_SEARCH_SEEDS": 2},
        {"ROSEY_SEARCH_SEEDS": 60},
        unit="searches",
    ),
    Line(
        "workers",
        "Worker processes answer as the service itself does, and die without harm",
        "deadlines, kills and errors of worker processes",
        "tests/dbservice/server/test_workers.py",
    ),
    # -- strangers ---------------------------------------------------------------------------------
    Line(
        "fuzzing",
        "Whatever bytes come are read or refused as documented, in linear time",
        "inputs that reach new code, for ten readers of payloads, subjects and headers, filters, "
        "migrations, SQL, chat and NATS frames",
        "tests.proof.fuzz",
        {"ROSEY_FUZZ_INPUTS": 20_000},
        {"ROSEY_FUZZ_INPUTS": 1_000_000},
        unit="inputs",
        found=(
            "tests/dbservice/sqltext/test_qualify.py::test_queries_nested_too_deeply_are_refused",
            "tests/dbservice/sqltext/test_qualify.py::test_a_quoted_name_that_touches_a_word",
            "tests/dbservice/sqltext/test_qualify.py::test_a_parenthesis_without_the_other_is_refused",
            "tests/dbservice/sqltext/test_qualify.py::test_an_index_of_any_name_may_be_written_bare_or_in_full",
            "tests/dbservice/sqltext/test_qualify.py::test_a_command_of_one_word_is_refused",
            "tests/dbservice/migrate/test_files.py::test_files_that_cannot_be_understood",
        ),
    ),
    Line(
        "hostile",
        "Every request is answered with a documented code, none with INTERNAL_ERROR",
        "generated requests that know the contract and break it, on SQLite and PostgreSQL",
        "tests/attack/test_attacks.py -k whatever_is_sent",
        {"ROSEY_ATTACK_FUZZED": 1_000},
        {"ROSEY_ATTACK_FUZZED": 50_000},
        unit="requests",
    ),
    Line(
        "touched",
        "No request of a plugin makes SQLite touch another plugin's table",
        "generated requests, half of which name the neighbour's table; SQLite's authorizer notes "
        "every table that a statement touches",
        "tests/proof/test_touched.py",
        {"ROSEY_TOUCHED_REQUESTS": 2_000},
        {"ROSEY_TOUCHED_REQUESTS": 50_000},
        unit="requests",
    ),
    Line(
        "neighbour",
        "A plugin that attacks makes its neighbour lose nothing",
        "legal requests that want to be expensive, on both engines, in one account and in several",
        "tests/attack/test_attacks.py -k neighbour",
        None,
        {"ROSEY_ATTACKS": "", "ROSEY_ATTACK_SECONDS": 2},
        unit="attacks",
    ),
    Line(
        "blocks",
        "No protocol block, however malformed, costs a connection more than itself",
        "malformed blocks of one client, beside a service and its neighbour, on both buses",
        "tests/dbservice/bus/test_surviving.py -k malformed_blocks",
        {"ROSEY_MALFORMED_BLOCKS": 400},
        {"ROSEY_MALFORMED_BLOCKS": 50_000},
        unit="blocks",
    ),
    Line(
        "isolation",
        "No plugin reaches another's data, with accounts and with users",
        "subjects, replies, inboxes, wildcards and queue groups, attempted on real servers",
        "tests/isolation",
    ),
    # -- processes that die ------------------------------------------------------------------------
    Line(
        "kills",
        "A killed service has stored what it acknowledged, and nothing twice",
        "SIGKILL at random instants and inside commits, under 24 writers; SQLite and PostgreSQL",
        "tests/kill/test_service_kills.py",
        {"ROSEY_KILL_ROUNDS": 6},
        {"ROSEY_KILL_ROUNDS": 200},
        unit="kills",
    ),
    Line(
        "migrations",
        "A killed migration leaves the version before or the version after",
        "SIGKILL at random instants of apply and rollback, on SQLite and PostgreSQL",
        "tests/kill/test_migration_kills.py",
        {"ROSEY_KILL_ROUNDS": 8},
        {"ROSEY_KILL_ROUNDS": 100},
        unit="kills",
    ),
    Line(
        "pairings",
        "Any two parts die together, and nothing acknowledged is lost or stored twice",
        "SIGKILL of two of service, worker, nats-server, PostgreSQL and plugin at random instants, "
        "under writers and chat commands",
        "tests/proof/test_pairings.py",
        {"ROSEY_PAIRING_ROUNDS": 1},
        {"ROSEY_PAIRING_ROUNDS": 60},
        unit="kills",
        found=(
            f"{SERVERS}/test_postgres_server.py::test_after_a_kill_it_is_ready_when_it_says_so",
        ),
    ),
    Line(
        "cluster",
        "A NATS cluster loses a node, and nothing acknowledged is lost",
        "three nodes, replicas and clients on different ones; a node killed, frozen, cut off",
        "tests/proof/test_cluster.py",
        {"ROSEY_CLUSTER_ROUNDS": 3},
        {"ROSEY_CLUSTER_ROUNDS": 60},
        unit="losses",
    ),
    Line(
        "failover",
        "A standby is promoted, and nothing acknowledged is lost",
        "PostgreSQL with a synchronous streaming standby, its primary killed under load",
        "tests/proof/test_failover.py",
        {"ROSEY_FAILOVERS": 1},
        {"ROSEY_FAILOVERS": 10},
        unit="failovers",
    ),
    Line(
        "files",
        "A database file fails, and what was acknowledged is stored",
        "full, read-only, broken, slow (system calls injected by strace), gone, replaced, "
        "truncated; under 24 writers",
        "tests/proof/test_files.py",
        {"ROSEY_FILE_FAULTS": 2},
        {"ROSEY_FILE_FAULTS": 20},
        unit="faults",
        found=(
            "tests/dbservice/server/test_workers.py::test_a_process_that_starts_while_the_file_is_away_leaves_its_log_alone",
        ),
    ),
    Line(
        "clocks",
        "The machine's clock is set by hours, and nothing is lost, stored twice or late",
        "jumps either way under 24 writers with idempotency keys",
        "tests/proof/test_clocks.py",
        {"ROSEY_CLOCK_JUMPS": 20},
        {"ROSEY_CLOCK_JUMPS": 1_000},
        unit="jumps",
        found=(
            f"{PLUGIN_TESTS}/test_resilience.py::test_setting_the_clock_ages_no_quote_and_keeps_no_breaker_open",
        ),
    ),
    Line(
        "burst",
        "A burst of quotes while the service dies: each is stored as its adder was told",
        "1,000 quotes each way, the service killed within a commit",
        "tests/kill/test_plugin_burst.py",
    ),
    Line(
        "soak",
        "What the service holds at rest stays the same: files, threads, processes, memory",
        "mixed load with plugins that come and go, migrations down and up, and hostile bursts",
        "tests/proof/test_soak.py",
        {"ROSEY_SOAK_SECONDS": 60},
        {"ROSEY_SOAK_SECONDS": 3_600},
        unit="seconds",
    ),
    # -- what comes from others --------------------------------------------------------------------
    Line(
        "supply",
        "The licence of everything installed is known, and CI's lock file has what is asked for",
        "the metadata of every package in the environment, and the lock file",
        "tests/proof/test_supply_chain.py",
    ),
]
