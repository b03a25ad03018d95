"""Virtual objects in memory, as a Restate server runs them: one invocation at a time, with a journal that outlives the death of the program.

A journal checks that each run of an invocation asks for the same entries in the same order. `dies_at` is the moment, counted over all invocations, at
which the program dies once: before the journal has an entry, or before it has what the entry brought. With `dies="server"`, the server does,
and with "invocation", somebody kills that. What an entry brings takes so many `rounds` of the event loop.
`longest` is the length of the longest journal, and `calls` counts those of each handler.
"""

import asyncio
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import httpx
from restate import TerminalError
from restate.server_context import restate_context_is_replaying

from pointsman.restate import RestateClient
from pointsman.restate.objects import objects
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock

SERVED: list[Work] = []
"""What has been served, until the end of the test."""


DEATHS_MAX = 100


class Died(BaseException):
    """The program died."""


class Away(BaseException):
    """The server died."""


class Elsewhere(BaseException):
    """The connection is lost, with the newest entry, and the server calls the other program."""


class Killed(TerminalError):
    """Somebody has killed the invocation."""

    def __init__(self) -> None:
        super().__init__("killed", 409)


class Journal:
    """The context of one invocation."""

    def __init__(self, world: "Objects", key: str) -> None:
        self._world, self._key = world, key
        self._kept: list[tuple[str, Any]] = []
        self._place = 0
        self._uuid = UUID(int=world.entries)

    def again(self) -> None:
        self._place = 0

    def request(self) -> Any:
        return SimpleNamespace(id=str(self._uuid))

    def key(self) -> str:
        return self._key

    def uuid(self) -> UUID:
        return self._uuid

    async def get(self, name: str, serde: Any) -> Any:
        async def stored() -> bytes:
            return self._world.states[self._key].get(name, b"")

        return serde.deserialize(await self._entry(f"get {name}", stored))

    async def state_keys(self) -> list[str]:
        return [*self._world.states[self._key]]

    def set(self, name: str, value: Any, serde: Any) -> None:
        if self._asks(f"set {name}"):
            self._world.states[self._key][name] = serde.serialize(value)

    def object_send(self, handler: Any, key: str, arg: Any, send_delay: Any = None) -> None:
        if self._asks(f"send {handler.__name__}"):
            self._world.send(handler.__name__, key, arg, 0.0 if send_delay is None else send_delay.total_seconds())

    async def object_call(self, handler: Any, key: str, arg: Any) -> Any:
        async def called() -> Any:
            told.append(await self._world.call(handler.__name__, key, arg))
            return told[0]

        place, told = self._place, list[Any]()
        try:
            return await self._entry(what := f"call {handler.__name__} {key}", called)
        finally:
            if told:  # the server has the answer, even if the caller has died
                self._kept[place] = (what, told[0])

    async def run_typed(self, name: str, action: Any, options: Any) -> Any:
        async def run() -> bytes:
            return options.serde.serialize(await action())

        return options.serde.deserialize(await self._entry(f"run {name}", run))

    async def _entry(self, what: str, make: Any) -> Any:
        """What an entry brought. The journal has the entry before it has that."""
        self._asks(what)
        place = self._place - 1
        if self._kept[place][1] is None:
            value = await make()
            for _ in range(self._world.rounds):
                await asyncio.sleep(0)
            try:
                self._world.passes()
            except Elsewhere:
                self._kept.pop()
                raise
            self._kept[place] = (what, value)
        return self._kept[place][1]

    def _asks(self, what: str) -> bool:
        """Ask for the next entry. Return whether it is new."""
        new = self._place == len(self._kept)
        if new:
            self._world.passes()
            self._kept.append((what, None))
            self._world.longest = max(self._world.longest, len(self._kept))
        kept = self._kept[self._place][0]
        assert kept == what, f"the journal has {kept!r} where the code asks for {what!r}"
        self._place += 1
        restate_context_is_replaying.set(self._place < len(self._kept))
        return new


class Objects:
    """All objects, and their time. The server's clock is `ahead` of the program's by so many seconds, so delays end earlier.

    There are two programs. The server goes from one to the `other` at the moments `elsewhere`, at which it has not got the newest entry.
    """

    def __init__(
        self, clock: ManualClock, *, dies_at: int = 0, dies: str = "program", elsewhere: Collection[int] = (), ahead: float = 0.0, rounds: int = 0
    ) -> None:  # fmt: skip
        self.clock = clock
        self.rounds = rounds
        self.ahead = ahead
        self.dies_at = dies_at
        self.elsewhere = elsewhere
        self._death = {"program": Died, "server": Away, "invocation": Killed}[dies]
        self.entries = self.longest = self.deaths = 0
        self.calls: Counter[str] = Counter()
        self.states: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._handlers: dict[str, Any] = {}
        self._due: list[tuple[float, int, str, str, Any]] = []
        self._sent = 0

    def serve(self, work: Work) -> None:
        """Have the handlers of its objects called from now on; each has a name of its own."""
        SERVED.append(work)
        self._work = work
        self._begin()

    def _begin(self) -> None:
        """Let the program begin, which knows nothing of an earlier one."""
        self._handlers, self._other = self._program(), self._program()

    def _program(self) -> dict[str, Any]:
        return {name: handler.fn for one in objects(self._work) for name, handler in one.handlers.items()}

    def passes(self) -> None:
        """Count an entry of a journal, or die at it."""
        self.entries += 1
        if self.entries == self.dies_at:
            raise self._death
        if self.entries in self.elsewhere:
            raise Elsewhere

    def send(self, handler: str, key: str, arg: Any, seconds: float) -> None:
        self._sent += 1
        heapq.heappush(
            self._due, (self.clock.now() + max(0.0, seconds - self.ahead), self._sent, handler, key, json.loads(json.dumps(arg)))
        )

    async def call(self, handler: str, key: str, arg: Any = None) -> Any:
        """Call a handler, again after each death of the program. Raises TerminalError."""
        journal = Journal(self, key)
        self.calls[handler] += 1
        sent = [] if arg is None else [arg if isinstance(arg, bytes) else json.dumps(arg)]
        while True:
            journal.again()
            function = self._handlers[handler]
            try:
                return await function(journal, *(one if isinstance(one, bytes) else json.loads(one) for one in sent))
            except Elsewhere:
                self._handlers, self._other = self._other, self._handlers
            except (Died, Away) as death:
                self.deaths += 1
                assert self.deaths < DEATHS_MAX, "the program dies again and again"
                if isinstance(death, Died):
                    self._begin()
                await asyncio.sleep(0)

    async def work_once(self) -> None:
        """Let time pass to what is due next, and do that."""
        at, _, handler, key, arg = heapq.heappop(self._due)
        self.clock.advance(max(0.0, at - self.clock.now()))
        try:
            await self.call(handler, key, arg)
        except Killed:
            self.deaths += 1
        except TerminalError as refused:
            raise AssertionError(f"{handler} was refused: {refused}") from None

    async def work(self, *, until: float = float("inf")) -> None:
        """Do what is due, and let time pass to what is due later, up to a time."""
        while self._due and self._due[0][0] <= until:
            await self.work_once()
        if until != float("inf"):
            self.clock.advance(max(0.0, until - self.clock.now()))


def client_of(objects: Objects) -> RestateClient:
    """A client of the handlers of these objects."""

    async def answer(request: httpx.Request) -> httpx.Response:
        *_, key, handler = unquote(request.url.path).split("/")
        try:
            told = await objects.call(handler, key, json.loads(request.content) if request.content else None)
        except TerminalError as refused:
            return httpx.Response(refused.status_code, json={"message": refused.message, "metadata": refused.metadata or {}})
        return httpx.Response(200, json=told)

    return client_that(answer)


def client_that(answers: Callable[[httpx.Request], Any]) -> RestateClient:
    """A client of a server that answers so."""
    client = RestateClient("http://restate.test")
    client._http = httpx.AsyncClient(transport=httpx.MockTransport(answers), base_url="http://restate.test")
    return client


def raises(error: Exception) -> Callable[[httpx.Request], Any]:
    """An answer that does not come."""

    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer
