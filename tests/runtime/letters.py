"""A process whose only step posts a letter, and the world that the letter goes out to."""

from typing import Any

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    Failure,
    Found,
    Idempotent,
    Process,
    Reconcile,
    Safety,
    State,
    finish,
    otherwise,
    when,
)

TIMEOUT_SECONDS = 30.0
SETTLE_SECONDS = 120.0


class Letter(State):
    message: str
    receipt: str | Failure | None = None


class World:
    """The world outside: what becomes of each call, in order (the last one stays), and every key it was called with.

    A call that ends in an exception has not posted anything, unless the exception is in `after`.
    """

    def __init__(self, *endings: Any, after: tuple[type[BaseException], ...] = ()) -> None:
        self.endings = list(endings) or ["posted"]
        self.after = after
        self.keys: list[str] = []
        self.posted: dict[str, str] = {}
        self.look_ups = 0

    async def post(self, key: str) -> Any:
        self.keys.append(key)
        ending = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        if isinstance(ending, BaseException):
            if isinstance(ending, self.after):
                self.posted[key] = "posted before"
            raise ending
        self.posted[key] = ending
        return ending


async def look_up(message: str, *, ctx: Context, world: World) -> Any:
    """Ask the world for the key."""
    world.look_ups += 1
    return Found(world.posted[ctx.key]) if ctx.key in world.posted else ABSENT


POLICIES: dict[str, Safety] = {
    "idempotent": Idempotent(),
    "reconcile": Reconcile(look_up, SETTLE_SECONDS),
    "at most once": AtMostOnce(),
    "at least once": AtLeastOnce(because="a second letter does no harm"),
}


def letter(safety: Safety, *, timeout_seconds: float = TIMEOUT_SECONDS, **settings: Any) -> Process[Letter]:
    process = Process("letter", Letter)

    @process.effect(writes="receipt", safety=safety, timeout_seconds=timeout_seconds, **settings)
    async def post(message: str, *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))
    return process


class Draft(State):
    message: str
    draft: str | None = None
    wish: str | None = None
    receipt: str | None = None


def drafting(**settings: Any) -> Process[Draft]:
    """The draft is posted, and posted afresh whenever the answer to the pause has rewritten it."""
    process = Process("draft", Draft)

    @process.node(writes="draft")
    async def write(message: str) -> str:
        return "A"

    @process.effect(writes="receipt", safety=AtMostOnce(), **settings)
    async def post(draft: str, *, ctx: Context, world: World) -> str:
        await world.post(ctx.key)
        return f"{draft} posted"

    more = process.pause(writes="wish", answer=str, shows=("draft",), edits=("draft",))
    process.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("unposted", lambda c: c.receipt is None, post),
        when("more", lambda c: c.wish is None or c.wish == "more", more),
        otherwise(finish("enough")),
    )
    return process
