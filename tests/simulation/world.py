"""The world around the simulated engines: the wire to their store, a provider that acts late, steps that fail, and chance."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from random import Random
from typing import Any

from pointsman import ABSENT, UNKNOWN, Context, Found, ModelResponse, NotSent, Rejected, StoreError, Usage
from pointsman.kernel.effects import KEY_LENGTH
from pointsman.kernel.rows import Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.memory import MemoryStore
from pointsman.testing.loop import Host, SimulatedLoop, current_host

LEASE_SECONDS = 30.0
WORK_SECONDS = 8.0  # what a caller waits for a source
PROVIDER_CALLS, SOURCE_CALLS = 2, 2  # at a time, for all engines together
CALL_SECONDS = 10.0  # what a caller waits for the provider
LAG_SECONDS = 25.0  # how late the provider may act on a call that it was sent
SETTLE_SECONDS = 35.0  # more than the lag, by more than two engines' clocks may differ
KEY_TTL_SECONDS = 120.0  # what the processes believe; the provider remembers for as long after its last possible act
DEADLINE_SECONDS, NAP_SECONDS = 90.0, 7.0
READING_SECONDS = 2.0  # what two engines' readings of one clock may differ by
LAGS = (0.0, 0.001, 0.02, 0.3, 3.0, CALL_SECONDS + 1, LAG_SECONDS)
DELAYS = (0.0, 0.0, 0.0, 0.001, 0.004, 0.02, 0.4)
NEVER_ARRIVED, NOBODY_CAN_TELL = "simulated: it never arrived", "simulated: nobody can tell"


class World:
    """What all parts of one schedule share. With `faults` off everything is prompt and truthful."""

    def __init__(self, seed: int, make_store: Callable[["World"], Any] | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = SimulatedLoop(Random(seed + 1))
        self.faults = True
        # One engine on a file of its own; else several on a store that they share.
        self.embedded = make_store is None and seed % 4 == 0
        self.store_ahead = 0.0
        self.set_ahead = 0.0  # by how much the clock that counts jumped ahead in all: a time comes so much earlier by that
        self.set_back = 0.0  # by how much the clock that counts was set back in all: a key looks younger by that
        self.violations: list[str] = []
        self.calls: dict[str, dict[int, float]] = defaultdict(dict)
        self.numbers = count()
        self.begun: dict[int, float] = {}  # when a case was started
        self.unmatched: dict[str | None, float] = {}  # when a message came that was nobody's
        self.opened: dict[int, float] = {}  # when the last pause of a case was opened
        self.intents: dict[str, float] = {}  # when the last intent of a key was committed
        self.store = (make_store or InMemory)(self)

    def store_time(self) -> float:
        return 1_000_000.0 + self.loop.time() + self.store_ahead

    def clock_jumped(self, seconds: float) -> None:
        """Note how wrong the clock that counts has become."""
        self.set_ahead += max(seconds, 0.0)
        self.set_back -= min(seconds, 0.0)

    def chance(self, probability: float) -> bool:
        return self.faults and self.random.random() < probability

    def pick(self, choices: tuple[float, ...]) -> float:
        return choices[int(self.random.random() * len(choices))] if self.faults else choices[0]

    @contextmanager
    def under_way(self, name: str, most: int, seconds: float) -> Iterator[None]:
        """A call that a limit counts: until it ends, or until its caller, who may be dead by then, would have given it up."""
        now, calls = self.loop.time(), self.calls[name]
        call = next(self.numbers)
        for ended in [one for one, until in calls.items() if until <= now]:
            del calls[ended]
        calls[call] = now + seconds
        if len(calls) > most:
            self.violate(f"over: {len(calls)} calls of {name} at a time, where {most} are allowed")
        try:
            yield
        finally:
            calls.pop(call, None)

    def violate(self, what: str) -> None:
        self.violations.append(f"{what} (at {self.loop.time():.3f})")


class InMemory(MemoryStore):
    """The store of a schedule in memory. The tests read it; an engine gets a wire to a handle of its own."""

    def __init__(self, world: World) -> None:
        leases = None if world.embedded else LEASE_SECONDS
        super().__init__(lease_seconds=leases, now=world.store_time, incarnation=f"seed-{world.seed}")
        self._world = world

    def engines(self, random: Random) -> int:
        """How many engines share the store."""
        return 1 if self._world.embedded else random.choice((2, 2, 3))

    def connect(self, host: Host) -> "Wire":
        """Open the store for an engine that begins."""
        handle = self.beside()
        if self._world.embedded:
            handle.recover(now=self._world.store_time())
        return Wire(self._world, host, handle)

    def written(self) -> int:
        """A number that is another one whenever something was written."""
        return self.core.connection.total_changes

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement of a test reads."""
        return self.core.connection.execute(statement, parameters).fetchall()


class Wire:
    """A store as one engine sees it over a network: slow, and at times it does not answer whether a commit succeeded.

    What was sent arrives although the sender may be dead by then; on a file of its own it does not.
    """

    def __init__(self, world: World, host: Host, store: Any) -> None:
        self._world, self._host, self._store = world, host, store
        self.incarnation, self.lease_seconds, self.clock_high_water = store.incarnation, store.lease_seconds, store.clock_high_water
        self.closing, self.notifications = store.closing, store.notifications
        self.reader = self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        async def asked(*args: Any, **settings: Any) -> Any:
            loop = self._world.loop
            answer = loop.create_future()
            loop.call_on(None, self._world.pick(DELAYS), self._arrive, answer, name, method, args, settings)
            return await answer

        self.__dict__[name] = asked
        return asked

    def _arrive(self, answer: Any, name: str, method: Callable[..., Any], args: Any, settings: Any) -> None:
        world = self._world
        if world.embedded and not self._host.alive:
            return
        fate = self._fate(name)
        result = None if fate == NEVER_ARRIVED else self._carry_out(name, method, args, settings)
        self._answer(answer, StoreError(fate) if fate else result)

    def _fate(self, name: str) -> str:
        """Why the engine gets no answer, if the wire fails; else nothing."""
        world = self._world
        if name not in {"commit", "transact", "claim", "release", "renew", "post"} or not world.chance(0.006):
            return ""
        return NEVER_ARRIVED if world.random.random() < 0.5 else NOBODY_CAN_TELL

    def _carry_out(self, name: str, method: Callable[..., Any], args: Any, settings: Any) -> Any:
        """Do what was asked for, and note what it has committed. Return the answer or the exception."""
        world, made = self._world, list[Transition]()
        if name == "transact":
            args = (lambda rows, work=args[0]: made.append(work(rows)) or made[-1],)
        try:
            result = at_once(method(*args, **settings))
            if name == "commit" and result == args[0].case:
                self._committed(args[0])
            elif name == "post" and result is not None and result.started:
                self._committed(args[1])
            elif name == "post" and result is not None and result.case is None:
                world.unmatched.setdefault(args[0].key, world.loop.time())
            elif made:
                self._committed(made[-1])
        except Exception as error:
            return error
        return result

    def _answer(self, answer: Any, result: Any) -> None:
        self._world.loop.call_on(self._host, self._world.pick(DELAYS), settle, answer, result)

    def _committed(self, t: Transition) -> None:
        world, now = self._world, self._world.loop.time()
        if t.new is not None:
            world.begun[t.case] = now
        if t.intent is not None:
            world.intents[t.intent.key] = now
            if t.status is not Status.RUNNING:
                world.violate(f"stuck: an intent of case {t.case}, which is {t.status}")
            standing = next((field.text for field in at_once(self._store.fields(t.case)) if field.field == "message"), "{}")
            mails = [message.body for message in at_once(self._store.messages(t.case)) if message.name == "mail"]
            if any(json.loads(mail)["number"] > json.loads(standing)["number"] for mail in mails):
                world.violate(f"stale: an intent of case {t.case}, for which there is a newer mail")
        for event in t.events:
            early = {"reminded": 20.0, "deadline.passed": DEADLINE_SECONDS, "woken": NAP_SECONDS}.get(event.kind)
            if early is not None and now < world.opened[t.case] + early - READING_SECONDS - world.set_ahead:
                world.violate(f"stale: {event.kind} of case {t.case} came after {now - world.opened[t.case]:.1f} seconds")
        if t.pause is not None:
            world.opened[t.case] = now


class Provider:
    """Somebody outside who acts on what he is sent: late, twice where a key does not keep him from it, or not at all."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acts: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self.known: dict[str, tuple[float, str]] = {}  # what was done last under a key
        self.policy: dict[str, str] = {}
        self.contents: dict[str, tuple[str, ...]] = {}  # what was done, by the receipt for it
        self.refused: set[str] = set()
        self.calls = 0

    async def call(self, ctx: Context, policy: str, content: tuple[str, ...], *, stale: bool, limited: bool = True) -> str:
        world, key = self.world, ctx.key
        self.calls += 1
        row = at_once(world.store.case(ctx.case))
        if row.status is not Status.RUNNING:
            world.violate(f"stale: case {row.id} is {row.status}, and {content} was asked for")
        if stale:
            world.violate(f"stale: {content} was acted on")
        if key[:KEY_LENGTH] not in world.intents:
            world.violate(f"a call without an intent: {content}")
        if world.chance(0.05):
            raise NotSent("simulated: connection refused", retry_after=world.pick((0.0, 3.0)))
        answer = world.loop.create_future()
        world.loop.call_on(None, world.pick(LAGS), self._arrive, key, policy, content, answer, current_host())
        with world.under_way("provider", PROVIDER_CALLS, CALL_SECONDS) if limited else nullcontext():
            result: str = await answer
        return result

    def _arrive(self, key: str, policy: str, content: tuple[str, ...], answer: Any, caller: Host) -> None:
        world, acts = self.world, self.acts[key[:KEY_LENGTH]]
        self.policy[key[:KEY_LENGTH]] = policy
        remembers = KEY_TTL_SECONDS + CALL_SECONDS + LAG_SECONDS + world.set_back
        if policy == "idempotent" and key in self.known and world.loop.time() < self.known[key][0] + remembers:
            result: Any = self.known[key][1]
        elif key in self.refused or (not acts and world.chance(0.03)):
            self.refused.add(key)
            result = Rejected("simulated: refused")
        elif world.chance(0.05):
            result = ConnectionError("simulated: nothing was done")
        else:
            acts.append((world.loop.time(), f"receipt {len(acts) + 1} of {key[:6]}"))
            result = acts[-1][1]
            self.known[key] = acts[-1]
            self.contents[result] = content
            if len(acts) > 1 and policy != "again":
                world.violate(f"duplicated: {policy} acted {len(acts)} times")
            if world.chance(0.08):
                result = ConnectionError("simulated: done, but nobody was told")
        world.loop.call_on(caller, world.pick(DELAYS), settle, answer, result)

    async def look_up(self, key: str) -> Any:
        world = self.world
        answer = world.loop.create_future()
        world.loop.call_on(None, world.pick(DELAYS), self._look, key, answer, current_host())
        return await answer

    def _look(self, key: str, answer: Any, caller: Host) -> None:
        world = self.world
        result: Any = Found(self.known[key][1]) if key in self.known else ABSENT
        if world.chance(0.05):
            result = UNKNOWN
        if world.chance(0.05):
            result = ConnectionError("simulated: no look-up now")
        world.loop.call_on(caller, world.pick(DELAYS), settle, answer, result)


class Unreliable:
    """What a node waits for."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def work(self, *, limited: bool = False) -> None:
        world = self.world
        answer = world.loop.create_future()
        result = ConnectionError("simulated: no answer") if world.chance(0.06) else None
        world.loop.call_on(current_host(), world.pick((0.0, 0.01, 0.5, 9.0)), settle, answer, result)
        with world.under_way("sources", SOURCE_CALLS, WORK_SECONDS) if limited else nullcontext():
            await answer


class Oracle:
    """A model outside: it numbers its answers, which are paid for, says which one each repairs, and is wrong at times."""

    def __init__(self, world: World, unreliable: Unreliable) -> None:
        self.world = world
        self.unreliable = unreliable
        self.numbers = count(1)

    async def answer(self, ctx: Context, right: str) -> ModelResponse[str]:
        await self.unreliable.work()
        number = next(self.numbers)
        said = "nonsense" if self.world.chance(0.5) else right
        repairs = ctx.rejected.partition(" ")[0] or "0"
        return ModelResponse(said, f"model {ctx.model}", f"{number} {repairs}", Usage(input_tokens=number))


def settle(answer: Any, result: Any) -> None:
    """Give an answer to whoever still waits for it."""
    if not answer.done():
        if isinstance(result, BaseException):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def at_once(work: Any) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")
