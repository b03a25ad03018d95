"""A process that reports at each tick; run as a program, it is killed at every point of its schedules' work."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pointsman import Engine, Process, State, every, finish, open_reader, otherwise
from pointsman.definition.schedules import Missed
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers

NOON = 1_795_003_200.0  # a whole minute of the clock in UTC
HOUR = 3_600.0


class Report(State):
    at: str


def reporting(missed: Missed = "one", ticks: Any = None) -> Process[Report]:
    process = Process("reports", Report)
    process.schedule("hourly", ticks or every("1h"), inputs=lambda tick: {"at": tick.isoformat()}, missed=missed)
    process.rules(otherwise(finish("reported")))
    return process


def key(tick: float, name: str = "hourly") -> str:
    """The key of a tick's case."""
    return f"schedule:{name}:{datetime.fromtimestamp(tick, UTC):%Y-%m-%dT%H:%M:%SZ}"


def live(path: Path, now: float, points: CrashAt) -> None:
    async def main() -> None:
        async with Engine.open(path, [reporting("all")], clock=ManualClock(now), failpoints=points) as engine:
            await engine.idle()

    asyncio.run(main())


def keys(path: Path) -> list[str]:
    async def read() -> list[str]:
        with open_reader(path) as reader:
            return sorted(str(row.key) for row in await reader.cases())

    return asyncio.run(read())


def killed_everywhere(folder: Path) -> dict[str, Any]:
    """Kill a life in which three ticks are due at each of its points; then live once more."""
    counting = CrashAt()
    report: dict[str, Any] = {"killed": 0, "different": [], "ends": []}
    number, template = 0, folder / "template.db"
    assert recovers(lambda: live(template, NOON, counting))
    while True:
        number += 1
        path = folder / f"{number}.db"
        path.write_bytes(template.read_bytes())
        killed = in_child(lambda path=path, number=number: live(path, NOON + 3.5 * HOUR, CrashAt(number))) < 0
        assert recovers(lambda path=path: live(path, NOON + 3.5 * HOUR, counting))
        report["killed"] += killed
        report["ends"] = keys(path)
        if report["ends"] != [key(NOON + hour * HOUR) for hour in (1, 2, 3)]:
            report["different"].append((number, report["ends"]))
        if not killed:
            return report


if __name__ == "__main__":
    print(json.dumps(killed_everywhere(Path(sys.argv[1]))))
