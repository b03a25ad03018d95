"""Real Restate servers for the tests, and services that they call. All of them start again by themselves when they are killed.

`make test` installs the server's program from npm in the folder `.restate`; where it is missing, the tests are skipped, or fail if CI is set.
A test takes the fixture `restate`, which is the server of its module, and serves an ASGI application in a process of its own:

    def test_a_case_outlives_its_service(restate: Server) -> None:
        with Service("counting_service:app") as service:
            restate.register(service.url)
            restate.call("/counter/one/add", 1)
            service.kill()
            restate.kill()
            assert restate.call("/counter/one/add", 1) == 2

`Supervised` keeps any other program running, such as `pointsman restate serve`. `cluster()` has three nodes, one of which may be stopped.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

from ports import free_ports
from tiers import missing

TESTS = Path(__file__).parent
INSTALLED = TESTS.parent / ".restate"
NODE = TESTS.parent / "examples" / "restate" / "node"
READY_SECONDS = 300.0  # against a hang only
ANSWER_SECONDS = 10.0  # an answer that takes longer may have been lost with its node: the call is sent again, and finds what it began
AWAY = {502, 503, 504}  # what a node answers that has lost the others
POLL_SECONDS = 0.02
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "RESTATE_DISABLE_TELEMETRY": "true",
    "RESTATE_LISTEN_MODE": "tcp",  # the path of a temporary folder may be too long for a Unix socket
    "RESTATE_LOG_FILTER": "warn,octocrab=off",  # it asks GitHub for its newest version, which no setting stops, and does not wait for the answer
    "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
    "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
    "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "256 MB",
    "RESTATE_ADMIN__DISABLE_WEB_UI": "true",
    "RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL": "50ms",  # tests kill services; nobody wants to wait longer for the next attempt
    "RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL": "500ms",
    "RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS": "unlimited",
}


class Supervised:
    """A program that starts again whenever it ends. It ends with this process, even if that is killed. Open it with `with`."""

    def __init__(self, command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pointsman-restate-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self._command = [str(one) for one in command]
        self._variables = dict(variables or {})
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the program."""
        (self.folder / "pid").unlink(missing_ok=True)
        command = [sys.executable, "-I", "-S", TESTS / "supervisor.py", self.folder, *self._command]
        with (self.folder / "log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                command, env=os.environ | self._variables, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
        self.until((self.folder / "pid").exists)

    def kill(self) -> None:
        """End the program and what it has started as a crash does; return when it has been started again, which is before it is ready."""
        killed = self._pid()
        with suppress(ProcessLookupError):
            os.killpg(killed, signal.SIGKILL)
        self.until(lambda: self._pid() != killed)

    def stop(self) -> None:
        """Kill the program, and do not start it again before `start`. Its folder stays."""
        self._end(b"leave\n")

    def close(self) -> None:
        """Kill the program, and remove its folder."""
        if self._supervisor is not None:
            self._end(b"")
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self) -> str:
        """What the program has printed."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _pid(self) -> int:
        return int((self.folder / "pid").read_text(encoding="ascii"))

    def _end(self, told: bytes) -> None:
        assert self._supervisor is not None
        self._supervisor.communicate(told)
        self._supervisor = None

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds. What fails in the network, or with a status of HTTP, does not hold yet."""
        until = time.monotonic() + READY_SECONDS
        while True:
            with suppress(OSError, httpx.HTTPError):
                if holds():
                    return
            assert time.monotonic() < until, f"{' '.join(self._command)} is not ready: {self.said()}"
            time.sleep(POLL_SECONDS)


class Service(Supervised):
    """An ASGI application that servers call over HTTP/2, such as `counting_service:app` of a folder of the tests. `url` is where it listens."""

    def __init__(self, app: str, variables: Mapping[str, str] | None = None, *, folder: Path = TESTS / "restate") -> None:
        [self._port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--http", "2", "--log-level", "error"]
        paths = {"PYTHONPATH": os.pathsep.join(map(str, (folder, TESTS, TESTS.parent)))}
        super().__init__([*command, "--host", "127.0.0.1", "--port", str(self._port), app], paths | dict(variables or {}))

    def start(self) -> None:
        """Start it; return when it listens."""
        super().start()
        self.wait()

    def wait(self) -> None:
        """Return when it listens."""
        self.until(lambda: socket.create_connection(("127.0.0.1", self._port)).close() is None)


class Server(Supervised):
    """A node. `ingress` and `admin` are the URLs of its two HTTP servers."""

    def __init__(self, command: Sequence[str | Path], variables: Mapping[str, str], ports: Sequence[int]) -> None:
        node, ingress, admin = ports
        addresses = {
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        }
        super().__init__(command, SETTINGS | addresses | variables)
        self._variables["RESTATE_BASE_DIR"] = str(self.folder / "data")
        self.ingress, self.admin = f"http://127.0.0.1:{ingress}", f"http://127.0.0.1:{admin}"
        self._client = httpx.Client(trust_env=False, timeout=ANSWER_SECONDS)

    def start(self) -> None:
        """Start it; return when it takes calls."""
        super().start()
        self.wait()

    def kill(self) -> None:
        """End it as a crash does; return when it has started again and takes calls."""
        super().kill()
        self.wait()

    def close(self) -> None:
        """Kill it, and remove its data."""
        self._client.close()
        super().close()

    def wait(self) -> None:
        """Return when it takes calls."""
        for url in (f"{self.admin}/health", f"{self.ingress}/restate/health"):
            self.until(lambda url=url: self._client.get(url).is_success)

    def register(self, url: str) -> None:
        """Have the server call a service's handlers at this URL from now on, even if it knows another version of them there."""
        self.until(lambda: self._client.post(f"{self.admin}/deployments", json={"uri": url, "force": True}).is_success)

    def knows(self, url: str) -> bool:
        """Whether a service was registered at this URL, here or at another node of the cluster."""
        deployments = self._client.get(f"{self.admin}/deployments").raise_for_status().json()["deployments"]
        return any(deployment["uri"].rstrip("/") == url for deployment in deployments)

    def members(self) -> int:
        """How many nodes of the cluster keep its metadata."""
        health = self._client.get(f"{self.admin}/cluster-health").raise_for_status().json()
        return len((health.get("metadata_cluster_health") or {"members": []})["members"])

    def call(self, path: str, value: Any = None) -> Any:
        """Call a handler once, such as `/counter/one/add`, and return its answer. The call is sent again while the server does not answer."""
        headers = {"idempotency-key": uuid4().hex}
        answer: list[httpx.Response] = []

        def asked() -> bool:
            answer[:] = [self._client.post(self.ingress + path, json=value, headers=headers)]
            return answer[0].status_code not in AWAY

        self.until(asked)
        answer[0].raise_for_status()
        return json.loads(answer[0].content) if answer[0].content else None

    def send(self, path: str, value: Any = None) -> None:
        """Have a handler called once, and do not wait for its answer."""
        self.call(f"{path}/send", value)

    def query(self, statement: str) -> list[dict[str, Any]]:
        """The rows of a statement about the server's own tables, such as `sys_invocation`."""
        told: list[httpx.Response] = []

        def asked() -> bool:  # a server that has just started does not know yet that it is alone
            told[:] = [self._client.post(f"{self.admin}/query", json={"query": statement}, headers={"accept": "application/json"})]
            return told[0].is_success

        self.until(asked)
        rows: list[dict[str, Any]] = told[0].json()["rows"]
        return rows


def program() -> Path:
    """The path of the server's program. Without it a test is skipped; where CI is set, it fails."""
    found = next(INSTALLED.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)
    if found is None:
        missing("there is no Restate server in .restate; `make system-deps` installs npm, and `make .restate/.installed` the server")
    return found


def server() -> Server:
    """A server of one node, not started yet."""
    return Server([program(), "--node-name", "alone", "--no-logo"], {}, free_ports(3))


class Cluster:
    """Three nodes on this machine, of which any two go on without the third: `first.stop()`. All of them answer calls."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = nodes

    def register(self, url: str) -> None:
        """Have all nodes call a service's handlers at this URL from now on."""
        self.nodes[0].register(url)
        for node in self.nodes:
            node.until(lambda node=node: node.knows(url))


@contextmanager
def cluster() -> Iterator[Cluster]:
    """The nodes of examples/restate on other ports."""
    ports = free_ports(9)
    addresses = json.dumps([f"http://127.0.0.1:{port}" for port in ports[::3]])
    path = os.pathsep.join([str(program().parent), os.environ["PATH"]])
    variables = {"PATH": path, "RESTATE_METADATA_CLIENT__ADDRESSES": addresses}
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            node = Server([NODE, str(number + 1)], variables, ports[3 * number : 3 * number + 3])
            stack.callback(node.close)
            Supervised.start(node)
            nodes.append(node)
        for node in nodes:
            node.wait()
            node.until(lambda node=node: node.members() == len(nodes))
        yield Cluster(nodes)
