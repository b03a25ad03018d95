"""PgBouncer in its transaction mode, in front of the PostgreSQL server of the tests: each transaction may get another session."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ports import free_ports
from tiers import program

READY_SECONDS = 300.0  # a slow machine has started it by then
POLL_SECONDS = 0.01
NOBODY = 65_534  # PgBouncer refuses to be root
SETTINGS = """
[databases]
* = host={server.hostname} port={server.port} pool_size={sessions}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
max_client_conn = 200
logfile = {folder}/log
"""


class PgBouncer:
    """Shares `sessions` of the server among all clients. Open it with `with`."""

    def __init__(self, url: str, sessions: int) -> None:
        self._program = program("pgbouncer")
        self._folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        server = urlsplit(url)
        [port] = free_ports(1)
        (self._folder / "users").write_text(f'"{server.username}" "{server.password or ""}"\n')
        (self._folder / "ini").write_text(SETTINGS.format(server=server, sessions=sessions, port=port, folder=self._folder))
        self._port = port
        self._running: subprocess.Popen[bytes] | None = None
        self.url = urlunsplit(server._replace(netloc=f"{server.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))

    def __enter__(self) -> "PgBouncer":
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._running = subprocess.Popen([self._program, self._folder / "ini"], cwd="/", **quiet, **as_nobody)
        until = time.monotonic() + READY_SECONDS
        while not self._listens():
            assert self._running.poll() is None, f"PgBouncer ended: {(self._folder / 'log').read_text()}"
            assert time.monotonic() < until, "PgBouncer does not listen"
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait()
        shutil.rmtree(self._folder)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), POLL_SECONDS).close()
        except OSError:
            return False
        return True
