"""Start cases: on request, for a message that no open case takes, or as a child."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from pointsman.definition.messages import Accept
from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.errors import EngineStopped, StoreError
from pointsman.kernel import happenings
from pointsman.kernel.codec import adapter_of, message_of
from pointsman.kernel.hiding import hiding, leaves
from pointsman.kernel.inputs import check_keys, input_cells
from pointsman.kernel.messages import accept_of, accepted, called_off, first_cells
from pointsman.kernel.rows import Address, MessageRow, MessageStatus, NewCase, Post
from pointsman.kernel.snapshot import Status
from pointsman.runtime.cases import Cases
from pointsman.runtime.clock import Clock
from pointsman.runtime.intake import Intakes
from pointsman.runtime.session import CaseSession
from pointsman.store.base import MessageStore, Posted

log = logging.getLogger("pointsman")

How = Literal["started", "delivered", "held", "unmatched", "duplicate"]


class Started(NamedTuple):
    """The result of a start: the case's number, and whether an earlier start with the same key had already created it."""

    case: int
    duplicate: bool


class Delivered(NamedTuple):
    """The result of a send: the case that the message started or was delivered to, or None, and what happened to the message.

    A "held" message waits until that case has ended. An "unmatched" one waits until a case with its correlation key starts. A "duplicate"
    had been sent before.
    """

    case: int | None
    how: How


class Starts:
    """Starts cases and delivers messages."""

    def __init__(self, store: MessageStore, cases: Cases, intakes: Intakes, clock: Clock) -> None:
        self._store = store
        self._cases = cases
        self._intakes = intakes
        self._clock = clock

    async def start(self, registered: AnyProcess, new: NewCase, state: State | Mapping[str, Any], *, bounded: bool = False) -> Started:
        """Start a case; see `Engine.start`.

        A `bounded` start is refused when the intake is full. A start that accepted work needs, such as a child's, is not bounded.
        """
        check_keys(key=new.key, correlation=new.correlation, tenant=new.tenant, priority=new.priority)
        came = happenings.StartAsked(new, input_cells(registered, state))
        known = await self._store.case_by_key(new.process, new.key, tenant=new.tenant) if new.key is not None else None
        if known is not None:
            return Started(known.id, duplicate=True)
        session = await self._cases.started(registered, came)
        with await self._intakes.enter(registered, new.tenant, bounded=bounded) as entry:
            if entry.busy is not None:
                raise entry.busy
            number = await self._cases.apply(session, came, drives=True)
            entry.started = number == session.case.row.id
        if new.correlation is not None:
            self._cases.scheduler.woken(self._clock.now())  # messages may be waiting for this correlation key
        return Started(number, duplicate=number != session.case.row.id)

    async def child(self, parent: CaseSession, process: str, inputs: Mapping[str, Any], key: str) -> int:
        """Start a child, or find the one that an earlier start with this key created.

        If that child is cancelled or is about to be, start another one.
        """
        first, number = key, 1
        row = parent.case.row
        while (known := await self._store.case_by_key(process, key, tenant=row.tenant)) is not None:
            pending = await self._store.messages(known.id)
            now = await self._store.case(known.id)  # it may have taken in its cancel before its messages were read
            if now is not None and now.status is not Status.CANCELLED and not called_off(pending):
                break
            number += 1
            key = f"{first}/{number}"
        registered = self._cases.process(process)
        started = await self.start(registered, NewCase(process, registered.version, key, row.tenant, row.priority, parent=row.id), inputs)
        return started.case

    async def send(self, process: str, message: object, *, name: str | None, key: str | None, tenant: str, priority: int) -> Delivered:
        """Deliver a message; see `Engine.send`."""
        registered = self._cases.process(process)
        accept, body, value, key, correlation = accepted(registered, message, name=name, key=key)
        check_keys(key=key, correlation=correlation, tenant=tenant, priority=priority)
        post = Post(Address(process, tenant, correlation), accept.name, key, body, self._clock.now(), accept.while_open)
        # A full intake refuses only what would start a case. It always takes duplicates and messages for open cases.
        with await self._intakes.enter(registered, tenant, bounded=accept.starts is not False) as entry:
            posted = await self._deliver(registered, accept, value, post, priority, full=entry.busy is not None)
            if posted is None:
                assert entry.busy is not None, "only a full intake refuses"
                raise entry.busy
            entry.started = posted.started
        return Delivered(posted.case, _how(posted))

    async def release_held(self) -> None:
        """Deliver the held messages whose cases have ended.

        A message that this engine's code cannot take stays held. `held()` lists it.
        """
        after = 0
        while held := await self._store.held(after=after, limit=100):
            after = held[-1].id
            for row in held:
                try:
                    await self._release(row)
                except (StoreError, EngineStopped):
                    raise
                except Exception as error:  # the code may no longer have its process or type, and the author's functions may raise anything
                    with hiding(partial(leaves, json.loads(row.body))):  # whether it is private, only its process could say
                        log.warning("message %d to %r stays held: %s", row.id, row.process, message_of(error))

    async def _release(self, row: MessageRow) -> None:
        registered = self._cases.process(row.process)
        accept = accept_of(registered, None, row.name)
        value = adapter_of(accept.message).validate_json(row.body)
        case = await self._cases.row(row.case or 0)
        post = Post(Address(row.process, row.tenant, row.correlation), row.name, row.key, row.body, self._clock.now(), "hold")
        await self._deliver(registered, accept, value, post, case.priority, released=row.id)

    async def _deliver(
        self, process: AnyProcess, accept: Accept, value: Any, post: Post, priority: int, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        if accept.starts is False:
            return await self._cases.apart(self._cases.deliver(post, released))
        new = NewCase(process.name, process.version, None, post.to.tenant, priority, post.to.correlation)
        came = happenings.StartAsked(new, first_cells(process, accept, value))
        return await self._cases.post(await self._cases.started(process, came), came, post, released, full=full)


def _how(posted: Posted) -> How:
    if posted.duplicate:
        return "duplicate"
    if posted.started:
        return "started"
    return {MessageStatus.HELD: "held", MessageStatus.UNMATCHED: "unmatched"}.get(posted.status, "delivered")  # type: ignore[return-value]
