"""Work for a store that is about to lose its power or its disk: real transitions, and a judge of what is left of them."""

import asyncio
import dataclasses
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from pointsman.definition.limits import Limit
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import Conflict
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.limits import GivePermit, LimitState
from pointsman.kernel.rows import (
    Address,
    BranchRow,
    CaseRow,
    EventWrite,
    FieldWrite,
    Intent,
    MessageStatus,
    NewCase,
    PauseOpening,
    Post,
    Settlement,
    Transition,
)
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Reader, Store
from pointsman.store.checkpoints import ChannelValue, CheckpointId, CheckpointWrite, Value
from pointsman.store.memory import MemoryStore
from pointsman.store.sqlite_checkpoints import SqliteCheckpointReads
from pointsman.store.sqlite_reader import SqliteReader

PROCESS = "letter"
CASES_MAX = 6  # few, so that each has a long history and the file stays small
LATE = "node.late"  # an event that is appended by itself
SIZES = (3, 60, 2_500)  # bytes of a value: many in a page, few, and more than a page of an index holds
T = TypeVar("T")
IN_LINE = {Status.READY, Status.RUNNING}


class Told:
    """What was asked of the store, and what it has answered."""

    def __init__(self) -> None:
        self.asked: defaultdict[tuple[int, int], list[Transition]] = defaultdict(list)
        self.acknowledged: dict[tuple[int, int], Transition] = {}
        self.authored: set[int] = set()  # the numbers of the transitions that an author's row was to be written with
        self.kept: list[Blob] = []
        self.posted: set[str] = set()
        self.appended: set[str] = set()
        self.checkpoints: dict[str, bytes] = {}  # the value of the growing channel of each that was acknowledged
        self.changed = 0
        self.errors: list[BaseException] = []
        self.wrong: list[str] = []
        self.count = 0

    def copy(self) -> "Told":
        """As it is now; errors are not taken along."""
        copy = Told()
        copy.asked.update({place: list(transitions) for place, transitions in self.asked.items()})
        copy.acknowledged, copy.kept, copy.posted = dict(self.acknowledged), list(self.kept), set(self.posted)
        copy.authored, copy.appended = set(self.authored), set(self.appended)
        copy.checkpoints, copy.changed, copy.count = dict(self.checkpoints), self.changed, self.count
        return copy

    def number(self) -> int:
        """The next number: each transition writes its own, so that it is known again."""
        self.count += 1
        return self.count

    async def hear(self, answer: Awaitable[T]) -> T | None:
        """The answer, or None where there was an error; a conflict is an answer that changes nothing."""
        try:
            return await answer
        except Conflict:
            return None
        except Exception as error:
            self.errors.append(error)
            return None

    async def commit(self, store: Store, transition: Transition) -> None:
        """Have a transition committed, and note the answer."""
        self.ask(transition)
        self.note(transition, await self.hear(store.commit(transition)))

    async def transact(self, store: Store, transition: Transition) -> None:
        """Have a transition committed with a row of its author, and note the answer."""
        number = number_of(transition)
        self.authored.add(number)
        self.ask(transition)

        def work(db: Database) -> Transition:
            db.execute("CREATE TABLE IF NOT EXISTS letters (number INTEGER PRIMARY KEY)")
            db.execute("INSERT INTO letters VALUES (?)", (number,))
            return transition

        self.note(transition, await self.hear(store.transact(work)))

    async def post(self, store: Store, post: Post, start: Transition) -> None:
        """Have a message delivered, and note the answer."""
        self.ask(start)
        posted = await self.hear(store.post(post, start))
        if posted is not None and posted.started:
            self.note(start, posted.case)
        if posted is not None and not posted.duplicate:
            self.posted.add(post.body)

    async def append(self, store: Store, case: int, number: int) -> None:
        """Have an event appended to a case, and note the answer."""
        late = event(LATE, number)
        if await self.hear(answered(store.append(case, [late], at=float(number)))):
            self.appended.add(late.facts)

    async def keep(self, store: Store, content: bytes) -> None:
        """Have a blob kept, and note the answer."""
        blob = await self.hear(store.keep(content, now=float(self.count)))
        self.kept += [blob] if blob is not None else []

    async def grow(self, store: Store, more: bytes) -> None:
        """Have a checkpoint stored whose value is that of the last one and more, and note the answer."""
        id_ = f"{self.number():06}"
        value = self.checkpoints.get(max(self.checkpoints, default=""), b"") + more
        new = ChannelValue("list", self.count, Value("bytes", value))
        at = CheckpointId("thread", "", id_)
        write = CheckpointWrite(at, None, None, {"list": self.count}, Value("bytes", b"body"), "{}", [new])
        if await self.hear(answered(asyncio.wrap_future(store.checkpoints.put(write)))):
            self.checkpoints[id_] = value

    async def change(self, store: Store) -> None:
        """Have the state of a limit counted up, and note the answer."""
        changed = await self.hear(store.change_limit(GivePermit(Limit("llm"), "nobody", "nothing", float(self.count), 0)))
        self.changed = max(self.changed, changed.state.changes if changed is not None else 0)

    def ask(self, transition: Transition) -> None:
        """Note what is asked."""
        self.asked[transition.case, transition.revision + 1].append(transition)

    def note(self, transition: Transition, number: int | None) -> None:
        """Note the answer."""
        place = (transition.case, transition.revision + 1)
        if number == transition.case:
            if place in self.acknowledged:
                self.wrong.append(f"two transitions of case {place[0]} to revision {place[1]} were acknowledged")
            self.acknowledged[place] = transition


async def answered(answer: Awaitable[None]) -> bool:
    """True, after an answer that says nothing else."""
    await answer
    return True


async def look(store: Reader) -> list[tuple[CaseRow, list[str]]]:
    """The cases that can go on, each with the keys of its effects that are open."""
    rows = [row for row in await store.cases() if row.status not in {Status.DONE, Status.CANCELLED}]
    open_ones = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT, EffectStatus.NOT_SENT}
    return [(row, [one.key for one in await store.effects(row.id) if one.status in open_ones]) for row in rows]


Deed = Callable[[], Awaitable[None]]


async def batch(store: Store, told: Told, chance: random.Random) -> list[Deed]:
    """Some deeds, as an engine does them: most fit, some come late, some come twice."""
    cases = await look(store)
    begun = chance.randint(0, 2) if len(cases) < CASES_MAX else 0
    deeds: list[Deed] = [partial(told.commit, store, await start(store, told, chance)) for _ in range(begun)]
    if chance.random() < 0.5:
        deeds.append(await deliver(store, told, chance))
    chosen = chance.sample(cases, min(len(cases), chance.randint(1, 4)))
    for row, keys in chosen:
        do = chance.choices([told.commit, told.transact], (4, 1))[0]
        deeds.append(partial(do, store, await with_messages(store, go_on(row, keys, told, chance), row)))
    if chosen and chance.random() < 0.2:
        deeds.append(partial(told.commit, store, go_on(*chosen[0], told, chance)))  # somebody else moves the same case
    if chosen and chance.random() < 0.1:
        row, _ = chosen[-1]
        intent = Intent(f"key of {row.id} at 0", "send", "digest", 99.0, again=False)  # perhaps the ledger has this key
        deeds.append(partial(told.transact, store, dataclasses.replace(go_on(row, [], told, chance), intent=intent)))
    return deeds


async def all_of(deeds: list[Deed]) -> None:
    """Do them together."""
    await asyncio.gather(*(deed() for deed in deeds))


async def deliver(store: Store, told: Told, chance: random.Random) -> Deed:
    """A message comes: for the case with its key, for a new one, or a second time."""
    begun = await start(store, told, chance)
    number = number_of(begun)
    key = f"message {chance.randint(1, 20)}" if chance.random() < 0.5 else None
    post = Post(Address(PROCESS, correlation=f"thread {chance.randint(1, 4)}"), "mail", key, json.dumps(number), float(number))
    assert begun.new is not None
    return partial(told.post, store, post, dataclasses.replace(begun, new=begun.new._replace(correlation=post.to.correlation)))


async def with_messages(store: Store, transition: Transition, row: CaseRow) -> Transition:
    """The transition, taking in the messages that have come to the case."""
    if not row.inbox:
        return transition
    pending = [message.id for message in await store.messages(row.id) if message.status is MessageStatus.PENDING]
    return dataclasses.replace(transition, inbox=len(pending), takes=[(message, MessageStatus.TAKEN) for message in pending])


async def start(store: Store, told: Told, chance: random.Random) -> Transition:
    """A case begins, now and then with a key that another one has."""
    number = told.number()
    key = f"mail {chance.randint(1, 8)}" if chance.random() < 0.7 else None
    status, wake_at = chance.choice([(Status.READY, float(number)), (Status.RUNNING, None)])
    events = [event("accepted", number)]
    fields = [FieldWrite("message", text(chance), "")]
    return Transition(
        (await store.reserve(1))[0],
        0,
        0,
        float(number),
        status,
        wake_at=wake_at,
        new=NewCase(PROCESS, 1, key),
        fields=fields,
        events=events,
    )


def go_on(row: CaseRow, keys: list[str], told: Told, chance: random.Random) -> Transition:
    """A case takes a step of some kind."""
    number = told.number()
    writes = [FieldWrite(name, text(chance), "write") for name in ("draft", "order", "verdict")[: chance.randint(0, 3)]]
    if chance.random() < 0.3:
        writes.insert(0, chance.choice([FieldWrite("log", f"[{number}]", "write", appends=True), FieldWrite("log", None, "write")]))
    more: dict[str, Any] = {"fields": writes, "events": [event("node.succeeded", number), event("decided", number)]}
    if row.status is not Status.RUNNING:
        more |= {"leaves_pause": True, "answered_by": chance.choice(["anna", None]), "claims": True}
    if keys and chance.random() < 0.7:
        status = chance.choice(list(EffectStatus)[1:])
        more["settlement"] = Settlement(keys[0], status, text(chance) if status is EffectStatus.DONE else None, "why")
    elif keys and chance.random() < 0.4:
        more["intent"] = Intent(keys[0], "send", "digest", number + 60.0, again=True)
    elif chance.random() < 0.4:
        more["intent"] = Intent(f"key of {row.id} at {row.revision}", "send", "digest", number + 60.0, again=False)
    if chance.random() < 0.2:
        more["branches"] = [BranchRow(name, 1, float(number), chance.choice([text(chance), None])) for name in ("left", "right")]
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
    rows = await told.hear(store.cases()) or []
    running = [row.id for row in rows if row.status is Status.RUNNING]
    match chance.choice(["claim", "release", "keep", "append", "change", "grow"]):
        case "claim":
            await told.hear(store.claim([PROCESS], now=1e6, limit=2))
        case "release":
            await told.hear(store.release(running[:1], now=float(told.count)))
        case "append" if rows:
            await told.append(store, rows[0].id, told.number())
        case "change":
            await told.change(store)
        case "grow":
            await told.grow(store, chance.randbytes(chance.choice(SIZES)))
        case _:
            await told.keep(store, b"scan " + chance.randbytes(chance.choice(SIZES)))


def number_of(transition: Transition) -> int:
    """The number that a transition writes."""
    return int(json.loads(transition.events[0].facts)["number"])


def event(kind: str, number: int) -> EventWrite:
    return EventWrite(kind, "draft", 1, f'{{"number":{number}}}')


def text(chance: random.Random) -> str:
    return json.dumps(chance.choice("abc") * chance.choices(SIZES, (6, 3, 1))[0])


# The judge.


async def complaints(reader: SqliteReader, told: Told) -> list[str]:
    """What is wrong with what the reader finds, given what was asked and answered; nothing is as it should be.

    What was acknowledged must be there, what was asked without an answer whole or not at all. The transitions that are there
    are run once more, one by one, in a store in memory, which must come to the same cases.
    """
    found = list(told.wrong)
    memory = MemoryStore()
    there: set[int] = set()
    for case in sorted({case for case, _ in told.asked} | {row.id for row in await reader.cases()}):
        row = await reader.case(case)
        last = max((revision for number, revision in told.acknowledged if number == case), default=0)
        if row is None or row.revision < last:
            if last:
                found.append(f"case {case}: revision {last} was acknowledged, and {row.revision if row else 'nothing'} is there")
            continue
        found += await _same(reader, memory, row, told, there)
    found += [f"blob {blob.sha256} was acknowledged and is gone" for blob in told.kept if await reader.blob(blob) is None]
    found += [f"message {body} was acknowledged and is gone" for body in told.posted - texts(reader, "body", "messages")]
    found += [f"event {facts} was acknowledged and is gone" for facts in told.appended - texts(reader, "facts", "events")]
    for id_, value in told.checkpoints.items():
        checkpoint = reader.look(lambda connection, sql, id_=id_: SqliteCheckpointReads(connection, sql).get("thread", "", id_))  # type: ignore[misc]
        if checkpoint is None or checkpoint.values["list"].content != value:
            found.append(f"checkpoint {id_} was acknowledged and is gone, or its value is another one")
    limit = (await reader.limits()).get("llm", LimitState())
    if limit.changes < told.changed:
        found.append(f"the limit was changed {limit.changes} times, and {told.changed} were acknowledged")
    letters = texts(reader, "number", "letters")
    if letters != told.authored & there:
        found.append(f"the author's rows are {letters}, and those of the transitions that are there {told.authored & there}")
    return found


def texts(reader: SqliteReader, column: str, table: str) -> set[Any]:
    """The values of a column; none where there is no such table."""
    execute = reader._connection.execute
    known = execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    return {row[0] for row in execute(f"SELECT {column} FROM {table}").fetchall()} if known else set()


async def _same(reader: SqliteReader, memory: MemoryStore, row: CaseRow, told: Told, there: set[int]) -> list[str]:
    case = row.id
    facts = defaultdict(set)
    for one in await reader.events(case=case):
        if one.kind != LATE:
            facts[one.revision].add(one.facts)
    for revision in range(1, row.revision + 1):
        done = told.acknowledged.get((case, revision))
        candidates = [done] if done else told.asked[case, revision]
        fitting = [one for one in candidates if {write.facts for write in one.events} == facts[revision]]
        if len(fitting) != 1:
            return [f"case {case}: {len(fitting)} of {len(candidates)} transitions explain revision {revision}"]
        there.add(number_of(fitting[0]))
        before = await memory.case(case)
        alone = {"fence": before.fence if before else 0, "claims": False, "inbox": None, "takes": ()}
        try:
            await memory.commit(dataclasses.replace(fitting[0], **alone))
        except Conflict as error:
            return [f"case {case}: the transition to revision {revision} should have been refused: {error}"]
    should = await memory.case(case)
    assert should is not None
    found = []
    woken = row.inbox > 0 and row.status in IN_LINE  # by a message, which is no transition
    if _standing(row)[1:] != _standing(should)[1:] or not (row.status is should.status or woken or {row.status, should.status} <= IN_LINE):
        found.append(f"case {case} stands at {_standing(row)} and should at {_standing(should)}")
    for what in ("fields", "effects", "pause", "branches"):
        is_there, wanted = await getattr(reader, what)(case), await getattr(memory, what)(case)
        if is_there != wanted:
            found.append(f"case {case}: {what} are {is_there} and should be {wanted}")
    events = [[one[2:] for one in await store.events(case=case) if one.kind != LATE] for store in (reader, memory)]
    if events[0] != events[1]:
        found.append(f"case {case}: events are {events[0]} and should be {events[1]}")
    return found


def _standing(row: CaseRow) -> tuple[Any, ...]:
    return (row.status, row.process, row.key, row.revision, row.steps, row.step, row.rule, row.reason, row.outcome)
