"""The entrypoints that the simulation runs, and the count of what came of them.

A trip names its parts, so each invocation is a program of its own. Each effect takes as arguments everything that the body has seen before it. If a
body saw something else when it is run again, the effect would have another key, and the count would find two calls for one place.
"""

import asyncio
import copy
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel
from trades import PROVIDER, RETRY, SOURCES, Approval, ask_provider, policies
from world import CALL_SECONDS, DEADLINE_SECONDS, NAP_SECONDS, SETTLE_SECONDS, WORK_SECONDS, Provider, Unreliable, World, at_once

from pointsman import Context, Failure, Reconcile, Retry, answer_with, quorum, remind
from pointsman.functional import INJECTED, TaskFailed, TaskTimeout, entrypoint, gather, now, pause, random, sleep, task, uuid
from pointsman.functional.loop import ended, run_in_body
from pointsman.functional.process import EntrypointProcess
from pointsman.kernel.rows import MessageRow, MessageStatus
from pointsman.kernel.snapshot import Status

PATIENCE_SECONDS = 3.0  # less than the slowest of an unreliable task's times
NOBODY = Approval(verdict="no", by="the deadline", seen="")


class Trip(BaseModel):
    """What an entrypoint is invoked with: the parts of its body, in their order."""

    thread: str
    number: int
    parts: list[str]

    @property
    def id(self) -> str:
        return f"{self.thread}.{self.number}"


# Tasks.


@task(retry=RETRY, timeout_seconds=WORK_SECONDS)
async def find(what: str, *, unreliable: Unreliable = INJECTED) -> str:
    await unreliable.work()
    return f"found {what}"


@task(name="extra")
async def unasked_for(what: str, *, unreliable: Unreliable = INJECTED) -> None:
    await unreliable.work()


@task(retry=Retry(attempts_max=2), timeout_seconds=WORK_SECONDS, limit=SOURCES)
async def price(line: int, of: str, *, unreliable: Unreliable = INJECTED) -> int:
    await unreliable.work(limited=True)
    return line * 10


@task(retry=Retry(attempts_max=1))
async def slow(what: str, *, unreliable: Unreliable = INJECTED) -> str:
    await unreliable.work()
    return "in time"


async def call(
    place: str, seen: list[Any], *, ctx: Context, provider: Provider, policy: str, stale: bool = False, limited: bool = False
) -> str:
    """What an effect does outside. Its key belongs to its case, and so does its place."""
    return await provider.call(ctx, policy, (f"{place} of case {ctx.case}", json.dumps(seen)), stale=stale, limited=limited)


def effect(policy: str, name: str, **settings: Any) -> Any:
    safety = policies()[policy]
    if isinstance(safety, Reconcile):
        safety = Reconcile(look_up, SETTLE_SECONDS)

    @task(name=name, safety=safety, timeout_seconds=CALL_SECONDS, retry=RETRY, **settings)
    async def act(place: str, seen: list[Any], *, ctx: Context = INJECTED, provider: Provider = INJECTED) -> str:
        return await call(place, seen, ctx=ctx, provider=provider, policy=policy, limited="limit" in settings)

    return act


async def look_up(*, ctx: Context = INJECTED, provider: Provider = INJECTED) -> Any:
    return await ask_provider(ctx=ctx, provider=provider)


ACTS = {policy: effect(policy, f"act {policy}") for policy in policies()}
LIMITED = effect("reconcile", "act limited", limit=PROVIDER)


@task(safety=policies()["idempotent"], timeout_seconds=CALL_SECONDS, retry=RETRY)
async def deliver(
    place: str, draft: str, said: Approval, seen: list[Any], *, ctx: Context = INJECTED, provider: Provider = INJECTED
) -> str:
    stale = said.seen != draft or said.verdict != "yes"
    return await call(place, seen, ctx=ctx, provider=provider, policy="idempotent", stale=stale)


@entrypoint(name="labels", tasks=(ACTS["idempotent"],))
def labels(place: str) -> str:
    """The entrypoint that the others call."""
    found = find(place)
    ACTS["idempotent"](f"{place}/label", [found.result()]).result()
    return f"label of {found.result()}"


# Parts. With `newer` code some calls are moved, and others are inserted.

Part = Callable[[str, list[Any], bool], Awaitable[Any]]


async def steps(place: str, _: list[Any], newer: bool) -> Any:
    if newer:
        await unasked_for(place)
        second = await find(f"{place} b")
        return [await find(f"{place} a"), second]
    return [await find(f"{place} a"), await find(f"{place} b")]


async def fan(place: str, _: list[Any], newer: bool) -> Any:
    found = [find(f"{place} {letter}") for letter in ("cba" if newer else "abc")]
    return sorted([one.result() for one in reversed(found)])


async def limited(place: str, _: list[Any], __: bool) -> Any:
    prices = await gather(*(price(line, place) for line in range(3)), failures="record")
    return ["failed" if isinstance(one, Failure) else one for one in prices]


async def first(place: str, _: list[Any], __: bool) -> Any:
    offers = [find(f"{place} {who}") for who in ("fast", "cheap")]
    return ["failed" if isinstance(one, Failure) else one for one in await gather(*offers, failures=quorum(1))]


async def patient(place: str, _: list[Any], newer: bool) -> Any:
    asked = slow(place)
    if newer:
        await unasked_for(place)
    try:
        return asked.result(timeout=PATIENCE_SECONDS)
    except TaskTimeout:
        return "too late"
    except TaskFailed:
        return "failed"


async def acting(place: str, seen: list[Any], _: bool, *, act: Any, catches: bool = False) -> Any:
    try:
        return await act(place, seen)
    except TaskFailed:
        if not catches:
            raise
        return "refused"


async def pair(place: str, seen: list[Any], newer: bool) -> Any:
    """Two effects of different policies, which newer code calls in the other order."""
    one, other = ACTS["once"](f"{place} one", seen), ACTS["reconcile"](f"{place} other", seen)
    return [one.result(), other.result()] if not newer else [other.result(), one.result()][::-1]


async def twice(place: str, seen: list[Any], _: bool) -> Any:
    """Two equal calls: each of them happens."""
    return [await ACTS["idempotent"](f"{place} twice", seen), await ACTS["idempotent"](f"{place} twice", seen)]


async def ahead(place: str, seen: list[Any], newer: bool) -> Any:
    """A task that runs while the body goes on, and is awaited behind an effect."""
    found = find(place)
    if newer:
        await found
    receipt = await ACTS["again"](place, seen)
    return [await found, receipt]


async def asking(place: str, seen: list[Any], _: bool) -> Any:
    draft, ladder = f"{place}/", (remind(20.0), answer_with(NOBODY))
    while (said := pause(draft, answer=Approval, name="approval", deadline=DEADLINE_SECONDS, ladder=ladder)).verdict == "redo":
        draft += "+"
    if said.verdict == "no":
        return [said.by]
    return [said.by, await deliver(place, draft, said, seen)]


async def resting(place: str, _: list[Any], newer: bool) -> Any:
    began = now()
    sleep(NAP_SECONDS)
    if newer:
        await unasked_for(place)
    return [began, now()]


async def chance(_: str, __: list[Any], ___: bool) -> Any:
    return [random(), uuid(), random()]


async def child(place: str, _: list[Any], __: bool) -> Any:
    return await labels(place)


async def tidy(place: str, seen: list[Any], _: bool) -> Any:
    """What is done in the end is done whatever happens before it, and not because the body is dropped from the memory."""
    released = None
    try:
        await find(place)
    finally:
        released = await ACTS["reconcile"](place, seen)
    return [released]


async def woven(place: str, seen: list[Any], _: bool) -> Any:
    """Calls in an order that depends on which of them ends first."""

    async def one(letter: str) -> list[Any]:
        found = await ended(find(f"{place} {letter}"))
        return [await ended(find(f"{found}!")), await ended(ACTS["again"](f"{place} {letter}", seen))]

    async def both() -> list[Any]:
        return await asyncio.gather(one("a"), one("b"))

    return run_in_body(both())


PARTS: Mapping[str, Part] = {
    part.__name__: part
    for part in (steps, fan, limited, first, patient, pair, twice, ahead, asking, resting, chance, child, tidy, woven)
} | {
    "idempotent": partial(acting, act=ACTS["idempotent"]),
    "once": partial(acting, act=ACTS["once"], catches=True),
    "reconcile": partial(acting, act=LIMITED),
}  # fmt: skip


def journey(newer: bool) -> EntrypointProcess:
    """An entrypoint whose body is what its input says, and whose thread keeps the numbers of its trips."""

    async def body(trip: Trip, previous: list[int] | None = None) -> Any:
        seen: list[Any] = [previous]
        for place, part in enumerate(trip.parts):
            seen.append(await PARTS[part](f"{trip.id}/{place} {part}", [*seen], newer))
        return entrypoint.final(value=seen[1:], save=[*(previous or []), trip.number])

    tasks = (find, unasked_for, price, slow, *ACTS.values(), LIMITED, deliver, labels)
    return entrypoint(name="journey", tasks=tasks, leaves=("extra",))(body).process


JOURNEYS = (journey(newer=False), journey(newer=True))


def deployed(*, newer: bool) -> list[EntrypointProcess]:
    """The processes as an engine has them that has just begun: it keeps no body in memory, and has met no pause."""
    processes = [copy.copy(process) for process in (JOURNEYS[newer], labels.process)]
    for process in processes:
        process.steps = dict(process.steps)
    return processes


# The count.


def count(world: World, provider: Provider, rows: Mapping[int, Any], messages: list[MessageRow]) -> None:
    """Count what happened outside for all cases, and compare what the bodies returned with it."""
    keys: dict[str, set[str]] = defaultdict(set)
    for key, acts in provider.acts.items():
        for _, receipt in acts:
            keys[provider.contents[receipt][0]].add(key)
    for place, acted in keys.items():
        if len(acted) > 1 + (" twice of case " in place):
            world.violate(f"duplicated: {place} has happened under {len(acted)} keys")
    threads: dict[str, list[list[int]]] = defaultdict(list)
    for row in rows.values():
        fields = {field.field: json.loads(field.text) for field in at_once(world.store.fields(row.id))}
        _count_record(world, row, fields)
        taken = [one for one in messages if one.case == row.id and one.status is MessageStatus.TAKEN]
        if len(taken) != (row.process == "journey"):
            world.violate(f"duplicated: case {row.id} has invocations {[one.key for one in taken]}")
        if row.status is Status.DONE and row.process == "journey":
            threads[row.correlation].append(fields["saved"]["value"])
            _count_journey(world, provider, row, fields)
    for thread, kept in threads.items():
        kept.sort(key=len)
        if any(later[:-1] != earlier for earlier, later in zip([[], *kept], kept, strict=False)):
            world.violate(f"lost: thread {thread} kept {kept}")


def _count_record(world: World, row: Any, fields: dict[str, Any]) -> None:
    """Each call has one outcome, unless it was taken back, and each answer of a person goes to one call."""
    standing: set[str] = set()
    used: Counter[tuple[str, int]] = Counter()
    for entry in (entry for item in fields.get("record") or () for entry in item):
        name = entry["call"] + " since" * ("since" in entry)
        if entry.get("void"):
            standing -= {name, f"{name} since"}
        elif not entry.get("left_out"):
            if name in standing:
                world.violate(f"duplicated: {name} of case {row.id} is recorded twice")
            standing.add(name)
        used.update((place, entry[place]) for place in ("answer", "outcome") if place in entry)
    twice = [place for place, times in used.items() if times > 1]
    if twice:
        world.violate(f"duplicated: case {row.id} uses {twice[0]} for two calls")
    for place, field in (("answer", "answers"), ("outcome", "outcomes")):
        there, recorded = len(fields.get(field) or ()), sum(kind == place for kind, _ in used)
        if row.status is Status.DONE and there != recorded:
            world.violate(f"lost: case {row.id} has {there} {field}, and {recorded} of them are recorded")


def _count_journey(world: World, provider: Provider, row: Any, fields: dict[str, Any]) -> None:
    trip, told = Trip.model_validate(fields["invocation"]["input"]), fields["result"]["value"]
    seen: list[Any] = [fields["saved"]["value"][:-1] or None]
    for number, (part, value) in enumerate(zip(trip.parts, told, strict=True)):
        place = f"{trip.id}/{number} {part}"
        right = _right(part, place, value)
        if not right:
            world.violate(f"lost: case {row.id} has {value!r} of part {place}")
        receipts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one.startswith("receipt ")]
        for receipt in receipts:
            content = provider.contents[receipt]
            if not content[0].startswith(place) or content[1] != json.dumps(seen):
                world.violate(f"stale: case {row.id} has a receipt for {content} at {place}, where it had seen {seen}")
        if len(set(receipts)) < len(receipts):
            world.violate(f"duplicated: case {row.id} has one receipt for two calls of {place}")
        seen.append(value)


def _right(part: str, place: str, value: Any) -> bool:
    """Whether a part can have this outcome."""

    def is_receipt(one: Any) -> bool:
        return isinstance(one, str) and one.startswith("receipt ")

    def found(letters: str) -> list[str]:
        return [f"found {place} {letter}" for letter in letters]

    match part:
        case "steps":
            return value == found("ab")
        case "fan":
            return value == found("abc")
        case "limited":
            return all(one in {line * 10, "failed"} for line, one in enumerate(value)) and len(value) == 3
        case "first":
            offers = [f"found {place} fast", f"found {place} cheap"]
            return any(one == offer for one, offer in zip(value, offers, strict=True))
        case "patient":
            return value in {"in time", "too late", "failed"}
        case "pair" | "twice" | "tidy":
            return all(map(is_receipt, value))
        case "ahead":
            return value[0] == f"found {place}" and is_receipt(value[1])
        case "asking":
            return len(value) == 1 or is_receipt(value[1])
        case "child":
            return value == f"label of found {place}"
        case "woven":
            return all(one[0] == f"found found {place} {letter}!" and is_receipt(one[1]) for letter, one in zip("ab", value, strict=True))
        case "idempotent" | "reconcile":
            return is_receipt(value)
        case "once":
            return is_receipt(value) or value == "refused"
    return True
