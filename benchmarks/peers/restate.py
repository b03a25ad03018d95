"""Restate: a server with a log of its own on the disk, and handlers in Python that it calls over HTTP/2.

One node as it comes, except for the number of partitions, which its configuration documents: with few cores, few partitions flush together
(https://docs.restate.dev/references/server-config). The service runs under granian, an ASGI server for HTTP/2 that is faster than Hypercorn,
which the documentation uses (https://docs.restate.dev/develop/python/serving).
"""

import asyncio
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.peers.postgres import free_port
from benchmarks.peers.restate_service import PAUSED_PORT
from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import STEPS, payload

ENVIRONMENT = Path(sys.prefix)
SERVER = Path(__file__).resolve().parents[2] / ".restate"
SERVICE = "benchmarks.peers.restate_service:app"
PARTITIONS = 4
READY_SECONDS_MAX = 60.0
SETTLING_SECONDS = 0.01  # from the last step before the pause until the case waits; no figure contains it
WATCHED_SECONDS = 2.0
RESUMED = 100
OPEN_CALLS = "SELECT count(*) AS number FROM sys_invocation WHERE status != 'completed'"


class Server:
    """The server and the process of the service `app`, on free loopback ports."""

    def __init__(self, folder: Path, app: str) -> None:
        self.folder, self._app = folder / "restate", app
        self.ingress, self.admin, self._node, self._service = (free_port() for _ in range(4))
        self._connections = threading.local()
        self._processes: tuple[subprocess.Popen[bytes], ...] = ()
        self._paused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._paused.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._paused.bind(("127.0.0.1", 0))
        self._paused.settimeout(READY_SECONDS_MAX)

    def start(self) -> None:
        """Start both; return when the server accepts calls."""
        [program] = SERVER.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
        settings = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self.ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self.admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{self._node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{self._node}",
            "RESTATE_DEFAULT_NUM_PARTITIONS": str(PARTITIONS),
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            "RESTATE_LOG_FILTER": "error",
        }
        granian = [
            ENVIRONMENT / "bin" / "granian",
            "--interface",
            "asgi",
            "--http",
            "2",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._service),
        ]
        told = str(self._paused.getsockname()[1])
        self._processes = (
            self._run([program, "--base-dir", self.folder, "--node-name", "bench", "--no-logo"], settings),
            self._run([*granian, "--log-level", "error", self._app], {PAUSED_PORT: told}),
        )
        self._until(lambda: _answer(self.admin, "GET", "/health"))
        self._until(lambda: _answer(self.ingress, "GET", "/restate/health"))
        self._until(lambda: socket.create_connection(("127.0.0.1", self._service)).close())
        self._until(lambda: _answer(self.admin, "POST", "/deployments", {"uri": f"http://127.0.0.1:{self._service}", "force": True}))

    def kill(self) -> None:
        """End both as a crash does."""
        for process in self._processes:
            for each in _family(process.pid):
                os.kill(each, signal.SIGKILL)
            process.wait()
        self._connections = threading.local()

    def call(self, path: str, value: Any) -> Any:
        """Call a handler, and return its answer. Each thread keeps a connection."""
        if not hasattr(self._connections, "one"):
            self._connections.one = http.client.HTTPConnection("127.0.0.1", self.ingress, timeout=READY_SECONDS_MAX)
            self._connections.one.connect()
            self._connections.one.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _asked(self._connections.one, "POST", path, value)

    def next_paused(self) -> int:
        """Wait until a case pauses, and return its number."""
        return int(self._paused.recv(64))

    def cpu_seconds(self) -> float:
        """Return the processor time that both have used, with what they have started."""
        return sum(_cpu_seconds(each) for process in self._processes for each in _family(process.pid))

    def stored(self) -> int:
        """Return the bytes of the server's files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def _run(self, command: list[Any], variables: dict[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, env=os.environ | variables, stdout=sys.stderr, stderr=sys.stderr)

    def open_calls(self) -> int:
        """Return how many calls have not ended."""
        [row] = self._until(lambda: _answer(self.admin, "POST", "/query", {"query": OPEN_CALLS}))["rows"]
        return int(row["number"])

    def _until(self, attempt: Callable[[], Any]) -> Any:
        until = time.monotonic() + READY_SECONDS_MAX
        while True:
            with suppress(OSError, http.client.HTTPException, RuntimeError):
                return attempt()
            if time.monotonic() > until or any(process.poll() is not None for process in self._processes):
                raise SystemExit("Restate did not start")
            time.sleep(0.02)


def _answer(port: int, method: str, path: str, value: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS_MAX)
    try:
        return _asked(connection, method, path, value)
    finally:
        connection.close()


def _asked(connection: http.client.HTTPConnection, method: str, path: str, value: Any = None) -> Any:
    body = None if value is None else json.dumps(value)
    headers = {"accept": "application/json"} if body is None else {"accept": "application/json", "content-type": "application/json"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    told = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{path}: {response.status} {told[:200]!r}")
    with suppress(ValueError):
        return json.loads(told)
    return None


def _family(process: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [process]
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += _family(int(child))
    return found


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(folder: Path, app: str = SERVICE) -> Iterator[Server]:
    server = Server(folder, app)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def w1(folder: Path, *, concurrency: int, seconds: float) -> Figures:
    with started(folder) as server, ThreadPoolExecutor(concurrency) as threads:

        async def main() -> tuple[int, float]:
            loop = asyncio.get_running_loop()

            def once(case: int) -> Any:
                return loop.run_in_executor(threads, server.call, "/cases/six_steps", case)

            await asyncio.gather(*(once(case) for case in range(concurrency)))  # opens the connections
            return await repeated(once, concurrency=concurrency, seconds=seconds)

        cases, wall = asyncio.run(main())
    return {"steps": cases * len(STEPS), "seconds": wall}


def w2(folder: Path, *, cases: int) -> Figures:
    paused, answered = [], []
    with started(folder) as server, ThreadPoolExecutor(1) as thread:
        for case in range(-1, cases):  # the first one warms up
            begun = time.perf_counter()
            running = thread.submit(server.call, f"/approved/case{case}/run", case)
            assert server.next_paused() == case
            paused.append(time.perf_counter() - begun)
            time.sleep(SETTLING_SECONDS)
            begun = time.perf_counter()
            server.call(f"/approved/case{case}/approve", "yes")
            running.result()
            answered.append(time.perf_counter() - begun)
    return {"paused_ms": 1e3 * statistics.median(paused[1:]), "answered_ms": 1e3 * statistics.median(answered[1:])}


def w3(folder: Path, *, branches: int, seconds: float) -> Figures:
    with started(folder) as server:

        async def once(case: int) -> None:
            assert server.call("/cases/fan_out", {"case": case, "branches": branches}) == branches

        cases, wall = asyncio.run(repeated(once, concurrency=1, seconds=seconds))
    return {"steps": cases * (branches + 1), "seconds": wall}


def w4(folder: Path, *, cases: int) -> Figures:
    def begin(server: Server, case: int) -> None:
        server.call(f"/approved/case{case}/run/send", case)

    def answer(server: Server, case: int) -> None:
        server.call(f"/approved/case{case}/approve", "yes")
        _answer(server.ingress, "GET", f"/restate/workflow/approved/case{case}/attach")

    return waiting(folder, SERVICE, cases, begin, answer)


def waiting(folder: Path, app: str, cases: int, begin: Callable[[Server, int], None], answer: Callable[[Server, int], None]) -> Figures:
    """Let cases wait, kill both processes, start them again, and answer some cases."""
    with started(folder, app) as server:
        empty = server.stored()
        with ThreadPoolExecutor(8) as threads:
            for _ in threads.map(lambda case: begin(server, case), range(cases)):
                pass
        paused = {server.next_paused() for _ in range(cases)}
        assert len(paused) == cases, len(paused)
        size = server.stored() - empty
        server.kill()
        begun = time.perf_counter()
        server.start()
        open_ms = 1e3 * (time.perf_counter() - begun)
        time.sleep(WATCHED_SECONDS)  # it calls the handlers of the waiting cases again
        used = server.cpu_seconds()
        time.sleep(WATCHED_SECONDS)
        idle = (server.cpu_seconds() - used) / WATCHED_SECONDS
        resumed = []
        for case in range(min(RESUMED, cases)):
            begun = time.perf_counter()
            answer(server, case)
            resumed.append(1e3 * (time.perf_counter() - begun))
        open_calls = server.open_calls()
    return {
        "bytes_each": size / cases, "open_ms": open_ms, "usable_ms": open_ms + resumed[0], "resumed_ms": statistics.median(resumed),
        "idle_load": idle, "invocations": open_calls,
    }  # fmt: skip


def w5_list(folder: Path, *, items: int) -> Figures:
    with started(folder) as server:
        empty = server.stored()
        assert server.call("/cases/growing", items) == items
        size, weight = server.stored() - empty, len(json.dumps([payload("grow", number) for number in range(items)]))
    return {"disk_bytes": size, "list_bytes": weight, "disk_to_list": size / weight}


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5-list": w5_list})
