"""What the user chose on the command line and in the ini file (SPEC 5.1-5.3).

One setting, one name, two doors: `--rosey-nats-image` beats `rosey_nats_image`. Nothing here is
heavier than pytest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

MEMORY = "memory"
FILE = "file"
POSTGRES = "postgres"
AUTO = "auto"

_REAL_TIME = "real"
_TIMES = ("virtual", _REAL_TIME)
_DEFAULTS = {"nats": AUTO, "db": MEMORY}


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and ini keys, all named `rosey`."""
    group = parser.getgroup("rosey", "rosey (NATS bus and database for storage-backed plugins)")
    _add_bus(parser, group)
    _add_database(parser, group)
    _add_checks(parser, group)
    _add_exploration(parser, group)
    _add_judgement(parser)


def _add_bus(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--rosey-real-nats",
        action="store_true",
        default=None,
        help="Run the tests on a real nats-server instead of the in-process bus",
    )
    group.addoption(
        "--rosey-nats",
        metavar="auto|container|binary|URL",
        help="Which real nats-server (implies --rosey-real-nats): a container if a Docker engine "
        "answers and else a binary (auto), one of the two, or a server that runs already. "
        "Under pytest-xdist '{worker}' in a URL becomes gw0, gw1, ... Default: auto",
    )
    group.addoption(
        "--rosey-nats-image", metavar="IMAGE", help="Container image of the real nats-server"
    )
    group.addoption(
        "--rosey-nats-config",
        metavar="FILE",
        help="Configuration file for the real nats-server that the run starts",
    )
    parser.addini("rosey_real_nats", "Default of --rosey-real-nats", type="bool", default=False)
    parser.addini("rosey_nats", "Which server --rosey-real-nats takes", default=_DEFAULTS["nats"])
    parser.addini("rosey_nats_image", "Default of --rosey-nats-image", default="")
    parser.addini("rosey_nats_config", "Default of --rosey-nats-config", default="")


def _add_database(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--rosey-migrations",
        action="append",
        metavar="DIR",
        help="Folder with one directory of migrations for each plugin, or that directory itself; "
        "may be repeated. Without one: ROOTDIR/migrations, then those of installed packages",
    )
    group.addoption(
        "--rosey-db",
        metavar="memory|file|postgres|PATH|URL",
        help="Database of db_service: SQLite in memory, in a fresh temporary file for each test, "
        "or in a file that is kept (PATH); a fresh database for each test on a PostgreSQL server "
        "that the run starts (postgres) or that runs already (postgresql+asyncpg://USER:PASSWORD@"
        "HOST/DATABASE). Default: memory",
    )
    group.addoption(
        "--rosey-keep",
        action="store_true",
        help="Keep the database of a failed test, and say how to open it",
    )
    parser.addini("rosey_migrations", "Default of --rosey-migrations", type="paths", default=[])
    parser.addini("rosey_db", "Default of --rosey-db", default=_DEFAULTS["db"])


def _add_checks(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--rosey-check-migrations",
        action="store_true",
        help="Also test the migrations of every plugin in the migrations folders: names, both "
        "directions, each step, round trips with data, dry runs, both engines",
    )
    group.addoption(
        "--rosey-check-storage-access",
        action="store_true",
        help="Also test that the plugin's code uses neither SQL nor database drivers",
    )
    group.addoption(
        "--rosey-check-paths",
        action="append",
        metavar="PATH",
        help="File or folder that --rosey-check-storage-access looks at; may be repeated",
    )
    parser.addini("rosey_check_paths", "Default of --rosey-check-paths", type="paths", default=[])


def _add_exploration(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--rosey-explore",
        action="store_true",
        default=None,
        help="Explore every test that uses rosey_plugin or storage: run it again with every fault "
        "at every request that it makes",
    )
    group.addoption(
        "--rosey-explore-place",
        metavar="N:FAULT",
        help="Explore one place of the selected tests, as a failure names it (implies "
        "--rosey-explore)",
    )
    group.addoption(
        "--rosey-explore-json",
        metavar="FILE",
        help="Write what the exploration found as JSON",
    )
    parser.addini("rosey_explore", "Default of --rosey-explore", type="bool", default=False)
    parser.addini(
        "rosey_explore_places",
        "Places that are explored of one test at the most; an even sample of more",
        default="200",
    )


def _add_judgement(parser: pytest.Parser) -> None:
    parser.addini(
        "rosey_time",
        "Time of the tests, virtual or real, where no marker says otherwise",
        default=_REAL_TIME,
    )
    parser.addini(
        "rosey_contract",
        "Check the stubs of fake_nats, and the requests to them, against the wire contract (on)",
        type="bool",
        default=True,
    )
    parser.addini(
        "rosey_allow_hosts",
        "NATS servers outside this machine that tests may connect to; * and ? are wildcards",
        type="args",
        default=[],
    )
    parser.addini(
        "rosey_strict_cleanup",
        "Fail a test that leaves tasks, requests, clients, or data outside its namespaces (on)",
        type="bool",
        default=True,
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting and where it came from."""

    value: str
    source: str

    def __str__(self) -> str:
        return f"{self.value} ({self.source})"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run.

    Attributes:
        real_nats: what asked for a real server, or None if nothing did.
        nats: which real server.
        nats_image: its container image; None for the default.
        nats_config: its configuration file.
        migrations: the migration roots that the user named; empty means the usual ones.
        database: `memory`, `file`, `postgres`, a path, or the URL of a PostgreSQL database.
        time: `virtual` or `real`, for tests without a marker.
        keep: whether the databases of failed tests are kept.
        contract: whether stubs and requests to them are checked.
        explore: whether every test that uses the storage is explored.
        explore_place: the one place that is, or None.
        explore_json: the file that findings are written to, or None.
        explore_places: how many of a test are at the most.
        allow_hosts: patterns of hosts outside this machine that tests may connect to.
        strict_cleanup: whether a test fails for what it leaves behind.
        check_migrations: whether tests of the migrations are generated.
        check_storage_access: whether tests of the plugin's code are generated.
        check_paths: where that code is.
    """

    real_nats: str | None
    nats: Chosen
    nats_image: str | None
    nats_config: Path | None
    migrations: tuple[Path, ...]
    database: Chosen
    time: str
    explore: bool
    explore_place: str | None
    explore_json: Path | None
    explore_places: int
    keep: bool
    contract: bool
    allow_hosts: tuple[str, ...]
    strict_cleanup: bool
    check_migrations: bool
    check_storage_access: bool
    check_paths: tuple[Path, ...]

    @property
    def wants_servers(self) -> bool:
        """Whether the run needs a real server, NATS or PostgreSQL."""
        return self.real_nats is not None or is_on_postgres(self.database)

    @property
    def wants_exploration(self) -> bool:
        """Whether something is to be explored, whatever the tests' markers say."""
        return self.explore or self.explore_json is not None


CHECKED_MIGRATIONS = "rosey-migrations"
CHECKED_STORAGE_ACCESS = "rosey-storage-access"
_NAMED = "rosey_named_checks"


def take_named_checks(config: pytest.Config) -> None:
    """Take the node ids of generated checks out of what pytest looks for among the files."""
    if not hasattr(config.option, _NAMED):  # which the workers of pytest-xdist are given
        setattr(config.option, _NAMED, list(filter(_names_a_check, config.args)))
    config.args[:] = [argument for argument in config.args if not _names_a_check(argument)]


def _names_a_check(argument: str) -> bool:
    place, _, _ = argument.partition("::")
    return place == CHECKED_STORAGE_ACCESS or place.startswith(f"{CHECKED_MIGRATIONS}/")


def named_checks(config: pytest.Config) -> list[str]:
    """Return the node ids of generated checks that the command line names."""
    named: list[str] = getattr(config.option, _NAMED, [])
    return named


def names_single_tests(config: pytest.Config) -> bool:
    """Return whether the command line selects tests one by one, and none of ours among them."""
    return bool(config.args) and all("::" in argument for argument in config.args)


_SETTINGS = pytest.StashKey[Settings]()


def settings(config: pytest.Config) -> Settings:
    """Return the settings of the run.

    Raises:
        pytest.UsageError: one of them makes no sense.
    """
    if _SETTINGS not in config.stash:
        config.stash[_SETTINGS] = _read(config)
    return config.stash[_SETTINGS]


def _ini(config: pytest.Config, key: str) -> Any:
    try:
        return config.getini(key)
    except (ValueError, pytest.UsageError) as error:  # of pytest, which does not name the key
        file = "the ini file" if config.inipath is None else config.inipath.name
        raise pytest.UsageError(f"{key} in {file}: {error}") from None


def _read(config: pytest.Config) -> Settings:
    image = _chosen(config, "nats_image").value
    nats_config = _chosen(config, "nats_config")
    return Settings(
        real_nats=_real_nats(config),
        nats=_chosen(config, "nats"),
        nats_image=image or None,
        nats_config=_path(config, nats_config) if nats_config.value else None,
        migrations=_migrations(config),
        database=_database(config),
        time=_time(config),
        explore=_explore(config),
        explore_place=config.getoption("rosey_explore_place"),
        explore_json=_explore_json(config),
        explore_places=_explore_places(config),
        keep=config.getoption("rosey_keep"),
        contract=_ini(config, "rosey_contract"),
        allow_hosts=tuple(_ini(config, "rosey_allow_hosts")),
        strict_cleanup=_ini(config, "rosey_strict_cleanup"),
        check_migrations=config.getoption("rosey_check_migrations"),
        check_storage_access=config.getoption("rosey_check_storage_access"),
        check_paths=_check_paths(config),
    )


def _chosen(config: pytest.Config, name: str) -> Chosen:
    option = config.getoption(f"rosey_{name}")
    if option is not None:
        return Chosen(option, f"--rosey-{name.replace('_', '-')}")
    value: str = _ini(config, f"rosey_{name}")
    if value == _DEFAULTS.get(name, "") or config.inipath is None:
        return Chosen(value, "default")
    return Chosen(value, f"rosey_{name} in {config.inipath.name}")


def _path(config: pytest.Config, chosen: Chosen) -> Path:
    """Return a path as its author meant it: beside the ini file, or where the command was given."""
    if chosen.source.startswith("-") or config.inipath is None:
        return config.invocation_params.dir / chosen.value
    return config.inipath.parent / chosen.value


def _real_nats(config: pytest.Config) -> str | None:
    if config.getoption("rosey_nats") is not None:
        return "--rosey-nats"
    if config.getoption("rosey_real_nats"):
        return "--rosey-real-nats"
    return "rosey_real_nats" if _ini(config, "rosey_real_nats") else None


def _explore(config: pytest.Config) -> bool:
    if config.getoption("rosey_explore_place") is not None:
        return True
    asked = config.getoption("rosey_explore")
    return bool(_ini(config, "rosey_explore") if asked is None else asked)


def _explore_json(config: pytest.Config) -> Path | None:
    named: str | None = config.getoption("rosey_explore_json")
    if named is None:
        return None
    path = config.invocation_params.dir / named
    if path.is_dir() or not path.parent.is_dir():
        wrong = f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise pytest.UsageError(f"--rosey-explore-json: {wrong}; it names a file to be written")
    return path


def _explore_places(config: pytest.Config) -> int:
    named: str = _ini(config, "rosey_explore_places")
    if not named.isdecimal() or int(named) < 1:
        raise pytest.UsageError(
            f"rosey_explore_places in the ini file must be a number from 1, got {named}"
        )
    return int(named)


def _time(config: pytest.Config) -> str:
    named: str = _ini(config, "rosey_time")
    if named not in _TIMES:
        raise pytest.UsageError(f"rosey_time in the ini file must be virtual or real, got {named}")
    return named


def _migrations(config: pytest.Config) -> tuple[Path, ...]:
    named = config.getoption("rosey_migrations")
    if named is None:
        roots: list[Path] = list(_ini(config, "rosey_migrations"))
    else:
        roots = [config.invocation_params.dir / root for root in named]
    for root in roots:
        if not root.is_dir():
            raise pytest.UsageError(
                f"rosey: there is no migrations folder {root}. --rosey-migrations and "
                "rosey_migrations name a folder with one directory for each plugin."
            )
    return tuple(roots)


def _check_paths(config: pytest.Config) -> tuple[Path, ...]:
    named = config.getoption("rosey_check_paths")
    if named is None:
        return tuple(_ini(config, "rosey_check_paths"))
    return tuple(config.invocation_params.dir / path for path in named)


NO_WORKER = "master"
"""What pytest-xdist calls a process that is no worker."""


def worker_id(config: pytest.Config) -> str:
    """Return the name of this pytest-xdist worker, `master` without xdist."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    return given.get("workerid", NO_WORKER)


_SQLITE_SCHEMES = ("sqlite", "sqlite+aiosqlite")
_POSTGRES_SCHEMES = ("postgresql", "postgresql+asyncpg")


def is_on_postgres(database: Chosen) -> bool:
    """Return whether the databases of the tests are on PostgreSQL."""
    scheme, is_url, _ = database.value.partition("://")
    return database.value == POSTGRES or bool(is_url and scheme in _POSTGRES_SCHEMES)


def _database(config: pytest.Config) -> Chosen:
    chosen = _chosen(config, "db")
    if chosen.value in (MEMORY, FILE) or is_on_postgres(chosen):
        return chosen
    scheme, is_url, rest = chosen.value.partition("://")
    if is_url and scheme in _SQLITE_SCHEMES:
        # Three slashes, then the path, which may be absolute; what follows a ? is no part of it.
        value = unquote(rest.removeprefix("/").partition("?")[0])
        if value in ("", ":memory:"):
            return Chosen(MEMORY, chosen.source)
    else:
        value = chosen.value
    path = Path(value)
    if "://" in value or (len(path.parts) < 2 and not path.suffix):
        shown = f"{scheme}://..." if is_url else chosen.value
        raise pytest.UsageError(
            f"{chosen.source}: '{shown}' is no database: expected memory, file, postgres, the path "
            "of an SQLite file such as ./test.db, or a URL that begins with "
            "postgresql+asyncpg:// or sqlite:///."
        )
    return Chosen(str(_path(config, Chosen(value, chosen.source))), chosen.source)
