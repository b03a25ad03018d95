"""The provider of the soak: a process of its own that does what it is asked for, once for each line of its log.

Run as a program with its log, the seed of its moods, and "moods" or "holds"; it prints its port, and answers a JSON line
with a JSON line. A line of the log is on the disk before it is answered. With moods it keeps one promise that look-ups need:
what it has not done `LAG_SECONDS` after it was sent is never done. One that holds does each effect at once, and does not
answer its first call.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

THINKING_SECONDS = 0.1  # between doing it and saying so: when a kill hurts most
TIMEOUT_SECONDS = 0.4  # what its callers give a call
LAG_SECONDS = 0.8  # twice that: some calls are done when their caller has gone
HELD_SECONDS = 3_600.0  # until the caller has been killed
SETTLE_SECONDS = 1.2  # and what they wait before they look: more than the lag, as a busy machine may run it late


class Provider:
    """Does effects, and says which it has done."""

    def __init__(self, log: Path, seed: str, *, holds: bool) -> None:
        self.log = log.open("a", buffering=1)
        self.seed = seed
        self.holds = holds
        self.calls: dict[str, int] = {}
        self.done: dict[str, str] = {}
        self.underway: dict[str, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question a connection; a caller that has died gets what it asked for all the same."""
        try:
            line = await reader.readline()
            answer = await self.answer(json.loads(line)) if line else None
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        key = asked["key"]
        if asked["do"] == "look up":
            return {"receipt": self.done.get(key), "underway": self.underway.get(key, 0)}
        self.underway[key] = self.underway.get(key, 0) + 1
        try:
            return await self.act(asked)
        finally:
            self.underway[key] -= 1

    async def act(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Do it, in a mood that the seed, the effect and the number of the call give."""
        call = self.calls[asked["key"]] = self.calls.get(asked["key"], 0) + 1
        if self.holds:
            receipt = self.do(asked)
            await asyncio.sleep(HELD_SECONDS if call == 1 else 0.0)
            return {"receipt": receipt}
        chance = Random(f"{self.seed} {asked['effect']} {asked['number']} {call}")
        mood = chance.choices(["prompt", "answers late", "acts late", "busy"], weights=(76, 8, 8, 8))[0]
        if mood == "busy":
            return {"retry_after": 0.05}
        await asyncio.sleep(TIMEOUT_SECONDS * 1.25 if mood == "acts late" else chance.uniform(0.0, 0.01))
        if time.time() - asked["sent_at"] > LAG_SECONDS:
            return None
        receipt = self.do(asked)
        await asyncio.sleep(TIMEOUT_SECONDS * 1.5 if mood == "answers late" else chance.uniform(0.0, THINKING_SECONDS))
        return {"receipt": receipt}

    def do(self, asked: dict[str, Any]) -> str:
        """The effect itself. Who says so is recognised by its key; everybody else gets what they ask for."""
        key = asked["key"]
        if asked["effect"] == "charge" and key in self.done:
            return self.done[key]
        receipt = f"{asked['effect']} {asked['number']} {len(self.done)}.{self.calls[key]}"
        self.log.write(json.dumps({**asked, "receipt": receipt}) + "\n")
        os.fsync(self.log.fileno())
        self.done[key] = receipt
        return receipt


async def main(log: Path, seed: str, kind: str) -> None:
    provider = Provider(log, seed, holds=kind == "holds")
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
