"""What `fake_nats` says at the end of a test (SPEC 5.2)."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

UNUSED = """
Stubs of fake_nats that the test did not use:
- a.b (never used)
No request was sent.
Leave them out, say optional=True, or mark the test with *(assert_all_called=False).
"""


def run(project: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(f"import pytest\n{body}")
    return project.runpytest_inprocess(*arguments)


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_an_unused_stub_fails_the_test(project: pytest.Pytester) -> None:
    result = run(project, "async def test_x(fake_nats): fake_nats.respond('a.b', {})")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["* ERROR at teardown of test_x *"])
    result.stdout.fnmatch_lines(lines(UNUSED), consecutive=True)


def test_a_list_must_be_used_to_its_end(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(fake_nats):
    fake_nats.respond("a.b", [{}, {}, {}], when={"k": 1})
    fake_nats.respond("c", {}, times=5)
    await fake_nats.request("a.b", b'{"k": 1}')
    await fake_nats.request("c")
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "Stubs of fake_nats that the test did not use:",
            "- a.b when {'k': 1} (used 1 of 3 times)",
            "Requests that were sent:",
            "- a.b with {'k': 1}",
            "- c with {}",
            "Leave them out, *",
        ],
        consecutive=True,
    )


@pytest.mark.parametrize(
    "marker", ["assert_all_called=False", "contract=False, assert_all_called=False"]
)
def test_the_marker_allows_unused_stubs(project: pytest.Pytester, marker: str) -> None:
    result = run(
        project,
        f"""
@pytest.mark.rosey_fake({marker})
async def test_x(fake_nats): fake_nats.respond("a.b", {{}})
""",
    )
    result.assert_outcomes(passed=1)


def test_a_marker_on_the_test_beats_one_on_its_class(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
@pytest.mark.rosey_fake(assert_all_called=False)
class TestX:
    async def test_inherits(self, fake_nats): fake_nats.respond("a.b", {})

    @pytest.mark.rosey_fake(contract=False)
    async def test_adds(self, fake_nats): fake_nats.respond("a.b", {})

    @pytest.mark.rosey_fake(assert_all_called=True)
    async def test_overrides(self, fake_nats): fake_nats.respond("a.b", {})
""",
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["* ERROR at teardown of TestX.test_overrides *"])


def test_a_failed_test_is_not_blamed_for_its_unused_stubs(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(fake_nats):
    fake_nats.respond("a.b", {})
    assert False
""",
    )
    result.assert_outcomes(failed=1)


def test_an_unstubbed_request_fails_at_once_and_only_once(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(fake_nats):
    try:
        await fake_nats.request("a.b")
    except Exception as error:
        raise RuntimeError("wrapped") from error
""",
    )
    result.assert_outcomes(failed=1)


SWALLOWED = """
async def test_x(fake_nats):
    try:
        await fake_nats.request("a.b")
    except Exception:
        pass
"""


def test_a_swallowed_unstubbed_request_fails_the_test_at_its_end(project: pytest.Pytester) -> None:
    result = run(project, SWALLOWED)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "* ERROR at teardown of test_x *",
            "The code under test swallowed this error of fake_nats:",
            "No stub answers the request on a.b: nothing is stubbed.",
            'Stub it with fake_nats.respond("a.b", {...}).',
        ],
        consecutive=True,
    )


def test_it_is_told_as_well_when_the_test_fails_because_of_it(project: pytest.Pytester) -> None:
    result = run(project, f"{SWALLOWED}\n    assert 'added' == 'nothing'")
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["The code under test swallowed this error of fake_nats:"])


def test_a_swallowed_breach_of_the_contract_fails_the_test_at_its_end(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        """
async def test_x(fake_nats):
    fake_nats.respond("rosey.db.kv.quote-db.get", lambda _: {"success": True, "exist": False})
    try:
        await fake_nats.request("rosey.db.kv.quote-db.get", b'{"key": "k"}')
    except Exception:
        pass
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "The code under test swallowed this error of fake_nats:",
            (
                "The service could not send this reply to rosey.db.kv.quote-db.get: field 'exists' "
                "is missing, expected boolean."
            ),
        ],
        consecutive=True,
    )


def test_a_request_from_a_fixture_that_fails_the_set_up_is_told_once(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        """
import pytest_asyncio

@pytest_asyncio.fixture
async def plugin(fake_nats):
    await fake_nats.request("a.b")

async def test_x(plugin): pass
""",
    )
    result.assert_outcomes(errors=1)


def test_the_traceback_ends_in_the_test(project: pytest.Pytester) -> None:
    result = run(project, 'async def test_x(fake_nats): await fake_nats.request("a.b")')
    result.stdout.no_fnmatch_line("*stubs/fake.py*")
    result.stdout.fnmatch_lines([">*await fake_nats.request*", "*test_*.py:2: UnstubbedRequest"])
