"""Fan-out and fan-in: a branch for each item, failed branches, and late results."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from fanning import ONCE, Line, Order, Price, PriceList, order, pricing
from places import HANG_SECONDS, Place, held, run, seen
from pydantic import BaseModel

from pointsman import Engine, Failure, Item, Process, Retry, State, Status, each, finish, otherwise, parallel, quorum, when
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import evolve
from pointsman.kernel.snapshot import Snapshot
from pointsman.testing.clock import ManualClock


async def verdict(engine: Engine, case: int) -> dict[str, Any]:
    events = await engine.reader.events(case=case)
    facts: dict[str, Any] = json.loads(next(event for event in reversed(events) if event.kind == "joined").facts)
    return facts


# Each.


def test_results_stand_in_the_order_of_the_items_whichever_ends_first(place: Place) -> None:
    prices = PriceList(a=1, b=2, c=3)
    process = pricing(prices)

    async def main() -> Any:
        prices.close("a", "b")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b", "c"))).case
            await seen(engine, "node.succeeded")
            prices.closed["b"].set()
            await seen(engine, "node.succeeded", count=2)
            prices.closed["a"].set()
            await engine.wait_until_resting(case)
            return await engine.state(case, Order), await verdict(engine, case), await engine.reader.branches(case)

    state, facts, left = run(main())

    assert state.prices == [Price(cents=1), Price(cents=2), Price(cents=3)]
    assert facts["succeeded"] == ["price[0]", "price[1]", "price[2]"]
    assert left == ()


class Basket(State):
    lines: dict[str, int]
    doubled: dict[str, int] | None = None
    halves: dict[str, float] | None = None


def test_a_dict_gives_a_dict_with_its_keys_and_a_node_may_write_several_fields(place: Place) -> None:
    process = Process("basket", Basket)

    @process.node(writes=("doubled", "halves"))
    def count(number: Item[int]) -> tuple[int, float]:
        return number * 2, number / 2

    process.rules(when("open", lambda c: c.doubled is None, each(count, over="lines")), otherwise(finish("counted")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"lines": {"b": 1, 'a "quoted" [0]': 2, "": 3}})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Basket)

    state = run(main())

    assert list(state.doubled.items()) == [("b", 2), ('a "quoted" [0]', 4), ("", 6)]
    assert state.halves == {"b": 0.5, 'a "quoted" [0]': 1.0, "": 1.5}


def test_an_empty_collection_gives_an_empty_result(place: Place) -> None:
    prices = PriceList()
    process = pricing(prices)

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order())).case
            row = await engine.wait_until_resting(case)
            return row, await engine.state(case, Order)

    row, state = run(main())

    assert (row.outcome, state.prices, prices.calls) == ("priced", [], [])


def test_rewriting_the_collection_clears_what_was_computed_from_its_items() -> None:
    process = pricing(PriceList())
    codec = codec_of(Order)
    before = {"lines": codec.encode("lines", [Line(article="a")], ""), "prices": codec.encode("prices", [Price(cents=1)], "price")}
    rewritten = {"lines": codec.encode("lines", [Line(article="b")], "")}

    after = evolve(process, Snapshot(1, before), Event(Kind.ACCEPTED, writes=rewritten))

    assert set(after.cells) == {"lines"}


def test_no_more_branches_are_under_way_than_the_step_allows(place: Place) -> None:
    prices = PriceList()
    process = pricing(prices, at_once=3)
    articles = [f"a{number}" for number in range(20)]

    async def main() -> Any:
        prices.close(*articles)
        async with place.open(process) as engine:
            case = (await engine.start(process, order(*articles))).case
            for number, article in enumerate(articles, 1):
                prices.closed[article].set()
                await seen(engine, "node.succeeded", count=number)
            return await engine.wait_until_resting(case)

    row = run(main())

    assert row.outcome == "priced"
    assert (prices.most_at_once, prices.calls) == (3, articles)


def test_a_branch_that_waits_to_be_tried_again_does_not_hold_the_case(place: Place) -> None:
    prices, clock = PriceList(a=[OSError("busy"), 1]), ManualClock()
    process = pricing(prices, Retry(attempts_max=2, first_seconds=10, jitter=0))

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await seen(engine, "node.retried")
            await engine.wait_until_resting((await engine.start(process, order("c"))).case)
            waiting, tasks = await engine.case(case), held()
            clock.advance(10)
            await engine.wait_until_resting(case)
            return waiting, tasks, await engine.state(case, Order)

    waiting, tasks, state = run(main())

    assert (waiting.status, waiting.wake_at, tasks) == (Status.READY, 1_000_010.0, [])
    assert (prices.calls, state.prices[0]) == (["a", "b", "c", "a"], Price(cents=1))


def test_a_branch_is_tried_again_in_its_time_while_a_slow_sibling_is_under_way(place: Place) -> None:
    prices, clock = PriceList(a=[OSError("busy"), 1]), ManualClock()
    process = pricing(prices, Retry(attempts_max=2, first_seconds=10, jitter=0))

    async def main() -> Any:
        prices.close("b")
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await seen(engine, "node.retried")
            clock.advance(10)
            await seen(engine, "node.succeeded")
            prices.closed["b"].set()
            return await engine.wait_until_resting(case)

    row = run(main())

    assert (row.outcome, prices.calls) == ("priced", ["a", "b", "a"])


def test_an_item_runs_out_of_time_by_itself(place: Place) -> None:
    prices = PriceList()
    process = pricing(prices, failures="record", timeout_seconds=0.01)

    async def main() -> Any:
        prices.close("a")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Order)

    state = run(main())

    assert isinstance(state.prices[0], Failure)
    assert (state.prices[0].step, state.prices[0].error) == ("price", "TimeoutError")
    assert state.prices[1] == Price(cents=100)


def test_a_result_that_does_not_fit_fails_its_own_item_and_names_it(place: Place) -> None:
    process = Process("order", Order)

    @process.node(writes="prices", retry=ONCE)
    async def price(line: Item[Line]) -> Any:
        return Price(cents=1) if line.article == "a" else "dear"

    process.rules(when("open", lambda c: c.prices is None, each(price, over="lines", failures="record")), otherwise(finish("priced")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Order)

    state = run(main())

    assert state.prices[0] == Price(cents=1)
    assert state.prices[1].error == "ValueRefused"
    assert "prices[1]" in state.prices[1].message


def test_a_branch_that_changes_its_item_changes_nobody_elses(place: Place) -> None:
    class Nested(State):
        rows: list[list[int]]
        sums: list[int] | None = None

    process = Process("nested", Nested)

    @process.node(writes="sums")
    async def add(row: Item[list[int]]) -> int:
        row.append(1)
        return sum(row)

    process.rules(when("open", lambda c: c.sums is None, each(add, over="rows")), otherwise(finish("added")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"rows": [[1], [2]]})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Nested)

    state = run(main())

    assert (state.rows, state.sums) == ([[1], [2]], [2, 3])


# Verdicts.


def test_fail_ends_the_step_at_the_first_failure_and_cancels_the_siblings(place: Place) -> None:
    prices = PriceList(b=[OSError("no such article"), 2])
    process = pricing(prices, failures="fail")

    async def main() -> Any:
        prices.close("b", "c")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b", "c"))).case
            await seen(engine, "node.succeeded")
            prices.closed["b"].set()
            parked, facts = await engine.wait_until_resting(case), await verdict(engine, case)
            prices.closed["c"].set()
            await engine.redrive(case, by="anna", why="the article is there")
            await engine.wait_until_resting(case)
            return parked, facts, await engine.state(case, Order)

    parked, facts, state = run(main())

    assert parked.status is Status.PARKED
    assert parked.reason == "'price[1]' failed after 1 attempt: no such article; 1 more was cancelled"
    assert (facts["succeeded"], facts["failed"], facts["cancelled"]) == (["price[0]"], ["price[1]"], ["price[2]"])
    assert facts["why"] == "a branch has failed"
    assert state.prices == [Price(cents=100), Price(cents=2), Price(cents=100)]
    assert prices.calls == ["a", "b", "c", "b", "c"]


def test_record_lets_other_branches_continue_and_leaves_a_failure_for_its_item(place: Place) -> None:
    prices = PriceList(a=OSError("no such article"))
    process = pricing(prices, Retry(attempts_max=2, first_seconds=0), failures="record")

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            row = await engine.wait_until_resting(case)
            return row, await engine.state(case, Order), await verdict(engine, case)

    row, state, facts = run(main())

    assert row.outcome == "priced"
    assert state.prices == [Failure(step="price", error="OSError", message="no such article", attempts=2), Price(cents=100)]
    assert (facts["failed"], facts["fields"]) == (["price[0]"], ["prices"])


def test_without_a_verdict_every_branch_ends_and_all_failures_are_named(place: Place) -> None:
    prices = PriceList(**{f"a{number}": OSError("gone") for number in range(12)})
    process = pricing(prices)

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order(*(f"a{number}" for number in range(12)), "b"))).case
            return await engine.wait_until_resting(case), await verdict(engine, case)

    row, facts = run(main())

    assert row.status is Status.PARKED
    assert "'price[0]' failed after 1 attempt: gone; 'price[1]'" in row.reason
    assert row.reason.endswith("; and 2 more failed")
    assert len(facts["failed"]) == 12


def test_a_quorum_ends_the_step_and_leaves_a_failure_for_those_it_cancels(place: Place) -> None:
    prices = PriceList(b=OSError("gone"))
    process = pricing(prices, failures=quorum(2))

    async def main() -> Any:
        prices.close("c", "d")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b", "c", "d"))).case
            await seen(engine, "node.succeeded")
            prices.closed["d"].set()
            row = await engine.wait_until_resting(case)
            return row, await engine.state(case, Order), await verdict(engine, case)

    row, state, facts = run(main())

    assert row.outcome == "priced"
    assert [getattr(entry, "error", None) for entry in state.prices] == [None, "OSError", "Cancelled", None]
    assert state.prices[2].message == facts["why"] == "2 of 4 have succeeded, and 2 were needed"
    assert (facts["succeeded"], facts["failed"], facts["cancelled"]) == (["price[0]", "price[3]"], ["price[1]"], ["price[2]"])


@pytest.mark.parametrize("articles", [("a", "b", "c"), ("c",), ()])
def test_a_quorum_that_can_no_longer_be_reached_parks_the_case(place: Place, articles: tuple[str, ...]) -> None:
    prices = PriceList(a=OSError("gone"), b=OSError("gone"))
    process = pricing(prices, failures=quorum(2))

    async def main() -> Any:
        if len(articles) > 1:
            prices.close("c")
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, order(*articles))).case)

    row = run(main())

    assert row.status is Status.PARKED
    assert row.reason.startswith(f"2 of {len(articles)} were needed, and {min(1, len(articles))} can succeed")


class Quotes(State):
    name: str
    first: int | Failure | None = None
    second: int | Failure | None = None
    third: int | Failure | None = None


def test_a_quorum_of_different_nodes_fills_each_field(place: Place) -> None:
    prices, process = PriceList(first=1, second=2, third=3), Process("quotes", Quotes)

    def asks(field: str) -> Any:
        async def ask(name: str) -> int:
            return await prices.ask(field)

        return process.node(ask, writes=field, name=f"ask {field}")

    asked = parallel(*map(asks, ("first", "second", "third")), failures=quorum(1))
    process.rules(when("open", lambda c: c.first is None, asked), otherwise(finish("asked")))

    async def main() -> Any:
        prices.close("first", "third")
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "n"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Quotes)

    state = run(main())

    assert (state.first.error, state.second, state.third.error) == ("Cancelled", 2, "Cancelled")


# What comes too late.


def test_a_branch_that_ignores_its_cancellation_is_recorded_as_late_and_changes_nothing(place: Place) -> None:
    prices, clock = PriceList(b=7), ManualClock()
    process = pricing(prices, failures=quorum(1))

    async def main() -> Any:
        prices.close("a", "b")
        prices.swallowing = {"b"}
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await prices.until(lambda: prices.at_once == 2)
            prices.closed["a"].set()
            await prices.until(lambda: prices.swallowed)
            early = await engine.case(case)
            clock.advance(2)
            row = await engine.wait_until_resting(case)
            state = await engine.state(case, Order)
            prices.closed["b"].set()
            late = await seen(engine, "node.late")
            return early, row, state, late, await engine.case(case), await engine.state(case, Order)

    early, row, state, late, row_after, state_after = run(main())

    assert early.status is Status.RUNNING
    assert (row.outcome, state.prices[1].error) == ("priced", "Cancelled")
    assert (late.step, late.attempt, late.facts) == ("price[1]", 1, '{"result":"{\\"cents\\":7}"}')
    assert (row_after, state_after) == (row, state)
    assert late.revision == row.revision


def test_a_branch_that_ends_while_it_is_cancelled_is_recorded_in_the_same_commit(place: Place) -> None:
    process = Process("order", Order)
    begun = asyncio.Event()

    @process.node(writes="prices")
    async def price(line: Item[Line]) -> Price:
        if line.article == "a":
            await begun.wait()
            return Price(cents=1)
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Price(cents=2)
        raise AssertionError

    first = each(price, over="lines", failures=quorum(1))
    process.rules(when("open", lambda c: c.prices is None, first), otherwise(finish("priced")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await engine.wait_until_resting(case)
            return await engine.reader.events(case=case), await engine.state(case, Order)

    events, state = run(main())

    told = [event for event in events if event.kind in {"node.late", "joined"}]
    assert [(event.kind, event.step) for event in told] == [("node.late", "price[1]"), ("joined", "price over lines")]
    assert told[0].revision == told[1].revision
    assert state.prices[1].error == "Cancelled"


def test_a_plain_function_that_cannot_be_stopped_is_recorded_when_its_thread_has_ended(place: Place) -> None:
    process, gate = Process("order", Order), threading.Event()

    @process.node(writes="prices")
    def price(line: Item[Line]) -> Price:
        if line.article == "slow":
            assert gate.wait(HANG_SECONDS)
        return Price(cents=1)

    first = each(price, over="lines", failures=quorum(1))
    process.rules(when("open", lambda c: c.prices is None, first), otherwise(finish("priced")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, order("slow", "a"))).case
            row = await engine.wait_until_resting(case)
            gate.set()
            late = await seen(engine, "node.late")
            return row, late, await engine.case(case)

    row, late, after = run(main())

    assert (row.outcome, late.step, late.facts) == ("priced", "price[0]", '{"result":"{\\"cents\\":1}"}')
    assert after == row


# Interruptions.


def test_a_cancel_lets_branches_that_are_under_way_end_and_begins_no_other(place: Place) -> None:
    prices = PriceList()
    process = pricing(prices, at_once=1)

    async def main() -> Any:
        prices.close("a")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b"))).case
            await prices.until(lambda: prices.calls)
            cancelling = asyncio.ensure_future(engine.cancel(case, by="anna", why="no longer wanted"))
            await asyncio.sleep(0)
            prices.closed["a"].set()
            row = await cancelling
            return row, [event.kind for event in await engine.reader.events(case=case)]

    row, kinds = run(main())

    assert row.status is Status.CANCELLED
    assert prices.calls == ["a"]
    assert kinds[-2:] == ["node.succeeded", "cancelled"]


def test_an_engine_that_closes_keeps_ended_branches_and_the_next_one_continues(place: Place) -> None:
    prices = PriceList()
    process = pricing(prices, at_once=2)

    async def begin() -> int:
        prices.close("b")
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b", "c", "d"))).case
            await seen(engine, "node.succeeded", count=3)
            return case

    async def go_on(case: int) -> Any:
        prices.closed.clear()
        async with place.open(process) as engine:
            await engine.wait_until_resting(case)
            return await engine.state(case, Order)

    state = run(go_on(run(begin())))

    assert state.prices == [Price(cents=100)] * 4
    assert sorted(prices.calls) == ["a", "b", "b", "c", "d"]


def test_only_items_that_were_rewritten_or_have_failed_are_computed_again(place: Place) -> None:
    """Branch rows carry the digest of what they read: another customer or another line is another computation."""
    prices = PriceList(b=[OSError("gone"), 2])
    process = pricing(prices)

    async def park() -> int:
        async with place.open(process) as engine:
            case = (await engine.start(process, order("a", "b", "c"))).case
            await engine.wait_until_resting(case)
            return case

    async def go_on(case: int) -> Any:
        async with place.open(process) as engine:
            lines = [Line(article="a"), Line(article="b"), Line(article="d")]
            await engine.redrive(case, by="anna", why="c was d, and b is there", fields={"lines": lines})
            await engine.wait_until_resting(case)
            return await engine.state(case, Order)

    case = run(park())
    prices.calls.clear()
    state = run(go_on(case))

    assert [price.cents for price in state.prices] == [100, 2, 100]
    assert prices.calls == ["b", "d"]


class Ordered(BaseModel):
    articles: list[str]


class Inquiry(State):
    ordered: Ordered
    lines: list[str] | None = None
    prices: list[int | Failure] | None = None


def test_a_message_that_rewrites_the_items_drops_what_was_computed_from_the_old_ones(place: Place) -> None:
    prices, process = PriceList(a=1, b=2, c=3), Process("inquiry", Inquiry)

    @process.node(writes="lines")
    async def split(ordered: Ordered) -> list[str]:
        return ordered.articles

    @process.node(writes="prices")
    async def price(line: Item[str]) -> int:
        return await prices.ask(line)

    process.accept(Ordered, writes="ordered", correlate=lambda m: "k")
    process.rules(
        when("not split", lambda c: c.lines is None, split),
        when("not priced", lambda c: c.prices is None, each(price, over="lines", concurrency=1)),
        otherwise(finish("priced")),
    )

    async def main() -> Any:
        prices.close("b")
        async with place.open(process) as engine:
            case = (await engine.send(process, Ordered(articles=["a", "b"]))).case or 0
            await prices.until(lambda: prices.calls == ["a", "b"])
            await engine.send(process, Ordered(articles=["a", "c"]))
            prices.closed["b"].set()
            await engine.wait_until_resting(case)
            return await engine.state(case, Inquiry), [event.kind for event in await engine.reader.events(case=case)]

    state, kinds = run(main())

    assert (state.lines, state.prices) == (["a", "c"], [1, 3])
    assert prices.calls == ["a", "b", "a", "c"]
    assert "result.dropped" in kinds


# Many.


@pytest.mark.parametrize("at_once", [16, 256])
def test_a_thousand_branches_share_their_commits(on_disk: Place, capsys: pytest.CaptureFixture[str], at_once: int) -> None:
    prices, commits = PriceList(), 0
    process = pricing(prices, at_once=at_once)
    articles = [f"a{number}" for number in range(1_000)]

    def count(label: str) -> None:
        nonlocal commits
        commits += label == "store.committed"

    async def main() -> Any:
        async with on_disk.open(process, failpoints=count) as engine:
            begun = time.perf_counter()
            case = (await engine.start(process, order(*articles))).case
            row = await engine.wait_until_resting(case)
            return row, time.perf_counter() - begun, await engine.state(case, Order)

    row, seconds, state = asyncio.run(main())

    with capsys.disabled():
        print(f"\n1,000 branches in one case: {seconds:.2f} s, {commits} commits, {at_once} branches at once")
    assert (row.outcome, len(state.prices), prices.calls) == ("priced", 1_000, articles)
    assert commits <= 1_000 / at_once + 8, "one for all that were under way together, and those of the case itself"
