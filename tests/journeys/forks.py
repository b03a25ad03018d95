"""Worker processes that are forked from one that has imported everything already: a dozen new interpreters would take longer than the test.

`Forks` is for the test. Run as a program with the name of a module, this forks for each line on its standard input a process that awaits
the module's `main` with the words of that line, a JSON array, and prints the process's number. Its processes end with it.
"""

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn


class Forks:
    """The processes of a test."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program
        self.living: list[int] = []

    async def hire(self, *words: str | int | float) -> int:
        """Begin another process, and return its number."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(words).encode() + b"\n")
        self.living.append(int(await self._program.stdout.readline()))
        return self.living[-1]

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a process a signal that ends it."""
        self.living.remove(number)
        os.kill(number, how)

    def end(self) -> None:
        """Kill all of them."""
        for number in [*self.living]:
            with suppress(ProcessLookupError):
                self.kill(number)


@asynccontextmanager
async def forks(module: str) -> AsyncIterator[Forks]:
    """Processes that run the `main` of a module, until the end of the block."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(sys.executable, Path(__file__), module, stdin=pipe, stdout=pipe)
    made = Forks(program)
    try:
        yield made
    finally:
        made.end()
        assert program.stdin is not None
        program.stdin.close()
        await program.communicate()


def _serve(module: str) -> None:
    main = importlib.import_module(module).main
    gc.freeze()  # or each process copies the pages of what it looks through
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    numbers = []
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            _work(main(*json.loads(line)))
        numbers.append(number)
        print(number, flush=True)
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _work(work: Coroutine[object, object, None]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        asyncio.run(work)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent.parent)]  # as pytest has it; this folder is there already
    _serve(sys.argv[1])
