"""`pointsman worker` on PostgreSQL, as a supervisor runs it: workers share cases, drain, die, and go on through a lost lease and a restarted server."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import interpreter
from journeys.worker_program import orders
from pointsman import Engine, Status
from postgres_proxy import Proxy
from postgres_server import Server

TESTS = Path(__file__).parents[1]
BOUND_SECONDS = 300.0  # far longer than anything here takes; what hangs fails the test
LEASE_SECONDS = 4.0  # short, so that a dead worker's cases are soon taken over; a busy machine renews it in time
HEALTH = ("--health", "127.0.0.1:0")
APP = ("--app", "journeys.worker_program:orders", "--resources", "journeys.worker_program:resources")


def until(holds: Callable[[], bool]) -> None:
    """Look until it holds: what the test waits for happens in another process."""
    end = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class Worker:
    """A process of `pointsman worker`, which is ready, and the address of its health if it has one."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.url = ""
        while (line := process.stdout.readline()) != "READY\n":
            assert line.startswith("HEALTH "), process.stderr and process.stderr.read()
            self.url = line.removeprefix("HEALTH ").strip()

    def asked(self, path: str) -> int:
        return httpx.get(self.url + path, timeout=BOUND_SECONDS).status_code

    def told_to_stop(self) -> tuple[int, str]:
        """Stop it in order; return its code and what it printed for people."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, told = self.process.communicate(timeout=BOUND_SECONDS)
        return self.process.returncode, told


class Place:
    """The database of a test, its workers, and what their steps have said."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.url = url
        self._told = folder / "told"
        self._told.touch()
        self._stack = stack
        self._settings = {**os.environ, "POINTSMAN_TEST_TOLD": str(self._told)}

    def worker(self, *words: str, url: str = "") -> Worker:
        arguments = ("worker", "--db", url or self.url, *APP, "--lease", f"{LEASE_SECONDS}", *words)
        command, pipes = [sys.executable, "-m", "pointsman.cli.main", *arguments], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self._stack.enter_context(subprocess.Popen(command, cwd=TESTS, env=self._settings, text=True, **pipes))
        self._stack.callback(process.kill)
        too_late = threading.Timer(BOUND_SECONDS, process.kill)
        too_late.start()
        self._stack.callback(too_late.cancel)
        return Worker(process)

    def let_go(self) -> None:
        """Let the steps that wait go on."""
        self._told.with_suffix(".go").touch()

    def said(self, what: str) -> list[tuple[int, int]]:
        """The orders of which a step has said this, each with the process."""
        lines = [line.split() for line in self._told.read_text().splitlines()]
        return [(int(number), int(process)) for word, number, process in lines if word == what]

    def start(self, *orders_: dict[str, Any]) -> None:
        """Start orders, which the workers run."""

        async def main() -> None:
            async with Engine.open(self.url, [orders], concurrency=0) as engine:
                for order in orders_:
                    await engine.start(orders, order)

        asyncio.run(main())

    def delivered(self) -> int:
        """Wait until all orders are delivered, and return how many there are."""

        async def main() -> int:
            async with Engine.open(self.url, [orders], concurrency=0) as engine, asyncio.timeout(BOUND_SECONDS):
                rows = [await engine.wait_until_resting(row.id) for row in await engine.reader.cases()]
                assert {row.outcome for row in rows} == {"delivered"}
                return len(rows)

        return asyncio.run(main())

    def standing(self) -> list[str]:
        """The statuses of the orders."""

        async def main() -> list[str]:
            async with Engine.open(self.url, [orders], concurrency=0) as engine:
                return [row.status for row in await engine.reader.cases()]

        return asyncio.run(main())


@pytest.fixture
def place(tmp_path: Path, postgres_url: str) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, postgres_url, stack)


def test_two_workers_share_the_cases_of_one_database_and_one_takes_over_what_the_other_leaves_when_it_is_killed(place: Place) -> None:
    one, two = place.worker("--concurrency", "2"), place.worker("--concurrency", "2")

    place.start(*({"number": number, "waits": True} for number in range(8)))
    until(lambda: len(place.said("begin")) >= 4)
    place.let_go()
    shared = place.delivered()
    sent, packers = place.said("send"), {process for _, process in place.said("end")}
    place.start({"number": 8, "seconds": 0.5}, {"number": 9, "seconds": 0.5})
    until(lambda: len(place.said("begin")) >= 10)
    victim, other = (one, two) if place.said("begin")[-1][1] == one.process.pid else (two, one)
    victim.process.kill()
    taken_over = place.delivered()

    assert (shared, taken_over) == (8, 10)
    assert sorted(number for number, _ in sent) == list(range(8)), "each step once"
    assert packers == {one.process.pid, two.process.pid}
    assert {number for number, _ in place.said("send")} == set(range(10))
    assert other.told_to_stop()[0] == 0


def test_a_worker_that_is_told_to_stop_ends_its_steps_gives_the_rest_back_and_is_not_ready_meanwhile(place: Place) -> None:
    worker = place.worker("--concurrency", "1", "--drain", f"{BOUND_SECONDS}", *HEALTH)
    place.start({"number": 1, "waits": True}, {"number": 2, "waits": True})
    until(lambda: len(place.said("begin")) == 1)

    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.asked("/readyz") == 503)
    alive = worker.asked("/healthz")
    place.let_go()
    code, told = worker.ended()

    assert (alive, code) == (200, 0)
    assert "Traceback" not in told
    assert told.index("Draining: ") < told.index("Stopped.")
    [(ended, _)] = place.said("end")
    assert place.standing() == ["ready", "ready"], "both are given back, one after its step"
    place.worker()
    assert place.delivered() == 2
    assert [number for number, _ in place.said("begin")].count(ended) == 1, "the step that ended was not repeated"


def test_a_step_that_takes_longer_than_the_drain_is_given_back(place: Place) -> None:
    worker = place.worker("--drain", "0.1")
    place.start({"number": 1, "seconds": BOUND_SECONDS})
    until(lambda: len(place.said("begin")) == 1)

    code, _ = worker.told_to_stop()

    assert (code, place.said("end"), place.standing()) == (0, [], ["ready"])


def test_a_second_signal_ends_a_worker_at_once(place: Place) -> None:
    worker = place.worker("--drain", f"{BOUND_SECONDS}", *HEALTH)
    place.start({"number": 1, "seconds": BOUND_SECONDS})
    until(lambda: len(place.said("begin")) == 1)

    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.asked("/readyz") == 503)
    worker.process.send_signal(signal.SIGTERM)
    code, told = worker.ended()

    assert code == 128 + signal.SIGTERM
    assert "a second signal" in told


def test_a_worker_that_stood_still_beyond_its_lease_goes_on_with_a_new_one(place: Place) -> None:
    worker = place.worker()
    place.start({"number": 1, "seconds": 0.5})
    until(lambda: len(place.said("begin")) == 1)

    worker.process.send_signal(signal.SIGSTOP)
    other = place.worker()
    place.delivered()
    other.told_to_stop()
    worker.process.send_signal(signal.SIGCONT)
    place.start({"number": 2})
    delivered = place.delivered()
    code, told = worker.told_to_stop()

    assert (delivered, code) == (2, 0)
    assert (2, worker.process.pid) in place.said("send")
    assert told.count("the worker opens its engine again") == told.count("the worker goes on") == 1, told
    assert "Traceback" not in told


def test_workers_go_on_when_the_server_restarts_at_once(place: Place, postgres: Server) -> None:
    workers = [place.worker(*HEALTH), place.worker()]
    place.start(*({"number": number, "seconds": 0.2} for number in range(4)))

    for _ in range(2):
        postgres.restart_immediately()
        place.start({"number": 9})
    delivered = place.delivered()
    until(lambda: workers[0].asked("/readyz") == 200)
    ends = [worker.told_to_stop() for worker in workers]

    assert delivered == 6
    assert [code for code, _ in ends] == [0, 0]
    for _, told in ends:
        assert "Traceback" not in told
        assert len(told.splitlines()) <= 12, told


def test_a_worker_without_its_database_is_alive_and_not_ready_until_it_is_back(place: Place) -> None:
    with Proxy(place.url) as proxy:
        worker = place.worker(*HEALTH, url=proxy.url)
        assert worker.asked("/readyz") == 200

        proxy.swallow()
        until(lambda: worker.asked("/readyz") == 503)
        alive = worker.asked("/healthz")
        proxy.let_through()
        until(lambda: worker.asked("/readyz") == 200)
        place.start({"number": 1})
        delivered = place.delivered()
        code, told = worker.told_to_stop()

    assert (alive, delivered, code) == (200, 1, 0)
    assert "Traceback" not in told


def test_a_worker_that_is_started_before_its_server_waits_for_it_and_stops_when_it_is_told_to(place: Place) -> None:
    away = "postgresql://app:hush@127.0.0.1:1/shop"
    command = [sys.executable, "-m", "pointsman.cli.main", "worker", "--db", away, *APP, *HEALTH]
    settings = {**os.environ, "POINTSMAN_TEST_TOLD": os.devnull}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=TESTS, env=settings, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().removeprefix("HEALTH ").strip()
        said = process.stderr.readline()
        ready = httpx.get(f"{url}/readyz", timeout=BOUND_SECONDS)
        process.send_signal(signal.SIGTERM)
        _, more = process.communicate(timeout=BOUND_SECONDS)

    assert "opens its engine again: postgresql://app@127.0.0.1:1/shop cannot be opened" in said
    assert (ready.status_code, process.returncode, more.splitlines()[1:]) == (503, 0, ["Stopped."])
    assert "cannot be opened" in ready.json()["detail"]
    assert "hush" not in said + ready.text


@pytest.mark.parametrize("change", ["user=nobody_here", "dbname=no_such_database"])
def test_a_worker_that_its_server_refuses_ends_with_one_sentence(place: Place, change: str) -> None:
    settings = {**os.environ, "POINTSMAN_TEST_TOLD": os.devnull}
    done = interpreter.run("-m", "pointsman.cli.main", "worker", "--db", f"{place.url}&{change}", *APP, cwd=TESTS, env=settings)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert change.partition("=")[2] in done.stderr


def test_a_file_has_one_worker(place: Place, tmp_path: Path) -> None:
    worker = place.worker(url=str(tmp_path / "cases.db"))

    assert worker.told_to_stop()[0] == 0


@contextmanager
def serving(place: Place, *words: str) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    command = [sys.executable, "-m", "pointsman.cli.main", "serve", "--db", place.url, *APP[:2], "--port", "0", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=TESTS, **pipes) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().removeprefix("READY ").strip()
        finally:
            process.kill()


def test_the_pages_and_the_api_of_serve_are_over_the_fleet_and_go_on_when_the_server_restarts(place: Place, postgres: Server) -> None:
    place.worker()
    with serving(place, "--concurrency", "0") as (process, url), httpx.Client(base_url=url, timeout=BOUND_SECONDS) as client:
        started = client.post("/api/v1/cases", json={"process": "orders", "state": {"number": 1}})
        assert place.delivered() == 1
        page = client.get("/cases/1", headers={"Accept": "text/html"})
        postgres.restart_immediately()
        until(lambda: client.get("/ready").status_code == 200)
        again = client.post("/api/v1/cases", json={"process": "orders", "state": {"number": 2}})
        delivered = place.delivered()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=BOUND_SECONDS)

    assert (started.status_code, page.status_code, again.status_code) == (201, 200, 201)
    assert "delivered" in page.text
    assert (delivered, process.returncode) == (2, 0)
    assert "Traceback" not in told
    assert Status.DONE in place.standing()
