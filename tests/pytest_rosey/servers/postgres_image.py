"""An image like PostgreSQL's official one, made of the PostgreSQL of this machine: no download.

It takes the same variables and the same command, and like that one it makes a cluster first.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from pytest_rosey.servers.postgres import find_postgres

ENTRY = """\
#!/bin/sh
set -e
printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 \
    $POSTGRES_INITDB_ARGS
echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
exec "$@"
"""
PASSWD = "nobody:x:65534:65534:nobody:/:/bin/sh\n"


def packed() -> tuple[bytes, list[str]]:
    """Return the file system of the image as a tar archive, and its Dockerfile instructions."""
    binaries = find_postgres().binaries
    assert binaries is not None
    told = [
        subprocess.run(
            [binaries / "pg_config", f"--{what}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for what in ("pkglibdir", "sharedir")
    ]
    executables = [binaries / "initdb", binaries / "postgres", Path("/bin/sh")]
    files = {*executables, *_libraries(executables), Path(told[0], "dict_snowball.so")}
    files |= {Path(told[0], "plpgsql.so"), Path(told[1])}
    files |= {Path("/usr/lib/locale/C.utf8"), Path("/usr/share/zoneinfo")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        present = sorted(path for path in files if path.exists())
        places = {*present, Path("/etc/passwd"), Path("/var/run/postgresql")}
        for directory in sorted({parent for path in places for parent in path.parents}):
            _make(archive, directory, 0o755)
        for path in present:
            archive.add(path, arcname=str(path))
        for place in ("/tmp", "/var/run/postgresql"):
            _make(archive, Path(place), 0o1777)
        _write(archive, "entry.sh", ENTRY, 0o755)
        _write(archive, "etc/passwd", PASSWD, 0o644)
    entry = ['ENTRYPOINT ["/bin/sh", "/entry.sh"]', "USER nobody", f"ENV PATH={binaries}:/bin"]
    return buffer.getvalue(), entry


def _libraries(executables: list[Path]) -> set[Path]:
    found = set()
    for executable in executables:
        listed = subprocess.run(["ldd", executable], capture_output=True, text=True, check=True)
        words = listed.stdout.split()
        # Those of the wheel are found as bin/../lib, and no place may be in an archive twice.
        found |= {Path(os.path.normpath(word)) for word in words if word.startswith("/")}
    return found


def _make(archive: tarfile.TarFile, path: Path, mode: int) -> None:
    directory = tarfile.TarInfo(str(path))
    directory.type, directory.mode = tarfile.DIRTYPE, mode
    archive.addfile(directory)


def _write(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(text.encode()), mode
    archive.addfile(file, io.BytesIO(text.encode()))
