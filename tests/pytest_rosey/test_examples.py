"""The projects that users can copy, each in every way that a project can be set up (SPEC 5.1).

Runs inside this process where that is the same to the project; pytest-xdist's workers are
processes anyway.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

# Imported here once, so that projects run inside this process need not import them again.
import pytest_rosey.checks.migrations
import pytest_rosey.databases.templates
import pytest_rosey.fixtures.plugin_factory
import pytest_rosey.leaks
import pytest_rosey.service.under_test
import pytest_rosey.stubs.mocks  # noqa: F401
from pytest_rosey.servers.nats import find_binary
from tests import ROOT

pytestmark = pytest.mark.process

pytest_plugins = ["pytester"]

EXAMPLES = ROOT / "tests/examples"

TESTS = {
    "first_plugin": 9,
    "from_mocks": 80,
    "generated_checks": 14,
    "loop_scopes": 13,
    "own_fixtures": 4,
    "real_server": 6,
}
"""How many tests each example has."""

# Plugins that take longer to load than these projects to run.
FAST = ("-pno:hypothesispytest", "-pno:benchmark", "-pno:cov", "-pno:cacheprovider")
UNSHUFFLED = (*FAST, "-pno:randomly")

needs_binary = pytest.mark.skipif(
    find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
)
a_scope = pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
a_mode = pytest.mark.parametrize("mode", ["strict", "auto"])


def examples(*names: str) -> pytest.MarkDecorator:
    """Run a test for each example; one of them has a test on a real server in it."""
    marked = [pytest.param(n, marks=needs_binary) if n == "real_server" else n for n in names]
    return pytest.mark.parametrize("example", marked)


# The generated checks use no bus, and asyncpg cannot be imported twice in one process.
on_a_bus = examples(*(name for name in TESTS if name != "generated_checks"))


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., None]:
    """Copies an example and runs it inside this process; all of its tests must pass."""

    def run(example: str, *arguments: str) -> None:
        pytester.copy_example(example)
        pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=TESTS[example])

    return run


def test_every_example_is_run_and_says_when_to_start_from_it() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert folders == set(TESTS)
    contents = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"[{name}]({name}/)" in contents for name in TESTS)


@a_mode
@a_scope
def test_loop_scope_in_the_ini_file(run: Callable[..., None], mode: str, scope: str) -> None:
    run(
        "first_plugin",
        *UNSHUFFLED,
        f"-oasyncio_mode={mode}",
        f"-oasyncio_default_test_loop_scope={scope}",
        f"-oasyncio_default_fixture_loop_scope={scope}",
    )


@a_mode
def test_all_loop_scopes_by_marker(run: Callable[..., None], mode: str) -> None:
    run("loop_scopes", *UNSHUFFLED, f"-oasyncio_mode={mode}")


@on_a_bus
def test_as_it_stands(run: Callable[..., None], example: str) -> None:
    run(example, *UNSHUFFLED)


@on_a_bus
@pytest.mark.parametrize("seed", [1, 2])
def test_in_random_order(run: Callable[..., None], example: str, seed: int) -> None:
    run(example, *FAST, f"--randomly-seed={seed}")


@examples("first_plugin", "own_fixtures")
def test_explored(run: Callable[..., None], example: str) -> None:
    run(example, *UNSHUFFLED, "--rosey-explore", "-orosey_explore_places=8")


@needs_binary
@on_a_bus
@pytest.mark.parametrize("option", ["--rosey-real-nats", "--rosey-nats=binary"])
def test_on_a_real_server(run: Callable[..., None], example: str, option: str) -> None:
    run(example, *UNSHUFFLED, option)


@examples(*TESTS)
def test_on_two_workers(pytester: pytest.Pytester, example: str) -> None:
    pytester.copy_example(example)
    result = pytester.runpytest_subprocess(*FAST, "-n2", "--randomly-seed=3")
    result.assert_outcomes(passed=TESTS[example])


@needs_binary
@examples("loop_scopes", "real_server")
def test_two_workers_with_a_real_server_each(pytester: pytest.Pytester, example: str) -> None:
    pytester.copy_example(example)
    result = pytester.runpytest_subprocess(*UNSHUFFLED, "-n2", "--rosey-nats=binary")
    result.assert_outcomes(passed=TESTS[example])


def test_generated_checks_without_the_options(pytester: pytest.Pytester) -> None:
    pytester.copy_example("generated_checks")
    result = pytester.runpytest_subprocess(*UNSHUFFLED, "-oaddopts=")
    result.assert_outcomes(passed=3)
