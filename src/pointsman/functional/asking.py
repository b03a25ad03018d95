"""What a body asks the engine for besides its tasks: answers of people, time, chance, and what its thread has kept."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

from pointsman.definition.durations import Duration, seconds_of
from pointsman.definition.ladder import ladder_of
from pointsman.definition.nodes import Context
from pointsman.definition.pauses import Pause
from pointsman.functional.body import Body, Wanted, current_body, digest_of_arguments
from pointsman.functional.process import SLEEP, plain
from pointsman.functional.record import ANSWERS, RESULT, SAVED, SHOWN
from pointsman.functional.tasks import INJECTED, task
from pointsman.kernel.snapshot import Status
from pointsman.store.query import CaseQuery, Order


def pause(
    shown: Any = None,
    *,
    answer: Any = Any,
    name: str = "pause",
    deadline: Duration | None = None,
    ladder: tuple[Any, ...] = (),
    assignee: str | None = None,
) -> Any:
    """Wait for a person's answer to what is `shown`, and return it. Nothing is in memory, and no thread waits.

    `answer` is the type of the answer. `name`, `deadline`, `ladder` and `assignee` are as with `Process.pause`. Raises RuntimeError outside a body.
    """
    body = _body("pause")
    rungs = ladder_of(f"pause {name!r}", ladder, deadline)
    declared = Pause(name, (ANSWERS,), answer, (SHOWN,), ladder=rungs, assignee=assignee)
    shows = plain(TypeAdapter(Any), shown, f"what pause {name!r} shows")
    return body.ask(Wanted(name, "pause", TypeAdapter(answer), shows, digest_of_arguments(shows), pause=declared)).result()


interrupt = pause
"""The name of `pause` in LangGraph."""


def sleep(duration: Duration) -> None:
    """Wait for a time ("4h", a timedelta, or seconds), which may be days. Raises RuntimeError outside a body."""
    body, seconds = _body(SLEEP), seconds_of(duration, SLEEP)
    if seconds > 0:
        body.ask(Wanted(SLEEP, "sleep", TypeAdapter(Any), seconds, f"{seconds:g}")).result()


def now() -> float:
    """The time in Unix seconds. The body gets the same time whenever it is run again."""
    return _now().result()


def random() -> float:
    """A number in [0, 1), which is the same whenever the body is run again. It is no secret."""
    return int(_next_chance(), 16) / 16**32


def uuid() -> str:
    """A UUID, which is the same whenever the body is run again. It is no secret."""
    digits = _next_chance()  # RFC 9562, section 5.4: version 4, variant 10
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{8 + int(digits[16], 16) % 4:x}{digits[17:20]}-{digits[20:]}"


@task(inline=True, name="now")
def _now(*, ctx: Context = INJECTED) -> float:
    return ctx.now


@task(inline=True, name="chance")
def _chance(number: int, *, ctx: Context = INJECTED) -> str:
    # The database's random name makes it differ from that of any other database.
    return hashlib.sha256(f"{ctx.incarnation}/{ctx.case}/{number}".encode()).hexdigest()[:32]


def _next_chance() -> str:
    body = _body("random")
    body.chances += 1
    return _chance(body.chances).result()


@task(name="previous")
async def previous(*, ctx: Context = INJECTED) -> Any:
    """What the last invocation of the thread that has ended has kept for this one; None at the first."""
    reader = ctx._reader  # noqa: SLF001 - a task of the library
    row = await reader.case(ctx.case)
    if row.correlation is None:  # an entrypoint that a body has called has no thread of its own
        return None
    query = CaseQuery(process=row.process, tenant=row.tenant, correlation=row.correlation, status=Status.DONE, order=Order.NEWEST)
    for found in (await reader.find(query, limit=1)).rows:
        kept = {row.field: row.text for row in await reader.fields(found.case.id)}
        text = kept.get(SAVED) or kept.get(RESULT)  # what is saved is kept apart where it differs from the result
        return text and json.loads(text)["value"]
    return None


BUILT_IN = (_now, _chance, previous)


def _body(what: str) -> Body:
    body = current_body()
    if body is None:
        raise RuntimeError(f"{what}() was called outside the body of an entrypoint; call it there.")
    return body
