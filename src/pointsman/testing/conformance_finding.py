"""What a query finds, and the counts of cases (S29); a part of the suite in conformance.py.

A small model says what each query has to find: it is applied to every case, one by one.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from pointsman.errors import ValueRefused
from pointsman.kernel.rows import NewCase, PauseClimb, PauseOpening
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.words import search_write, searched, words_of
from pointsman.store.base import Store
from pointsman.store.query import CaseQuery, Order
from pointsman.testing.scenarios import Scenario, Scenarios, new_case, next_of

PROCESSES = ("p", "q")
TENANTS = ("", "north", "south")
RULES = ("first", "second")
STEPS = ("approve", "sign")
NAMES = ("Ann", "Bo")
TEXTS = ("red Apple", "green apple", "RED pear", "plum")
CASES = 60
QUERIES = 300


@dataclass
class Known:
    """What the model knows of a case."""

    number: int
    process: str
    tenant: str
    status: Status
    at: float
    key: str | None = None
    correlation: str | None = None
    step: str | None = None
    rule: str | None = None
    outcome: str | None = None
    pause: PauseOpening | None = None
    opened_at: float = 0.0
    fields: dict[str, str] = field(default_factory=dict)


def fits(known: Known, query: CaseQuery) -> bool:
    """Whether a query finds a case."""
    pause = known.pause
    equal = ("process", "tenant", "key", "correlation", "rule", "outcome")
    if any((wanted := getattr(query, name)) is not None and wanted != getattr(known, name) for name in equal):
        return False
    if query.statuses and known.status not in query.statuses:
        return False
    if any(searched(value) != searched(known.fields.get(name, "")) for name, value in query.search.items()):
        return False
    if not {*(words_of(query.text) or query.text.split())} <= {*words_of(" ".join(known.fields.values()))}:
        return False
    of_a_pause = (query.pause, query.assignee, query.waiting_before, query.waiting_after, query.expires_before)
    if not query.tasks_only and query.order is not Order.WAITING and all(one is None for one in of_a_pause):
        return True
    if pause is None or (query.tasks_only and (not pause.asks or known.status is Status.BLOCKED)):
        return False
    return (
        query.pause in {None, pause.name}
        and (query.assignee is None or (query.assignee or None) == pause.assignee)
        and (query.waiting_before is None or known.opened_at < query.waiting_before)
        and (query.waiting_after is None or known.opened_at > query.waiting_after)
        and (query.expires_before is None or (pause.expires_at is not None and pause.expires_at < query.expires_before))
    )


def place(order: Order, known: Known) -> tuple[float, ...]:
    """Where a case stands in an order."""
    match order:
        case Order.NUMBER:
            return (known.number,)
        case Order.NEWEST:
            return (-known.number,)
        case Order.CHANGED:
            return (-known.at, -known.number)
        case Order.WAITING:
            return (known.opened_at, known.number)


async def begun(store: Store, chance: random.Random, number: int) -> Known:
    """Start a case at random."""
    status = chance.choice([Status.WAITING, *Status])
    fields = {name: chance.choice(TEXTS) for name in ("title", "note") if chance.random() < 0.7}
    known = Known(0, chance.choice(PROCESSES), chance.choice(TENANTS), status, float(chance.randrange(20)), fields=fields)
    known.key, known.correlation = (chance.choice([None, f"{kind} {number // 2}"]) for kind in ("key", "thread"))
    known.step, known.rule = chance.choice(STEPS), chance.choice(RULES)
    known.outcome = chance.choice(["sent", "refused"]) if status is Status.DONE else None
    if status in {Status.WAITING, Status.BLOCKED}:
        expires = chance.choice([None, float(chance.randrange(40))])
        known.pause = PauseOpening(known.step, f"t{number}", "d", chance.choice([None, *NAMES]), expires, asks=chance.random() < 0.8)
        known.opened_at = known.at
    stands = {"status": status, "at": known.at, "step": known.step, "rule": known.rule, "outcome": known.outcome, "pause": known.pause}
    known.key = None if known.key is None else f"{known.key} {number}"
    new = NewCase(known.process, 1, known.key, known.tenant, correlation=known.correlation)
    known.number = await new_case(store, new=new, search=[search_write(name, f'"{text}"') for name, text in fields.items()], **stands)
    return known


def any_query(chance: random.Random, cases: list[Known]) -> CaseQuery:
    """A query at random, of few filters."""
    one = chance.choice(cases)
    values: Mapping[str, Any] = {
        "process": chance.choice(PROCESSES), "status": chance.sample(list(Status), chance.randint(1, 3)), "tenant": chance.choice(TENANTS),
        "key": one.key, "correlation": one.correlation, "rule": chance.choice(RULES), "outcome": "sent", "pause": chance.choice(STEPS),
        "assignee": chance.choice(["", *NAMES]), "waiting_before": float(chance.randrange(20)), "waiting_after": float(chance.randrange(20)),
        "expires_before": float(chance.randrange(40)), "tasks_only": True, "search": {"title": chance.choice(TEXTS).upper()},
        "text": chance.choice(["apple", "RED", "red apple", "nothing"]),
    }  # fmt: skip
    chosen = chance.sample(sorted(values), chance.choice([0, 1, 1, 2, 2, 3]))
    return CaseQuery(order=chance.choice(list(Order)), **{name: values[name] for name in chosen})


async def found(store: Store, query: CaseQuery, limit: int) -> list[int]:
    """The numbers of the cases on all pages."""
    numbers: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await store.find(query, after=cursor, limit=limit)
        assert len(page.rows) == limit if page.cursor is not None else len(page.rows) <= limit
        numbers += [row.case.id for row in page.rows]
        cursor = page.cursor
    return numbers


class FindingConformance(Scenarios):
    """Find cases and count them."""

    def test_s29_a_query_finds_exactly_the_cases_that_fit(self, check: Callable[[Scenario], None]) -> None:
        """Whatever its filters, its order and its pages; and every case is counted in its place."""

        async def scenario(store: Store) -> None:
            chance = random.Random(29)  # noqa: S311 - it makes up cases, and nothing secret
            cases = [await begun(store, chance, number) for number in range(CASES)]

            for _ in range(QUERIES):
                query, limit = any_query(chance, cases), chance.choice([1, 3, 10, 100])
                fitting = sorted((known for known in cases if fits(known, query)), key=partial(place, query.order))
                assert await found(store, query, limit) == [known.number for known in fitting], query

            counts = Counter((known.process, known.status, _place_of(known)) for known in cases)
            assert {(row.process, row.status, row.place): row.cases for row in await store.count_places()} == counts
            assert await store.counts() == Counter(known.status for known in cases)

        check(scenario)

    def test_s29_what_moves_is_found_where_it_has_moved(self, check: Callable[[Scenario], None]) -> None:
        """With its new status, step and pause, and by its new values only; counts follow each claim, transition, message and release."""

        async def scenario(store: Store) -> None:
            case = await new_case(store, search=[search_write("title", '"old"')])
            other = await new_case(store, status=Status.PARKED, step="a", at=11.0)
            assert await store.counts() == {Status.READY: 1, Status.PARKED: 1}
            await store.claim(["p"], now=12.0, limit=1)
            assert await store.counts() == {Status.RUNNING: 1, Status.PARKED: 1}
            await store.release([case], now=12.0)
            assert await store.counts() == {Status.READY: 1, Status.PARKED: 1}
            await store.claim(["p"], now=13.0, limit=1)
            opening = PauseOpening("approve", "t", "d", "Ann")
            await store.commit(
                next_of(case, 1, 2, Status.WAITING, step="approve", pause=opening, search=[search_write("title", '["new", {"by": 7}]')])
            )

            assert await found(store, CaseQuery(order=Order.CHANGED), 1) == [case, other]
            assert [await found(store, CaseQuery(search={"title": value}), 9) for value in ("old", "new", "7")] == [[], [case], [case]]
            assert [await found(store, CaseQuery(text=text), 9) for text in ("old", "New 7")] == [[], [case]]
            [row] = (await store.find(CaseQuery(assignee="Ann"))).rows
            assert (row.pause.name, row.pause.opened_at) == ("approve", 20.0) if row.pause is not None else False
            await store.commit(
                next_of(case, 2, 2, Status.WAITING, climbs=PauseClimb(1, "Bo"), search=[search_write("title", '["more"]', adds=True)])
            )
            assert [await found(store, CaseQuery(assignee=name, order=Order.WAITING), 9) for name in NAMES] == [[], [case]]
            assert [await found(store, CaseQuery(search={"title": value}), 9) for value in ("new", "more")] == [[case], [case]]
            await store.commit(next_of(case, 3, 2, Status.DONE, outcome="sent", leaves_pause=True, search=[search_write("title", None)]))
            assert await found(store, CaseQuery(tasks_only=True), 9) == await found(store, CaseQuery(text="more"), 9) == []
            assert await found(store, CaseQuery(text="?!"), 9) == []
            assert [(row.status, row.place, row.cases) for row in await store.count_places(process="p")] == [
                (Status.DONE, "sent", 1), (Status.PARKED, "a", 1),
            ]  # fmt: skip
            assert await store.count_places(process="q") == []

        check(scenario)

    def test_s29_erased_and_expired_cases_are_found_by_nothing(self, check: Callable[[Scenario], None]) -> None:
        """Neither by a value nor by a word; an expired case is not counted."""

        async def scenario(store: Store) -> None:
            texts = ("first secret", "second secret")
            cases = [
                await new_case(
                    store, status=Status.DONE, outcome="sent", key=text, at=5.0 + number, search=[search_write("title", f'"{text}"')]
                )
                for number, text in enumerate(texts)
            ]

            await store.commit(next_of(cases[0], 1, 0, Status.DONE, outcome="sent", erases=True))
            assert await found(store, CaseQuery(text="secret"), 9) == [cases[1]]
            assert await found(store, CaseQuery(search={"title": texts[0]}), 9) == await found(store, CaseQuery(key=texts[0]), 9) == []
            await store.expire("p", "sent", before=10.0, at=30.0, limit=9)

            assert await found(store, CaseQuery(text="secret"), 9) == []
            assert await store.counts() == {Status.DONE: 1}

        check(scenario)

    def test_s29_a_cursor_belongs_to_its_order(self, check: Callable[[Scenario], None]) -> None:
        """Any other text is refused."""

        async def scenario(store: Store) -> None:
            for _ in range(2):
                await new_case(store)
            cursor = (await store.find(CaseQuery(), limit=1)).cursor
            assert cursor is not None

            for wrong in ("not a cursor", "é", cursor[1:], cursor + "AA"):
                with pytest.raises(ValueRefused, match="is not the cursor of a page in the order 'number'"):
                    await store.find(CaseQuery(), after=wrong)
            with pytest.raises(ValueRefused, match="order 'changed'"):
                await store.find(replace(CaseQuery(), order=Order.CHANGED), after=cursor)
            for limit in (0, 1_001):
                with pytest.raises(ValueRefused, match="a page has 1 to 1,000 cases"):
                    await store.find(CaseQuery(), limit=limit)

        check(scenario)


def _place_of(known: Known) -> str:
    if known.status in {Status.WAITING, Status.PARKED, Status.BLOCKED}:
        return known.step or ""
    return (known.outcome or "") if known.status in ENDED else ""
