"""Processes whose calls go on until the test lets them end."""

from typing import Any

from outside import Files

from pointsman import ABSENT, AtMostOnce, Context, Found, Process, Reconcile, State, finish, otherwise, when


class Letter(State):
    number: int
    filed: str | None = None


def windows() -> Process[Any]:
    """One call that has happened and waits for the test."""
    letters = Process("windows", Letter)

    def look_in_file(number: int, *, ctx: Context, outside: Files) -> object:
        return Found("file done") if outside.has("file", ctx.key) else ABSENT

    @letters.effect(writes="filed", safety=Reconcile(look_in_file, 0.1), timeout_seconds=600)  # nothing waits for its end
    def file(number: int, *, ctx: Context, outside: Files) -> str:
        done = outside.deliver("file", ctx.key)
        outside.wait_for("the server")
        return done

    letters.rules(when("not filed yet", lambda c: c.filed is None, file), otherwise(finish("filed")))
    return letters


def patient() -> Process[Any]:
    """One call that waits for the test, and that may not be repeated."""
    letters = Process("patient", Letter)

    @letters.effect(writes="filed", safety=AtMostOnce(), timeout_seconds=600)
    def send(number: int, *, outside: Files) -> str:
        outside.wait_for("the call")
        return "sent"

    letters.rules(when("not sent yet", lambda c: c.filed is None, send), otherwise(finish("filed")))
    return letters


def asking() -> Process[Any]:
    """A pause, and nothing else."""
    letters = Process("asking", Letter)
    ask = letters.pause(writes="filed", answer=str, shows=("number",))
    letters.rules(when("not answered yet", lambda c: c.filed is None, ask), otherwise(finish("filed")))
    return letters
