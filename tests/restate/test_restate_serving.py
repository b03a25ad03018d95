"""What `restate serve` refuses when it starts: a port that is taken, a server that is none, and to leave cases without their process."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from pydantic import Field

from pointsman import DefinitionError, Log, PointsmanError, Process, Refused, State, every, finish, otherwise, when
from pointsman.client.restate_admin import AdminApi
from pointsman.restate import RestateClient, register, restate_app, serve
from ports import free_ports
from restate_server import Server

LOOK_SECONDS = 0.05
HANG_SECONDS = 300.0


class Nothing(State):
    pass


class Chat(State):
    said: Log[str] = Field(default_factory=list)
    more: bool | None = None


def process(name: str) -> Process[Any]:
    if name == "chats":
        chats = Process(name, Chat)
        chats.accept(str, writes="said", correlate=lambda _: "a", while_open="append", starts=False)
        more = chats.pause(writes="more", answer=bool, shows=("said",))
        chats.rules(when("more is said", lambda c: len(c.said) < 2, more), otherwise(finish("done")))
        return chats
    made = Process(name, Nothing)
    if name == "hourly":
        made.schedule("each hour", every("1h"), inputs={})
    made.rules(otherwise(finish("done")))
    return made


def rests(server: Server) -> bool:
    """Whether the server has nothing to call now."""
    return not server.query("SELECT id FROM sys_invocation WHERE status NOT IN ('completed', 'scheduled')")


async def ended(cases: RestateClient, process: str, case: int) -> dict[str, Any]:
    """The case, when it is done. While a message is between two objects, the server may seem to rest."""
    async with asyncio.timeout(HANG_SECONDS):
        while (shown := await cases.show(process, case))["status"] != "done":  # noqa: ASYNC110 - the server moves it
            await asyncio.sleep(LOOK_SECONDS)
    return shown


@asynccontextmanager
async def served(server: Server, *names: str) -> AsyncIterator[str]:
    """A program with processes of these names, and its address. It ends when the server has nothing to call."""
    [port] = free_ports(1)
    stop, ready = asyncio.Event(), asyncio.Event()

    async def listens() -> None:
        ready.set()

    program = asyncio.create_task(serve(restate_app([process(name) for name in names]), "127.0.0.1", port, stop, listens))
    await asyncio.wait([program, waits := asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        waits.cancel()
        await asyncio.to_thread(server.until, lambda: rests(server))
        stop.set()
        await program


def test_a_program_is_not_registered_that_lacks_a_process_that_was_served_unless_that_is_named(restate: Server) -> None:
    async def story() -> None:
        async with (
            served(restate, "tea leaves") as first,
            served(restate, "plain") as second,
            served(restate, "plain", "tea leaves") as both,
            RestateClient(restate.ingress) as cases,
        ):
            await register(restate.admin, first)

            with pytest.raises(Refused, match=r"does not serve tea leaves, .* --without 'tea leaves'"):
                await register(restate.admin, second)
            with pytest.raises(PointsmanError, match="process 'plain' is not registered"):
                await cases.start("plain", {})
            await register(restate.admin, both)
            await ended(cases, "tea leaves", (await cases.start("tea leaves", {})).case)
            await register(restate.admin, second, without=["tea leaves"])
            await ended(cases, "plain", (await cases.start("plain", {})).case)

            with pytest.raises(PointsmanError, match="process 'tea leaves' is not registered"):
                await cases.start("tea leaves", {})

    asyncio.run(story())


def test_a_server_takes_a_start_with_a_correlation_key_once_and_messages_find_its_case(restate: Server) -> None:
    async def story() -> Any:
        async with served(restate, "chats") as program, RestateClient(restate.ingress) as cases:
            await register(restate.admin, program, without=["plain", "tea leaves", "hourly"])
            early = await cases.send("chats", "early")
            started, again = [await cases.start("chats", {}, key="one", correlation="a") for _ in range(2)]
            sent = await cases.send("chats", "late")
            return early, started, again, sent, (await ended(cases, "chats", started.case))["fields"]["said"]

    early, started, again, sent, said = asyncio.run(story())

    assert early == (None, "unmatched")
    assert (started.duplicate, again, sent) == (False, (started.case, True), (started.case, "delivered"))
    assert said == ["early", "late"]


def test_a_wrong_address_is_refused_with_the_option_to_correct(restate: Server) -> None:
    wrong = [
        ("127.0.0.1:9070", "http://127.0.0.1:1", "'127.0.0.1:9070' is no address of a server; write --admin with http://"),
        (restate.admin, "127.0.0.1:1", "'127.0.0.1:1' is no address of a server; write --address with http://"),
        (restate.ingress, "http://127.0.0.1:1", "no admin API of a Restate server answers at .*; correct --admin"),
        (restate.admin, "http://127.0.0.1:1", "cannot call this program at http://127.0.0.1:1; correct --address"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1", "does not answer .* correct --admin"),
    ]

    for admin, address, sentence in wrong:
        with pytest.raises(PointsmanError, match=sentence):
            asyncio.run(register(admin, address))


def test_a_program_with_schedules_is_told_to_name_where_the_server_takes_calls(restate: Server) -> None:
    others = ["plain", "leaves", "chats"]  # of other tests on this server

    async def story() -> None:
        async with served(restate, "hourly") as program:
            with pytest.raises(
                PointsmanError, match=r"no Restate server takes calls at http://127.0.0.1:1; .* correct the ingress \(--ingress"
            ):
                await register(restate.admin, program, without=others, ingress="http://127.0.0.1:1")
            await register(restate.admin, program, without=others, ingress=restate.ingress)
            await register(restate.admin, program, without=others)
            async with RestateClient(restate.ingress) as cases:
                await cases.begin_schedule("hourly", "each hour")
                with pytest.raises(Refused, match="the program has no schedule 'hourly:each day'; correct its process or its name"):
                    await cases.begin_schedule("hourly", "each day")

    asyncio.run(story())
    [row] = restate.query("SELECT count(*) AS number FROM sys_invocation WHERE target = 'PointsmanSchedule/hourly:each hour/begin'")

    assert row["number"] == 3


@pytest.mark.parametrize(
    ("about", "refusal"),
    [
        ({"version": "1.7.3"}, "does not tell where it takes calls; name that with --ingress"),
        ({"version": "1.6.2"}, "has version 1.6.2, and Pointsman needs 1.7 or later; update the server"),
    ],
)
def test_a_server_that_lacks_something_is_refused_before_it_takes_the_program(
    about: dict[str, str], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [{"name": "PointsmanSchedule", "metadata": {"pointsman.schedules": json.dumps([["reports", "hourly"]])}}]
    asked = []

    async def ask(_: AdminApi, method: str, path: str, body: object = None) -> httpx.Response:
        asked.append((method, path, body))
        answers = {"/deployments": {"services": services}, "/version": about}
        return httpx.Response(200, json=answers[path]) if path in answers else httpx.Response(404, json={})

    monkeypatch.setattr(AdminApi, "ask", ask)

    with pytest.raises(PointsmanError, match=refusal):
        asyncio.run(register("http://127.0.0.1:1", "http://127.0.0.1:2"))

    assert [body for _, path, body in asked if path == "/deployments"] == [{"uri": "http://127.0.0.1:2", "force": True, "dry_run": True}]


def test_a_program_without_a_process_is_refused() -> None:
    with pytest.raises(DefinitionError, match="a program needs a process to run; give it one at least"):
        restate_app([])


def test_a_program_does_not_share_the_port_of_another_one() -> None:
    async def story() -> None:
        stop = asyncio.Event()
        stop.set()

        async def listens() -> None:
            raise AssertionError

        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the server of another program does
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            with pytest.raises(
                PointsmanError, match=f"127.0.0.1:{port} cannot be used .Address already in use.; name another one with --host and --port"
            ):
                await serve(restate_app([process("plain")]), "127.0.0.1", port, stop, listens)

    asyncio.run(story())


def test_an_invocation_that_outlasts_the_stop_is_cancelled_although_the_sdk_takes_the_first_cancel_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        app, begun, never = restate_app([process("plain")]), asyncio.Event(), asyncio.Event()

        async def invocation(*_: object) -> None:
            begun.set()
            with suppress(asyncio.CancelledError):
                await never.wait()
            await never.wait()

        monkeypatch.setattr(app, "_asgi", invocation)
        request = asyncio.create_task(app({"type": "http", "path": "/invoke/PointsmanCase/step"}, None, None))
        await begun.wait()

        await app.drain(0)

        assert request.cancelled()

    asyncio.run(story())


def test_a_program_that_stops_still_takes_what_a_step_under_way_may_wait_for() -> None:
    app = restate_app([process("plain")])
    answers: list[int] = []

    async def invoke(handler: str) -> None:
        async def send(told: dict[str, Any]) -> None:
            answers.extend([told["status"]] if "status" in told else [])

        await app({"path": f"/invoke/{handler}"}, None, send)

    async def answer(*_: object) -> None:
        answers.append(200)

    async def story() -> None:
        app._asgi = answer
        await app.drain(1.0)
        for handler in ("PointsmanCase/step", "PointsmanCase/start", "PointsmanLimit/take_permit", "PointsmanLimit/give_permit"):
            await invoke(handler)

    asyncio.run(story())
    app.close()

    assert answers == [503, 200, 200, 200]
