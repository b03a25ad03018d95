"""A slow downstream in a process of its own, which knows how many calls it ever had at a time.

Run as a program with the seed of its slowness, how many seconds a call takes at least and at most, and how many calls must have been under way at a
time before the first one ends; it prints its port and answers a JSON line with a JSON line. It works on a call to its end, also when its caller has
died meanwhile. From "hold" until "go", no call ends.
"""

import asyncio
import json
import sys
from random import Random
from typing import Any

CONTROLS = ("count", "hold", "go")


class Downstream:
    """Works slowly, and keeps count."""

    def __init__(self, seed: str, least: float, most: float, together: int) -> None:
        self.chance = Random(seed)
        self.together = together
        self.full = asyncio.Event()
        self.goes = asyncio.Event()
        self.goes.set()
        self.slow_seconds = (least, most)
        self.callers: list[str] = []
        self.most = 0
        self.calls = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question a connection: a call, or one of the controls. The answer is the count."""
        try:
            asked = json.loads(await reader.readline() or '"count"')
            if asked == "hold":
                self.goes.clear()
            elif asked == "go":
                self.goes.set()
            elif asked not in CONTROLS:
                await self.work(asked)
            counted = {"current": len(self.callers), "callers": self.callers, "most": self.most, "calls": self.calls}
            writer.write(json.dumps(counted).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def work(self, caller: str) -> None:
        self.callers.append(caller)
        self.calls += 1
        self.most = max(self.most, len(self.callers))
        if self.most >= self.together:
            self.full.set()
        await self.full.wait()
        await asyncio.sleep(self.chance.uniform(*self.slow_seconds))
        await self.goes.wait()
        self.callers.remove(caller)


async def ask(port: int, what: str) -> dict[str, Any]:
    """Ask the downstream at this port for one of the controls; anything else is the name of a caller, and asks it to work."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(json.dumps(what).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        return answer
    finally:
        writer.close()


async def main(seed: str, least: float, most: float, together: int = 1) -> None:
    server = await asyncio.start_server(Downstream(seed, least, most, together).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:])))
