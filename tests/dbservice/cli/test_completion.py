"""Shell completion: bash is asked, zsh and fish are read where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.dbservice.cli.conftest import Say

pytestmark = pytest.mark.process

ASK = """
source "$1"
shift
COMP_WORDS=(rosey "$@")
COMP_CWORD=$#
"$(complete -p rosey | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["mi"], {"migrate"}),
        (["do"], {"doctor"}),
        (["bench", "co"], {"compare"}),
        (["plugin", "st"], {"start"}),
        (["serve", "--na"], {"--nats"}),
        (["serve", "--max-"], {"--max-in-flight", "--max-queued"}),
        (["import", "--cl"], {"--clear"}),
        (["contract", "as"], {"asyncapi"}),
    ],
)
def test_bash(say: Say, tmp_path: Path, words: list[str], offered: set[str]) -> None:
    script = tmp_path / "rosey.bash"
    script.write_text(say("completion", "bash")[1], "utf-8")
    asked = subprocess.run(
        ["bash", "-c", ASK, "ask", str(script), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert offered <= set(asked.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_it(say: Say, tmp_path: Path, shell: str) -> None:
    code, script, _ = say("completion", shell)
    assert code == 0
    assert "asyncapi" in script
    assert "quick" in script  # of `rosey bench`, which another package brings
    if shutil.which(shell) is None:
        return
    file = tmp_path / "script"
    file.write_text(script, "utf-8")
    subprocess.run([shell, "-n", str(file)], timeout=60, check=True)


def test_another_shell(say: Say) -> None:
    code, _, err = say("completion", "tcsh")
    assert (code, 'Choose from: "bash", "zsh", "fish"' in err) == (2, True)
