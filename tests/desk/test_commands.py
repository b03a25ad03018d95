"""Commands as values: one whose answer was lost is carried out again as the same one, and an idle desk reads nothing."""

import ast
import asyncio
import inspect
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pointsman import Busy, Status, last_event
from pointsman.client import AsyncClient, Call, find_running
from pointsman.server.accounts import Accounts, accounts_file
from pointsman.server.audit import sentence
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.testing.clock import ManualClock
from pointsman_desk import carrying_out, running
from pointsman_desk import desk as at_desk
from pointsman_desk.cli import session
from pointsman_desk.cli.session import carry_out
from pointsman_desk.commands import COMMANDS, Approve, Assign, Cancel, Command, Edit, Redrive, Reopen
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.wiring import Desk, open_desk

ARTICLE = (SAMPLE / "mails" / "01-article.eml").read_bytes()


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    box = tmp_path / "mailbox"
    for name in ("new", "cur", "tmp"):
        (box / name).mkdir(parents=True)
    (box / "new" / "1").write_bytes(ARTICLE)
    return DeskConfig(home=tmp_path / "desk", mailbox=box, authserv="mx.haus-und-hof.example")


async def worked_off(desk: Desk) -> None:
    await at_desk.work_off(desk, lambda name: None, asyncio.Event())


def test_each_command_has_somebody_who_carries_it_out() -> None:
    matched = {node.cls.id for node in ast.walk(ast.parse(inspect.getsource(carrying_out))) if isinstance(node, ast.MatchClass)}

    assert {command.__name__ for command in COMMANDS.values()} == matched - {"OnCase", "str"}


def test_an_approval_whose_answer_was_lost_counts_once_and_for_its_own_person_only(config: DeskConfig) -> None:
    async def body() -> Any:
        async with open_desk(config, models=()) as desk:
            await worked_off(desk)
            after = await last_event(desk.engine.reader, 1)
            seen = (await desk.engine.pending(1)).digest
            first = await carrying_out.carry_out(desk, Approve(case=1, by="anna", seen=seen))
            again = await carrying_out.carry_out(desk, Approve(case=1, by="anna", seen=seen, after=after))
            others = []
            for command in (Approve(case=1, by="bert", seen=seen, after=after), Approve(case=1, by="anna", seen=seen)):
                with pytest.raises(Exception, match="not waiting for an answer") as refused:
                    await carrying_out.carry_out(desk, command)
                others.append(refused.value)
            return first, again, len(list((config.outbox / "new").iterdir())), (await desk.engine.case(1)).status

    first, again, replies, status = asyncio.run(body())

    assert first == again
    assert (replies, status) == (1, Status.DONE)


def test_an_edit_that_was_not_taken_is_carried_out_when_it_comes_again(config: DeskConfig) -> None:
    async def body() -> Any:
        async with open_desk(config, models=()) as desk:
            await worked_off(desk)
            after = await last_event(desk.engine.reader, 1)
            lost = Edit(case=1, by="anna", body="Another text.", seen=None, after=after)
            texts = []
            for _ in range(2):
                await carrying_out.carry_out(desk, lost)
                texts.append((await desk.engine.pending(1)).shown["reply"].body)
            events = await desk.engine.reader.events(case=1, after=after)
            return texts, [event.kind for event in events].count("resumed")

    texts, answers = asyncio.run(body())

    assert texts == ["Another text.\n"] * 2
    assert answers == 1


def test_a_redrive_is_refused_truthfully(config: DeskConfig) -> None:
    async def body() -> None:
        async with open_desk(config, models=()) as desk:
            await worked_off(desk)
            with pytest.raises(Exception, match="is not parked"):
                await carrying_out.carry_out(desk, Redrive(case=1, by="anna", why="a test", after=""))

    asyncio.run(body())


class Told:
    """What a round tells: the first run, and the first problem."""

    def __init__(self) -> None:
        self.run, self.problem = asyncio.Event(), asyncio.Event()
        self.problems: list[Exception] = []

    async def tell(self, _: Desk, __: at_desk.Run) -> None:
        self.run.set()

    def report(self, error: Exception | None) -> None:
        if error is not None:
            self.problems.append(error)
            self.problem.set()


def test_a_sleeping_desk_reads_no_case_and_wakes_for_its_mailbox_only(config: DeskConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    reading = SqliteReader._all

    def counted(self: Any, name: str, values: Any) -> Any:
        statements.append(name)
        return reading(self, name, values)

    async def body() -> int:
        clock = ManualClock()
        async with open_desk(config, models=(), clock=clock) as desk:
            stop, looks, told = asyncio.Event(), 0, Told()
            round_ = running.Round(desk, at_desk.Reception(desk), Arrivals(), told.tell, told.report)
            work = asyncio.ensure_future(round_.work(stop))
            await told.run.wait()
            assert round_._watched is not None
            while round_._watched.changed():  # the folder is read again until its time can be trusted
                clock.advance(running.LOOK_SECONDS)
                await asyncio.sleep(0.001)
            monkeypatch.setattr(SqliteReader, "_all", counted)
            for _ in range(200):
                clock.advance(running.LOOK_SECONDS)
                await asyncio.sleep(0.001)
                looks += 1
            stop.set()
            await work
            return looks

    assert asyncio.run(body()) == 200
    assert statements == []


def test_a_paused_intake_leaves_the_mails_where_they_are_until_it_is_resumed(config: DeskConfig) -> None:
    async def body() -> Any:
        clock, told = ManualClock(), Told()
        async with open_desk(config, models=(), clock=clock) as desk:
            await desk.engine.pause_intake(by="eve", why="the shop moves")
            stop = asyncio.Event()
            round_ = running.Round(desk, at_desk.Reception(desk), Arrivals(), told.tell, told.report)
            work = asyncio.ensure_future(round_.work(stop))
            await told.problem.wait()
            before = await desk.engine.reader.cases()
            await desk.engine.resume_intake()
            while not (await desk.engine.reader.cases()):
                clock.advance(running.CHECK_SECONDS)
                await asyncio.sleep(0.001)
            stop.set()
            await work
            return before, told.problems[0]

    before, problem = asyncio.run(body())

    assert before == []
    assert isinstance(problem, Busy)
    assert "eve paused the intake (the shop moves)" in str(problem)


def test_the_audit_log_has_the_same_lines_from_a_command_alone_and_through_the_running_desk(config: DeskConfig) -> None:
    async def opened(command: Command | None) -> Any:
        async with open_desk(config, models=()) as desk:
            await worked_off(desk)
            reception = at_desk.Reception(desk)
            if command is not None:
                async with running.served(desk, reception, "127.0.0.1", 0):
                    at = find_running(config.cases_file)
                    assert at is not None
                    async with AsyncClient(at.url, token=at.token) as client:
                        await client.call(Call("POST", f"/desk/commands/{command.name}", session.DONE, command))

    asyncio.run(opened(None))
    me = session.login()
    carry_out(config, Assign(case=1, by=me, to="bert", note="he knows the shop"))
    asyncio.run(opened(Assign(case=1, by=me, to="")))
    carry_out(config, Approve(case=1, by="anna", seen=None))
    with pytest.raises(SystemExit):
        carry_out(config, Cancel(case=1, by=me, why="late"))
    asyncio.run(opened(Reopen(case=1, by="bert", why="a slip")))
    carry_out(config, Cancel(case=2, by=me, why="a test"))

    with closing(Accounts(accounts_file(config.cases_file), Random(7))) as accounts:
        entries, broken = accounts.entries(), accounts.first_broken()

    assert [sentence(entry) for entry in entries] == [
        f"{me} assigned case 1 to bert: he knows the shop",
        f"{me} assigned case 1 to nobody",
        f"{me} approved the reply of case 1 in the name of anna",
        f"{me} tried to cancel (case 1) and was refused (409): late",
        f"{me} reopened case 1 in the name of bert: a slip",
        f"{me} cancelled case 2: a test",
    ]
    assert broken is None
