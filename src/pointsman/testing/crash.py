"""Kill the process at a chosen failpoint, as a real crash would."""

import os
import signal
import threading
import traceback
from collections.abc import Callable
from itertools import count


class CrashAt:
    """Failpoints that count, and kill their own process at the `number`-th one (from 1); 0 only counts.

    With `label`, only the failpoints with that label count. Threads interleave, so without it the same line may have another number in the next run.
    SIGKILL runs no handler, flushes no buffer and runs no `finally` block.
    """

    def __init__(self, number: int = 0, label: str | None = None) -> None:
        self.number = number
        self.label = label
        self.labels: list[str] = []
        self._numbers = count(1)

    def __call__(self, label: str) -> None:
        """Count the failpoint, or kill the process at it."""
        self.labels.append(label)
        # Each call draws a number of its own: another thread may have passed a failpoint since the line above, and the list is longer.
        if self.label in {None, label} and next(self._numbers) == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child. Return its exit code, or minus the signal that killed it.

    Call this while no other thread runs: a forked child has only the thread that forked.
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
    """Run `work` in this process after a crash. Return whether it succeeded; print the exception if it raised one.

    It needs no child, because a killed process leaves nothing behind but its files. When it returns, the threads that `work` started
    have ended, so that the next child can be forked.
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
