"""What the README promises is run here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dbservice.protocol import reference
from tests import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def block(mark: str) -> str:
    """Return the code block behind a mark in the README."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no code block marked '{mark}'"
    return found[1]


@pytest.mark.process
@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("bus", [(), ("--rosey-real-nats", "--rosey-nats=binary")])
def test_the_first_test_passes_on_both_buses_in_both_modes(pytester, mode, bus):
    pytester.makepyfile(test_first=block("first test"))
    pytester.makefile(".ini", pytest=block("first ini"))
    result = pytester.runpytest_subprocess("-o", f"asyncio_mode={mode}", *bus)
    result.assert_outcomes(passed=1)
    assert "Warning" not in result.stdout.str() + result.stderr.str()


def test_the_first_test_has_about_ten_lines():
    lines = [line for line in block("first test").splitlines() if line.strip()]
    assert len(lines) <= 14


@pytest.mark.process
@pytest.mark.parametrize("mark", ["main job", "project tests"])
def test_ci_runs_both_commands_word_for_word(mark):
    script = (ROOT / ".ci/run").read_text("utf-8")
    reader = re.search(r"^readme\(\) \{.*?^\}$", script, re.DOTALL | re.MULTILINE)
    assert reader, ".ci/run no longer reads its commands from the README"
    assert f"$(readme '{mark}')" in script
    read = subprocess.run(
        ["bash", "-c", f"{reader[0]}\nreadme '{mark}'"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert read.stdout == block(mark)


def test_there_are_exactly_two_set_up_commands():
    assert len(re.findall(r"^```sh$", README, re.MULTILINE)) == 2
    assert len(block("main job").strip().splitlines()) == 1
    assert len(block("project tests").strip().splitlines()) == 1


def test_the_subject_reference_is_current():
    written = (ROOT / "docs/reference/nats-subjects.md").read_text("utf-8")
    assert written == reference.markdown(), (
        "docs/reference/nats-subjects.md is not what the protocol says: run "
        "`rosey contract markdown > docs/reference/nats-subjects.md`"
    )


def test_links_in_the_documents_lead_somewhere():
    """Links to generated pages are checked by the build of the site, which makes those pages."""
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text("utf-8")):
            if "://" not in target and "generated/" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.process
def test_the_command_line_of_the_readme_exists():
    for command in re.findall(r"`rosey (\w+)", README):
        shown = subprocess.run(
            [sys.executable, "-m", "dbservice", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr


def test_every_knob_of_the_tests_is_explained():
    suites = (ROOT / "tests", ROOT / "reference_plugin_quote_db/tests")
    sources = "\n".join(path.read_text("utf-8") for suite in suites for path in suite.rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get)?[\[(]"(ROSEY_[A-Z_]+)"', sources))
    explained = set(
        re.findall(r"`(ROSEY_[A-Z_]+)(?:=1)?`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    )
    assert read <= explained
    assert all(f'"{knob}"' in sources for knob in explained)
