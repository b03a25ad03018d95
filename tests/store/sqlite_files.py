"""Files, and processes that open them, for the tests of the SQLite file."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman import Engine, Process, State, StoreError, finish, otherwise, when
from pointsman.errors import (
    PointsmanError,
)
from pointsman.store.sqlite import open_sqlite
from pointsman.testing.clock import ManualClock

NOBODY = 65_534  # the user that may write to nothing, on every Linux


class Letter(State):
    message: str
    reply: str | None = None
    approval: bool | None = None


def letter(draft: Callable[[str], Any]) -> Process[Letter]:
    """Draft a reply, wait for an approval, end."""
    process = Process("letter", Letter)

    def write(message: str) -> str:
        text: str = draft(message)
        return text

    node = process.node(write, writes="reply")
    approve = process.pause(writes="approval", answer=bool, shows=("reply",))
    process.rules(
        when("no reply", lambda c: c.reply is None, node),
        when("open", lambda c: c.approval is None, approve),
        otherwise(finish("sent")),
    )
    return process


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def coroutine() -> None:
        await main()

    asyncio.run(coroutine())


def refusal(path: Path, kind: type[StoreError]) -> str:
    """What an engine is told that cannot open the file."""

    async def main() -> None:
        await open_sqlite(path, now=10.0)

    with pytest.raises(PointsmanError) as refused:
        run(main)
    assert type(refused.value) is kind
    return sentence(refused.value, path)


def sentence(error: BaseException, path: Path) -> str:
    text = str(error)
    assert path.name in text or str(path.parent) in text
    assert "\n" not in text
    assert text.endswith(".")
    return text


def filled(path: Path, cases: int = 1, size: int = 10) -> None:
    """A real file with some cases that wait."""

    async def main() -> None:
        process = letter(lambda message: message * size)
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            for number in range(cases):
                await engine.start(process, {"message": f"hello {number} "}, key=f"key {number}")
            await engine.idle()

    run(main)


def in_a_process(script: str, *arguments: object, unprivileged: bool = False) -> dict[str, str]:
    """Run a script in a process of its own; it imports as we do, drops its rights if asked to, and prints JSON."""
    begin = "import asyncio, json, os, sys\nfrom pathlib import Path\n"
    begin += "import encodings.idna, sqlite3, concurrent.futures.thread\nfrom pointsman import *\n"
    begin += "from pointsman.store.sqlite import open_sqlite\nfrom pointsman.errors import *\n"
    begin += "from pointsman.store.statements import *\nmigrations('sqlite'), statements('sqlite')\n"  # read them as we are
    begin += f"if {unprivileged} and os.geteuid() == 0:\n    os.setgroups([]); os.setuid({NOBODY})\n"
    done = interpreter.run("-c", begin + script, *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


OPEN = """
async def main():
    try:
        store = await open_sqlite(Path(sys.argv[1]), now=10.0)
        await store.close()
        print(json.dumps({"kind": "opened", "text": ""}))
    except PointsmanError as error:
        print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
asyncio.run(main())
"""

LOOK = """
try:
    open_reader(Path(sys.argv[1]))
    print(json.dumps({"kind": "opened", "text": ""}))
except PointsmanError as error:
    print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
"""
