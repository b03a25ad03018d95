"""What a support agent is shown, asked and told: nothing leaves that nobody looked at, and each message names the next command."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pointsman import AtMostOnce, CaseRow, Rejected, Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Receipt
from pointsman_desk.cli.main import app
from pointsman_desk.cli.reports import print_run
from pointsman_desk.cli.taking import _Told
from pointsman_desk.cli.terminal import console
from pointsman_desk.config import SAMPLE, DeskConfig, load_config
from pointsman_desk.desk import Run
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.message import read_mail
from pointsman_desk.wiring import open_desk
from smtp_faults import mail_server

ARTICLE, STATUS_EN, HOURS_EN = "01-article.eml", "02-status-en.eml", "06-hours-en.eml"


class Terminal:
    """The desk's commands, in this process."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.file = folder / "desk.toml"
        self.file.write_text(
            f'home = "{folder / "desk"}"\nmailbox = "{folder / "mailbox"}"\nauthserv = "mx.haus-und-hof.example"\n{settings}',
            encoding="utf-8",
        )
        (folder / "mailbox").mkdir(exist_ok=True)

    @property
    def config(self) -> DeskConfig:
        return load_config(self.file)

    def deliver(self, *names: str) -> None:
        for name in names:
            shutil.copyfile(SAMPLE / "mails" / name, self.folder / "mailbox" / name)

    def __call__(self, *words: str, answers: str | None = None) -> Result:
        return CliRunner().invoke(app, [*words, "--config", str(self.file)], input=answers)

    def sent(self) -> int:
        return len([*(self.config.outbox / "new").glob("*")])


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Terminal:
    desk = Terminal(tmp_path)
    desk.deliver(ARTICLE)
    assert desk("run").exit_code == 0
    return desk


def flat(text: str) -> str:
    return " ".join(text.split())


def rewritten(desk: Terminal) -> None:
    """A colleague has put another text in the place of the draft."""
    assert desk("edit", "1", "--text", "Dear Maria, we are sorry. It is on its way.", "--by", "bob").exit_code == 0


# approve, reject and edit decide on what was looked at.


@pytest.mark.parametrize(
    "words",
    [
        ("approve", "1"),
        ("reject", "1"),
        ("edit", "1", "--text", "We are sorry, it is on its way.", "--approve"),
        ("approve", "1", "--json"),
    ],
)
def test_where_nobody_looked_and_nobody_can_be_asked_nothing_is_done(desk: Terminal, words: tuple[str, ...]) -> None:
    done = [desk(*words), desk(*words)]

    assert [one.exit_code for one in done] == [1, 1]
    assert "see it with `pointsman-desk show 1`. In a script, use --seen DIGEST or --yes." in flat(done[1].stderr)
    assert desk.sent() == 0


def test_what_show_has_shown_is_what_approve_sends(desk: Terminal) -> None:
    assert desk("show", "1").exit_code == 0

    assert desk("approve", "1", "--by", "anna").exit_code == 0
    assert desk.sent() == 1


def test_a_case_is_assigned_to_somebody_and_then_to_nobody_and_a_closed_one_to_no_one(desk: Terminal) -> None:
    told = [desk("assign", "1", "--to", to, "--note", "knows the shop").stdout for to in ("bert", "")]
    assert desk("approve", "1", "--yes").exit_code == 0

    late = desk("assign", "1", "--to", "bert")

    assert told == ["case 1 waits for bert.\n", "case 1 waits for anybody.\n"]
    assert (late.exit_code, "case 1 is not waiting for an answer" in flat(late.stderr)) == (1, True)


def test_each_mail_that_no_reply_has_answered_is_shown_with_the_draft_and_with_the_question(desk: Terminal) -> None:
    first = read_mail((SAMPLE / "mails" / ARTICLE).read_bytes())
    (desk.folder / "mailbox" / "second.eml").write_text(
        f"From: {first.sender}\nTo: support@haus-und-hof.example\nSubject: Re: {first.subject}\nMessage-ID: <second@mail.example>\n"
        f"In-Reply-To: <{first.message_id}>\n\nMy address has changed, too. It is Elm Road 7 now.\n\n"
        "On 20 November your colleague wrote:\nAnd my lawyer has asked about it.\n",
        encoding="utf-8",
    )
    assert desk("run").exit_code == 0

    asked = flat(desk("approve", "1", "--yes", "--by", "anna", "--despite-violations").stdout)
    shown = flat(desk("show", "1").stdout)

    for told in (asked, shown):
        assert "Elm Road 7" in told
        assert "my lawyer has asked about it" in told, "what may be the customer's own words"
        assert f"Earlier mail, not answered yet: {first.subject} {flat(first.text)}" in told
    assert desk.sent() == 1


def test_what_a_colleague_has_rewritten_since_is_shown_instead_of_sent(desk: Terminal) -> None:
    desk("show", "1")
    rewritten(desk)

    refused = desk("approve", "1", "--by", "anna")
    then = desk("approve", "1", "--by", "anna", "--despite-violations")

    assert refused.exit_code == 1
    assert "Dear Maria, we are sorry. It is on its way." in refused.stdout
    assert "changed since you saw it" in flat(refused.stderr)
    assert then.exit_code == 0, "the new draft has been shown by now"
    assert desk.sent() == 1


@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_at_a_terminal_the_draft_is_shown_and_the_person_is_asked(
    desk: Terminal, answer: str, code: int, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman_desk.cli.deciding.at_a_terminal", lambda: True)

    done = desk("approve", "1", "--by", "anna", answers=answer)

    assert "I need it for Monday" in done.stdout
    assert "To maria.keller@mail.example" in done.stdout
    assert "Send this reply? [y/N]" in done.stdout
    assert (done.exit_code, desk.sent()) == (code, sent)


def test_yes_sends_what_stands_there_and_shows_it(desk: Terminal) -> None:
    rewritten(desk)

    done = desk("approve", "1", "--yes", "--by", "anna", "--despite-violations")

    assert "Dear Maria, we are sorry. It is on its way." in done.stdout
    assert (done.exit_code, desk.sent()) == (0, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("approve", "1", "--cc", "maybe"), "--cc maybe is not valid; use keep or drop."),
        (("approve", "1", "--cc", "keep"), "the mail of case 1 names nobody in Cc who could get a copy; leave out --cc."),
        (("edit", "1", "--text", "Hello.", "--cc", "keep"), "names nobody in Cc who could get a copy"),
        (("approve", "1", "--to", "x y"), "--to 'x y' is not a single plain address"),
        (("approve", "1", "--to", "support@haus-und-hof.example"), "is the desk's own address; give the customer's."),
        (("edit", "1", "--text", "Hello.", "--cc", "maybe"), "--cc maybe is not valid; use keep or drop."),
        (("edit", "1", "--text", " "), "is empty; write the reply, or reject the case."),
        (("approve", "1", "--seen", "x"), "--seen 'x' is not the digest of a draft;"),
        (("approve", "7", "--cc", "keep"), "there is no case 7;"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_on_standard_error_and_changes_nothing(desk: Terminal, words: tuple[str, ...], told: str) -> None:
    before = json.loads(desk("cases", "--json").stdout)

    done = desk(*words)

    assert (done.exit_code, done.stdout) == (1, "")
    assert told in flat(done.stderr)
    assert json.loads(desk("cases", "--json").stdout) == before


def test_an_unseen_mail_is_not_rejected(desk: Terminal) -> None:
    desk("show", "1")
    rewritten(desk)

    assert desk("reject", "1", "--by", "anna").exit_code == 1
    assert desk("reject", "1", "--yes", "--by", "anna").exit_code == 0


def test_a_case_without_a_draft_says_where_it_stands(desk: Terminal) -> None:
    desk("approve", "1", "--yes", "--by", "anna")

    again = desk("approve", "1", "--by", "bob")

    assert again.exit_code == 1
    assert "it is done (sent)" in flat(again.stderr)


def test_explain_says_what_another_value_would_do(desk: Terminal) -> None:
    said = flat(desk("explain", "1", "--set", "risk=low").stdout)
    refused = desk("explain", "1", "--set", "risk")

    assert said.startswith("With risk = low, case 1 would do this:")
    assert said.endswith("Nothing was run, and nothing is stored.")
    assert (refused.exit_code, "'risk' is not FIELD=VALUE" in flat(refused.stderr)) == (2, True)


# What becomes of a reply is told, and when.


def test_an_approval_that_meets_a_busy_server_is_kept_and_tells_of_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_desk, "HORIZON_SECONDS", 0.0)
    with mail_server("content", "451 later") as server:
        desk = Terminal(tmp_path, f'[smtp]\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n')
        desk.deliver(ARTICLE)
        desk("run")
        before = flat(desk("explain", "1").stdout)
        done = desk("approve", "1", "--yes", "--by", "anna")
        listed = json.loads(desk("cases", "--json").stdout)
        shown = flat(desk("show", "1").stdout)
        explained = flat(desk("explain", "1").stdout)

    assert done.exit_code == 1
    assert "your decision is saved, but the reply could not be sent yet and will be retried." in flat(done.stdout)
    assert "451" in flat(done.stdout)
    assert "Next attempt: at 20" in flat(done.stdout)
    assert "if the desk is running: pointsman-desk serve" in flat(done.stdout)
    assert (listed[0]["status"], listed[0]["why"]) == ("ready", "the reply could not be sent yet and will be retried")
    assert listed[0]["next_try_at"] > listed[0]["came_at"]
    assert "Not sent: the reply of 20" in shown
    assert "it will be called when a rule chooses it (AtMostOnce)" in before
    assert "AtMostOnce" in explained
    assert "send (by it is not sent): not sent (" in explained
    assert "call 2 of 8" in explained


class Transport:
    """A way out that does with each reply what it is told to."""

    name = "transport"

    def __init__(self, *does: Exception) -> None:
        self.does = [*does]

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        if self.does:
            raise self.does.pop(0)
        return Receipt(provider_message_id="p-1", transport=self.name)


def ran(desk: Terminal, transport: Transport, then: Callable[[Any], Any] | None = None) -> Any:
    async def main() -> Any:
        async with open_desk(desk.config, transport=transport, safety=AtMostOnce()) as opened:
            await at_desk.work_off(opened, lambda name: None, asyncio.Event())
            return None if then is None else await then(opened)

    return asyncio.run(main())


def test_replies_that_wait_for_their_server_leave_places_to_others(tmp_path: Path) -> None:
    desk = Terminal(tmp_path, '[smtp]\nhost = "127.0.0.1"\ntls = "none"\n')
    desk.deliver(STATUS_EN, HOURS_EN, "10-refund-en.eml")
    config = desk.config.model_copy(update={"concurrency": 2})

    class Slow(Transport):
        async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
            await answered.wait()
            return await super().deliver(raw, sender=sender, to=to, key=key, cc=cc)

    async def main() -> None:
        async with asyncio.timeout(60), open_desk(config, transport=Slow(), safety=AtMostOnce(), grace_seconds=0.0) as opened:
            work = asyncio.ensure_future(at_desk.work_off(opened, lambda name: None, asyncio.Event()))
            while not await opened.engine.reader.cases(status=Status.WAITING):  # noqa: ASYNC110 - the case is another task's
                await asyncio.sleep(0)
            answered.set()
            await work

    answered = asyncio.Event()
    asyncio.run(main())


def test_a_list_tells_a_reply_in_doubt_from_a_refused_one(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    for name, error in ((STATUS_EN, ConnectionResetError("the line went dead")), (HOURS_EN, Rejected("550 no such user"))):
        desk.deliver(name)
        ran(desk, Transport(error))

    whys = [case["why"] for case in json.loads(desk("cases", "--json").stdout)]
    doubted, refused = (flat(desk("show", number).stdout) for number in ("1", "2"))

    assert whys == ["nobody knows whether the reply was sent", "the reply was refused"]
    assert "In doubt: the reply of 20" in doubted
    assert "pointsman-desk resolve 1 --arrived, or --send-again" in doubted
    assert "engine.resolve" not in doubted, "a call of the library's is no command"
    assert "Refused: the reply of 20" in refused
    assert "pointsman-desk resolve 2 --send-again" in refused


def test_a_refused_reply_is_not_redriven_to_be_parked_again(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    desk.deliver(STATUS_EN)

    async def redrive(opened: Any) -> None:
        with pytest.raises(DeskError, match="resolve 1 --send-again"):
            await at_desk.redrive(opened, 1, by="anna", why="again")
        assert await at_desk.redrive_all(opened, by="anna", why="again") == []

    ran(desk, Transport(Rejected("550 no such user")), redrive)


BOUNCE = (
    "From: mailer-daemon@post.example\nTo: support@haus-und-hof.example\nSubject: Undelivered\nMessage-ID: <b1@post.example>\n"
    "Date: Mon, 30 Nov 2026 10:00:00 +0000\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    "--b\nContent-Type: text/plain\n\nIt could not be delivered.\n"
    "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; post.example\n\n"
    "Final-Recipient: rfc822; john.smith@post.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n\n"
    "--b\nContent-Type: message/rfc822\n\nMessage-ID: <{message_id}>\nFrom: support@haus-und-hof.example\n\nHello\n--b--\n"
)


def test_a_reply_that_came_back_is_told_by_its_case_and_offers_no_way_that_leads_back(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    desk.deliver(STATUS_EN)
    assert desk("run").exit_code == 0
    state = json.loads(desk("show", "1", "--json").stdout)["state"]
    (tmp_path / "mailbox" / "bounce.eml").write_text(BOUNCE.format(message_id=state["outgoing"]["message_id"]), encoding="utf-8")
    assert desk("run").exit_code == 0

    first, second = json.loads(desk("cases", "--json").stdout)
    shown, about = flat(desk("show", "1").stdout), flat(desk("show", "2").stdout)
    redriven = desk("redrive", "2", "--why", "again")

    assert (first["why"], first["came_back"], second["status"]) == ("sent, but the reply bounced", 2, "parked")
    assert "A reply of this case bounced (5.1.1, " in shown
    assert "pointsman-desk show 2" in shown
    assert "pointsman-desk cancel 2 --why" in about
    assert "pointsman-desk redrive" not in about
    assert redriven.exit_code == 1
    assert "would be parked again" in flat(redriven.stderr)


# Lists.


def test_cases_are_found_by_words_and_listed_with_their_ages(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    desk.deliver(ARTICLE, STATUS_EN, HOURS_EN)
    desk("run")

    listed = desk("cases")
    found = [json.loads(desk("cases", "--json", "--search", words).stdout) for words in ("a-1002", "MARIA refund", "nobody")]

    assert [[case["id"] for case in cases] for cases in found] == [[2], [1], []]
    assert "Ages count from the last mail; `pointsman-desk show CASE` prints its date." in listed.stdout
    assert "Received: 20" in desk("show", "1").stdout
    assert "No case has 'nobody'" in desk("cases", "--search", "nobody").stdout


def test_a_long_list_is_cut_and_says_how_many_are_left(tmp_path: Path) -> None:
    cases = [
        {
            "id": number,
            "status": "waiting",
            "why": "the risk is not low",
            "intents": [],
            "from": "a@b.example",
            "subject": "s",
            "came_at": 0.0,
        }
        for number in range(1, 3_009)
    ]
    config = DeskConfig(home=tmp_path, mailbox=tmp_path)

    with console.capture() as shown:
        print_run(Run(started=[1]), cases, [], config, "model", now=100.0, watched=True)
    assert shown.get().count("\n") < 5, "there are no rows, so nothing is listed"

    row = _row()
    with console.capture() as shown:
        print_run(Run(started=[1]), cases, [row] * 3_008, config, "model", now=100.0, watched=False)
    assert shown.get().count("\n") < 40
    assert "the risk is not low (3008)" in shown.get()
    assert "and 2988 newer cases: pointsman-desk cases --status waiting --limit 3008" in shown.get()


def _row() -> CaseRow:
    return CaseRow(1, "support-mail", 1, None, Status.WAITING, 2, 1, None, 1, 3, "approve", "the risk is not low", None, None, 0.0, 0.0)


def test_a_running_desk_tells_only_what_is_new(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    desk.deliver(ARTICLE)
    desk("run")
    desk.deliver(STATUS_EN)

    async def sweep() -> None:
        async with open_desk(desk.config) as opened:
            told = _Told(desk.config, as_json=False)
            await told.tell(opened, Run())
            await told.tell(opened, await at_desk.work_off(opened, lambda name: None, asyncio.Event()))

    with console.capture() as shown:
        asyncio.run(sweep())

    assert "maria.keller" not in shown.get()
    assert "john.smith" in shown.get()
    assert "in total" not in shown.get(), "a running desk does not count all cases again"


def test_one_cause_of_many_parked_cases_is_told_with_the_one_command(tmp_path: Path) -> None:
    desk = Terminal(tmp_path)
    desk.deliver(STATUS_EN, HOURS_EN)
    clock = ManualClock()  # it moves when nothing else does

    async def outage() -> None:
        async with open_desk(desk.config, clock=clock) as opened:
            desk.config.shop_file.rename(desk.config.shop_file.with_name("away"))
            work = asyncio.ensure_future(at_desk.work_off(opened, lambda name: None, asyncio.Event()))
            while not work.done() or (rows := [row for row in await opened.engine.reader.cases() if row.status is not Status.PARKED]):
                rows = [row for row in await opened.engine.reader.cases() if row.status is not Status.PARKED]
                if rows and all(row.status is Status.READY and (row.wake_at or 0.0) > clock.now() for row in rows):
                    clock.advance(min(row.wake_at or 0.0 for row in rows) - clock.now())
                await asyncio.sleep(0)
            await work

    asyncio.run(outage())

    told = flat(desk("cases").stdout)

    assert "2 cases are parked for the same cause: " in told
    assert "When it is fixed: pointsman-desk redrive --all --why" in told
