"""Die for real at a chosen point: what a process has not committed by then is gone, as in any crash."""

import os
import signal
import threading
import traceback
from collections.abc import Callable


class CrashAt:
    """Failpoints that count, and kill their own process at the `number`-th one (from 1); 0 only counts.

    SIGKILL runs no handler, flushes no buffer and unwinds no block: nothing of the process survives it.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.labels: list[str] = []

    def __call__(self, label: str) -> None:
        """Pass the point, or die at it."""
        self.labels.append(label)
        if len(self.labels) == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; the answer is its exit code, or minus the signal that killed it.

    Fork while no thread works: a child has only the thread that forked.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def recovers(work: Callable[[], object]) -> bool:
    """Run `work` after a crash, in this process; the answer is whether it raised nothing. What it raised is printed.

    It needs no child: a process that was killed leaves behind what is on the disk and nothing else. The threads that `work` has
    begun have ended when it returns, so that the next child can be forked.
    """
    before = set(threading.enumerate())
    try:
        work()
    except Exception:
        traceback.print_exc()
        return False
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join()
    return True
