"""An outside world in a folder, which outlives every program: each delivery is a line of a file."""

import os
import time
from pathlib import Path

from orders import Outside

LOOK_SECONDS = 0.01


class Files(Outside):
    """Counts deliveries by effect and key."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def deliver(self, effect: str, key: str) -> str:
        with (self.folder / effect).open("ab", buffering=0) as file:
            file.write(f"{key}\n".encode())
        return f"{effect} done"

    def keys(self, effect: str) -> list[str]:
        file = self.folder / effect
        return file.read_text(encoding="ascii").split() if file.exists() else []

    def has(self, effect: str, key: str) -> bool:
        return key in self.keys(effect)

    def first(self, what: str) -> bool:
        """Whether this is asked for the first time."""
        try:
            os.close(os.open(self.folder / f"first {what}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def wait_for(self, what: str) -> None:
        """Wait in this thread until somebody says `go`."""
        self.first(f"waits for {what}")
        while not (self.folder / f"go {what}").exists():
            time.sleep(LOOK_SECONDS)
