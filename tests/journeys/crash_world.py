"""Kill the desk at every labelled point of a whole mail, under each safety policy, and look at what the world got.

Run as a script: it forks a child for each life of the desk, so it must have no threads itself. The provider is a file
outside the desk that takes a line for each delivery; it is what deliveries are counted by.
"""

import asyncio
import gc
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    Found,
    Idempotent,
    Reconcile,
    Safety,
    Status,
    history_of,
    open_reader,
)
from pointsman.store.sqlite import open_sqlite
from pointsman.store.sqlite_file import image
from pointsman.store.statements import migrations
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers
from pointsman_desk import desk as at_desk
from pointsman_desk import wiring
from pointsman_desk.case import Case, NoOrder, Outgoing, Receipt, Trust, sent_of
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.mail.message import read_mail
from pointsman_desk.models.base import Brief
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.models.replies import write_reply
from pointsman_desk.nodes.validate import validate
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.wiring import Desk, open_desk, prepare
from tiers import tried

NOON = 1_795_000_000.0  # any moment will do
TRIES_MAX = 5  # two branches that end at the same moment share a commit, and then a life has fewer points
LATER = NOON + 10_000.0  # beyond every deadline and settle time of the first life


class Provider:
    """A mail provider of the world outside: each delivery is a line in a file, on the disk before it is answered."""

    name = "provider"

    def __init__(self, log: Path, points: Callable[[str], None], *, deduplicates: bool) -> None:
        self.log = log
        self.points = points
        self.deduplicates = deduplicates

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        self.points("provider.reached")
        if not (self.deduplicates and key in delivered(self.log)):
            with self.log.open("a") as log:
                log.write(key + "\n")
                log.flush()
                os.fsync(log.fileno())
        self.points("provider.took")
        return Receipt(provider_message_id=f"id-{key}", transport=self.name)


def delivered(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


async def look_up(outgoing: Outgoing, *, transport: Provider, ctx: Context) -> Any:
    if ctx.key in delivered(transport.log):
        return Found((Receipt(provider_message_id=f"id-{ctx.key}", transport="provider"), "sent", sent_of(outgoing, ctx.now)))
    return ABSENT


POLICIES: dict[str, Safety] = {
    "Idempotent": Idempotent(),
    "Reconcile": Reconcile(look_up, propagation_seconds=60.0),
    "AtMostOnce": AtMostOnce(),
    "AtLeastOnce": AtLeastOnce("the test counts repetitions"),
}


class WithoutIntents:
    """The control: a store that forgets to write intents."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, transition: Any) -> int:
        return await self._store.commit(replace(transition, intent=None))


def live(home: Path, policy: str, points: CrashAt, now: float, *, with_intents: bool = True) -> None:
    """One life of the desk: take in the mail, approve the reply, and settle what is in doubt as an operator would."""

    async def main() -> None:
        config = DeskConfig(home=home / "desk", mailbox=home / "mailbox", authserv="mx.haus-und-hof.example")
        provider = Provider(home / "provider.log", points, deduplicates=policy == "Idempotent")
        settings: dict[str, Any] = {"clock": ManualClock(now), "random": Random(7), "failpoints": points}
        if not with_intents:
            wiring._compare = _never_mind  # or the desk would know by what left that its cases forget
            settings["store"] = WithoutIntents(await open_sqlite(config.cases_file, now=now, failpoints=points))
        async with open_desk(config, transport=provider, safety=POLICIES[policy], **settings) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            await finish(desk, provider)

    asyncio.run(main())


async def _never_mind(*_: object) -> None:
    pass


async def finish(desk: Desk, provider: Provider) -> None:
    for row in await desk.engine.reader.cases():
        if row.status is Status.WAITING:
            await at_desk.approve(desk, row.id, by="anna", seen=None)
        while (await desk.engine.case(row.id)).status is Status.PARKED:
            [entry] = await desk.engine.reader.effects(row.id)
            happened = entry.key in delivered(provider.log)
            outgoing = (await desk.engine.state(row.id, Case)).outgoing
            assert outgoing is not None
            receipt = (Receipt(provider_message_id=f"id-{entry.key}", transport="provider"), "sent", sent_of(outgoing, NOON))
            await desk.engine.resolve(
                entry.key,
                happened=happened,
                by="anna",
                why="the provider's log says so",
                outcome=receipt if happened else None,
            )
            await desk.engine.wait_until_resting(row.id)


def final_state(home: Path) -> list[Any]:
    """All cases as they ended, without what names the database or the time."""

    async def read() -> list[Any]:
        with open_reader(home / "desk" / "cases.db") as reader:
            ends = []
            for row in await reader.cases():
                history = await history_of(reader, row.id)
                state = dict(history.state)
                for volatile in ("outgoing", "receipt"):
                    state[volatile] = volatile in state
                state["mails"] = [mail | {"at": None} for mail in state["mails"]]
                state["sent"] = [one["answers"] for one in state["sent"]]
                state["approval"] = {**(state.get("approval") or {}), "sha256": None}
                ends.append([row.status, row.outcome, row.key, state])
            return ends

    return asyncio.run(read())


def fresh(template: Path, folder: Path) -> Path:
    shutil.copytree(template, folder)
    return folder


def template_of(root: Path) -> Path:
    """A desk before its first mail: its folder, and a mailbox with the article's mail."""
    home = root / "template"
    (home / "mailbox").mkdir(parents=True)
    shutil.copyfile(SAMPLE / "mails" / "01-article.eml", home / "mailbox" / "01-article.eml")
    prepare(DeskConfig(home=home / "desk", mailbox=home / "mailbox"))
    return home


def build_once() -> None:
    """Let all lives under a policy have the process that is built here before they begin, and the tables: building them takes longer than a life."""
    processes = {
        policy: wiring.process_of(DeskConfig(home=Path("desk"), mailbox=Path("mailbox")), models=1, safety=policy)
        for policy in POLICIES.values()
    }
    for process in processes.values():
        assert process.fingerprint, "each life reads it"
    wiring.process_of = lambda _, *, models, safety: processes[safety]
    image(migrations("sqlite"))
    gc.freeze()  # or each child copies the pages of what it looks through


def read_the_words() -> None:
    """Read once what every life would read again: the words of the rules, the templates and the checks."""
    mail = read_mail((SAMPLE / "mails" / "01-article.eml").read_bytes(), "mx.haus-und-hof.example")
    found, policy = OfflineModel().classify(mail), PolicyFile(SAMPLE / "policy.toml").current()
    order = NoOrder(reason="no order from this address")
    reply = write_reply(Brief(mail=mail, order=order, policy=policy, **dict(found)), author="")
    validate(reply, mail, found.intents, found.grounds, order, policy, Trust.NONE)


def count_points(template: Path, root: Path, policy: str) -> list[str]:
    home = fresh(template, root / f"count-{policy}")
    labels = home / "labels.json"

    def work() -> None:
        points = CrashAt()
        live(home, policy, points, NOON)
        labels.write_text(json.dumps(points.labels))

    assert in_child(work) == 0, f"the quiet life under {policy} failed"
    return json.loads(labels.read_text())


def crash_and_recover(template: Path, root: Path, policy: str, crash: CrashAt, *, with_intents: bool = True) -> dict[str, Any]:
    home = fresh(template, root / f"{policy}-{crash.label}-{crash.number}")
    first = in_child(lambda: live(home, policy, crash, NOON, with_intents=with_intents))
    recovered = recovers(lambda: live(home, policy, CrashAt(), LATER, with_intents=with_intents))
    counted = Counter(delivered(home / "provider.log"))
    result = {
        "killed": first == -9,
        "recovered": recovered,
        "keys": len(counted),
        "deliveries": counted.total(),
        "state": final_state(home),
    }
    shutil.rmtree(home)
    return result


def main(root: Path, *, control: bool) -> dict[str, Any]:
    read_the_words()
    build_once()
    template = template_of(root)
    report: dict[str, Any] = {
        "points": 0,
        "tried": 0,
        "killed": 0,
        "lost": 0,
        "duplicated": 0,
        "repeated_as_declared": 0,
        "different_ends": 0,
        "labels": [],
    }
    for policy in ["AtMostOnce"] if control else POLICIES:
        labels = count_points(template, root, policy)
        report["tried"] += 1 if control else 1 + sum(tried(number, policy) for number in range(1, len(labels) + 1))
        expected = final_state(root / f"count-{policy}")
        report["labels"] = sorted({*report["labels"], *labels})
        numbered = (CrashAt(number) for number in count(1) if tried(number, policy))
        for crash in chain([CrashAt(1, "provider.took")], () if control else numbered):  # the worst of all points is always among them
            for _ in range(TRIES_MAX):
                result = crash_and_recover(template, root, policy, crash, with_intents=not control)
                if result["killed"]:
                    break
            report["killed"] += result["killed"]
            report["points"] = max(report["points"], len(labels), crash.number - (not result["killed"]))
            repeated = result["deliveries"] - result["keys"]
            report["lost"] += not result["recovered"] or result["keys"] != 1
            report["repeated_as_declared" if policy == "AtLeastOnce" else "duplicated"] += repeated
            report["different_ends"] += result["state"] != expected
            if not result["killed"]:
                break  # no life has so many points
    return report


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory(prefix="pointsman-crash-") as folder:
            print(json.dumps(main(Path(folder), control="--control" in sys.argv)))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
