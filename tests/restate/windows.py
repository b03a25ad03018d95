"""Processes whose programs and servers die in the window of an effect: after the effect has happened, and before anybody has recorded it."""

from typing import Any

from outside import Files

from pointsman import ABSENT, AtMostOnce, Context, Found, Process, Reconcile, State, finish, otherwise, when


class Letter(State):
    number: int
    dies: str = ""  # "program": it is killed in the window; "server": the window is open until the test has killed the server
    sent: str | None = None
    filed: str | None = None


def windows() -> Process[Any]:
    letters = Process("windows", Letter)

    def look(number: int, dies: str, *, ctx: Context, outside: Files) -> object:
        return Found("send done") if outside.has("send", ctx.key) else ABSENT

    def look_in_file(number: int, dies: str, *, ctx: Context, outside: Files) -> object:
        return Found("file done") if outside.has("file", ctx.key) else ABSENT

    @letters.effect(writes="sent", safety=Reconcile(look, 0.1), timeout_seconds=2)
    async def send(number: int, dies: str, *, ctx: Context, outside: Files) -> str:
        done = outside.deliver("send", ctx.key)
        if dies == "program":
            outside.die_once(f"send {number}")
        return done

    @letters.effect(writes="filed", safety=Reconcile(look_in_file, 0.1), timeout_seconds=2)
    def file(number: int, dies: str, *, ctx: Context, outside: Files) -> str:
        done = outside.deliver("file", ctx.key)
        if dies == "program":
            outside.die_once(f"file {number}")
        if dies == "server":
            outside.wait_for("the server")
        return done

    letters.rules(
        when("not sent yet", lambda c: c.sent is None, send),
        when("not filed yet", lambda c: c.filed is None, file),
        otherwise(finish("filed")),
    )
    return letters


def patient() -> Process[Any]:
    """One call that waits for the test, and that may not be repeated."""
    letters = Process("patient", Letter)

    @letters.effect(writes=("sent", "filed"), safety=AtMostOnce(), timeout_seconds=60)
    def send(number: int, dies: str, *, outside: Files) -> tuple[str, str]:
        outside.wait_for("the call")
        return "sent", "filed"

    letters.rules(when("not sent yet", lambda c: c.sent is None, send), otherwise(finish("filed")))
    return letters


def control() -> Process[Any]:
    """The same without the ledger: nodes do what effects do."""
    letters = Process("control", Letter)

    @letters.node(writes="sent")
    async def send(number: int, dies: str, *, outside: Files) -> str:
        done = outside.deliver("control", str(number))
        outside.die_once(f"control {number}")
        return done

    @letters.node(writes="filed")
    def file(number: int) -> str:
        return "file done"

    letters.rules(
        when("not sent yet", lambda c: c.sent is None, send),
        when("not filed yet", lambda c: c.filed is None, file),
        otherwise(finish("filed")),
    )
    return letters
