"""`rosey doctor` says what is here and what to install (SPEC 7)."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dbservice.cli.app import run
from dbservice.cli.options import Output
from pytest_rosey import doctor
from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.nats.binary import BinarySearch
from tests import ROOT


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
    remedies = [line for line in out.splitlines() if line.startswith("For ")]
    assert len(remedies) == len(set(remedies))


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
    needs = ["no-such-package>=1", "msgspec>=999", "no-extra; extra == 'http'"]
    monkeypatch.setattr(doctor, "_requirements", lambda: needs)
    assert doctor.doctor(output=Output(json=True)) == 1
    parts = report(capsys)
    assert parts["SQLite"]["state"] == "broken"
    assert parts["no-such-package"]["state"] == "broken"
    assert parts["no-such-package"]["remedy"] == "pip install 'no-such-package>=1'"
    assert parts["msgspec"]["state"] == "broken"
    assert ">=999 is needed" in parts["msgspec"]["found"]
    assert parts["no-extra"]["state"] == "missing"
    assert parts["no-extra"]["remedy"] == "pip install 'pytest-rosey[http]'"


def test_every_package_of_the_project_file_is_looked_for(
    bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    doctor.doctor(output=Output(json=True))
    parts = report(capsys)
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.name.lower() in parts
    for extra in ("http", "time", "real", "container", "postgres", "otel"):
        for requirement in map(Requirement, project["optional-dependencies"][extra]):
            assert requirement.name.lower() in parts
