"""Taking turns at the cases, which one program has at a time: who waits is known to whoever has them.

A command that waits holds a shared lock on a file in the desk's folder, and a command that takes in mails looks between two mails
whether somebody does. The lock goes with its process, so one that is killed while it waits holds nobody up.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "waiting"


class Turns:
    """The commands that wait for the desk in `home`. Where the folder cannot be written nobody is known to wait."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Be known to wait while the block runs."""
        handle = self._opened()
        try:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_SH)  # it is held exclusively for the moment of a look only
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def wanted(self) -> bool:
        """Whether a command waits."""
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
