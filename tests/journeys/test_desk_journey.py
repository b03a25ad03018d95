"""The desk, end to end, through its composition root and its commands."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman import AlreadyAnswered, AtMostOnce, Rejected, Stale, Status, history_of
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Approval, Receipt
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.errors import DeskError, DraftChanged
from pointsman_desk.process import PATIENT
from pointsman_desk.wiring import Desk, open_desk

EXPECTED = tomllib.loads((Path(__file__).parents[1] / "desk" / "expected_samples.toml").read_text(encoding="utf-8"))
ARTICLE = "01-article.eml"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    mailbox = tmp_path / "mailbox"
    mailbox.mkdir()
    return DeskConfig(home=tmp_path / "desk", mailbox=mailbox, authserv="mx.haus-und-hof.example")


def deliver(config: DeskConfig, *names: str) -> None:
    for name in names:
        shutil.copyfile(SAMPLE / "mails" / name, config.mailbox / name)


def at_the_desk(config: DeskConfig, work: Callable[[Desk], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with open_desk(config) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            return await work(desk)

    return asyncio.run(main())


def sent(config: DeskConfig) -> list[bytes]:
    return [file.read_bytes() for file in sorted((config.outbox / "new").glob("*"))] if config.outbox.exists() else []


def command(config: DeskConfig, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = config.home.parent / "desk.toml"
    file.write_text(f'home = "{config.home}"\nmailbox = "{config.mailbox}"\nauthserv = "{config.authserv}"\n', encoding="utf-8")
    place = ["--config", str(file)] if tool == "pointsman_desk" else ["--db", str(config.cases_file)]
    return interpreter.run("-m", f"{tool}.cli.main", *arguments, *place)


def test_each_sample_mail_ends_as_a_careful_person_expects(config: DeskConfig) -> None:
    config = config.model_copy(update={"mailbox": SAMPLE / "mails"})

    async def ends(desk: Desk) -> dict[str, str]:
        rows = await desk.engine.reader.cases()
        found = {}
        for row in rows:
            state = (await history_of(desk.engine.reader, row.id)).state
            found[state["raw_message"]["sha256"]] = "waiting" if row.status is Status.WAITING else row.outcome
        return found

    found = at_the_desk(config, ends)

    wanted = {name: row["ends"] for name, row in EXPECTED.items() if "duplicate_of" not in row}
    assert {name: found.get(digest(SAMPLE / "mails" / name)) for name in wanted} == wanted
    assert len(found) == len(wanted), "a mail that was delivered twice became two cases"
    assert len(sent(config)) == sum(end == "sent" for end in wanted.values())


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_running_the_desk_again_sends_nothing_twice(config: DeskConfig) -> None:
    deliver(config, ARTICLE, "02-status-en.eml")

    async def approve(desk: Desk) -> None:
        await at_desk.approve(desk, 1, by="anna", seen=None)

    async def nothing(desk: Desk) -> int:
        return len(await desk.engine.reader.events(limit=10_000))

    at_the_desk(config, approve)
    before, mails = at_the_desk(config, nothing), sent(config)
    after = at_the_desk(config, nothing)

    assert len(mails) == 2
    assert sent(config) == mails
    assert after == before


def test_the_articles_mail_takes_all_eight_steps(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def steps(desk: Desk) -> Any:
        waiting = await history_of(desk.engine.reader, 1)
        await at_desk.approve(desk, 1, by="anna", seen=None)
        return waiting, await history_of(desk.engine.reader, 1)

    waiting, done = at_the_desk(config, steps)

    kinds = [(event.kind, event.step) for event in done.events]
    order = [("accepted", None), ("node.succeeded", "read"), ("node.succeeded", "classify"), ("node.succeeded", "fetch_order"), ("node.succeeded", "draft"),
             ("node.succeeded", "validate"), ("paused", "approve"), ("resumed", "approve"), ("effect.intended", "send"), ("effect.settled", "send"),
             ("finished", None)]  # fmt: skip
    assert [kinds.index(step) for step in order] == sorted(kinds.index(step) for step in order)
    assert waiting.case.status is Status.WAITING
    assert (waiting.state["status"], waiting.state["intents"], waiting.state["send_status"]) == (
        "received",
        ["refund"],
        "pending",
    )
    assert {"email_id", "customer_id", "raw_message", "risk", "order", "policy", "reply", "verdict"} <= set(waiting.state)
    assert (done.case.outcome, done.state["send_status"]) == ("sent", "sent")
    assert done.state["receipt"]["provider_message_id"].startswith("case-1.")


def test_the_reply_stays_in_the_customers_thread(config: DeskConfig) -> None:
    deliver(config, "02-status-en.eml")

    async def nothing(desk: Desk) -> Any:
        return (await history_of(desk.engine.reader, 1)).state["email_id"]

    message_id = at_the_desk(config, nothing)

    [mail] = sent(config)
    assert f"In-Reply-To: <{message_id}>".encode() in mail
    assert b"To: john.smith@post.example" in mail
    assert b"Auto-Submitted: auto-replied" in mail


def test_of_two_approvals_at_once_one_wins_and_the_other_is_told(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def rivals(desk: Desk) -> list[Any]:
        pending = await desk.engine.pending(1)
        approvals = [Approval(decision="approve", by=name, sha256=pending.beside["outgoing"].sha256) for name in ("anna", "bob")]
        answers = [desk.engine.resume(pending.token, approval, by=approval.by) for approval in approvals]
        outcome = await asyncio.gather(*answers, return_exceptions=True)
        await desk.engine.wait_until_resting(1)
        return outcome

    answers = at_the_desk(config, rivals)

    [refused] = [answer for answer in answers if isinstance(answer, Exception)]
    assert isinstance(refused, AlreadyAnswered)
    assert refused.by in {"anna", "bob"}
    assert len(sent(config)) == 1


def test_an_approval_of_a_draft_that_was_rewritten_is_refused_and_shows_the_new_one(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def late(desk: Desk) -> Any:
        shown = await desk.engine.pending(1)
        await at_desk.edit(desk, 1, by="bob", body="Dear Maria, we are sorry. It is on its way.", seen=None, send=False)
        with pytest.raises(DraftChanged):
            await at_desk.approve(desk, 1, by="anna", seen=shown.digest[:12])
        with pytest.raises(Stale) as by_token:
            await desk.engine.resume(shown.token, Approval(decision="approve", by="anna"), by="anna")
        return await desk.engine.pending(1), by_token.value.current

    now, by_token = at_the_desk(config, late)

    assert now.shown["reply"].body.startswith("Dear Maria")
    assert by_token.token == now.token
    assert sent(config) == []


def test_an_edited_reply_is_checked_again_before_it_leaves(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def edit(desk: Desk) -> Any:
        await at_desk.edit(desk, 1, by="bob", body="We guarantee a refund of 5000 EUR, see http://win.example", seen=None, send=True)
        waiting = await history_of(desk.engine.reader, 1)
        with pytest.raises(at_desk.NotSendable):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        await at_desk.approve(desk, 1, by="anna", seen=None, despite_violations=True)
        return waiting

    waiting = at_the_desk(config, edit)

    assert waiting.case.status is Status.WAITING
    assert waiting.state["verdict"]["violations"]
    assert waiting.state["reply"]["author"] == "bob"
    assert len(sent(config)) == 1


def test_what_was_approved_is_what_leaves_byte_for_byte(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def approve(desk: Desk) -> Any:
        shown = (await desk.engine.pending(1)).beside["outgoing"]
        await at_desk.approve(desk, 1, by="anna", seen=None)
        return shown, await history_of(desk.engine.reader, 1)

    shown, done = at_the_desk(config, approve)

    [mail] = sent(config)
    assert mail == shown.raw.encode()
    assert hashlib.sha256(mail).hexdigest() == shown.sha256 == done.state["approval"]["sha256"]
    assert b"Auto-Submitted" not in mail


def test_an_approval_that_names_other_bytes_sends_nothing(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def approve(desk: Desk) -> Any:
        for sha256 in (None, "0" * 64):
            pending = await desk.engine.pending(1)
            await desk.engine.resume(pending.token, Approval(decision="approve", by="anna", sha256=sha256), by="anna")
            await desk.engine.wait_until_resting(1)
        return await desk.engine.case(1)

    row = at_the_desk(config, approve)

    assert row.status is Status.WAITING
    assert sent(config) == []


def test_an_edited_reply_is_composed_again_and_leaves_once(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def edit(desk: Desk) -> Any:
        drafted = (await desk.engine.pending(1)).beside["outgoing"]
        body = "Dear Maria Keller,\n\nWe are sorry that your order is late. We are looking for it and write again today."
        row = await at_desk.edit(desk, 1, by="bob", body=body, seen=None, send=True)
        return drafted, row, (await history_of(desk.engine.reader, 1)).state

    drafted, row, state = at_the_desk(config, edit)

    [mail] = sent(config)
    assert row.outcome == "sent"
    assert b"We are looking for it" in mail
    assert hashlib.sha256(mail).hexdigest() == state["approval"]["sha256"] != drafted.sha256
    assert drafted.message_id.encode() not in mail


def test_a_rejected_reply_is_never_sent(config: DeskConfig) -> None:
    deliver(config, ARTICLE)

    async def reject(desk: Desk) -> Any:
        return await at_desk.reject(desk, 1, by="anna", why="answered by telephone", seen=None)

    row = at_the_desk(config, reject)

    assert (row.status, row.outcome) == (Status.DONE, "rejected")
    assert sent(config) == []


def test_a_template_that_promises_what_a_person_has_to_do_waits_for_one(config: DeskConfig) -> None:
    deliver(config, "17-invoice-encoded-subject-es.eml")
    config.home.mkdir()
    policy = (SAMPLE / "policy.toml").read_text(encoding="utf-8")
    config.policy_file.write_text(policy.replace('"opening_hours"]', '"opening_hours", "invoice"]', 1), encoding="utf-8")

    async def standing(desk: Desk) -> tuple[Status, str | None]:
        row = await desk.engine.case(1)
        return row.status, row.rule

    assert at_the_desk(config, standing) == (Status.WAITING, "it promises work that a person must do")
    assert sent(config) == []


def test_a_broken_policy_file_parks_nothing_it_is_refused_at_the_door(config: DeskConfig) -> None:
    deliver(config, ARTICLE)
    config.home.mkdir()
    config.policy_file.write_text("refund_days = -1\n", encoding="utf-8")

    done = command(config, "pointsman_desk", "run")

    assert done.returncode == 1
    assert "policy.toml" in done.stderr
    assert "refund_days" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_work_the_desk_from_the_mailbox_to_the_outbox(config: DeskConfig) -> None:
    deliver(config, ARTICLE, "02-status-en.eml", "36-out-of-office-de.eml")

    ran = command(config, "pointsman_desk", "run")
    listed = json.loads(command(config, "pointsman_desk", "cases", "--json").stdout)
    shown = command(config, "pointsman_desk", "show", "1")
    approved = command(config, "pointsman_desk", "approve", "1", "--by", "anna")
    again = command(config, "pointsman_desk", "approve", "1", "--by", "bob")

    assert ran.returncode == 0
    assert {(case["id"], case["status"], case["rule"]) for case in listed} == {
        (1, "waiting", "refund, complaint, legal or unclear"), (2, "done", "otherwise"), (3, "waiting", "it is probably automatic"),
    }  # fmt: skip
    assert {"id", "subject", "status", "rule"} <= set(listed[0])
    assert "I need it for Monday" in shown.stdout
    assert "bound (mx.haus-und-hof.example says dmarc=pass for mail.example)" in shown.stdout
    assert approved.returncode == 0
    assert again.returncode == 1
    assert "it is done (sent)" in again.stderr
    assert len(sent(config)) == 2


def test_the_pointsman_command_shows_and_explains(config: DeskConfig) -> None:
    deliver(config, ARTICLE)
    command(config, "pointsman_desk", "run")

    listed = json.loads(command(config, "pointsman", "ps", "--json").stdout)
    shown = command(config, "pointsman", "show", "1").stdout
    explained = json.loads(command(config, "pointsman", "explain", "1", "--json", "--app", "pointsman_desk.process:support").stdout)
    events = [json.loads(line) for line in command(config, "pointsman", "events", "--json").stdout.splitlines()]

    assert [row["status"] for row in listed] == ["waiting"]
    assert "classify wrote intents, risk, grounds" in " ".join(shown.split())
    assert explained["rule"] == "refund, complaint, legal or unclear"
    assert "intents" in explained["reads"]
    assert [rule["step"] for rule in explained["following"]][-2:] == ["send", "finish('sent')"]
    assert "draft" in explained["stands"]
    assert "not called yet" in explained["effects"]["send"]
    assert len({event["cursor"] for event in events}) == len(events)


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("pointsman_desk", ("approve", "99"), "there is no case 99"),
        ("pointsman_desk", ("show", "99"), "there is no case 99"),
        ("pointsman_desk", ("edit", "1"), "give the new text"),
        ("pointsman_desk", ("edit", "1", "--text", "  "), "is empty"),
        ("pointsman_desk", ("run", "--mailbox", "/nowhere/at/all"), "/nowhere/at/all"),
        ("pointsman", ("show", "99"), "there is no case 99"),
        ("pointsman", ("explain", "1", "--app", "nowhere:process"), "cannot be imported"),
        ("pointsman", ("explain", "1", "--app", "pointsman_desk.process:PATIENT"), "not a Process"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_a_code(config: DeskConfig, tool: str, arguments: tuple[str, ...], told: str) -> None:
    deliver(config, ARTICLE)
    command(config, "pointsman_desk", "run")

    done = command(config, tool, *arguments)

    assert done.returncode == 1
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_an_empty_mailbox_is_no_error(config: DeskConfig) -> None:
    done = command(config, "pointsman_desk", "run")

    assert done.returncode == 0
    assert "is empty" in done.stdout.replace("\n", " ")


def test_a_wrong_configuration_is_told_whole(tmp_path: Path) -> None:
    file = tmp_path / "desk.toml"
    file.write_text('concurrency = 0\nauthserv = "mx.a; dmarc=pass"\ncolour = "red"\n[smtp]\nport = 99999\n', encoding="utf-8")

    done = interpreter.run("-m", "pointsman_desk.cli.main", "run", "--config", file)

    assert done.returncode == 1
    assert all(part in done.stderr for part in ("concurrency", "authserv", "colour", "smtp.host", "smtp.port"))


class Unsure:
    """A transport whose answer never comes: it took the mail, or it did not."""

    name = "unsure"

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        self.calls.append(key)
        if len(self.calls) == 1:
            raise ConnectionResetError("the connection was lost behind the final dot")
        return Receipt(provider_message_id=f"id-{len(self.calls)}", transport=self.name)


@pytest.mark.parametrize(("arrived", "calls"), [(True, 1), (False, 2)])
def test_a_reply_in_doubt_waits_until_a_person_says_what_became_of_it(config: DeskConfig, arrived: bool, calls: int) -> None:
    deliver(config, "02-status-en.eml")
    transport = Unsure()

    async def settle() -> Any:
        async with open_desk(config, transport=transport, safety=AtMostOnce()) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            doubtful = await desk.engine.case(1)
            return doubtful, await at_desk.resolve(desk, 1, by="anna", arrived=arrived)

    doubtful, row = asyncio.run(settle())

    assert doubtful.status is Status.PARKED
    assert "in doubt" in doubtful.reason
    assert (row.status, row.outcome) == (Status.DONE, "sent")
    assert len(transport.calls) == calls
    assert len(set(transport.calls)) == 1


class Refusing:
    """A transport that refuses the first mail that it is given, and takes the next."""

    name = "refusing"

    def __init__(self) -> None:
        self.calls = 0

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        self.calls += 1
        if self.calls == 1:
            raise Rejected("550 relaying denied")
        return Receipt(provider_message_id=f"id-{self.calls}", transport=self.name)


def test_a_reply_that_was_refused_is_sent_again_when_a_person_says_so(config: DeskConfig) -> None:
    deliver(config, "02-status-en.eml")

    async def settle() -> Any:
        async with open_desk(config, transport=Refusing(), safety=AtMostOnce()) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            refused = await desk.engine.case(1)
            return refused, await at_desk.resolve(desk, 1, by="anna", arrived=False)

    refused, row = asyncio.run(settle())

    assert refused.status is Status.PARKED
    assert "550 relaying denied" in refused.reason
    assert (row.status, row.outcome) == (Status.DONE, "sent")


def test_cases_wait_for_a_shop_that_fails_and_go_on_by_themselves_when_it_is_back(
    config: DeskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    deliver(config, "02-status-en.eml", "06-hours-en.eml")
    clock = ManualClock()

    async def sweep(desk: Desk) -> list[tuple[Status, str | None]]:
        await at_desk.work_off(desk, lambda name: None, asyncio.Event())
        return [(row.status, row.outcome) for row in await desk.engine.reader.cases()]

    async def outage() -> Any:
        async with open_desk(config, clock=clock) as desk:
            config.shop_file.rename(config.shop_file.with_name("away"))
            with monkeypatch.context() as patched:
                patched.setattr(at_desk, "HORIZON_SECONDS", 0.0)
                during = await sweep(desk)
            config.shop_file.with_name("away").rename(config.shop_file)
            clock.advance(3_600.0)  # beyond the wait for the next attempt
            return during, await sweep(desk)

    during, after = asyncio.run(outage())

    assert during == [(Status.READY, None)] * 2
    assert after == [(Status.DONE, "sent")] * 2
    assert sum(PATIENT.wait_seconds(attempt, 1.0) for attempt in range(1, PATIENT.attempts_max)) > 1_800.0


def test_a_mail_without_a_sender_is_answered_to_nobody(config: DeskConfig) -> None:
    deliver(config, "40-broken.eml")

    async def approve(desk: Desk) -> Any:
        with pytest.raises(at_desk.NotSendable, match="has no sender"):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        with pytest.raises(at_desk.NotSendable, match="has no sender"):
            await at_desk.edit(desk, 1, by="anna", body="Hello whoever you are, what can we do for you?", seen=None, send=True)
        return await at_desk.cancel(desk, 1, by="anna", why="rubbish")

    row = at_the_desk(config, approve)

    assert row.status is Status.CANCELLED
    assert sent(config) == []


@pytest.mark.parametrize("seen", ["", "zzzzzzzz", "12ab"])
def test_a_digest_that_is_none_approves_nothing(config: DeskConfig, seen: str) -> None:
    deliver(config, ARTICLE)

    async def approve(desk: Desk) -> None:
        with pytest.raises(DeskError, match="is not the digest"):
            await at_desk.approve(desk, 1, by="anna", seen=seen)

    at_the_desk(config, approve)

    assert sent(config) == []


ORDER_FACTS = (b"NP4471", b"Nordpost", b"34.50", b"Desk lamp", b"24 November", b"John Smith,", b"A-1002")


def replies(config: DeskConfig) -> list[bytes]:
    """The drafts of all cases, as they would leave."""

    async def drafts(desk: Desk) -> list[bytes]:
        states = [(await history_of(desk.engine.reader, row.id)).state for row in await desk.engine.reader.cases()]
        return [state["reply"]["body"].encode() for state in states if state.get("reply")]

    return list(at_the_desk(config, drafts))


def test_without_a_mail_exchanger_of_our_own_no_order_is_told_and_nothing_leaves_by_itself(config: DeskConfig) -> None:
    deliver(config, "02-status-en.eml", "06-hours-en.eml")

    drafts = replies(config.model_copy(update={"authserv": None}))

    assert len(drafts) == 2
    assert [fact for fact in ORDER_FACTS for draft in drafts if fact in draft] == []
    assert "sign in to your account" in " ".join(drafts[0].decode().split())
    assert sent(config) == []


@pytest.mark.parametrize(
    ("result", "leaves"),
    [
        (b"dmarc=pass header.from=post.example", True),
        (b"dmarc=fail header.from=post.example", False),
        (b"dmarc=pass header.from=parcel-alerts.test", False),
    ],
)
def test_a_forged_word_of_our_exchanger_below_its_own_is_worth_nothing(config: DeskConfig, result: bytes, leaves: bool) -> None:
    raw = (SAMPLE / "mails" / "02-status-en.eml").read_bytes()
    (config.mailbox / "one.eml").write_bytes(b"Authentication-Results: mx.haus-und-hof.example; " + result + b"\n" + raw)

    [draft] = replies(config)

    assert (b"NP4471002" in draft) is leaves
    assert (len(sent(config)) == 1) is leaves


def test_a_reply_with_an_order_goes_to_the_address_of_the_order_and_to_no_reply_to(config: DeskConfig) -> None:
    raw = (SAMPLE / "mails" / "02-status-en.eml").read_bytes()
    (config.mailbox / "one.eml").write_bytes(b"Reply-To: eve@evil.test\n" + raw)

    at_the_desk(config, lambda desk: at_desk.approve(desk, 1, by="anna", seen=None))

    assert [line for mail in sent(config) for line in mail.splitlines() if line.startswith(b"To:")] == [b"To: john.smith@post.example"]
