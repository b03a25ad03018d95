"""Turns at the cases, which one program uses at a time. The program that uses them can see whether another one waits.

A waiting command holds a shared lock on a file in the desk's folder. A command that takes in mails checks the lock between two mails.
The lock ends with its process, so a killed command blocks nobody.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "waiting"


class Turns:
    """The commands that wait for the desk in `home`. If the folder is not writable, `wanted` is always False."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count as waiting while the block runs."""
        handle = self._opened()
        try:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_SH)  # `wanted` locks it exclusively, but only for a moment
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def wanted(self) -> bool:
        """Return whether a command waits."""
        handle = self._opened()
        if handle is None:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a file system without locks
        else:
            return False
        finally:
            os.close(handle)

    def _opened(self) -> int | None:
        try:
            return os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return None
