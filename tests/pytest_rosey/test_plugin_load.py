"""The plugin costs nothing until it is used (SPEC 5.8)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

pytest_plugins = ["pytester"]

MODULES_AFTER_THE_RUN = """
import json, sys, pytest
code = pytest.main(sys.argv[1:])
print("LOADED" + json.dumps([int(code), sorted(sys.modules)]))
"""
HEAVY = ("nats", "sqlalchemy", "aiosqlite", "msgspec", "testcontainers", "docker", "dbservice")


def modules_after(directory: pytest.Pytester, *arguments: str) -> set[str]:
    """Return what is loaded at the very end of a pytest run, terminal summary included."""
    run = subprocess.run(
        [sys.executable, "-c", MODULES_AFTER_THE_RUN, *arguments],
        cwd=directory.path,
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(run.stdout.rpartition("LOADED")[2])
    assert code == 0, run.stdout
    return set(modules)


def test_a_run_that_uses_nothing_loads_a_few_light_modules(project: pytest.Pytester) -> None:
    project.makepyfile("def test_nothing(): pass")
    added = modules_after(project) - modules_after(project, "-p", "no:rosey")
    assert {name.split(".")[0] for name in added} == {"pytest_rosey"}
    assert len(added) <= 10


@pytest.mark.parametrize("arguments", [["--help"], ["--markers"], ["--fixtures", "-q"]])
def test_asking_for_help_loads_nothing_heavy(
    project: pytest.Pytester, arguments: list[str]
) -> None:
    loaded = modules_after(project, *arguments)
    assert not loaded.intersection(HEAVY)


def test_the_measurement_sees_what_a_fixture_loads(project: pytest.Pytester) -> None:
    project.makepyfile("def test_mock(mock_nats): pass")
    assert {"nats", "msgspec"} <= modules_after(project)


def test_fake_nats_loads_no_database(project: pytest.Pytester) -> None:
    project.makepyfile("async def test_fake(fake_nats): fake_nats.assert_no_requests()")
    assert not {"sqlalchemy", "aiosqlite", "sqlglot"} & modules_after(project)
