"""Start a program again whenever it ends: `python supervisor.py FOLDER PROGRAM [ARGUMENT...]`.

The file `pid` in the folder names the running one, which leads a process group. When standard input ends, as it does when the caller's process
ends, the program is killed and the folder is removed; a line on standard input before its end leaves the folder.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PAUSE_SECONDS = 0.05  # a program that ends at once, such as one whose port is taken, is not started in a busy loop


def _kill(program: "subprocess.Popen[bytes]") -> None:
    """Kill a program and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)


def main(folder: Path, command: list[str]) -> None:
    """Keep the program running until standard input ends."""
    starting = threading.Lock()
    running: list[subprocess.Popen[bytes]] = []

    def again() -> None:
        while True:
            with starting:
                program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
                running[:] = [program]
                (folder / "pid.new").write_text(str(program.pid), encoding="ascii")
                (folder / "pid.new").rename(folder / "pid")
            program.wait()
            _kill(program)  # what it had started
            time.sleep(PAUSE_SECONDS)

    threading.Thread(target=again, daemon=True).start()
    leave = sys.stdin.buffer.read()
    with starting:
        for program in running:
            _kill(program)
            program.wait()
        if not leave:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
