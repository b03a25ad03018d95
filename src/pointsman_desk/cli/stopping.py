"""Stop a command on Ctrl-C, SIGTERM or SIGHUP: the first signal stops it in order, the second at once."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pointsman import format_duration
from pointsman_desk.cli.terminal import errors

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"  # the progress line hides the cursor, and os._exit does not restore it


class Stop(asyncio.Event):
    """Set by the first signal, which `signal` names. The second signal ends the program at once and loses nothing that was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.signal: signal.Signals | None = None


@contextmanager
def stopping(grace_seconds: float) -> Iterator[Stop]:
    """Listen for signals while the block runs on the event loop. After the first one, a running step has `grace_seconds` to end.

    A thread listens, because a step can block the event loop, and the disk can block the main thread.
    """
    stop, loop = Stop(), asyncio.get_running_loop()
    heard, said = socket.socketpair()
    said.setblocking(False)

    def listen() -> None:
        while numbers := heard.recv(64):
            for number in numbers:
                came(signal.Signals(number))

    def came(number: signal.Signals) -> None:
        again = "press Ctrl-C again" if number == signal.SIGINT else f"send {number.name} again"
        if stop.signal is not None:
            with suppress(OSError):
                cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
                os.write(2, f"{cursor}pointsman-desk: stopped at once; the next run continues unfinished cases.\n".encode())
            os._exit(128 + number)
        stop.signal = number
        with suppress(RuntimeError):  # the loop has already ended
            loop.call_soon_threadsafe(stop.set)
        with suppress(OSError):
            errors.print(
                f"pointsman-desk: stopping: waiting up to {format_duration(grace_seconds)} for the running step; {again} to stop now."
            )

    before = {number: signal.signal(number, _noted) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(said.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        said.close()
        thread.join()
        heard.close()


def _noted(_: int, __: FrameType | None) -> None:
    """Do nothing: the thread reads the signal from the wakeup socket."""
