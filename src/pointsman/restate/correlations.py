"""The virtual object of a correlation key: it knows the open case with that key, and keeps the messages that no case takes yet.

A message comes to the service first, which calls the author's functions: what is the correlation key, and with what would a case start. The object of
the key then sends the message to its open case, or starts one. A case that ends says so once, and sends back the messages that it has not taken in.
"""

import json
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from restate import Context, ObjectContext, RunOptions, Service, TerminalError, VirtualObject

from pointsman.client.restate_names import CORRELATION, SERVICE, fitting, key_of, place_of
from pointsman.errors import InputInvalid
from pointsman.kernel.inputs import check_keys
from pointsman.kernel.messages import accepted, first_cells
from pointsman.kernel.rows import Address, Post
from pointsman.restate.journal import RETRIES, Json, attempt, refusal
from pointsman.restate.record import Message, Refusing, Start
from pointsman.restate.work import Work
from pointsman.store.blob_folder import check_blobs

log = logging.getLogger("pointsman")

SEEN_MAX = 1_000  # keys of messages that a correlation key remembers: far more than a sender repeats


@dataclass(slots=True)
class Known:
    """What the object of a correlation key knows: its `open` case, the messages that came `early` or are `held`, and the keys of those that came."""

    open: int | None = None
    early: list[Message] = field(default_factory=list)
    held: list[Message] = field(default_factory=list)
    seen: dict[str, int | None] = field(default_factory=dict)


_ROUTED, _KNOWN, _MESSAGE = Json(tuple[tuple[str, Message] | None, Refusing | None]), Json(Known), Json(Message)


class Correlations:
    """The handlers of the service and of the object of a correlation key. `start` and `deliver` are handlers of a case."""

    def __init__(self, work: Work, start: Any, deliver: Any) -> None:
        self._work, self._start, self._deliver = work, start, deliver
        self.service = Service(SERVICE, "The messages of Pointsman.", invocation_retry_policy=RETRIES)
        self.object = VirtualObject(CORRELATION, "A correlation key of Pointsman.", ingress_private=True, invocation_retry_policy=RETRIES)
        self.service.handler("send")(self.send)
        self._take = self.object.handler("take")(self.take)
        self.leaves = self.object.handler("left")(self.left)

    async def send(self, ctx: Context, asked: dict[str, Any]) -> Any:
        """Deliver a message to the open case with its correlation key, or start a case with it."""
        routed, refused = await ctx.run_typed("route", partial(attempt, partial(self._routed, asked)), RunOptions(_ROUTED))
        if routed is None:
            assert refused is not None
            raise refusal(refused)
        return await ctx.object_call(self._take, routed[0], _MESSAGE.plain(routed[1]))

    async def _routed(self, asked: dict[str, Any]) -> tuple[str, Message]:
        """A message and the key of the object of its correlation key."""
        process = self._work.registry.for_start(fitting("send", asked)["process"])
        accept, body, value, key, correlation = accepted(process, asked["message"], name=asked.get("name"), key=asked.get("key"))
        tenant, priority = asked.get("tenant") or "", asked.get("priority", 0)
        check_keys(key=key, correlation=correlation, tenant=tenant, priority=priority)
        cells = None if accept.starts is False else first_cells(process, accept, value)
        texts = None if cells is None else {name: cell.text for name, cell in cells.items()}
        await check_blobs(self._work.blobs, (value, [] if cells is None else [cell.value for cell in cells.values()]), InputInvalid)
        post = Post(Address(process.name, tenant, correlation), accept.name, key, body, self._work.clock.now(), accept.while_open)
        alone = key or f"{self._work.random.getrandbits(128):x}"
        return place_of(process.name, tenant, correlation, alone), Message(post, texts=texts, priority=priority)

    async def take(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Take a message, once."""
        known, message = await self._known(ctx), _MESSAGE.of(asked)
        key = message.post.key
        name = json.dumps((message.post.name, key))
        if key is not None and name in known.seen:
            return {"case": known.seen[name], "how": "duplicate"}
        case, how = await self._taken(ctx, known, message)
        if key is not None:
            known.seen[name] = case
            while len(known.seen) > SEEN_MAX:
                known.seen.pop(next(iter(known.seen)))
        ctx.set("known", known, _KNOWN)
        return {"case": case, "how": how}

    async def left(self, ctx: ObjectContext, asked: dict[str, Any]) -> None:
        """Note that a case has ended, and take back what it did not take in. The first message that was held for that starts the next case.

        A message that the code cannot take any more stays held.
        """
        known = await self._known(ctx)
        if known.open == asked["case"]:
            known.open = None
        back, known.held = [*map(_MESSAGE.of, asked["messages"]), *known.held], []
        for message in back:
            try:
                await self._taken(ctx, known, message)
            except TerminalError as refused:
                # What is refused may be a private value.
                log.warning("a message to %r stays held (%s)", message.post.to.process, refused.message.partition(":")[0])
                known.held.append(message)
        ctx.set("known", known, _KNOWN)

    async def _taken(self, ctx: ObjectContext, known: Known, message: Message) -> tuple[int | None, str]:
        """Send a message to the open case, keep it, or start a case with it."""
        if known.open is not None and message.post.while_open != "new_case":
            if message.post.while_open == "hold":
                known.held.append(message)
                return known.open, "held"
            self._send(ctx, known.open, message)
            return known.open, "delivered"
        if message.texts is None:
            known.early.append(message)
            return None, "unmatched"
        case = await self._started(ctx, message)
        if message.post.to.correlation is not None:
            known.open = case
            for early in known.early:
                self._send(ctx, case, early)
            known.early = []
        return case, "started"

    async def _started(self, ctx: ObjectContext, message: Message) -> int:
        process, tenant, correlation, _ = message.post.to
        asked = Start(str(ctx.uuid()), texts=message.texts, tenant=tenant, priority=message.priority, correlation=correlation)
        return (await asked.begin(ctx, self._start, process))[0]

    def _send(self, ctx: ObjectContext, case: int, message: Message) -> None:
        ctx.object_send(self._deliver, key_of(message.post.to.process, case), _MESSAGE.plain(message))

    async def _known(self, ctx: ObjectContext) -> Known:
        return await ctx.get("known", _KNOWN) or Known()
