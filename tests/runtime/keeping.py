"""A process whose cases end in several ways; run as a program, it is killed at every point at which something goes."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from places import Place

from pointsman import (
    AtMostOnce,
    Blob,
    Context,
    Engine,
    Process,
    Rejected,
    Retention,
    State,
    finish,
    history_of,
    open_reader,
    otherwise,
    when,
)
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers

DAY = 86_400.0
NOON = 1_795_003_200.0
SECRET = "Ada's order 4711"


class Mail(State):
    text: str
    raw: Blob = Blob.of(b"")
    kind: str | None = None
    approval: bool | None = None
    receipt: str | None = None


def mails(retention: Retention | None = None) -> Process[Mail]:
    """A mail is spam, or is answered when somebody has approved of it; "fail" in its text lets the answer fail in doubt, "refused" for certain."""
    process = Process("mails", Mail, retention=retention)

    @process.node(writes="kind")
    async def classify(text: str) -> str:
        return "spam" if "spam" in text else f"about {text}"

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def send(text: str, kind: str, *, ctx: Context) -> str:
        if "fail" in text:
            raise ConnectionResetError(f"no answer about {text}")
        if "refused" in text:
            raise Rejected(f"not about {text}")
        return f"sent about {text}"

    approve = process.pause(writes="approval", answer=bool, shows=("text", "kind"))
    process.rules(
        when("not classified", lambda m: m.kind is None, classify),
        when("spam", lambda m: m.kind == "spam", finish("spam")),
        when("asked for approval", lambda m: "ask" in m.text and m.approval is None, approve),
        when("not sent", lambda m: m.receipt is None, send),
        otherwise(finish("sent")),
    )
    return process


async def dealt_with(engine: Engine, text: str, **more: Any) -> int:
    """A mail, as far as it goes by itself; its case."""
    started = await engine.start("mails", {"text": text, **more}, key=f"key of {text}")
    await engine.wait_until_resting(started.case)
    return started.case


RETENTION = Retention(days=30, outcomes={"spam": 7})


def filled(path: Path) -> None:
    """A place with a blob, 5 answered mails and one that is spam, all ended at noon."""

    async def main() -> None:
        async with Place(path).open(mails(), clock=ManualClock(NOON)) as engine:
            blob = await engine.store_blob(SECRET.encode() * 9)
            for number in range(5):
                await dealt_with(engine, f"{SECRET} {number}", raw=blob)
            await dealt_with(engine, "spam")

    asyncio.run(main())


def expire(path: Path, points: CrashAt) -> None:
    async def main() -> None:
        async with Place(path).open(mails(RETENTION), clock=ManualClock(NOON + 31 * DAY), failpoints=points) as engine:
            await engine.vacuum()

    asyncio.run(main())


def erase(path: Path, points: CrashAt) -> None:
    async def main() -> None:
        async with Place(path).open(mails(), clock=ManualClock(NOON), failpoints=points) as engine:
            await engine.erase(2, by="anna", why="was asked to")

    asyncio.run(main())


def end(path: Path) -> Any:
    """All that is left, without what a new opening changes by itself."""

    async def read() -> Any:
        with open_reader(path) as reader:
            cases = [(await history_of(reader, row.id)).as_json() for row in await reader.cases()]
            return (
                cases,
                [event._asdict() for event in await reader.events(limit=10_000)],
                await reader.case_by_key("mails", f"key of {SECRET} 1"),
            )

    return json.loads(json.dumps(asyncio.run(read())))


def killed_everywhere(folder: Path, work: Callable[[Path, CrashAt], None]) -> dict[str, Any]:
    """Kill a life at each of its points, then live once more; each time the end must be that of an undisturbed life."""

    template = folder / "template.db"
    assert recovers(lambda: filled(template))
    undisturbed = folder / "0.db"
    undisturbed.write_bytes(template.read_bytes())
    assert recovers(lambda: work(undisturbed, CrashAt()))
    wanted = end(undisturbed)
    report: dict[str, Any] = {"killed": 0, "different": [], "again": []}
    for number in range(1, 1_000):
        path = folder / f"{number}.db"
        path.write_bytes(template.read_bytes())
        survived = in_child(lambda path=path, number=number: work(path, CrashAt(number))) == 0
        report["killed"] += not survived
        assert recovers(lambda path=path: work(path, CrashAt()))
        if end(path) != wanted:
            report["different"].append(number)
        assert recovers(lambda path=path: work(path, CrashAt()))
        if end(path) != wanted:
            report["again"].append(number)
        if survived:
            return report
    raise AssertionError("it has no end")


if __name__ == "__main__":
    print(json.dumps(killed_everywhere(Path(sys.argv[2]), {"expire": expire, "erase": erase}[sys.argv[1]])))
