"""One schedule: engines that crash and stand still, people who answer twice, late and at the wrong time, then peace, then the count.

`run(seed)` is a pure function of the seed and of the code: the same seed gives the same schedule, to the last step.
"""

import asyncio
import gc
import json
import logging
import re
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any, NamedTuple

import bodies
from trades import Approval, Mail, Note, fits, processes
from world import CALL_SECONDS, LAG_SECONDS, LEASE_SECONDS, Oracle, Provider, Unreliable, World, at_once

from pointsman import AlreadyAnswered, Engine, NotWaiting, Refused, Stale, StoreError
from pointsman.definition.process import AnyProcess
from pointsman.errors import EngineStopped
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import MessageRow, MessageStatus
from pointsman.kernel.snapshot import Status
from pointsman.testing.loop import Host, HostClock

STEPS_BETWEEN_FAULTS = 50
FAULT_SECONDS = 300.0
PEACE_SECONDS = 4_000.0
STEPS_MAX = 15_000  # several times what the longest one of thousands takes
PAUSES = (0.5, CALL_SECONDS + 2, LEASE_SECONDS + 3, 2 * LEASE_SECONDS)
GARBAGE_MAX = 50_000  # objects: what a few schedules leave behind
PROCESSES = processes()
ALLOWED = re.compile(
    "in doubt|the engine died|ended without a result|was started|was rejected|Rejected|failed after|passed its guard|was not called|was not sent|did not arrive|used up its|may or may not"
)
ENDED = {Status.DONE, Status.CANCELLED}

LOG = logging.getLogger("pointsman")


class Result(NamedTuple):
    """What became of a schedule."""

    seed: int
    crashes: int
    pauses: int
    points: int
    cases: int
    effects: int
    violations: list[str]


class Machine:
    """An engine on a host, started again whenever it ends."""

    def __init__(self, schedule: "Schedule", name: str) -> None:
        self.schedule = schedule
        self.name = name
        self.engine: Engine | None = None
        self.host: Host | None = None
        self.clock_error = 0.0
        self.boot()

    def boot(self) -> None:
        world = self.schedule.world
        self.host = host = world.loop.host(self.name)
        host.clock_error = self.clock_error
        host.spawn(self._work(host)).add_done_callback(lambda task: self._ended(host, task))

    async def _work(self, host: Host) -> None:
        schedule, world = self.schedule, self.schedule.world
        wire = world.store.connect(host)
        resources = {"provider": schedule.provider, "unreliable": schedule.unreliable, "oracle": schedule.oracle}
        opening = Engine.open(
            "", schedule.deployed(), resources=resources, store=wire,
            clock=HostClock(world.loop, host), random=Random(world.random.random()), grace_seconds=world.pick((0.0, 5.0)), concurrency=3,
        )  # fmt: skip
        async with opening as engine:
            self.engine = engine
            try:
                await engine.serve()
            finally:
                self.engine = None

    def _ended(self, host: Host, task: Any) -> None:
        if not host.alive:
            return  # it had just ended when it was killed
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StoreError):
            self.schedule.world.violate(f"an engine ended with {type(error).__name__}: {error}")
        host.crash()
        self.schedule.boot_later(self)

    def die(self) -> None:
        assert self.host is not None
        self.host.crash()
        self.engine = None
        self.schedule.boot_later(self)


class Schedule:
    """Everything of one seed."""

    def __init__(self, seed: int, *, entrypoints: bool = False, make_store: Callable[[World], Any] | None = None) -> None:
        self.seed = seed
        self.entrypoints = entrypoints
        self.world = World(seed, make_store)
        self.random = Random(seed + 2)
        self.provider = Provider(self.world)
        self.unreliable = Unreliable(self.world)
        self.oracle = Oracle(self.world, self.unreliable)
        self.crashes = self.pauses = 0
        self._read: tuple[int, list[Any]] | None = None
        self.next_fault = self.random.randrange(STEPS_BETWEEN_FAULTS * 2)
        self.started: dict[Any, set[int]] = defaultdict(set)
        self.answers: list[tuple[str, str, str]] = []
        self.cancelled: set[int] = set()
        self.machines = [Machine(self, f"engine-{n}") for n in range(self.world.store.engines(self.random))]
        self.by_host = lambda host: next(m for m in self.machines if m.host is host)

    def deployed(self) -> Sequence[AnyProcess]:
        """The processes of an engine that begins. Of the entrypoints each engine has older or newer code."""
        return bodies.deployed(newer=self.world.random.random() < 0.5) if self.entrypoints else PROCESSES

    def run(self) -> Result:
        loop = self.world.loop
        loop.before = self._maybe_fail
        main = loop.outside.spawn(self._story())
        try:
            finished = loop.run(STEPS_MAX)
            if finished and main.done():
                main.result()
            else:
                self.world.violate(f"stuck: nothing ends it: {self.standing()}")
            self._count()
        except Exception as error:  # what stands in the store is nothing that anybody expected
            self.world.violate(f"stuck: it cannot be counted: {type(error).__name__}: {error}")
        finally:
            steps = self.steps
            loop.close()
            self.world.store.shut()
        return Result(self.seed, self.crashes, self.pauses, steps, len(self.started), self.provider.calls, self.world.violations)

    steps = 0

    def _maybe_fail(self, host: Host) -> None:
        if host is self.world.loop.outside:
            return
        self.steps += 1
        self.next_fault -= 1
        if self.next_fault > 0 or not self.world.faults:
            return
        self.next_fault = self.random.randrange(1, STEPS_BETWEEN_FAULTS * 2)
        if self.random.random() < 0.55:
            self.crashes += 1
            self.by_host(host).die()
        else:
            self.pauses += 1
            host.stand_still(self.random.choice(PAUSES))

    def boot_later(self, machine: Machine) -> None:
        self.world.loop.call_on(None, self.world.pick((0.5, 0.5, 5.0, 40.0, 170.0)), machine.boot)

    # The story.

    async def _story(self) -> None:
        loop, random = self.world.loop, self.random
        people = []
        for n in range(random.choice((1, 2, 2, 3))):
            work = self._trips(f"job-{n}") if self.entrypoints else self._job(f"job-{n}", random.choice(PROCESSES))
            people += map(loop.create_task, work)
        while loop.time() < FAULT_SECONDS:
            await asyncio.sleep(random.choice((1.0, 5.0, 20.0)))
            self._meddle()
        self.world.faults = False
        while not (
            all(task.done() for task in people) and all(row.status in ENDED for row in self.rows()) and not at_once(self.world.store.held())
        ):
            await asyncio.sleep(2.0)
            for row in self.rows():
                self._help(row)
            if loop.time() > FAULT_SECONDS + PEACE_SECONDS:
                self.world.violate(f"stuck: {self.standing()}")
                break
        loop.stop()

    def rows(self) -> list[Any]:
        """All cases; they are read again when anything was written since."""
        written = self.world.store.written()
        if self._read is None or self._read[0] != written:
            self._read = (written, at_once(self.world.store.cases()))
        return self._read[1]

    def standing(self) -> str:
        return "; ".join(
            f"case {row.id} ({row.process}) is {row.status} at {row.step}: {row.reason}" for row in self.rows() if row.status not in ENDED
        )

    def _job(self, thread: str, process: AnyProcess) -> list[Coroutine[Any, Any, None]]:
        """What people send for one thread: a start or a first mail, at times more mails and notes, in any order."""
        name, random = process.name, self.random
        inputs: dict[str, Any] = {"message": Mail(thread=thread, number=1)}
        if name == "errand":
            inputs = {"what": thread}
        elif name == "basket":
            inputs = {"who": thread, "lines": list(range(random.choice((1, 2, 3))))}
        if name in {"errand", "basket"} or (name != "ticket" and random.random() < 0.6):
            work = [self._insist(thread, lambda engine: engine.start(name, inputs, key=thread, correlation=thread))]
        else:
            work = [self._insist_on_mail(name, Mail(thread=thread, number=1))]
        if name not in {"errand", "basket"}:
            work += [self._insist_on_mail(name, Mail(thread=thread, number=n)) for n in range(2, random.choice((2, 2, 3, 4)))]
        if name.startswith("trade"):
            work += [self._insist_on_mail(name, Note(thread=thread, number=n)) for n in range(random.choice((0, 0, 1, 2)))]
        return work

    def _insist_on_mail(self, process: str, message: Mail | Note) -> Coroutine[Any, Any, None]:
        kind = type(message).__name__.lower()
        return self._insist((process, kind, message), lambda engine: engine.send(process, message, name=kind))

    def _trips(self, thread: str) -> list[Coroutine[Any, Any, None]]:
        """The invocations of one thread: one after the other, or several at once."""
        random, process = self.random, bodies.JOURNEYS[0]
        numbers = range(1, random.choice((2, 2, 3)))
        trips = [
            bodies.Trip(thread=thread, number=number, parts=random.choices([*bodies.PARTS], k=random.randint(2, 5))) for number in numbers
        ]

        def invoke(trip: bodies.Trip) -> Callable[[Engine], Awaitable[Any]]:
            invocation = process.invoked(trip, thread, trip.id)
            return lambda engine: engine.send(process.name, invocation, key=trip.id)

        return [self._insist((process.name, "invocation", trip), invoke(trip)) for trip in trips]

    async def _insist(self, key: Any, call: Callable[[Engine], Awaitable[Any]]) -> None:
        """Ask until somebody says that it is done; at times once more than that."""
        key = key if isinstance(key, str) else (key[0], key[1], key[2].thread, key[2].number)
        await asyncio.sleep(self.random.choice((0.0, 0.0, 10.0, 30.0, 60.0, 120.0)))
        while not self.started[key] or self.world.chance(0.3):
            ask = self._ask("start", call)
            if ask is not None:
                await asyncio.wait([ask], timeout=20.0)
                kind, result = ask.result() if ask.done() else ("unknown", None)
                if kind == "ok":
                    self.started[key].add(result.case)
                elif kind == "refused":
                    self.world.violate(f"a start was refused: {result}")
            await asyncio.sleep(1.0)

    def _ask(self, what: str, call: Callable[[Engine], Awaitable[Any]]) -> Any:
        """Ask an engine for something, on its host; the answer may never come."""
        alive = [machine for machine in self.machines if machine.engine is not None]
        if not alive:
            return None
        machine = self.random.choice(alive)
        engine, host, loop = machine.engine, machine.host, self.world.loop
        assert engine is not None
        assert host is not None
        answer = loop.create_future()

        async def ask() -> None:
            try:
                result = ("ok", await call(engine))
            except Refused as error:
                result = ("refused", error)
            except (StoreError, EngineStopped) as error:
                result = ("unknown", error)
            except Exception as error:
                self.world.violate(f"{what} raised {type(error).__name__}: {error}")
                result = ("unknown", error)
            loop.call_on(None, 0.0, lambda: None if answer.done() else answer.set_result(result))

        host.spawn(ask())
        return answer

    # People.

    def _meddle(self) -> None:
        """Something that people or machines do in bad times."""
        random, rows = self.random, self.rows()
        fate = random.random()
        machine = random.choice(self.machines)
        if fate < 0.04 and machine.engine is not None and machine.host is not None and signal.SIGTERM in machine.host.signals:
            machine.host.signals[signal.SIGTERM]()
        elif fate < 0.09:
            # On a file of its own an engine has nothing but its machine's clock; a jump of more than the settling time's margin would
            # let it look too early, and one that is set back makes keys look younger. Engines that share a store take the time from
            # there, so that theirs may be as wrong as it likes.
            jump = random.choice((-60.0, 1.0)) if self.world.embedded else random.choice((-3_600.0, -5.0, 5.0, 3_600.0))
            machine.clock_error += jump
            if self.world.embedded:
                self.world.clock_jumped(jump)
            if machine.host is not None:
                machine.host.clock_error = machine.clock_error
        elif fate < 0.13:
            # Engines that share a store share its clock: what it jumps by must be less than the settling time's margin.
            jump = random.choice((-1.0, 1.0))
            self.world.store_ahead += jump
            self.world.clock_jumped(jump)
        elif rows:
            row = random.choice(rows)
            if fate < 0.16:
                self._cancel(row)
            elif fate < 0.25 and row.status is Status.WAITING:
                self._answer(row)
                self._cancel(row)
            elif fate < 0.25 and row.status is Status.PARKED:
                self._ask("redrive", lambda engine: engine.redrive(row.id, by="operator", why="in the hope of the best"))
            elif row.status is Status.WAITING:
                for _ in range(random.choice((1, 1, 2))):
                    self._answer(row)
            elif row.status is Status.PARKED and random.random() < 0.5:
                self._help(row)

    def _help(self, row: Any) -> None:
        """What people do for a case that rests, in good times too."""
        if row.status is Status.WAITING:
            self._answer(row)
        elif row.status is Status.PARKED:
            self._operate(row)

    def _cancel(self, row: Any) -> None:
        def noted(answer: Any) -> None:
            kind, _ = answer.result()
            if kind == "ok":
                self.cancelled.add(row.id)

        ask = self._ask("cancel", lambda engine: engine.cancel(row.id, by="operator", why="simulated"))
        if ask is not None:
            ask.add_done_callback(noted)

    def _answer(self, row: Any) -> None:
        """Look at what a case shows, think for a while, and answer that."""
        world, random = self.world, self.random
        pause = at_once(world.store.pause(row.id))
        if pause is None or pause.closed is not None or pause.name != "approval":
            return
        fields = {field.field: field.text for field in at_once(world.store.fields(row.id))}
        draft = fields.get("shown" if self.entrypoints else "draft", '""').strip('"')
        verdict = random.choice(("yes", "yes", "yes", "no", "redo")) if world.faults else "yes"
        seen = f"{draft}!" if verdict == "yes" and not self.entrypoints and world.chance(0.2) else draft
        edits = {"draft": seen} if seen != draft else {}
        name = f"person-{len(self.answers)}"
        position = len(self.answers)
        self.answers.append((name, pause.token, "unknown"))

        def say() -> None:
            ask = self._ask(
                "resume",
                lambda engine: engine.resume(pause.token, Approval(verdict=verdict, by=name, seen=seen), by=name, edits=edits),
            )
            if ask is not None:
                ask.add_done_callback(noted)

        def noted(answer: Any) -> None:
            kind, result = answer.result()
            if kind == "refused" and not isinstance(result, AlreadyAnswered | Stale | NotWaiting):
                world.violate(f"an answer was refused: {type(result).__name__}: {result}")
            self.answers[position] = (name, pause.token, kind)

        world.loop.call_on(None, world.pick((0.0, 0.0, 0.01, 3.0, 40.0)), say)

    def _operate(self, row: Any) -> None:
        """Resolve an effect in doubt, or correct the cause and redrive the case."""
        world = self.world
        entries = [e for e in at_once(world.store.effects(row.id)) if e.status in {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}]
        if not entries:
            rejected = [e for e in at_once(world.store.effects(row.id)) if e.status is EffectStatus.FAILED]
            if rejected and world.loop.time() < world.intents[rejected[0].key] + CALL_SECONDS + LAG_SECONDS + 1.0:
                return  # an earlier call than the one that was refused may still be under way, and what is corrected would let it pass
            if rejected:
                self.provider.refused.clear()
                self._resolve(rejected[0], happened=False, outcome=None)
            else:
                self._ask("redrive", lambda engine: engine.redrive(row.id, by="operator", why="corrected"))
            return
        entry = entries[0]
        if world.loop.time() < world.intents[entry.key] + CALL_SECONDS + LAG_SECONDS + 1.0:
            return  # the call may still be under way
        acts = self.provider.acts[entry.key]
        self._resolve(entry, happened=bool(acts), outcome=acts[0][1] if acts else None)

    def _resolve(self, entry: Any, *, happened: bool, outcome: str | None) -> None:
        self._ask(
            "resolve",
            lambda engine: engine.resolve(
                entry.key, happened=happened, outcome=outcome, by="operator", why="asked them", expected_attempts=entry.attempts
            ),
        )

    # The count.

    def _count(self) -> None:
        world = self.world
        for complaint in world.loop.complaints:
            error = complaint.get("exception")
            if not isinstance(error, StoreError | EngineStopped | Refused):
                world.violate(f"nobody looked at {complaint['message']}: {error!r}")
        rows = {row.id: row for row in self.rows()}
        for key, numbers in self.started.items():
            if isinstance(key, tuple):
                continue
            if len(numbers) != 1 or not numbers <= rows.keys() or rows[min(numbers)].key != key:
                world.violate(f"lost: {key} was accepted as case {sorted(numbers)}")
        self._count_messages(rows)
        events: list[Any] = at_once(world.store.events_of([*rows]))
        for row in rows.values():
            self._count_case(row, [event for event in events if event.case == row.id])
            self._count_paid(row, [event for event in events if event.case == row.id])
        self._count_answers(events)

    def _count_messages(self, rows: dict[int, Any]) -> None:
        """Each message that was acknowledged has come to something, and each mail to one thing."""
        world = self.world
        messages = [row for row in all_messages(world.store) if row.name in {"mail", "note", "invocation"}]
        if len({(row.process, row.name, row.key) for row in messages}) < len(messages):
            world.violate("duplicated: a message was taken in twice")
        known = {(row.process, row.name, row.correlation, _number(row)): row for row in messages}
        for key in self.started:
            if isinstance(key, tuple) and key not in known:
                world.violate(f"lost: {key} was acknowledged, and is not there")
        for key, row in known.items():
            if row.status is MessageStatus.UNMATCHED:
                lost = [
                    one.id for one in rows.values() if one.correlation == row.correlation and world.begun[one.id] > world.unmatched[row.key]
                ]
                if lost:
                    world.violate(f"lost: {key} was there before case {lost[0]} began, and it did not get it")
            elif row.status not in {MessageStatus.TAKEN, MessageStatus.LOGGED, MessageStatus.PASSED}:
                world.violate(f"lost: {key} is {row.status} for case {row.case}")
        if self.entrypoints:
            bodies.count(world, self.provider, rows, messages)
            return
        for number, row in rows.items():
            fields = {field.field: json.loads(field.text) for field in at_once(world.store.fields(number))}
            taken = [json.loads(one.body)["number"] for one in messages if one.case == number and one.status is MessageStatus.TAKEN]
            if row.process == "ticket" and len(taken) != 1:
                world.violate(f"duplicated: case {number} has mails {taken}")
            if row.status is Status.DONE and "message" in fields:
                mails = [json.loads(one.body)["number"] for one in messages
                         if one.case == number and one.name == "mail" and one.status is MessageStatus.TAKEN]  # fmt: skip
                if mails and fields["message"]["number"] < max(mails):
                    world.violate(f"stale: case {number} ended with mail {fields['message']}, and took {mails}")
                notes = [_number(one) for one in messages
                         if one.case == number and one.name == "note" and one.status is MessageStatus.LOGGED]  # fmt: skip
                if sorted(notes) != sorted(note["number"] for note in fields.get("notes", ())):
                    world.violate(f"lost: case {number} took notes {notes}, and has {fields.get('notes')}")
            if row.outcome == "ordered" and fields["label"] != f"label of {fields['message']['thread']}.{fields['message']['number']}":
                world.violate(f"stale: case {number} ended with {fields}")

    def _count_case(self, row: Any, events: list[Any]) -> None:
        world, provider = self.world, self.provider
        fields = {field.field: field.text for field in at_once(world.store.fields(row.id))}
        kinds = [event.kind for event in events]
        if row.id in self.cancelled and row.status is not Status.CANCELLED:
            world.violate(f"lost: case {row.id} was cancelled, and is {row.status}")
        if kinds.count("finished") + kinds.count("cancelled") > 1:
            world.violate(f"duplicated: case {row.id} ended twice")
        for event in events:
            if event.kind == "parked" and not ALLOWED.search(event.facts):
                world.violate(f"stuck: case {row.id} was parked: {event.facts}")
        done = set()
        for entry in at_once(world.store.effects(row.id)):
            acts = provider.acts[entry.key]
            if entry.status is EffectStatus.DONE and not acts:
                world.violate(f"lost: {entry.effect} of case {row.id} is done, and nobody did it")
            if entry.status is EffectStatus.FAILED and acts and provider.policy[entry.key] != "again":
                world.violate(f"lost: {entry.effect} of case {row.id} is recorded as rejected, and was done")
            if entry.status == EffectStatus.NOT_SENT and acts:
                world.violate(f"lost: {entry.effect} of case {row.id} is recorded as not sent, and was done")
            if row.status is Status.DONE and entry.status in {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}:
                world.violate(f"lost: {entry.effect} of case {row.id} is {entry.status}, and the case has ended over it")
            done |= {receipt for _, receipt in acts}
        if row.process == "basket" and row.status is Status.DONE:
            self._count_basket(row)
        if row.outcome == "sent":
            for name in ("receipt", "booked"):
                if fields.get(name, "").strip('"') not in done:
                    world.violate(f"lost: case {row.id} has {name} {fields.get(name)}, which nobody gave")
            values = {name: json.loads(text) for name, text in fields.items()}
            mail = Mail.model_validate(values["message"])
            if not fits(mail, values["draft"], values["checked"]):
                world.violate(f"stale: case {row.id} ended with a draft of something else")
            if provider.contents.get(values["receipt"]) != (mail.id, values["draft"], values["approval"]["by"]):
                world.violate(f"stale: case {row.id} ended with the receipt for something else")
            if provider.contents.get(values["booked"]) != (values["receipt"],):
                world.violate(f"stale: case {row.id} ended with the booking of something else")

    def _count_basket(self, row: Any) -> None:
        world, contents = self.world, self.provider.contents
        fields = {field.field: json.loads(field.text) for field in at_once(world.store.fields(row.id))}
        lines, prices = fields["lines"], fields["prices"]
        if len(prices) != len(lines) or any(
            price != line * 10 and not isinstance(price, dict) for line, price in zip(lines, prices, strict=True)
        ):
            world.violate(f"lost: case {row.id} has lines {lines}, and prices {prices}")
        if fields["fast"] != f"fast for {row.key}" and fields["cheap"] != f"cheap for {row.key}":
            world.violate(f"lost: case {row.id} has no offer: {fields}")
        seats = world.store.rows("SELECT seat FROM seats WHERE who = ?", row.key)
        if seats != [(fields["seat"],)]:
            world.violate(f"duplicated: case {row.id} has seat {fields['seat']}, and its rows are {seats}")
        back = [receipt for receipt, content in contents.items() if content == ("back", fields["hotel"])]
        if len(back) != (row.outcome == "called off"):
            world.violate(f"lost: case {row.id} is {row.outcome}, and its room was given back {len(back)} times")

    def _count_paid(self, row: Any, events: list[Any]) -> None:
        """Each committed answer of a model is counted once, and what is asked next goes on from it: to its repair, or the next model."""
        numbers: list[int] = []
        rejected = None
        for event in events:
            facts = json.loads(event.facts)
            if event.kind == "redriven":
                rejected = None
            if "used" not in facts:
                continue
            number, repairs = map(int, facts["raw"].split())
            model = facts["used"]["model"]
            if rejected is not None and repairs != rejected[0] and model <= rejected[1]:
                self.world.violate(f"duplicated: case {row.id} was answered {rejected}, and asked again what led to that")
            rejected = (number, model) if event.kind == "guard.violated" else None
            numbers.append(number)
        usage = at_once(self.world.store.usage_of_case(row.id))
        counted = sum(used.answers for used in usage), sum(used.input_tokens for used in usage)
        if counted != (len(set(numbers)), sum(numbers)):
            self.world.violate(f"duplicated: case {row.id} has answers {numbers}, and is counted {counted}")

    def _count_answers(self, events: list[Any]) -> None:
        """Who was told that his answer counted is who is in the journal, and nobody else."""
        resumed = [event for event in events if event.kind == "resumed"]
        taken = [json.loads(event.facts)["by"] for event in resumed]
        if len(taken) != len(set(taken)):
            self.world.violate("duplicated: an answer was taken twice")
        winners: dict[str, set[str]] = defaultdict(set)
        for name, token, kind in self.answers:
            if kind == "ok" and name not in taken:
                self.world.violate(f"lost: the answer of {name} was acknowledged and not taken")
            if kind == "refused" and name in taken:
                self.world.violate(f"lost: {name} was told that the answer came too late, and it was taken")
            if name in taken:
                winners[token].add(name)
        for token, names in winners.items():
            if len(names) > 1:
                self.world.violate(f"duplicated: pause {token} was answered by {sorted(names)}")


def all_messages(store: Any) -> list[MessageRow]:
    """Every message, whatever has become of it."""
    columns = "id, process, name, key, correlation, case_id, status, body, at, tenant"
    rows = store.rows(f"SELECT {columns} FROM messages ORDER BY id")
    return [MessageRow(*row)._replace(status=MessageStatus(row[6])) for row in rows]


def _number(row: Any) -> int:
    """The number of a message; a note that was logged has no body any more, but its key says it."""
    if row.status is MessageStatus.LOGGED:
        return int(row.key.rpartition("/")[2])
    message = json.loads(row.body)
    return int(message.get("input", message)["number"])


def collect_seldom() -> None:
    """Let Python look for garbage after a few schedules: doing it all the time takes a sixth of the run."""
    gc.freeze()
    gc.set_threshold(GARBAGE_MAX)


def run(seed: int, *, entrypoints: bool = False, make_store: Callable[[World], Any] | None = None) -> Result:
    """Run one schedule of the processes with rules, or of the entrypoints; what the engines log of it, its journal tells as well.

    `make_store` makes the store that the engines share, if it is not one in memory.
    """
    LOG.disabled = True
    try:
        return Schedule(seed, entrypoints=entrypoints, make_store=make_store).run()
    finally:
        LOG.disabled = False
