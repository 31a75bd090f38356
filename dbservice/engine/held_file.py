"""A database file that one process writes: taken when it is opened, watched as long as it is.

The lock is on the file itself, so that no other name for it (a link, another path) leads around
it, and nothing that lies beside it can be removed to get in. POSIX drops all locks that SQLite has
on a file when its process closes any descriptor of it, whoever opened that: so each descriptor
opened here stays open until SQLite is done with the file.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dbservice.engine.errors import (
    FileGoneError,
    FullError,
    NotWritableError,
    UnavailableError,
)

_Identity = tuple[int, int]

_descriptors: dict[_Identity, list[int]] = {}
"""Of the files that this process holds, by device and inode."""


class HeldFile:
    """A database file of this process.

    Args:
        path: where it is, or will be.

    Raises:
        UnavailableError: another service holds it, it cannot be opened for writing, or it is
            empty and has left its write-ahead log behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - the name is not to be followed
        self._sides = [_Side(f"{path.resolve()}-{kind}") for kind in ("wal", "shm")]
        if not _size(self._path) and _size(self._sides[0].path):
            # SQLite would remove the log, though a service may still write to it.
            raise UnavailableError(
                f"'{path}' is empty or not there, and '{self._sides[0].path}' holds writes that "
                "were acknowledged. Put the file back that the log belongs to; or remove the log, "
                "if no service uses it and nobody needs what is in it."
            )
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnavailableError(
                f"The database file '{path}' cannot be opened: {error.strerror}. Check that its "
                "folder exists and may be written."
            ) from error
        opened = os.fstat(descriptor)
        self._identity = opened.st_dev, opened.st_ino
        if self._identity in _descriptors:
            _descriptors[self._identity].append(descriptor)  # closed with the holder's
            raise _held(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise _held(path) from error
        _descriptors[self._identity] = [descriptor]

    def release(self) -> None:
        """Let go of it; SQLite has closed it."""
        for descriptor in _descriptors.pop(self._identity):
            os.close(descriptor)

    def missed(self, *, by_others: bool = False) -> FileGoneError | None:
        """Return what is wrong if what is written now is not found under its name later.

        That is so when the file was removed, moved or replaced, or the write-ahead log beside it.

        Args:
            by_others: look also whether a process that opens the file now would share the index
                of that log.
        """
        if _found(self._path) != self._identity:
            return FileGoneError(
                f"'{self._path}' is not the file any more that was opened: it was removed, moved "
                "or replaced. Put it back, or restart the service."
            )
        for side in self._sides if by_others else self._sides[:1]:
            if side.is_another():
                return FileGoneError(
                    f"'{side.path}' was removed or replaced while the service writes to it. "
                    "Restart the service."
                )
        return None

    def takes_no_more(self) -> UnavailableError | None:
        """Return what keeps its file system from taking a write, None if nothing does."""
        system = os.statvfs(self._path)
        if system.f_flag & os.ST_RDONLY:
            return NotWritableError(f"'{self._path}' is on a file system that is read-only.")
        free = system.f_bfree if os.geteuid() == 0 else system.f_bavail
        return None if free else FullError(f"'{self._path}' is on a file system that is full.")


def check_held(path: Path) -> None:
    """See that the file of this name is one that some process holds.

    Only for a process that has not opened it: closing a file lets go of all that SQLite has locked.

    Raises:
        UnavailableError: it is not there, or nobody holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(f"'{path}' cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    finally:
        os.close(descriptor)
    raise UnavailableError(f"'{path}' is not the file any more that the service holds")


class _Side:
    """A file that SQLite keeps beside the database, under the name that links lead to.

    Args:
        path: where it is, once something was written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity: _Identity | None = None

    def is_another(self) -> bool:
        """Return whether it is not the one any more that was there at first."""
        found = _found(self.path)
        if self._identity is None:
            self._identity = found
        return found != self._identity


def _held(path: Path) -> UnavailableError:
    return UnavailableError(
        f"A service holds the database file '{path}'. SQLite has one writing process: reach it "
        "over NATS instead (use --nats), or stop it first."
    )


def _size(path: str) -> int:
    """Return the bytes of a file, 0 if there is none."""
    return os.path.getsize(path) if os.path.exists(path) else 0  # noqa: PTH110, PTH202


def _found(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - at each commit; this takes half as long
    except OSError:
        return None
    return found.st_dev, found.st_ino
