"""Deploys that die: run as a script, this kills the new code at every point of taking up what the old code has left.

Each life is a forked child, so the script must have no threads itself. It prints what came of it as JSON.
"""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from crashing import FileWorld

from pointsman import (
    Context,
    Engine,
    Idempotent,
    NotWaiting,
    Process,
    Retry,
    State,
    Status,
    finish,
    open_reader,
    otherwise,
    when,
)
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers

BEGUN_AT = 1_000.0
LATER = 10_000.0  # beyond every deadline of an earlier life


class Old(State):
    message: str
    draft: str | None = None
    answer: str | None = None
    receipt: str | None = None


class New(State):
    message: dict[str, str]
    reply: str | None = None
    answer: str | None = None
    receipt: str | None = None


def renamed(fields: Any) -> Any:
    moved = {**fields, "message": {"text": fields["message"]}}
    moved["reply"] = moved.pop("draft")
    return moved


def process_of(version: int, *, accepts: Any = None) -> Process[Any]:
    """Write, ask, post; from version 2 on with another state."""
    process: Process[Any] = Process("deploy", Old if version == 1 else New, version=version, accepts=accepts)
    draft = "draft" if version == 1 else "reply"

    async def write(message: Any) -> str:
        return f"re: {message}"

    async def post(answer: str, *, ctx: Context, world: FileWorld) -> str:
        return await world.post(ctx.key)

    process.node(write, writes=draft)
    process.pause(writes="answer", answer=str, shows=("message",))
    process.effect(post, writes="receipt", safety=Idempotent(), name="post" if version == 1 else "send", former_names=() if version == 1 else "post",
                   retry=Retry(first_seconds=1.0, jitter=0.0))  # fmt: skip
    steps = process.steps
    process.rules(
        when("no draft", lambda c: getattr(c, draft) is None, steps["write"]),
        when("not asked", lambda c: c.answer is None, steps["answer"]),
        when("not posted", lambda c: c.receipt is None, steps["post" if version == 1 else "send"]),
        otherwise(finish("posted")),
    )
    return process


async def begin(db: Path, world: FileWorld, *, in_doubt: bool) -> None:
    """The old code: two cases wait for their answers, or their letters may have been posted."""
    world.endings = [ConnectionError("gone")] if in_doubt else ["posted"]
    process = process_of(1)
    async with Engine.open(db, [process], resources={"world": world}, clock=ManualClock(BEGUN_AT), random=Random(7)) as engine:
        for number in range(2):
            case = (await engine.start(process, {"message": f"hello {number}"}, key=str(number))).case
            await engine.wait_until_resting(case)
            if in_doubt:
                await engine.resume((await engine.pending(case)).token, "yes", by="anna")
        await engine.idle(horizon_seconds=0)


async def deploy(db: Path, world: FileWorld, points: Any, seed: int) -> None:
    """First code that accepts no older case, then the right one, which gets the answers. No two lives have one `seed`: a token must not come twice."""
    settings = {"resources": {"world": world}, "clock": ManualClock(LATER), "random": Random(seed), "failpoints": points}
    async with Engine.open(db, [process_of(3, accepts={})], **settings):
        pass
    async with Engine.open(db, [process_of(3, accepts={1: renamed, 2: None})], **settings) as engine:
        for case in (1, 2):
            while (await engine.wait_until_resting(case)).status is Status.WAITING:
                try:
                    await engine.resume((await engine.pending(case)).token, "yes", by="anna")
                except NotWaiting:
                    continue


async def look(db: Path, calls: Path) -> dict[str, Any]:
    with open_reader(db) as reader:
        rows = await reader.cases()
        kinds = [[event.kind for event in await reader.events(case=row.id)] for row in rows]
        states = [{field.field: json.loads(field.text) for field in await reader.fields(row.id)} for row in rows]
        keys = [{effect.key for effect in await reader.effects(row.id)} for row in rows]
    return {
        "ends": [[row.status, row.outcome, row.version] for row in rows],
        "migrated": [kind.count("migrated") for kind in kinds],
        "messages": [state["message"] for state in states],
        "left": [sorted(state) for state in states],
        "keys": [len(of_case) for of_case in keys],
        "called": len(set(FileWorld(calls).calls())),
    }


def lives(folder: Path, number: int) -> tuple[int, list[str], dict[str, Any]]:
    """After a life of the old code, one of the new code that dies at point `number`, and one that does not."""
    db, calls, labels = folder / f"{number}.db", folder / f"{number}.calls", folder / f"{number}.labels"

    def dying() -> None:
        points = CrashAt(number)

        def noted(label: str) -> None:
            with labels.open("a") as file:
                file.write(label + "\n")
            points(label)

        asyncio.run(deploy(db, FileWorld(calls), noted, seed=8))

    for file in (db, calls):
        shutil.copy(folder / f"begun{file.suffix}", file)
    code = in_child(dying)
    assert recovers(lambda: asyncio.run(deploy(db, FileWorld(calls), lambda label: None, seed=9)))
    return code, labels.read_text().split(), asyncio.run(look(db, calls))


def main() -> None:
    report: dict[str, Any] = {}
    for name, in_doubt in (("waiting", False), ("in doubt", True)):
        folder = Path(tempfile.mkdtemp())
        (folder / "begun.calls").touch()
        old = FileWorld(folder / "begun.calls")
        assert recovers(lambda folder=folder, old=old, in_doubt=in_doubt: asyncio.run(begin(folder / "begun.db", old, in_doubt=in_doubt)))
        ends: list[dict[str, Any]] = []
        labels: set[str] = set()
        number, code = 0, -9
        while code != 0:
            number += 1
            code, passed, end = lives(folder, number)
            labels |= set(passed)
            if end not in ends:
                ends.append(end)
        shutil.rmtree(folder)
        report[name] = {"killed": number - 1, "labels": sorted(labels), "ends": ends}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
