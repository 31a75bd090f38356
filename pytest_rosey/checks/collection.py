"""The test items of the generated checks (SPEC 5.6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_rosey.checks.failure import CheckFailed, listed
from pytest_rosey.options import (
    CHECKED_MIGRATIONS,
    CHECKED_STORAGE_ACCESS,
    named_checks,
    names_single_tests,
    settings,
)


class Checks(pytest.Collector):
    """What is checked about one subject."""

    checks: Sequence[tuple[str, Callable[[], object]]] = ()

    def collect(self) -> Iterator[pytest.Item]:
        """Make an item of each check."""
        for name, check in self.checks:
            item: CheckItem = CheckItem.from_parent(self, name=name)
            item.check = check
            yield item


class CheckItem(pytest.Item):
    """One check."""

    check: Callable[[], object]

    def runtest(self) -> None:
        """Check."""
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what the check says, without the check's own code."""
        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what is checked, and the heading of a failure."""
        assert self.parent is not None  # made by it
        return self.path, None, f"{self.parent.name}: {self.name}"


def generated(session: pytest.Session) -> list[pytest.Item]:
    """Return the items that the options ask for, or those that the command line names.

    They are sorted, so that the workers of pytest-xdist agree.

    Raises:
        pytest.UsageError: there is nothing to look at, or no such check.
    """
    named = named_checks(session.config)
    if not named and names_single_tests(session.config):
        return []
    chosen = settings(session.config)
    items: list[pytest.Item] = []
    if chosen.check_migrations or _is_named(CHECKED_MIGRATIONS, named):
        items += _migration_items(session)
    if chosen.check_storage_access or _is_named(CHECKED_STORAGE_ACCESS, named):
        items += _storage_access_items(session)
    return _selected(items, named) if named else items


def _is_named(subject: str, named: Sequence[str]) -> bool:
    return any(name.startswith(subject) for name in named)


def _selected(items: Sequence[pytest.Item], named: Sequence[str]) -> list[pytest.Item]:
    for name in named:
        if not any(_is_below(item.nodeid, name) for item in items):
            known = "".join(f"\n  {item.nodeid}" for item in items)
            raise pytest.UsageError(f"rosey: there is no check {name}. There are:{known}")
    return [item for item in items if any(_is_below(item.nodeid, name) for name in named)]


def _is_below(nodeid: str, name: str) -> bool:
    return nodeid == name or nodeid.startswith(f"{name}::")


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run an imported check once for each plugin."""
    try:
        subjects = _plugins(metafunc.config)
    except pytest.UsageError as error:  # of which a module's collection would show the way
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    ids = [subject.plugin for subject in subjects]
    metafunc.parametrize("rosey_plugin_migrations", subjects, ids=ids)


def _migration_items(session: pytest.Session) -> Iterator[pytest.Item]:
    from pytest_rosey.checks import migrations

    for subject in _plugins(session.config):
        yield from _items(
            session,
            f"{CHECKED_MIGRATIONS}/{subject.plugin}",
            subject.directory,
            [
                (name.removeprefix("test_"), partial(getattr(migrations, name), subject))
                for name in sorted(migrations.__all__)
            ],
        )


def _plugins(config: pytest.Config) -> list[Any]:
    from pytest_rosey.checks.under_check import plugins_below

    roots = settings(config).migrations or (config.rootpath / "migrations",)
    found = plugins_below(roots)
    if not found:
        looked_in = ", ".join(map(str, roots))
        raise pytest.UsageError(
            f"rosey: there are no migrations to check in {looked_in}. rosey_migrations in the ini "
            "file, or --rosey-migrations=DIR, names a folder with one directory of .sql files "
            "for each plugin."
        )
    return found


def _storage_access_items(session: pytest.Session) -> Iterator[pytest.Item]:
    from pytest_rosey.checks.storage_access import python_files

    paths = settings(session.config).check_paths
    if not paths:
        raise pytest.UsageError(
            "rosey: --rosey-check-storage-access needs to know where the plugin's code is: "
            "rosey_check_paths in the ini file, or --rosey-check-paths=PATH, which may be repeated."
        )
    try:
        files = python_files(paths)
    except FileNotFoundError as error:
        raise pytest.UsageError(f"rosey_check_paths: {error}") from None
    root = session.config.rootpath
    named = sorted((Path(os.path.relpath(file, root)).as_posix(), file) for file in files)
    yield from _items(
        session,
        CHECKED_STORAGE_ACCESS,
        root,
        [(name, partial(_check_access, Path(name), file)) for name, file in named],
    )


def _items(
    session: pytest.Session,
    name: str,
    path: Path,
    checks: Sequence[tuple[str, Callable[[], object]]],
) -> Iterator[pytest.Item]:
    collector: Checks = Checks.from_parent(session, name=name, path=path, nodeid=name)
    collector.checks = checks
    # As pytest itself collects, so that whoever counts items counts these.
    report = session.ihook.pytest_make_collect_report(collector=collector)
    session.ihook.pytest_collectreport(report=report)
    return iter(report.result)


def _check_access(name: Path, file: Path) -> None:
    from pytest_rosey.checks.storage_access import findings

    found = findings(file, name)
    if found:
        raise CheckFailed(
            f"{name} goes past the storage service. If a line is meant as it is, end it with "
            "'# rosey: allow'.",
            [("Found", listed([str(finding) for finding in found]))],
        )
