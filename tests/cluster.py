"""A private PostgreSQL server for tests: in a temporary folder, on a socket of its own, started when first needed.

It runs as another user where tests run as root, which PostgreSQL refuses, and its disk is flushed as in earnest.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

_NUMBER = itertools.count()


class Cluster:
    """A running server; its databases are made by `fresh`."""

    def __init__(self, folder: Path, *settings: str) -> None:
        """`settings`: lines of postgresql.conf. What another server left in the folder's `data` is gone on with."""
        self.folder, self._bin = folder, binaries()
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user, self._user)
        if not (folder / "data").exists():
            self._run(
                "initdb", "--no-sync", "--auth=trust", "--username=dujiang", "--encoding=UTF8", "--locale=C"
            )
        with open(folder / "data" / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(
                f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nshared_buffers = 32MB\n"
                "max_connections = 120\nlog_min_messages = fatal\nautovacuum = off\n"
                + "\n".join(settings)
                + "\n"
            )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, name: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://dujiang@/{name}?host={self.folder}"

    def fresh(self, locale: str = "C") -> str:
        """The address of a new, empty database."""
        name = f"t{next(_NUMBER)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING UTF8 LOCALE '{locale}' STRATEGY wal_log"
            )
        return self.url(name)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [*self._as_user(), str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text("utf-8")) from None
                time.sleep(0.05)

    def pids(self) -> list[int]:
        """The processes of the server: the first one, which makes the others, and those there are now."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return [first, *_children(first)]

    def kill(self) -> None:
        """Ends every process of the server at once, as a power cut would as far as processes go."""
        assert self.process is not None
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ends the server at once: nothing it keeps is needed any more."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGQUIT)
            self.process.wait(60)

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as_user(), str(self._bin / program), "-D", str(self.folder / "data"), *words]
        subprocess.run(command, check=True, capture_output=True)

    def _as_user(self) -> list[str]:
        if not (program := shutil.which("setpriv")):
            return []
        # Also where the tests are killed, the server ends with them.
        user = [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"] if self._user else []
        return [program, "--pdeathsig=QUIT", *user]


def binaries() -> Path:
    """Where PostgreSQL's programs are.

    Nothing is skipped where they are missing: `make test` installs them.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: int(each.parts[4]))
    if found:
        return found[-1].parent
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")


_SHARED: list[Cluster] = []


def shared() -> Cluster:
    """The one server of this test run, which ends with it."""
    if not _SHARED:
        folder = Path(tempfile.mkdtemp(prefix="dujiang-pg-"))
        folder.chmod(0o755)
        _SHARED.append(Cluster(folder))
        atexit.register(_end, _SHARED[0])
    return _SHARED[0]


def fresh() -> str:
    """The address of a new, empty database on the shared server."""
    return shared().fresh()


def _end(cluster: Cluster) -> None:
    cluster.stop()
    shutil.rmtree(cluster.folder, ignore_errors=True)


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(place.parent.name))
    return found
