"""The typed clients: one source of calls, waited for or awaited."""

import asyncio
from pathlib import Path

import httpx
import pytest

from pointsman import AlreadyAnswered, AnswerInvalid, Engine, NotWaiting, Stale, UnknownCase, UnknownProcess, ValueRefused
from pointsman.client import AsyncClient, CallRefused, CaseFilters, Client, TaskFilters, Unreachable
from pointsman.client.http import PREFIX
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from server.serving import TOKEN, claims, served


def test_both_clients_have_the_same_calls_and_get_the_same_answers(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN))
            async with listening(app, tmp_path / "cases.db", TOKEN, "127.0.0.1", 0) as url, AsyncClient(url, token=TOKEN) as client:
                started = await client.start("claims", {"text": "fire"}, key="one")
                await engine.wait_until_resting(started.case)

                def blocking() -> None:
                    with Client(url, token=TOKEN) as waiting:
                        again = waiting.start("claims", {"text": "fire"}, key="one")
                        assert (again.case, again.duplicate) == (started.case, True)
                        task = waiting.task(started.case)
                        waiting.answer(started.case, task.digest, {"paid": True}, by="grace")

                await asyncio.to_thread(blocking)
                row = await engine.wait_until_resting(started.case)

                assert (await client.case(started.case)).state["verdict"] == {"paid": True, "note": ""}
                assert [one.case for one in (await client.cases(CaseFilters(process="claims"))).cases] == [started.case]
                assert (await client.tasks(TaskFilters(process="claims"))).tasks == []
                assert await client.counts() == {"done": 1}
                assert (await client.processes())[0].pauses == ["assess"]
                assert (await client.explain(started.case))["status"] == row.status
                assert await client.in_doubt() == []
                assert await client.limits() == []

    asyncio.run(body())


def test_the_errors_of_the_engine_come_back_as_themselves(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, http), AsyncClient("http://127.0.0.1", transport=http._transport) as client:
            started = await client.start("claims", {"text": "fire"})
            await engine.wait_until_resting(started.case)
            task = await client.task(started.case)
            with pytest.raises(UnknownCase) as unknown:
                await client.case(99)
            assert unknown.value.case == 99
            with pytest.raises(UnknownProcess):
                await client.start("loans", {})
            with pytest.raises(AnswerInvalid):
                await client.answer(started.case, task.digest, {"paid": "perhaps"})
            with pytest.raises(Stale):
                await client.answer(started.case, "of yesterday", {"paid": True})
            await client.answer(started.case, task.digest, {"paid": True})
            await engine.wait_until_resting(started.case)
            with pytest.raises((NotWaiting, AlreadyAnswered)):
                await client.answer(started.case, task.digest, {"paid": False})
            with pytest.raises(ValueRefused, match="cursor"):
                await client.cases(CaseFilters(after="nonsense"))

    asyncio.run(body())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("url", ["localhost:8470", "127.0.0.1:8470", "ftp://127.0.0.1", ""])
def test_an_address_without_its_scheme_is_refused_when_the_client_is_made(kind: type[Client | AsyncClient], url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        kind(url)


def test_a_client_follows_the_events_from_a_cursor_on(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN))
            async with listening(app, tmp_path / "cases.db", TOKEN, "127.0.0.1", 0) as url, AsyncClient(url) as client:
                started = await client.start("claims", {"text": "fire"})
                await engine.wait_until_resting(started.case)
                first = (await client.events())[0]
                async with client.follow(after=first.cursor) as events:
                    before = [await anext(events) for _ in range(2)]
                    await client.cancel(started.case, why="a test")
                    kinds = [event.kind async for event in _until(events, "cancelled")]

                assert before[0].cursor > first.cursor
                assert kinds[-1] == "cancelled"
                with pytest.raises(ValueRefused):
                    async with client.follow(after="nonsense"):
                        pass

    asyncio.run(body())


async def _until(events, kind):  # type: ignore[no-untyped-def]
    async for event in events:
        yield event
        if event.kind == kind:
            return


def test_a_call_without_an_answer_says_whether_it_may_have_happened() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("the connection broke", request=request)

    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with Client("http://127.0.0.1", transport=httpx.MockTransport(broken)) as client:
        for call, unknown in (
            (lambda: client.cancel(1, why="x"), True),
            (lambda: client.start("p", {}, key="k"), False),
            (client.counts, False),
        ):
            with pytest.raises(Unreachable) as error:
                call()
            assert error.value.unknown is unknown
    with Client("http://127.0.0.1", transport=httpx.MockTransport(refused)) as client, pytest.raises(Unreachable) as error:
        client.cancel(1, why="x")
    assert error.value.unknown is False


def test_an_answer_that_is_no_problem_document_is_reported_by_its_status() -> None:
    with Client("http://127.0.0.1", transport=httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))) as client:
        with pytest.raises(CallRefused, match="502") as error:
            client.counts()
        assert error.value.status == 502
    assert PREFIX == "/api/v1"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"amount": float("nan")}, "the call cannot be sent, because it holds a number that is none"),
        ({"text": "\ud800"}, "the call cannot be sent, because it holds a lone surrogate"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused_and_not_sent_as_another_one(fields: dict[str, object], says: str) -> None:
    with Client("http://nowhere.invalid") as client, pytest.raises(ValueRefused) as raised:
        client.redrive(1, why="a test", fields=fields)

    assert says in str(raised.value)
