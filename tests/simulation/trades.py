"""The processes that the simulation runs: each step of the repertoire, and two effects of different policies in a row."""

from typing import Any, Literal

from pydantic import BaseModel
from world import CALL_SECONDS, KEY_TTL_SECONDS, SETTLE_SECONDS, Provider, Unreliable

from pointsman import (
    AtLeastOnce,
    AtMostOnce,
    Context,
    Failure,
    Idempotent,
    Peek,
    Process,
    Reconcile,
    Retry,
    Safety,
    State,
    finish,
    otherwise,
    parallel,
    when,
)


class Approval(BaseModel):
    """A person's word on what was shown: `seen` is the draft that they read."""

    verdict: Literal["yes", "no", "redo"]
    by: str
    seen: str


class Trade(State):
    message: str
    left: str | None = None
    right: str | Failure | None = None
    draft: str | None = None
    checked: str | None = None
    approval: Approval | None = None
    receipt: str | None = None
    booked: str | None = None


async def ask_provider(*, ctx: Context, provider: Provider) -> Any:
    return await provider.look_up(ctx.key)


def policies() -> dict[str, Safety]:
    return {
        "idempotent": Idempotent(key_ttl_seconds=KEY_TTL_SECONDS),
        "reconcile": Reconcile(ask_provider, SETTLE_SECONDS),
        "once": AtMostOnce(),
        "again": AtLeastOnce(because="the simulation counts it"),
    }


def trade(first: str, second: str) -> Process[Trade]:
    process = Process(f"trade-{first}", Trade, steps_max=200)
    retry = Retry(attempts_max=4, first_seconds=1.0)

    @process.node(writes="left", retry=retry, timeout_seconds=8.0)
    async def find_left(message: str, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"left of {message}"

    @process.node(writes="right", retry=Retry(attempts_max=2), on_failure="record", timeout_seconds=8.0)
    async def find_right(message: str, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"right of {message}"

    @process.node(writes="draft", retry=retry)
    async def write(message: str, left: str, right: str | Failure, *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"{message}/"

    @process.node(writes="draft", retry=retry)
    async def rewrite(message: str, draft: Peek[str], approval: Peek[Approval], *, unreliable: Unreliable) -> str:
        await unreliable.work()
        return f"{message}/{draft.split('/')[1]}+"

    @process.node(writes="checked", retry=retry)
    async def check(draft: str, *, unreliable: Unreliable) -> str:
        return f"checked {draft}"

    @process.effect(writes="receipt", safety=policies()[first], timeout_seconds=CALL_SECONDS, retry=retry)
    async def send(message: str, draft: str, checked: str, approval: Approval, *, ctx: Context, provider: Provider) -> str:
        stale = not fits(message, draft, checked) or approval.seen != draft or approval.verdict != "yes"
        return await provider.call(ctx.key, first, (draft, approval.by), stale=stale)

    @process.effect(writes="booked", safety=policies()[second], timeout_seconds=CALL_SECONDS, retry=retry)
    async def book(receipt: str, *, ctx: Context, provider: Provider) -> str:
        return await provider.call(ctx.key, second, (receipt,), stale=False)

    approve = process.pause(writes="approval", answer=Approval, shows=("draft",), edits=("draft",), beside=("checked",))
    process.rules(
        when("facts are missing", lambda c: c.left is None or c.right is None, parallel(find_left, find_right)),
        when("no draft", lambda c: c.draft is None, write),
        when("unchecked", lambda c: c.checked is None, check),
        when("nobody has looked", lambda c: c.approval is None, approve),
        when("said redo", lambda c: c.approval.verdict == "redo", rewrite),
        when("said no", lambda c: c.approval.verdict == "no", finish("rejected")),
        when("not sent", lambda c: c.receipt is None, send),
        when("not booked", lambda c: c.booked is None, book),
        otherwise(finish("sent")),
    )
    return process


def fits(message: str, draft: str, checked: str) -> bool:
    """Whether each was computed from the one before it."""
    return draft.startswith(f"{message}/") and checked == f"checked {draft}"


def processes() -> list[Process[Trade]]:
    names = list(policies())
    return [trade(name, names[(i + 1) % len(names)]) for i, name in enumerate(names)]
