"""The resources of a step, the thread that it runs in, and the cost of a waiting case: only its rows."""

import asyncio
import contextvars
import gc
import threading
from typing import Any

import pytest
from places import HANG_SECONDS, Place, held, run, seen

from pointsman import (
    Blob,
    Context,
    DefinitionError,
    Engine,
    Idempotent,
    Process,
    Retry,
    State,
    Status,
    UnknownCase,
    finish,
    otherwise,
    when,
)
from pointsman.store.sqlite_threads import READERS_MAX
from pointsman.testing.clock import ManualClock


class Job(State):
    name: str
    result: str | None = None
    approval: str | None = None


def asking() -> Process[Job]:
    process = Process("asking", Job)

    @process.node(writes="result", retry=Retry(first_seconds=60))
    async def work(name: str) -> str:
        if name == "fails":
            raise RuntimeError("down")
        return name

    ask = process.pause(writes="approval", answer=str, shows=("result",))
    process.rules(
        when("open", lambda c: c.result is None, work),
        when("unapproved", lambda c: c.approval is None, ask),
        otherwise(finish("approved")),
    )
    return process


def cost() -> tuple[int, int]:
    return threading.active_count(), len(asyncio.all_tasks())


async def many(engine: Engine, name: str, count: int) -> None:
    await asyncio.gather(*(engine.start("asking", {"name": name}) for _ in range(count)))


@pytest.mark.parametrize(("name", "rests"), [("waits", "paused"), ("fails", "node.retried")])
def test_three_hundred_cases_that_wait_need_no_more_threads_or_tasks_than_one(place: Place, name: str, rests: str) -> None:
    process = asking()

    async def at_rest(engine: Engine, count: int) -> tuple[int, int]:
        await seen(engine, rests, count=count)
        await engine.wait_until_resting((await engine.start(process, {"name": "barrier"})).case)
        return cost()

    async def main() -> Any:
        async with place.open(process, clock=ManualClock()) as engine:
            await many(engine, name, 1)
            before = await at_rest(engine, 1)
            await many(engine, name, 300)
            return before, await at_rest(engine, 301), held()

    before, after, tasks = run(main())

    assert tasks == []
    assert after[0] < before[0] + READERS_MAX  # the threads for reads are as many as there were reads at once
    assert after[1] < before[1] + 5  # the clock's own tasks come and go


def test_an_engine_that_opens_on_three_hundred_waiting_cases_runs_none(place: Place) -> None:
    process = asking()

    async def fill(count: int) -> tuple[int, int]:
        async with place.open(process) as engine:
            await engine.idle()
            opened = cost()
            await many(engine, "waits", count)
            await engine.idle()
            return opened

    empty = run(fill(300))
    full = run(fill(0))

    assert full == empty


def test_closed_engines_leave_no_threads_behind(place: Place) -> None:
    process = Process("plain", Job)

    @process.node(writes=("result", "approval"))
    def work(name: str) -> tuple[str, str]:
        return name, name

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            await engine.wait_until_resting((await engine.start(process, {"name": "m"})).case)

    before = set(threading.enumerate())  # an earlier test may have left one that hangs
    for _ in range(3):
        run(main())
    for thread in set(threading.enumerate()) - before:
        thread.join(HANG_SECONDS)  # an idle thread of the pool is told to end, and needs a moment to do it

    assert set(threading.enumerate()) <= before


def test_the_context_has_the_case_the_attempt_the_time_and_the_database(place: Place) -> None:
    told: list[Context] = []
    process = Process("told", Job)

    @process.node(writes="result", retry=Retry(first_seconds=10, jitter=0))
    async def work(name: str, *, ctx: Context) -> str:
        told.append(ctx)
        if len(told) == 1:
            raise RuntimeError("down")
        return name

    @process.effect(writes="approval", safety=Idempotent())
    def send(result: str, *, ctx: Context) -> str:
        told.append(ctx)
        return "sent"

    process.rules(
        when("open", lambda c: c.result is None, work),
        when("unsent", lambda c: c.approval is None, send),
        otherwise(finish("done")),
    )

    async def main() -> Any:
        clock = ManualClock(1_000.0)
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            await seen(engine, "node.retried")
            clock.advance(10)
            await engine.wait_until_resting(case)
            return case, engine.reader.incarnation, (await engine.reader.effects(case))[0].key

    case, incarnation, key = run(main())

    assert [(ctx.case, ctx.step, ctx.attempt, ctx.now, ctx.key) for ctx in told] == [
        (case, "work", 1, 1_000.0, ""),
        (case, "work", 2, 1_010.0, ""),
        (case, "send", 1, 1_010.0, key),
    ]
    assert {ctx.incarnation for ctx in told} == {incarnation}


class Parcel(State):
    content: Blob
    text: str | None = None


def reading() -> Process[Parcel]:
    process = Process("reading", Parcel)

    @process.node(writes="text", retry=Retry(attempts_max=1))
    async def read(content: Blob, *, ctx: Context) -> str:
        try:
            return (await ctx.read(content)).decode()
        except KeyError as error:
            return f"missing: {error}"

    process.rules(when("unread", lambda c: c.text is None, read), otherwise(finish("read")))
    return process


def test_a_large_value_is_kept_once_and_read_back_by_its_reference(place: Place) -> None:
    process = reading()

    async def main() -> Any:
        async with place.open(process) as engine:
            blob, same = await engine.store_blob(b"content"), await engine.store_blob(b"content")
            case = (await engine.start(process, {"content": blob})).case
            await engine.wait_until_resting(case)
            return blob, same, (await engine.state(case, State)).text

    blob, same, text = run(main())

    assert (blob, blob.size, text) == (same, 7, "content")


def test_a_value_that_is_not_in_the_store_is_named_and_can_be_caught_as_the_docstring_says(place: Place) -> None:
    process, absent = reading(), Blob.of(b"never kept")

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"content": absent})).case
            row = await engine.wait_until_resting(case)
            return row, (await engine.state(case, State)).text

    row, text = run(main())

    assert row.status is Status.DONE
    assert text.startswith("missing: ")
    assert absent.sha256[:12] in text


def using(**uses: type) -> Process[Job]:
    process = Process("using", Job)

    async def work(name: str, *, client: Any) -> str:
        return name

    work.__annotations__["client"] = uses["client"]
    node = process.node(writes=("result"))(work)
    other = process.pause(writes="approval", answer=str, shows=("result",))
    process.rules(
        when("open", lambda c: c.result is None, node),
        when("unapproved", lambda c: c.approval is None, other),
        otherwise(finish("done")),
    )
    return process


@pytest.mark.parametrize(
    ("wanted", "given", "told"),
    [(dict, {}, "pass resources={'client': ...}"), (dict, {"client": []}, "is a list, but it asks for dict")],
)
def test_an_engine_does_not_open_without_the_resources_of_its_steps(place: Place, wanted: type, given: dict[str, Any], told: str) -> None:
    process = using(client=wanted)

    async def main() -> None:
        async with place.open(process, resources=given):
            raise AssertionError("it opened")

    with pytest.raises(DefinitionError) as raised:
        run(main())

    assert "'work'" in str(raised.value)
    assert "'client'" in str(raised.value)
    assert told in str(raised.value)


def test_a_plain_function_runs_in_a_thread_and_an_async_one_in_the_event_loop(place: Place) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    process = Process("where", Job)

    @process.node(writes="result")
    def plain(name: str) -> str:
        return threading.current_thread().name

    @process.node(writes="approval")
    async def on_loop(name: str) -> str:
        return threading.current_thread().name + variable.get()

    process.rules(
        when("open", lambda c: c.result is None, plain),
        when("not yet", lambda c: c.approval is None, on_loop),
        otherwise(finish("done")),
    )

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, State)

    state = run(main())

    assert state.result.startswith("pointsman-node")
    assert state.approval == "MainThreadunset"


def test_no_more_plain_functions_run_at_once_than_there_are_threads(place: Place) -> None:
    process = Process("plain", Job)
    both, lock, inside, most = threading.Barrier(2), threading.Lock(), [], []

    @process.node(writes=("result", "approval"))
    def work(name: str) -> tuple[str, str]:
        with lock:
            inside.append(1)
            most.append(len(inside))
        both.wait(HANG_SECONDS)
        with lock:
            inside.pop()
        return name, name

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> Any:
        async with place.open(process, threads=2) as engine:
            await asyncio.gather(*(engine.start(process, {"name": "m"}) for _ in range(8)))
            await engine.idle()
            return await engine.reader.counts()

    counts = run(main())

    assert max(most) == 2
    assert counts == {Status.DONE: 8}


def test_events_are_followed_in_the_order_of_their_commits_without_a_gap(place: Place) -> None:
    process = asking()

    async def main() -> Any:
        async with place.open(process) as engine:
            followed: list[Any] = []

            async def follow() -> None:
                async for event in engine.events():
                    followed.append(event)
                    if sum(event.kind == "paused" for event in followed) == 20:
                        return

            follower = asyncio.create_task(follow())
            await many(engine, "waits", 20)
            await follower
            return followed, await engine.reader.events()

    followed, stored = run(main())

    assert followed == stored
    assert len({event.cursor for event in followed}) == len(followed)


def test_events_continue_from_a_cursor_and_reach_every_follower_live(place: Place) -> None:
    process = asking()

    async def take(engine: Engine, after: str, until: str) -> list[Any]:
        taken = []
        async for event in engine.events(after=after):
            taken.append(event)
            if event.kind == until:
                return taken
        return taken

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            cursor = (await seen(engine, "paused")).cursor
            followers = [asyncio.create_task(take(engine, cursor, "finished")) for _ in range(2)]
            await asyncio.sleep(0)
            await engine.resume((await engine.pending(case)).token, "yes", by="anna")
            return [await follower for follower in followers]

    taken = run(main())

    assert taken[0] == taken[1]
    assert [event.kind for event in taken[0]] == ["resumed", "decided", "finished"]


def test_waiting_for_a_case_that_does_not_exist_leaves_nothing_behind(place: Place) -> None:
    process = asking()

    async def main() -> list[Any]:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        async with place.open(process) as engine:
            with pytest.raises(UnknownCase):
                await engine.wait_until_resting(99)
        del engine
        gc.collect()
        return complaints

    assert run(main()) == []


def test_every_wait_for_a_case_ends_when_the_case_rests(place: Place) -> None:
    process = asking()

    async def main() -> list[Any]:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            impatient = asyncio.ensure_future(engine.wait_until_resting(case))
            others = [asyncio.ensure_future(engine.wait_until_resting(case)) for _ in range(3)]
            impatient.cancel()
            return [(await other).status for other in others]

    assert run(main()) == [Status.WAITING] * 3


def test_a_resource_that_is_annotated_as_anything_may_be_anything(place: Place) -> None:
    process = Process("asking", Job)

    @process.node(writes=("result", "approval"))
    async def work(name: str, *, client: Any) -> tuple[str, str]:
        return f"{name} {client}", "yes"

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process, resources={"client": "by phone"}) as engine:
            case = (await engine.start(process, {"name": "asked"})).case
            await engine.wait_until_resting(case)
            assert (await engine.state(case)).result == "asked by phone"

    run(main())


class Called(State):
    name: str
    result: str | None = None


def test_an_inline_function_runs_in_the_event_loop(place: Place) -> None:
    process = Process("where", Called)

    @process.node(writes="result", inline=True)
    def work(name: str, *, ctx: Context) -> str:
        return f"{threading.current_thread() is threading.main_thread()} {name} {ctx.step}"

    process.rules(when("no result", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> Called:
        async with place.open(process) as engine:
            case = (await engine.start("where", {"name": "x"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Called)

    assert run(main()).result == "True x work"


def test_an_inline_function_that_raises_or_ends_itself_is_a_failed_attempt(place: Place) -> None:
    raised = {"an error": OSError("no"), "an exit": SystemExit(), "an end": StopIteration()}
    process = Process("where", Called)

    @process.node(writes="result", inline=True, retry=Retry(attempts_max=1))
    def work(name: str) -> str:
        raise raised[name]

    process.rules(when("no result", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> list[str]:
        async with place.open(process) as engine:
            cases = [(await engine.start("where", {"name": text})).case for text in ("an error", "an exit", "an end")]
            return [str((await engine.wait_until_resting(case)).reason) for case in cases]

    reasons = run(main())

    assert [word in reason for word, reason in zip(("no", "SystemExit", "StopIteration"), reasons, strict=True)] == [True] * 3


def test_inline_takes_only_a_plain_function_without_a_timeout() -> None:
    process = Process("where", Called)

    async def waits(name: str) -> str:
        return name

    def works(name: str) -> str:
        return name

    with pytest.raises(DefinitionError, match="inline=True is for plain functions"):
        process.node(waits, writes="result", inline=True)
    with pytest.raises(DefinitionError, match="leave out one of them"):
        process.node(works, writes="result", inline=True, isolated=True)
    with pytest.raises(DefinitionError, match="leave out timeout_seconds or inline=True"):
        process.node(works, writes="result", inline=True, timeout_seconds=1)
