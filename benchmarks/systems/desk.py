"""The mail desk, offline: its sample mails again and again, each from another customer; parsing, rules and checks included."""

import asyncio
import re
import time
from importlib import resources
from pathlib import Path

from benchmarks.systems.trial import Figures, run
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import work_off
from pointsman_desk.wiring import open_desk

WARM_UP = 50  # mails, after which every word list and pattern has been read
MAIL_BYTES_MAX = 20_000
_IDENTITY = re.compile(rb"^Message-ID:.*$", re.IGNORECASE | re.MULTILINE)
_THREAD = re.compile(rb"^(?:In-Reply-To|References):.*\r?\n(?:[ \t].*\n)*", re.IGNORECASE | re.MULTILINE)
_CUSTOMER = re.compile(rb"([a-z.]+)@([a-z.-]+)\.example")


def w6(folder: Path, *, mails: int, concurrency: int) -> Figures:
    """Work off so many mails: from the folder to a sent reply or a question to a person."""
    box = folder / "mails"
    box.mkdir()
    samples = [file.read_bytes() for file in sorted(_samples().glob("*.eml"))]
    samples = [raw for raw in samples if len(raw) <= MAIL_BYTES_MAX and _IDENTITY.search(raw)]
    for number in range(mails + WARM_UP):
        (box / f"{number:06}.eml").write_bytes(_another(samples[number % len(samples)], number))

    async def main() -> Figures:
        async with open_desk(DeskConfig(home=folder / "desk", mailbox=box, concurrency=concurrency)) as desk:
            found = list(desk.mails())
            await work_off(desk, lambda _: None, asyncio.Event(), iter(found[:WARM_UP]))
            begun, used = time.perf_counter(), time.process_time()
            done = await work_off(desk, lambda _: None, asyncio.Event(), iter(found[WARM_UP:]))
            wall, cpu = time.perf_counter() - begun, time.process_time() - used
        assert len(done.started) + len(done.joined) == mails, done
        return {"mails_per_s": mails / wall, "cpu_ms_a_mail": 1e3 * cpu / mails}

    return asyncio.run(main())


def _samples() -> Path:
    return Path(str(resources.files("pointsman_desk"))) / "sample" / "mails"


def _another(raw: bytes, number: int) -> bytes:
    """Return the same mail from another customer, with an identity of its own and no thread."""
    raw = _THREAD.sub(b"", _IDENTITY.sub(b"Message-ID: <mail-%d@bench.example>" % number, raw, count=1))
    return _CUSTOMER.sub(
        lambda found: b"%s%d@%s.example" % (found[1], number, found[2]) if b"haus-und-hof" not in found[2] else found[0], raw, count=1
    )


if __name__ == "__main__":
    run({"W6": w6})
