"""`rosey new NAME`: what it refuses, what it writes, and that it is green at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dbservice.cli.app import run
from pytest_rosey.new_project import PLUGIN, examples
from pytest_rosey.servers.nats import find_binary
from tests import ROOT

needs_binary = pytest.mark.skipif(find_binary().path is None, reason="no nats-server binary")

PATIENCE = 300


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Movie Night", "is not a plugin name"),
        ("movie.night", "is not a plugin name"),
        ("9lives", "is not a plugin name"),
        ("../up", "is not a plugin name"),
        ("-x", "Unknown option"),
        ("class", "is a word of the language"),
        ("match", "is a word of the language"),
        ("json", "is a module of the standard library"),
        ("tests", "is what one folder of the project is called"),
        ("dbservice", "is a package that is installed here"),
        ("reference-plugin-quote-db", "is a package that is installed here"),
        ("quote-db", "is a plugin's that is installed here"),
        ("quote_db", "is a plugin's that is installed here"),
        ("x" * 65, "is not a plugin name"),
    ],
)
def test_names_are_checked(here: Path, capsys: pytest.CaptureFixture[str], name: str, told: str):
    assert run(["new", name]) == 2
    assert told in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "movie-night").mkdir()
    (here / "movie-night" / "mine.txt").write_text("mine")
    assert run(["new", "movie-night"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in (here / "movie-night").iterdir()] == ["mine.txt"]
    assert run(["new", "movie-night", "--directory", "."]) == 2
    assert "as --directory movie-night-plugin" in capsys.readouterr().err


def test_what_is_told_can_be_pasted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "movie-night", "--directory", "my plugins/movies"]) == 0
    assert "    cd 'my plugins/movies'\n" in capsys.readouterr().out


def test_what_it_writes_is_the_example_under_another_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "movie-night", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = {Path(path).relative_to("movie-night").as_posix() for path in told["files"]}
    assert {
        "pyproject.toml",
        "README.md",
        ".github/workflows/tests.yml",
        "movie_night/__init__.py",
        "movie_night/plugin.py",
        "movie_night/migrations/movie-night/001_create_people.sql",
        "tests/test_unit.py",
        "tests/test_integration.py",
        "tests/test_migrations.py",
        "tests/test_exploration.py",
    } <= written
    for name in written:
        text = (here / "movie-night" / name).read_text("utf-8").lower()
        assert "karma-board" not in text
        assert "karma_board" not in text
        assert "karmaboard" not in text
    assert run(["check", "movie-night/movie_night"]) == 0
    assert run(["new", PLUGIN, "--directory", "same"]) == 0
    example = examples() / "first_plugin"
    for path in (here / "same").rglob("*"):
        if path.is_file():
            twin = example / path.relative_to(here / "same")
            assert path.read_bytes() == twin.read_bytes()


Shell = Callable[[str], str]


@pytest.fixture
def shell(here: Path) -> Shell:
    """Run a command line with the commands of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def shell(line: str) -> str:
        ran = subprocess.run(
            ["bash", "-e", "-c", line],
            cwd=here,
            env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    return shell


QUIET = "-q -p no:cacheprovider -p no:randomly -p no:cov -p no:hypothesispytest"


@pytest.mark.process
@pytest.mark.parametrize(
    "options",
    [
        "",
        pytest.param("--rosey-real-nats", marks=needs_binary),
        "--rosey-check-migrations --rosey-check-storage-access",
    ],
)
def test_it_is_green_at_once(shell: Shell, options: str) -> None:
    shell("rosey new movie-night")
    told = shell(f"cd movie-night && pytest {QUIET} {options}")
    assert "passed" in told
    assert "warning" not in told


@pytest.mark.process
@needs_binary
def test_from_an_empty_directory_to_a_plugin_that_runs(here: Path, shell: Shell) -> None:
    """In an environment of its own, with what `rosey new` says as the next commands."""
    began = time.monotonic()
    environment = here / "venv"
    # The environment sees what this one has, so that nothing is downloaded; the project is new.
    shell(f"{sys.executable} -m venv --without-pip {environment}")
    (site,) = environment.glob("lib/python*/site-packages")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text(
        f"{packages}\nimport site; site.addsitedir({packages!r})\n", "utf-8"
    )
    shell("rosey new movie-night")
    entry_points = (here / "movie-night" / "pyproject.toml").read_text("utf-8")
    assert 'movie-night = "movie_night:MovieNight"' in entry_points
    installed(here / "movie-night", site)
    python = environment / "bin" / "python"
    shell(f"cd movie-night && {python} -m pytest {QUIET}")
    print(f"from an empty directory to green: {time.monotonic() - began:.1f} s")
    starts(here, python)


def installed(project: Path, site: Path) -> None:
    """Install a project as an editable one is: its folder on the path, and its entry points."""
    (site / "movie_night.pth").write_text(f"{project}\n", "utf-8")
    metadata = site / "movie_night-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: movie-night\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[rosey.plugins]\nmovie-night = movie_night:MovieNight\n"
        "[rosey.migrations]\nmovie-night = movie_night:migration_root\n"
    )


def starts(here: Path, python: Path) -> None:
    """Start a server, the service and the plugin, and wait until each says that it is ready."""
    from pytest_rosey.servers.nats import BinaryServer

    path = find_binary().path
    assert path is not None
    with BinaryServer(path) as server:
        service = process(python, here, "serve", "--nats", server.url, "--db", "a.db", "--migrate")
        try:
            plugin = process(python, here, "plugin", "start", "movie-night", "--nats", server.url)
            assert ended(plugin) == 0
        finally:
            assert ended(service) == 0


def process(python: Path, here: Path, *words: str) -> subprocess.Popen[str]:
    with (here / f"{words[0]}.log").open("w") as log:
        started = subprocess.Popen(
            [str(python), "-m", "dbservice", *words],
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("rosey: ready"):
            return started
    pytest.fail((here / f"{words[0]}.log").read_text("utf-8"))


def ended(started: subprocess.Popen[str]) -> int:
    started.send_signal(signal.SIGTERM)
    assert started.stdout is not None
    started.stdout.close()
    return started.wait(timeout=30)


def test_the_examples_are_in_the_wheel() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["tests/examples"] == "pytest_rosey/templates"
