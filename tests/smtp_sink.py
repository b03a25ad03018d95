"""Postfix's smtp-sink: a mail server of somebody else's, with a fault of somebody else's."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_ports
from tiers import program

READY_SECONDS = 300.0  # a slow machine has started it by then
POLL_SECONDS = 0.01
NOBODY = 65_534  # smtp-sink refuses to be root


class Sink:
    """A server whose options make its fault; without any it is not there. `takes` says whether it has taken the mail all the same.

    From `mend` on it is a good one.
    """

    def __init__(self, options: tuple[str, ...] | None, *, takes: bool) -> None:
        self._program = program("smtp-sink")
        self.folder = Path(tempfile.mkdtemp(prefix="smtp-sink-"))
        self.folder.chmod(0o777)
        [self.port] = free_ports(1)
        self._takes = takes
        self._mended = False
        self._running: subprocess.Popen[bytes] | None = None
        if options is not None:
            self._start(*options)

    def _start(self, *options: str) -> None:
        """Start it, and return when it listens; each mail is a file."""
        as_nobody = ("-u", "nobody") if os.geteuid() == 0 else ()
        place = "mended" if self._mended else "faulty"
        command = [self._program, *as_nobody, "-d", f"{self.folder}/{place}.", *options, f"127.0.0.1:{self.port}", "10"]
        self._running = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + READY_SECONDS
        while str(self.port) not in _listening():
            assert self._running.poll() is None, f"smtp-sink ended: {' '.join(command)}"
            assert time.monotonic() < until, "smtp-sink does not listen"
            time.sleep(POLL_SECONDS)

    def mend(self) -> None:
        self.close()
        self._mended = True
        self._start()

    @property
    def taken(self) -> list[tuple[str, list[str], bytes]]:
        """What it took as (sender, recipients, content)."""
        files = [file for file in self.folder.iterdir() if self._takes or file.name.startswith("mended")]
        return [_read(file.read_bytes()) for file in files]

    def close(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()


def _read(dump: bytes) -> tuple[str, list[str], bytes]:
    envelope, _, content = dump.partition(b"\nReceived: ")
    trace = re.match(rb"[^\n]*\n(?:[ \t][^\n]*\n)*", content)
    assert trace is not None
    sender, *recipients = re.findall(r"^X-(?:Mail|Rcpt)-Args: <(.*?)>", envelope.decode(), re.MULTILINE)
    return sender, recipients, content[trace.end() :].replace(b"\n", b"\r\n")


def _listening() -> set[str]:
    """The ports that are listened to, without a connection that the server would count as a talk."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return {str(int(row[1].rpartition(":")[2], 16)) for row in rows if row[3] == "0A"}


@contextmanager
def smtp_sink(options: tuple[str, ...] | None, *, takes: bool = False) -> Iterator[Sink]:
    sink = Sink(options, takes=takes)
    try:
        yield sink
    finally:
        sink.close()
        shutil.rmtree(sink.folder)
