"""An engine that asks a model is killed all the time: what was paid and committed is never bought again, and is counted once."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from paid_worker import ANSWERS_A_MAIL

from models.openai_server import Remote, running
from pointsman import open_reader
from pointsman.kernel.rows import UsageRow
from tiers import figure, seed

WORKER = Path(__file__).with_name("paid_worker.py")
MAILS_A_KILL = 3  # more than a worker can work off before it is killed
HOLD, SILENCE = {"act": "hold"}, {"act": "silence"}


@dataclass
class Told:
    """What the kills have cost: `held` answers were worked out and never sent, `lost` ones paid for beyond what the mails take.

    For each mail what its answers used, and how many of them its events tell of.
    """

    kills: int
    held: int
    lost: int
    usage: list[tuple[UsageRow, ...]]
    events: list[int]


def asked(folder: Path, *, kills: int, kind: str, only_held: bool = False) -> Told:
    """Work off mails, with a worker that is killed so often, until all of them are done."""
    chance, held, mails = Random(f"{seed()}-{kind}"), 0, MAILS_A_KILL * kills
    with running() as server:
        command = [sys.executable, str(WORKER), str(folder / "cases.db"), server.url, str(mails), kind]
        for _ in range(kills):
            hold = only_held or chance.random() < 0.5
            held += hold
            killed_after(command, server, answers=1 if only_held else chance.randrange(4), hold=hold)
        server.then()
        subprocess.run(command, check=True, timeout=600, env=environment())
        lost = server.counted()["answers"] - ANSWERS_A_MAIL * mails
    return asyncio.run(found(folder / "cases.db", Told(kills, held, lost, [], [])))


def killed_after(command: list[str], server: Remote, *, answers: int, hold: bool) -> None:
    """Kill a worker after so many answers: while its next one is held back, or at any moment until the second next is due."""
    counted, until = ("held", 1) if hold else ("answers", answers)
    until += server.counted()[counted]
    server.then(*[None] * answers, HOLD) if hold else server.then(*[None] * (answers + 2), SILENCE)
    with subprocess.Popen(command, env=environment()) as worker:
        while server.counted()[counted] < until:
            assert worker.poll() is None, "the worker has ended before it was killed"
        worker.kill()


def environment() -> dict[str, str]:
    return {**os.environ, "NO_PROXY": "127.0.0.1"}


async def found(database: Path, told: Told) -> Told:
    with open_reader(database) as reader:
        for case in await reader.cases(limit=10_000):
            assert case.outcome == "classified", case
            told.usage.append(tuple(await reader.usage_of_case(case.id)))
            told.events.append(sum("used" in json.loads(event.facts) for event in await reader.events(case=case.id)))
    return told


def test_a_kill_costs_at_most_one_answer_and_no_answer_is_counted_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kills = figure("PAID_KILLS", 4)

    told = asked(tmp_path, kills=kills, kind="guarded")

    mails = MAILS_A_KILL * kills
    with capsys.disabled():
        print(f"\n{kills} kills of {mails} mails: {told.lost} answers lost, {told.held} of them held back on purpose (seed {seed()})")
    assert told.held <= told.lost <= kills
    assert told.events == [ANSWERS_A_MAIL] * mails
    assert [[row.answers for row in rows] for rows in told.usage] == [[ANSWERS_A_MAIL]] * mails
    assert len(set(told.usage)) == 1, "mails of one length have used different amounts: something was counted twice, or not at all"


def test_the_same_kills_of_a_node_that_repairs_by_itself_cost_more(tmp_path: Path) -> None:
    told = asked(tmp_path, kills=1, kind="repairs by itself", only_held=True)

    assert told.lost > told.kills
