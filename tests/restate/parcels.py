"""A process with effects of every policy, plain and async. At chosen deliveries its program or its server dies before anybody has recorded them."""

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from outside import LOOK_SECONDS, Files

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    Found,
    Idempotent,
    NotSent,
    Process,
    Reconcile,
    Safety,
    State,
    finish,
    otherwise,
    when,
)

TIMEOUT_SECONDS = 2.0
TAKEN_SECONDS = TIMEOUT_SECONDS - 1.0  # of a call: whoever looks afterwards must not miss a delivery of a machine that stood still
POLICIES = ("reconciled", "idempotent", "at_most_once", "at_least_once")
EFFECTS = tuple(f"{policy}_{how}" for policy in POLICIES for how in ("plain", "async"))
CONTROL = "control"


class Parcel(State):
    number: int
    control: str | None = None
    reconciled: str | None = None
    idempotent: str | None = None
    at_most_once: str | None = None
    at_least_once: str | None = None


class Deaths(Files):
    """Counts deliveries by name and key. The file `plan` says at which of them who dies."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        plan = folder / "plan"
        self._plan: dict[str, str] = json.loads(plan.read_text(encoding="ascii")) if plan.exists() else {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else delivers, looks or is killed by the test meanwhile: each death is counted once, and no window goes by unseen."""
        with (self.folder / "alone").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # it ends with this process
            yield

    def window(self, name: str, key: str, begun: float = inf) -> str | None:
        """Deliver. If the program has to die now, it does; if the server has to, return the name of this window. Raises NotSent if it is too late."""
        with self.alone():
            if time.time() > begun + TAKEN_SECONDS:
                raise NotSent("it comes too late")
            with (self.folder / name).open("ab", buffering=0) as file:
                file.write(f"{key}\n".encode())
                window = f"{name} {(self.folder / name).read_bytes()[: file.tell()].count(10)}"
            who = self._plan.get(window)
            if who == "program":
                self.dies(os.getpid())
                os.kill(os.getpid(), signal.SIGKILL)
            if who != "server":
                return None
            self.first(f"window {window}")
            return window

    def dies(self, program: int) -> bool:
        """Whether the death of this process is noted for the first time; another one may get its number later."""
        begun = Path(f"/proc/{program}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        return self.first(f"died {program} {begun}")

    def has(self, effect: str, key: str) -> bool:
        with self.alone():
            return super().has(effect, key)

    def shut(self, window: str | None) -> bool:
        """Whether the server has died in the window."""
        return window is None or (self.folder / f"shut {window}").exists()


def _policy(policy: str, name: str) -> Safety:
    def look(number: int, *, ctx: Context, outside: Deaths) -> object:
        return Found(f"{name} done") if outside.has(name, ctx.key) else ABSENT

    return {
        "reconciled": Reconcile(look, 0.1),
        "idempotent": Idempotent(),
        "at_most_once": AtMostOnce(),
        "at_least_once": AtLeastOnce("the test counts how often it repeats"),
    }[policy]


def parcels() -> Process[Any]:
    """Parcels with even numbers have plain functions, the others async ones. The control is a node, which has no ledger."""
    process = Process("parcels", Parcel)

    @process.node(writes="control")
    def control(number: int, *, outside: Deaths) -> str:
        outside.window(CONTROL, str(number))
        return "control done"

    def plain(name: str) -> Any:
        def deliver(number: int, *, ctx: Context, outside: Deaths) -> str:
            window = outside.window(name, ctx.key, ctx.now)
            while not outside.shut(window):
                time.sleep(LOOK_SECONDS)
            return f"{name} done"

        return deliver

    def in_the_loop(name: str) -> Any:
        async def deliver(number: int, *, ctx: Context, outside: Deaths) -> str:
            window = outside.window(name, ctx.key, ctx.now)
            while not outside.shut(window):  # noqa: ASYNC110  # another process shuts it
                await asyncio.sleep(LOOK_SECONDS)
            return f"{name} done"

        return deliver

    rules = [when("control", lambda c: c.control is None, control)]
    for policy in POLICIES:
        for odd, (how, function) in enumerate((("plain", plain), ("async", in_the_loop))):
            name = f"{policy}_{how}"
            effect = process.effect(function(name), name=name, writes=policy, safety=_policy(policy, name), timeout_seconds=TIMEOUT_SECONDS)
            rules.append(when(name, lambda c, p=policy, o=odd: getattr(c, p) is None and c.number % 2 == o, effect))
    process.rules(*rules, otherwise(finish("delivered")))
    return process
