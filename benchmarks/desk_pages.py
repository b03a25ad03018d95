"""Measure the pages of a desk with many cases: `python -m benchmarks.desk_pages [--cases 100000] [--folder FOLDER]`.

The script asks for each page 20 times in this process, without a socket. It compares the median with that of a desk with 1,000 cases. In both,
400 mails wait for a decision, 100 are probably automatic, 20 replies are in doubt, and all other cases have ended. So the lists are equally
long. Then a program serves the large desk and has nothing to do: the script measures its load and its memory. FOLDER is kept and used again.
"""

import argparse
import asyncio
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from importlib import resources
from itertools import islice
from pathlib import Path
from random import Random

import httpx
from rich.console import Console
from rich.table import Table

from pointsman import CaseQuery, Status
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman_desk.case import Receipt
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import work_off
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.transports.relay import Relay
from pointsman_desk.steps import APPROVE, SORT
from pointsman_desk.web import desk_pages
from pointsman_desk.wiring import Desk, open_desk

FEW = 1_000  # cases: every list is full
WAITING, AUTOMATIC, IN_DOUBT = 400, 100, 20
ROUNDS = 20
IDLE_SECONDS = 10.0
SETTLE_SECONDS = 2.0  # after which a program has done what it does once
AT_ONCE = 2_000  # mails: few enough to hold in memory, and to say now and then how far it is
AUTHSERV = "mx.shop.example"
NOWHERE = 9  # a port on which nobody listens: discard
HEAD = """\
From: {name} <{address}>
To: support@haus-und-hof.example
Subject: {subject}
Message-ID: <{number}@post.example>
Date: Wed, 18 Nov 2026 10:00:00 +0000
Authentication-Results: {authserv}; dmarc=pass header.from=post.example
"""
STATUS = "I ordered a desk lamp from you, the number is {order}. Could you tell me where it is at the moment?\n\nKind regards,\n{name}"
REFUND = "The desk lamp of order {order} was delivered, but it is too small. Can I get a refund?\n\nKind regards,\n{name}"
ABSENT = "I am out of the office until 27 November and read my mail only now and then.\n\n{name}"


class Outbox:
    """Takes every reply, except those of which nobody can know."""

    name = "nowhere"

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Iterable[str] = ()) -> Receipt:  # noqa: ARG002
        """Take a reply."""
        if to.startswith("lost"):
            raise OSError("the connection was lost")
        return Receipt(provider_message_id=key, transport=self.name)


def config_of(folder: Path) -> DeskConfig:
    """Return the configuration of the desk in a folder."""
    relay = Relay(
        host="127.0.0.1", port=NOWHERE, tls="none"
    )  # nothing is sent there: it makes a lost answer one that a person must look at
    return DeskConfig(home=folder / "desk", mailbox=folder / "mails", shop=folder / "shop.db", authserv=AUTHSERV, smtp=relay)


def kinds_of(cases: int) -> list[str]:
    """Return what each mail is about, those that wait spread over all."""
    kinds = ["refund"] * WAITING + ["absent"] * AUTOMATIC + ["lost"] * IN_DOUBT
    kinds += ["status"] * (cases - len(kinds))
    Random(7).shuffle(kinds)
    return kinds


def mails(cases: int) -> Iterator[Found]:
    """Yield a mail for each case, each from another customer about another order."""
    for number, kind in enumerate(kinds_of(cases), 1):
        name, order = customer(number), f"B-{number:06}"
        text = {"refund": REFUND, "absent": ABSENT}.get(kind, STATUS).format(order=order, name=name)
        subject = "Out of office" if kind == "absent" else f"Desk lamp, order {order}"
        address = address_of(number, kind)
        head = HEAD.format(name=name, address=address, subject=subject, number=number, authserv=AUTHSERV)
        head += "Auto-Submitted: auto-replied\n" if kind == "absent" else ""
        yield Found(f"{number}", f"{head}\n{text}\n".encode())


def customer(number: int) -> str:
    """Return the name of a customer; every twentieth has the same surname, as in a town."""
    letters = "".join(chr(ord("a") + int(digit)) for digit in f"{number:06}")
    return f"K{letters} {'Smith' if number % 20 == 0 else f'S{letters}'}"


def address_of(number: int, kind: str) -> str:
    """Return the address of a customer."""
    return f"{kind}{number}@post.example"


def make_shop(file: Path, cases: int) -> None:
    """Write the shop of these customers: an order for each."""
    with closing(sqlite3.connect(file)) as shop:
        schema = (resources.files("pointsman_desk") / "sample" / "shop.sql").read_text(encoding="utf-8")
        shop.executescript(schema[: schema.index("INSERT INTO orders")])
        order = ("shipped", "4.90", "EUR", "2026-11-14", "2026-11-24", "2026-11-17", None, "Nordpost", "NP1")
        rows = ((f"B-{number:06}", address_of(number, kind), customer(number), *order) for number, kind in enumerate(kinds_of(cases), 1))
        shop.executemany(f"INSERT INTO orders VALUES ({', '.join('?' * 12)})", rows)
        items = ((f"B-{number:06}", 1, "Desk lamp", 1, "34.50") for number in range(1, cases + 1))
        shop.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", items)
        shop.commit()


async def fill(folder: Path, cases: int) -> None:
    """Let the desk in this folder work off its mails, as many as are not there yet."""
    (folder / "mails").mkdir(parents=True, exist_ok=True)
    if not (folder / "shop.db").exists():
        make_shop(folder / "shop.db", cases)
    config = config_of(folder).model_copy(update={"concurrency": 64})
    async with open_desk(config, transport=Outbox()) as desk:
        known = sum((await desk.engine.reader.counts()).values())
        left = islice(mails(cases), known, None)
        while some := list(islice(left, AT_ONCE)):
            await work_off(desk, lambda _: None, asyncio.Event(), some)
            print(f"{some[-1].name} of {cases} mails", file=sys.stderr)


async def paths_of(desk: Desk, cases: int) -> dict[str, str]:
    """Return the pages to ask for: what each is, and its address."""
    reader, process = desk.engine.reader, desk.process.name

    async def one(**query: object) -> int:
        return (await reader.find(CaseQuery(process=process, **query), limit=1)).rows[0].case.id  # type: ignore[arg-type]

    approve, sort = await one(pause=APPROVE), await one(pause=SORT)
    sent, lost = await one(status=Status.DONE), await one(status=Status.PARKED)
    middle = cases // 2
    second = (await desk.engine.tasks(process=process, pause=APPROVE, limit=50)).cursor
    return {
        "work list": "/",
        "work list, its second page": f"/?after={second}",
        "work list of the probably automatic": f"/?pause={SORT}",
        "a mail that waits for a decision": f"/cases/{approve}/task",
        "a mail that is probably automatic": f"/cases/{sort}/task?pause={SORT}",
        "the HTML of a mail": f"/cases/{approve}/original",
        "a case that has ended": f"/cases/{sent}",
        "a case whose reply is in doubt": f"/cases/{lost}",
        "search by customer": f"/search?q={customer(middle).replace(' ', '+')}",
        "search by surname, one in 20": "/search?q=Smith",
        "search by order": f"/search?q=B-{middle:06}",
        "search by a word that every case has": "/search?q=lamp",
        "search by three such words": "/search?q=desk+lamp+order",
        "search by a word that no case has": "/search?q=porcelain",
        "replies": "/replies",
        "cases": "/cases",
        "cases that wait, the oldest first": "/cases?status=waiting&order=waiting",
        "cases by text": "/cases?text=lamp",
        "overview": "/overview",
        "map": f"/map?process={process}",
        "operations": "/operations",
    }


async def measured(folder: Path, cases: int) -> dict[str, tuple[float, float]]:
    """Return for each page the median and the longest time in milliseconds. The first request of each, which fills caches, counts as one."""
    times = {}
    async with open_desk(config_of(folder), transport=Outbox()) as desk:
        app = create_app(desk.engine, LocalAccess("ada", "a token"), desk_pages(desk))
        transport = httpx.ASGITransport(app)
        headers = {"accept": "text/html"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=600) as client:
            for name, path in (await paths_of(desk, cases)).items():
                took = []
                for _ in range(ROUNDS):
                    begun = time.perf_counter()
                    answer = await client.get(path)
                    took.append(1e3 * (time.perf_counter() - begun))
                    answer.raise_for_status()
                times[name] = (statistics.median(took), max(took))
    return times


def idle(folder: Path) -> tuple[float, float]:
    """Serve the desk; return the share of a core that it takes while nothing happens, in percent, and its memory in MiB."""
    file = folder / "desk.toml"
    config = config_of(folder)
    places = f'home = "{config.home}"\nmailbox = "{config.mailbox}"\nshop = "{config.shop}"\nauthserv = "{AUTHSERV}"\n'
    file.write_text(f'{places}[smtp]\nhost = "127.0.0.1"\nport = {NOWHERE}\ntls = "none"\n', encoding="utf-8")
    arguments = [sys.executable, "-m", "pointsman_desk.cli.main", "serve", "--port", "0", "--json", "--config", str(file)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it says that it is ready
        time.sleep(SETTLE_SECONDS)
        before = _cpu_seconds(process.pid)
        time.sleep(IDLE_SECONDS)
        load = 100 * (_cpu_seconds(process.pid) - before) / IDLE_SECONDS
        pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
        process.terminate()
    return load, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_seconds(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Fill two desks, and print a line for each page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk_pages", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="cases of the large desk")
    parser.add_argument("--folder", type=Path, help="where the desks are, or will be; without it, in a folder that is deleted at the end")
    arguments = parser.parse_args()
    root = arguments.folder or Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    try:
        times = []
        for cases in (FEW, arguments.cases):
            folder = root / f"{cases}"
            asyncio.run(fill(folder, cases))
            times.append(asyncio.run(measured(folder, cases)))
        few, many = times
        table = Table("page", f"{arguments.cases:,} cases, ms", "at most, ms", f"{FEW:,} cases, ms", "times")
        for name, (median, most) in many.items():
            table.add_row(name, f"{median:.1f}", f"{most:.1f}", f"{few[name][0]:.1f}", f"{median / few[name][0]:.1f}")
        Console(width=120).print(table)
        load, memory = idle(root / f"{arguments.cases}")
        print(f"at rest: {load:.2f} % of a core over {IDLE_SECONDS:.0f} s, {memory:.0f} MiB in memory")
    finally:
        if arguments.folder is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
