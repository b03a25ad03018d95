"""Restate, with a virtual object for each case: one call for each step, which stores all results until then and sends the call of the next one.

This is how `pointsman.restate` keeps a case; the rows `restate` keep the steps in the journal of one call.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.peers.restate import SERVICE, Server, started, waiting
from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import BEFORE_PAUSE, STEPS

FIRST_WARM = 1_000_000_000  # numbers that no measured case has
CLIENTS_MAX = 64


def w1(folder: Path, *, concurrency: int, seconds: float) -> Figures:
    return stored_steps(folder, SERVICE, begin, concurrency=concurrency, seconds=seconds)


def stored_steps(folder: Path, app: str, begin: Callable[[Server, int], None], *, concurrency: int, seconds: float) -> Figures:
    """Let cases begin; the service tells when the last step of a case is durable."""
    with started(folder, app) as server, ThreadPoolExecutor(min(concurrency, CLIENTS_MAX)) as threads:

        async def main() -> tuple[int, float]:
            loop = asyncio.get_running_loop()
            ends: dict[int, asyncio.Future[None]] = {}

            def end(case: int) -> None:
                ends.pop(case).set_result(None)

            def hear() -> None:
                while True:
                    loop.call_soon_threadsafe(end, server.next_paused())

            async def once(case: int) -> None:
                told = ends[case] = loop.create_future()
                await loop.run_in_executor(threads, begin, server, case)
                await told

            threading.Thread(target=hear, daemon=True).start()
            await asyncio.gather(*(once(FIRST_WARM + case) for case in range(concurrency)))  # opens the connections
            return await repeated(once, concurrency=concurrency, seconds=seconds)

        cases, wall = asyncio.run(main())
    return {"steps": cases * len(STEPS), "seconds": wall}


def begin(server: Server, case: int, *, pauses: bool = False) -> None:
    server.call(f"/stored/{case}/start", pauses)


def w4(folder: Path, *, cases: int) -> Figures:
    def answer(server: Server, case: int) -> None:
        server.call(f"/stored/{case}/step", {"number": len(BEFORE_PAUSE), "pauses": False})

    return waiting(folder, SERVICE, cases, lambda server, case: begin(server, case, pauses=True), answer)


if __name__ == "__main__":
    run({"W1": w1, "W4": w4})
