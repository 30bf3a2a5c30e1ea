"""A PostgreSQL server from Debian's binaries, on a unix socket in a folder of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_ROOT = Path("/usr/lib/postgresql")


def missing() -> str | None:
    """Why a server cannot be started here; None when it can."""
    if _binaries() is None:
        return "PostgreSQL's binaries are not installed (apt-get install --no-install-recommends postgresql)"
    if os.getuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return None


def _binaries() -> Path | None:
    found = sorted(_ROOT.glob("*/bin/postgres"), key=lambda path: int(path.parent.parent.name))
    return found[-1].parent if found else None


class Postgres:
    """A running server."""

    def __init__(self, binaries: Path, folder: Path, user: str) -> None:
        self._binaries, self._folder, self._user, self._numbers = binaries, folder, user, count()
        options = [
            "-D",
            str(folder / "data"),
            "-k",
            str(folder),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]  # its data is thrown away
        self.run("initdb", "-D", str(folder / "data"), "-U", user, "-A", "trust", "-E", "UTF8", "--no-sync")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([binaries / "postgres", *options], user=user, cwd="/", stdout=log, stderr=log)

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://{self._user}@/{database}?host={self._folder}"

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"test{next(self._numbers)}"
        self.run("createdb", "-h", str(self._folder), "-U", self._user, name)
        return self.url(name)

    def disconnect(self) -> None:
        """End every client's connection, as a restart of the server does."""
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        self.run("psql", "-h", str(self._folder), "-U", self._user, "-d", "postgres", "-c", ending)

    def stop(self) -> None:
        """Stop the server, its clients' connections included."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    def wait(self) -> None:
        """Return when the server takes connections."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                return self.run("pg_isready", "-h", str(self._folder))
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        raise AssertionError("PostgreSQL did not start:\n" + (self._folder / "log").read_text())

    def run(self, tool: str, *arguments: str) -> None:
        """Run one of PostgreSQL's tools as the server's user."""
        subprocess.run([self._binaries / tool, *arguments], user=self._user, cwd="/", check=True, capture_output=True)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server with an empty cluster, and stop and remove it at the end."""
    binaries = _binaries()
    assert binaries is not None
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="cellmate-pg-"))
    shutil.chown(folder, user)
    server = Postgres(binaries, folder, user)
    try:
        server.wait()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
