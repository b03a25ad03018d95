"""Cases on a real Restate server, which outlive programs and the server. What happened is counted outside."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from outside import Files
from typer.testing import CliRunner

from pointsman import AlreadyAnswered
from pointsman.cli.main import app
from pointsman.restate import RestateClient
from ports import free_ports
from restate_server import Server, Supervised
from tiers import figure

HERE = Path(__file__).parent
DEPLOYED = figure("RESTATE_DEPLOY_CASES", 5)
WAITING = figure("RESTATE_WAITING", 20)
AT_ONCE = 64  # starts
ANSWERED = 5
OPEN = "SELECT count(*) AS number FROM sys_invocation WHERE status != 'completed' AND target_service_key LIKE 'asking:%'"
PAUSED = """SELECT count(*) AS number FROM state WHERE service_key LIKE 'asking:%' AND key = 'case' AND value_utf8 LIKE '%"waiting"%'"""
EFFECTS = ("pay", "mail", "book", "count")
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0  # a busy machine has ended every case by then
RESTING = {"done", "parked", "blocked", "cancelled"}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def service(restate: Server, outside: Files) -> Iterator[Supervised]:
    """The command that serves the processes, which starts again when it is killed and registers itself."""
    [port] = free_ports(1)
    named = ["--app", "orders_service:processes", "--resources", "orders_service:resources", "--port", str(port), "--admin", restate.admin]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))), "OUTSIDE": str(outside.folder)}
    with Supervised([sys.executable, "-m", "pointsman.cli.main", "restate", "serve", *named], paths) as command:
        command.until(lambda: "READY" in command.said())
        yield command


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """Return what is asked for, once it is something."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not (found := await holds()):
        assert time.monotonic() < ends_at
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def rested(cases: RestateClient, process: str, case: int) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        shown = await cases.show(process, case)
        return shown if shown["status"] in RESTING else None

    shown: dict[str, Any] = await until(look)
    return shown


@asynccontextmanager
async def started(restate: Server, process: str, inputs: list[dict[str, Any]]) -> AsyncIterator[tuple[RestateClient, list[int]]]:
    async with RestateClient(restate.ingress) as cases:
        yield cases, [(await cases.start(process, given, key=f"{process} {given}")).case for given in inputs]


def test_a_case_is_started_once_answered_once_and_ends(restate: Server, service: Supervised, outside: Files) -> None:
    async def story() -> None:
        async with started(restate, "orders", [{"item": "coffee"}]) as (cases, [case]):
            again = await cases.start("orders", {"item": "coffee"}, key="orders {'item': 'coffee'}")
            assert again == (case, True)

            async def pause() -> dict[str, Any] | None:
                shown: dict[str, Any] | None = (await cases.show("orders", case))["pause"]
                return shown

            token = (await until(pause))["token"]
            await cases.answer("orders", case, token, {"agreed": True, "by": "anna"}, by="anna")
            with pytest.raises(AlreadyAnswered) as refused:
                await cases.answer("orders", case, token, {"agreed": False, "by": "ben"}, by="ben")
            assert refused.value.by == "anna"

            async def asleep() -> bool:
                return (await cases.show("orders", case))["step"] == "slept"

            await until(asleep)
            await cases.cancel("orders", case, by="otto", why="seen enough")
            assert (await rested(cases, "orders", case))["status"] == "cancelled"
            assert [event["kind"] for event in await cases.events("orders", case)][-1] == "cancelled"
        assert {effect: len(outside.keys(effect)) for effect in EFFECTS} == dict.fromkeys(EFFECTS, 1)

    asyncio.run(story())


def test_the_commands_read_the_cases_of_the_server_in_a_mirror_of_them(
    restate: Server, service: Supervised, outside: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTSIDE", str(outside.folder))  # the module of the processes reads it

    async def story() -> int:
        async with started(restate, "orders", [{"item": "a gift"}, {"item": "it's green"}]) as (cases, [case, other]):

            async def waits() -> bool:
                shown = [await cases.show("orders", one) for one in (case, other)]
                return all((one["step"], one["status"]) == ("approval", "waiting") for one in shown)

            await until(waits)
            return case

    def printed(*words: str) -> str:
        ran = CliRunner().invoke(app, [*words, "--db", str(tmp_path / "mirror.db")])
        assert ran.exit_code == 0, ran.output
        return ran.output

    mirror = ("restate", "mirror", "--admin", restate.admin, "--app", "orders_service:processes")
    case = asyncio.run(story())

    first, second = printed(*mirror), printed(*mirror)
    shown = json.loads(printed("show", str(case), "--json"))

    found = [one["id"] for one in json.loads(printed("ps", "--json"))]
    assert case in found
    assert first.startswith(f"{len(found)} copied, 0 deleted")
    assert second.startswith("0 copied, 0 deleted")
    assert (shown["status"], shown["state"]["price"]) == ("waiting", 600)


def test_a_server_that_dies_while_a_plain_function_runs_repeats_no_effect(restate: Server, service: Supervised, outside: Files) -> None:
    async def story() -> dict[str, Any]:
        async with started(restate, "windows", [{"number": 1}]) as (cases, [case]):

            async def runs() -> bool:
                return (outside.folder / "first waits for the server").exists()

            await until(runs)
            restate.kill()
            outside.first("go the server")
            (outside.folder / "go the server").touch()
            return await rested(cases, "windows", case)

    shown = asyncio.run(story())

    assert (shown["outcome"], shown["interruptions"]) == ("filed", 0)
    assert len(outside.keys("file")) == 1


def test_a_program_that_is_told_to_stop_lets_its_calls_end(restate: Server, service: Supervised, outside: Files) -> None:
    async def story() -> dict[str, Any]:
        async with started(restate, "patient", [{"number": 1}]) as (cases, [case]):

            async def runs() -> bool:
                return (outside.folder / "first waits for the call").exists()

            await until(runs)
            program = service._pid()
            os.kill(program, signal.SIGTERM)
            (outside.folder / "go the call").touch()
            service.until(lambda: service._pid() != program)
            return await rested(cases, "patient", case)

    shown = asyncio.run(story())

    assert shown["outcome"] == "filed"
    assert shown["interruptions"] == 0


def memory(process: int) -> int:
    """The memory that a process holds, in MB."""
    [line] = [line for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


def test_cases_that_wait_hold_no_invocation(restate: Server, service: Supervised) -> None:
    async def begin() -> list[int]:
        at_once = asyncio.Semaphore(AT_ONCE)
        async with RestateClient(restate.ingress) as cases:

            async def start(number: int) -> int:
                async with at_once:
                    return (await cases.start("asking", {"number": number}, key=str(number))).case

            return await asyncio.gather(*map(start, range(WAITING)))

    async def answer(numbers: list[int]) -> None:
        async with RestateClient(restate.ingress) as cases:
            for case in numbers:
                token = (await cases.show("asking", case))["pause"]["token"]
                await cases.answer("asking", case, token, "yes", by="anna")
                assert (await rested(cases, "asking", case))["outcome"] == "filed"

    begun = time.monotonic()
    numbers = asyncio.run(begin())
    restate.until(lambda: restate.query(PAUSED) == [{"number": WAITING}])
    started_after = time.monotonic() - begun

    restate.until(lambda: restate.query(OPEN) == [{"number": 0}])
    held = f"{memory(restate._pid())} MB of the server, {memory(service._pid())} MB of the program"
    asyncio.run(answer(numbers[:ANSWERED]))

    assert restate.query(PAUSED) == [{"number": WAITING - ANSWERED}]
    print(f"{WAITING} cases wait after {started_after:.0f} s: 0 invocations, {held}")


def test_a_node_that_is_inserted_while_cases_wait_is_taken_by_each_and_nothing_is_repeated(
    restate: Server, service: Supervised, outside: Files
) -> None:
    inputs = [{"item": f"coffee {number}"} for number in range(DEPLOYED)]

    async def story() -> tuple[list[dict[str, Any]], list[Counter[str]]]:
        shown, events = [], []
        async with started(restate, "orders", inputs) as (cases, numbers):

            async def at(case: int, step: str) -> dict[str, Any] | None:
                one = await cases.show("orders", case)
                return one if one["step"] == step and one["status"] == "waiting" else None

            pauses = [(await until(lambda case=case: at(case, "approval")))["pause"] for case in numbers]
            (outside.folder / "newer code").touch()
            begun = service.said().count("READY")
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.until, lambda: service.said().count("READY") > begun)
            for case, pause in zip(numbers, pauses, strict=True):
                await cases.answer("orders", case, pause["token"], {"agreed": True, "by": "anna"}, by="anna")
            for case in numbers:
                shown.append(await until(lambda case=case: at(case, "slept")))
                events.append(Counter(f"{event['kind']} {event['step']}" for event in await cases.events("orders", case)))
        return shown, events

    shown, events = asyncio.run(story())

    assert [one["fields"]["checked"] for one in shown] == ["checked"] * DEPLOYED
    for node in ("ask_price", "look_for_stock", "check"):
        assert [one[f"node.succeeded {node}"] for one in events] == [1] * DEPLOYED
    happened = {effect: Counter(outside.keys(effect)) for effect in EFFECTS}
    assert [happened[entry["effect"]][entry["key"]] for one in shown for entry in one["effects"]] == [1] * DEPLOYED * len(EFFECTS)
    print(f"{DEPLOYED} cases waited while a node was inserted: each took it, and 0 steps were repeated")
