"""The virtual object of a correlation key: it knows the open cases with that key, and keeps the messages that no case takes yet.

A message comes to the service first, which calls the author's functions: what is the correlation key, and with what would a case start. The object of
the key then sends the message to the open case that started last, or starts one. A start with a correlation key comes to its object, too. A case that
ends says so once, and sends back the messages that it has not taken in.
"""

import json
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from restate import Context, ObjectContext, RunOptions, Service, TerminalError, VirtualObject

from pointsman.client.restate_names import CORRELATION, SERVICE, START_HERE, key_of, place_of
from pointsman.client.restate_requests import Message, Refusing, Start, fitting
from pointsman.errors import InputInvalid
from pointsman.kernel.inputs import check_keys
from pointsman.kernel.messages import accepted, first_cells
from pointsman.kernel.rows import Address, Post
from pointsman.restate.journal import RETRIES, Json, attempt, refusal
from pointsman.restate.record import begin
from pointsman.restate.work import Work
from pointsman.store.blob_folder import check_blobs

log = logging.getLogger("pointsman")

SEEN_MAX = 1_000  # keys of messages that a correlation key remembers: far more than a sender repeats


@dataclass(slots=True)
class Known:
    """What the object of a correlation key knows.

    `open` has its open cases by what their numbers were computed from, in the order of their starts. Messages came `early` or are `held`.
    `seen` has the keys of those that came, with their cases.
    """

    open: dict[str, int] = field(default_factory=dict)
    early: list[Message] = field(default_factory=list)
    held: list[Message] = field(default_factory=list)
    seen: dict[str, int | None] = field(default_factory=dict)

    def see(self, post: Post, case: int | None) -> None:
        """Remember which case a message with a key came to."""
        if post.key is not None:
            self.seen[_name(post)] = case
        while len(self.seen) > SEEN_MAX:
            self.seen.pop(next(iter(self.seen)))


_ROUTED, _KNOWN, _MESSAGE = Json(tuple[tuple[str, Message] | None, Refusing | None]), Json(Known), Json(Message)
_START = Json(tuple[str, Start])


class Correlations:
    """The handlers of the service and of the object of a correlation key. `start` and `deliver` are handlers of a case."""

    def __init__(self, work: Work, start: Any, deliver: Any) -> None:
        self._work, self._start, self._deliver = work, start, deliver
        self.service = Service(SERVICE, "The messages of Pointsman.", invocation_retry_policy=RETRIES)
        self.object = VirtualObject(CORRELATION, "A correlation key of Pointsman.", invocation_retry_policy=RETRIES)
        self.service.handler("send")(self.send)
        self.object.handler(START_HERE)(self.start_here)
        self._take = self.object.handler("take", ingress_private=True)(self.take)
        self.leaves = self.object.handler("left", ingress_private=True)(self.left)

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
        tenant, priority = "" if asked.get("tenant") is None else asked["tenant"], asked.get("priority", 0)
        check_keys(key=key, correlation=correlation, tenant=tenant, priority=priority)
        cells = {} if accept.starts is False else first_cells(process, accept, value)
        await check_blobs(self._work.blobs, (value, [cell.value for cell in cells.values()]), InputInvalid)
        seed, texts = f"{self._work.random.getrandbits(128):x}", {name: cell.text for name, cell in cells.items()}
        start = Start(seed, texts=texts, tenant=tenant, priority=priority, correlation=correlation)
        post = Post(Address(process.name, tenant, correlation), accept.name, key, body, self._work.clock.now(), accept.while_open)
        return place_of(process.name, tenant, correlation, key or seed), Message(post, start=None if accept.starts is False else start)

    async def start_here(self, ctx: ObjectContext, asked: Any) -> dict[str, Any]:
        """Start a case that messages with this key find, or find the case of its start key."""
        known, (process, wanted) = await ctx.get("known", _KNOWN) or Known(), _START.of(asked)
        if place_of(process, wanted.tenant, wanted.correlation) != ctx.key():  # the end of the case would be told elsewhere
            raise refusal(Refusing("InputInvalid", "this object is that of another correlation key; start the case with RestateClient."))
        if wanted.seed in known.open:  # asking the case would hold up the messages while it takes a step
            return {"case": known.open[wanted.seed], "duplicate": True}
        case, answer = await self._started(ctx, known, process, wanted)
        ctx.set("known", known, _KNOWN)
        return {"case": case, "duplicate": answer.get("duplicate", False)}

    async def take(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Take a message, once."""
        known, message = await ctx.get("known", _KNOWN) or Known(), _MESSAGE.of(asked)
        if (name := _name(message.post)) in known.seen:
            return {"case": known.seen[name], "how": "duplicate"}
        case, how = await self._taken(ctx, known, message)
        ctx.set("known", known, _KNOWN)
        return {"case": case, "how": how}

    async def left(self, ctx: ObjectContext, asked: dict[str, Any]) -> None:
        """Note that a case has ended, and take back what it did not take in. The first message that was held for that starts the next case.

        A message that the code cannot take any more stays held.
        """
        known = await ctx.get("known", _KNOWN) or Known()
        known.open = {seed: case for seed, case in known.open.items() if case != asked["case"]}
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
        """Send a message to the open case that started last, keep it, or start a case with it."""
        process, way = message.post.to.process, message.post.while_open
        case, how = next(reversed(known.open.values()), None), "unmatched"
        if case is not None and way == "hold":
            known.held.append(message)
            how = "held"
        elif case is not None and way != "new_case":
            ctx.object_send(self._deliver, key_of(process, case), _MESSAGE.plain(message))
            how = "delivered"
        elif message.start is not None:
            (case, _), how = await self._started(ctx, known, process, message.start), "started"
        else:
            known.early.append(message)
            case = None
        known.see(message.post, case)
        return case, how

    async def _started(self, ctx: ObjectContext, known: Known, process: str, asked: Start) -> tuple[int, dict[str, Any]]:
        """Start a case, or find it. If it is open, it gets the messages that came early, and those that come now.

        A case that has ended at its start took none of them.
        """
        case, answer = await begin(ctx, self._start, process, asked._replace(early=known.early))
        if asked.correlation is not None and answer.get("open", answer.get("taken", True)):
            known.open[asked.seed], came, known.early = case, known.early, []
            for message in came:
                known.see(message.post, case)
                if "open" in answer:  # it had started before, and did not take them
                    ctx.object_send(self._deliver, key_of(process, case), _MESSAGE.plain(message))
        return case, answer


def _name(post: Post) -> str:
    """The name under which a message with a key is remembered."""
    return json.dumps((post.name, post.key))
