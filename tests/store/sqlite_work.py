"""Work for a store that is about to lose its power or its disk: real transitions, and a judge of what is left of them."""

import asyncio
import dataclasses
import json
import random
from collections import defaultdict
from typing import Any

from pointsman.definition.state import Blob
from pointsman.errors import Conflict
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status
from pointsman.store.base import (
    BranchWrite,
    CaseRow,
    EventWrite,
    FieldWrite,
    Intent,
    NewCase,
    PauseOpening,
    Reader,
    Settlement,
    Store,
    Transition,
)
from pointsman.store.memory import MemoryStore

PROCESS = "letter"
CASES_MAX = 6  # few, so that each has a long history and the file stays small
SIZES = (3, 60, 2_500)  # bytes of a value: many in a page, few, and more than a page of an index holds
IN_LINE = {Status.READY, Status.RUNNING}


class Told:
    """What was asked of the store, and what it has answered."""

    def __init__(self) -> None:
        self.asked: defaultdict[tuple[int, int], list[Transition]] = defaultdict(list)
        self.acknowledged: dict[tuple[int, int], Transition] = {}
        self.kept: list[Blob] = []
        self.errors: list[BaseException] = []
        self.wrong: list[str] = []
        self.count = 0

    def copy(self) -> "Told":
        """As it is now."""
        copy = Told()
        copy.asked.update({place: list(transitions) for place, transitions in self.asked.items()})
        copy.acknowledged, copy.kept, copy.count = dict(self.acknowledged), list(self.kept), self.count
        return copy

    async def commit(self, store: Store, transition: Transition) -> None:
        """Have a transition committed, and note the answer."""
        place = (transition.case, transition.revision + 1)
        self.asked[place].append(transition)
        try:
            number = await store.commit(transition)
        except Conflict:
            return
        except Exception as error:
            self.errors.append(error)
            return
        if number == transition.case:
            if place in self.acknowledged:
                self.wrong.append(f"two transitions of case {place[0]} to revision {place[1]} were acknowledged")
            self.acknowledged[place] = transition

    async def keep(self, store: Store, content: bytes) -> None:
        """Have a blob kept, and note the answer."""
        try:
            self.kept.append(await store.keep(content, now=float(self.count)))
        except Exception as error:
            self.errors.append(error)

    def number(self) -> int:
        """The next number: each transition writes its own, so that it is known again."""
        self.count += 1
        return self.count


async def look(store: Reader) -> list[tuple[CaseRow, list[str]]]:
    """The cases that can go on, each with the keys of its effects that are open."""
    rows = [row for row in await store.cases() if row.status not in {Status.DONE, Status.CANCELLED}]
    open_ones = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT, EffectStatus.NOT_SENT}
    return [(row, [one.key for one in await store.effects(row.id) if one.status in open_ones]) for row in rows]


async def batch(store: Store, told: Told, chance: random.Random) -> list[Transition]:
    """Some transitions, as an engine makes them: most fit, some come late, some come twice."""
    cases = await look(store)
    transitions = [start(store, told, chance) for _ in range(chance.randint(0, 2)) if len(cases) < CASES_MAX]
    chosen = chance.sample(cases, min(len(cases), chance.randint(1, 4)))
    transitions += [go_on(row, keys, told, chance) for row, keys in chosen]
    if chosen and chance.random() < 0.2:
        transitions.append(go_on(*chosen[0], told, chance))  # somebody else moves the same case
    if chosen and chance.random() < 0.1:
        row, _ = chosen[-1]
        intent = Intent(f"key of {row.id} at 0", "send", "digest", 99.0, again=False)
        transitions.append(dataclasses.replace(go_on(row, [], told, chance), intent=intent))  # perhaps the ledger has this key
    return transitions


def start(store: Store, told: Told, chance: random.Random) -> Transition:
    """A case begins, now and then with a key that another one has."""
    number = told.number()
    key = f"mail {chance.randint(1, 8)}" if chance.random() < 0.7 else None
    status, wake_at = chance.choice([(Status.READY, float(number)), (Status.RUNNING, None)])
    events = [event("accepted", number)]
    fields = [FieldWrite("message", text(chance), "")]
    return Transition(
        store.reserve(), 0, 0, float(number), status, wake_at=wake_at, new=NewCase(PROCESS, 1, key), fields=fields, events=events
    )


def go_on(row: CaseRow, keys: list[str], told: Told, chance: random.Random) -> Transition:
    """A case takes a step of some kind."""
    number = told.number()
    writes = [FieldWrite(name, text(chance), "write") for name in ("draft", "order", "verdict")[: chance.randint(0, 3)]]
    more: dict[str, Any] = {"fields": writes, "events": [event("node.succeeded", number), event("decided", number)]}
    if row.status is Status.WAITING:
        more |= {"leaves_pause": True, "answered_by": chance.choice(["anna", None]), "claims": True}
    if keys and chance.random() < 0.7:
        status = chance.choice(list(EffectStatus)[1:])
        more["settlement"] = Settlement(keys[0], status, text(chance) if status is EffectStatus.DONE else None, "why")
    elif keys and chance.random() < 0.4:
        more["intent"] = Intent(keys[0], "send", "digest", number + 60.0, again=True)
    elif chance.random() < 0.4:
        more["intent"] = Intent(f"key of {row.id} at {row.revision}", "send", "digest", number + 60.0, again=False)
    if chance.random() < 0.2:
        more["branches"] = [BranchWrite(name, 1, float(number), chance.choice([text(chance), None])) for name in ("left", "right")]
    elif chance.random() < 0.2:
        more["ends_branches"] = True
    return Transition(row.id, row.revision, row.fence, float(number), steps=row.steps + 1, **stand(row, number, chance), **more)


def stand(row: CaseRow, number: int, chance: random.Random) -> dict[str, Any]:
    """Where the case stands after the step."""
    match chance.choices(["running", "ready", "waiting", "parked", "done", "cancelled"], (6, 2, 3, 1, 0.3, 0.2))[0]:
        case "ready":
            return {"status": Status.READY, "wake_at": float(number), "attempts": chance.randint(0, 3), "step": "draft", "rule": "no reply"}
        case "waiting":
            pause = PauseOpening("approve", f"token {row.id} {number}", "digest")
            return {"status": Status.WAITING, "step": "approve", "rule": "risky", "pause": pause}
        case "parked":
            return {"status": Status.PARKED, "step": "draft", "reason": "the model is gone " * 20}
        case "done":
            return {"status": Status.DONE, "step": "finish", "outcome": "sent"}
        case "cancelled":
            return {"status": Status.CANCELLED, "reason": "no longer wanted"}
        case _:
            return {"status": Status.RUNNING, "attempts": 1, "step": "draft", "rule": "no reply"}


async def errand(store: Store, told: Told, chance: random.Random) -> None:
    """What an engine does between two transitions."""
    try:
        running = [row.id for row in await store.cases(status=Status.RUNNING)]
        match chance.choice(["claim", "release", "keep"]):
            case "claim":
                await store.claim([PROCESS], now=1e6, limit=2)
            case "release":
                await store.release(running[:1], now=float(told.count))
            case _:
                await told.keep(store, b"scan " + chance.randbytes(chance.choice(SIZES)))
    except Exception as error:
        told.errors.append(error)


def event(kind: str, number: int) -> EventWrite:
    return EventWrite(kind, "draft", 1, json.dumps({"number": number}))


def text(chance: random.Random) -> str:
    return json.dumps(chance.choice("abc") * chance.choices(SIZES, (6, 3, 1))[0])


# The judge.


async def complaints(reader: Reader, told: Told) -> list[str]:
    """What is wrong with what the reader finds, given what was asked and answered; nothing is as it should be.

    What was acknowledged must be there, what was asked without an answer whole or not at all. The transitions that are there
    are run through another store, the one in memory, which must come to the same cases.
    """
    found = list(told.wrong)
    memory = MemoryStore()
    cases = {case for case, _ in told.asked} | {row.id for row in await reader.cases()}
    for case in sorted(cases):
        row = await reader.case(case)
        last = max((revision for number, revision in told.acknowledged if number == case), default=0)
        if row is None or row.revision < last:
            if last:
                found.append(f"case {case}: revision {last} was acknowledged, and {row.revision if row else 'nothing'} is there")
            continue
        found += await _same(reader, memory, row, told)
    found += [f"blob {blob.sha256} was acknowledged and is gone" for blob in told.kept if await reader.blob(blob) is None]
    return found


async def _same(reader: Reader, memory: MemoryStore, row: CaseRow, told: Told) -> list[str]:
    case = row.id
    facts = defaultdict(set)
    for one in await reader.events(case=case):
        facts[one.revision].add(one.facts)
    for revision in range(1, row.revision + 1):
        done = told.acknowledged.get((case, revision))
        candidates = [done] if done else told.asked[case, revision]
        fitting = [one for one in candidates if {write.facts for write in one.events} == facts[revision]]
        if len(fitting) != 1:
            return [f"case {case}: {len(fitting)} of {len(candidates)} transitions explain revision {revision}"]
        before = await memory.case(case)
        try:
            await memory.commit(dataclasses.replace(fitting[0], fence=before.fence if before else 0, claims=False))
        except Conflict as error:
            return [f"case {case}: the transition to revision {revision} should have been refused: {error}"]
    should = await memory.case(case)
    assert should is not None
    found = []
    if _standing(row) != _standing(should) and not {row.status, should.status} <= IN_LINE:
        found.append(f"case {case} stands at {_standing(row)} and should at {_standing(should)}")
    for what in ("fields", "effects", "pause", "branches"):
        there, wanted = await getattr(reader, what)(case), await getattr(memory, what)(case)
        if there != wanted:
            found.append(f"case {case}: {what} are {there} and should be {wanted}")
    events = [await one.events(case=case) for one in (reader, memory)]
    there, wanted = ([one[2:] for one in rows] for rows in events)
    if there != wanted:
        found.append(f"case {case}: events are {there} and should be {wanted}")
    return found


def _standing(row: CaseRow) -> tuple[Any, ...]:
    return (row.process, row.key, row.status, row.revision, row.steps, row.step, row.rule, row.reason, row.outcome)


async def all_of(store: Store, told: Told, transitions: list[Transition]) -> None:
    """Hand them in together."""
    await asyncio.gather(*(told.commit(store, one) for one in transitions))
