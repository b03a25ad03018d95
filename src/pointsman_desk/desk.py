"""What people do at the desk: process the mailbox, look at cases, and decide on them."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from string import hexdigits
from typing import Any

from pointsman import CaseRow, Pending, Reconcile, Stale, Started, Status
from pointsman_desk.case import (
    INSTRUCTION_MAX,
    Addressing,
    Approval,
    FollowedUp,
    Instruction,
    Receipt,
    Reply,
    Sorting,
    Verdict,
    instructions_about,
    proposed,
    sent_of,
)
from pointsman_desk.commands import SEEN_MIN
from pointsman_desk.errors import DeskError, DraftChanged, MailboxMissing
from pointsman_desk.intake import side_by_side
from pointsman_desk.mail.automatic import plain
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.nodes.ingest import Taken, ingest
from pointsman_desk.standing import CASES_MAX, SEND, Standing, dispatches, may_go_on, parked_by_rule, reasons, standing_of
from pointsman_desk.steps import COUNTERSIGN, FOLLOW_UP, SORT, SUPPORT_MAIL
from pointsman_desk.wiring import Desk

TURN_MAX = 64  # mails that one source takes in before another one gets its turn
HORIZON_SECONDS = 15.0  # a restarted shop is back by then; a later attempt waits for the next run
SOON_SECONDS = 0.5  # a person waits this long to see what came of a decision while the desk goes on anyway
REDRAFTS_MAX = 3  # of a reply: whoever has asked so often is faster by hand, and each draft is paid for


@dataclass(slots=True)
class Run:
    """What a run of the desk did.

    The cases that it started, the cases that mails joined, the number of known mails, the problems with mails and mailboxes, and whether another
    desk reads the folder of mails.
    """

    started: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    known: int = 0
    problems: list[str] = field(default_factory=list)
    elsewhere: bool = False

    def count(self, taken: Taken) -> None:
        """Count a mail that was taken in."""
        if taken.how == "started":
            self.started.append(taken.case)
        elif taken.how == "joined":
            self.joined.append(taken.case)
        else:
            self.known += 1


class NotSendable(DeskError):
    """The draft breaks a rule, and nobody has approved it despite that."""


class Reception:
    """Takes mails in for a desk: of one source at a time, because a mail may belong to the conversation of the one before it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def take(self, found: Found, run: Run) -> Started | None:
        """Take in a mail, and record in `run` what happened to it. Returns its case; None for a mail that was not read."""
        if found.raw is None:
            run.problems.append(found.problem or f"{found.name} cannot be read")
            return None
        desk = self._desk
        async with self._turn:
            taken = await ingest(desk.engine, desk.process, found.raw, desk.conversations, now=desk.clock.now())
        run.count(taken)
        return Started(taken.case, duplicate=taken.how == "duplicate")

    async def take_all(self, mails: Iterable[Found], run: Run, seen: Callable[[str], None], stop: asyncio.Event) -> None:
        """Take in mails side by side, until `stop`. One that cannot be read, and a mailbox that is missing, are recorded in `run`."""
        left = iter(mails)
        try:
            found = await asyncio.to_thread(next, left, None)  # which lists the folder
            while found is not None and not stop.is_set():
                async with self._turn, side_by_side(self._desk, run.count) as intake:
                    for _ in range(TURN_MAX):
                        seen(found.name)
                        if found.raw is None:
                            run.problems.append(found.problem or f"{found.name} cannot be read")
                        else:
                            await intake.begin(found.raw)
                        if stop.is_set() or (found := next(left, None)) is None:
                            break
        except MailboxMissing as missing:
            run.problems.append(str(missing))


async def work_off(
    desk: Desk,
    seen: Callable[[str], None],
    stop: asyncio.Event,
    mails: Iterable[Found] | None = None,
    arrivals: Arrivals | None = None,
    *,
    reception: Reception | None = None,
) -> Run:
    """Start a case for each new mail, and wait until no case moves by itself any more.

    The mails come from the mailbox (or `mails`, if given) and from the mail servers (`arrivals`). `seen` is called with the name of
    each mail. Setting `stop` ends the run early, at a safe point. `reception` is the desk's, if others take mails in at the same time.
    """
    run, arrivals, reception = Run(), arrivals or Arrivals(), reception or Reception(desk)

    async def take(found: Found) -> Started | None:
        seen(found.name)
        return await reception.take(found, run)

    if mails is not None or await desk.may_read():
        await reception.take_all(desk.mails() if mails is None else mails, run, seen, stop)
    else:
        run.elsewhere = True
    quiet = asyncio.Event()
    while not (stop.is_set() or quiet.is_set()):
        await arrivals.take_in(take, stop)
        await either(_quiet(desk, run, arrivals, quiet), arrivals.news.wait(), stop.wait())
        if arrivals.news.is_set():
            quiet.clear()
    if desk.summaries is not None and not stop.is_set():
        await desk.summaries.begin()  # it counts what waits now that the mails have been read
        await either(desk.engine.idle(horizon_seconds=HORIZON_SECONDS), stop.wait())
    run.problems += arrivals.take_problems()
    return run


async def _quiet(desk: Desk, run: Run, arrivals: Arrivals, quiet: asyncio.Event) -> None:
    await arrivals.fetched()
    await desk.engine.idle(horizon_seconds=HORIZON_SECONDS)
    if desk.turn is not None:
        await resting(desk, *run.started, *run.joined)
    quiet.set()


async def settle_restored(desk: Desk) -> list[int]:
    """Cancel the open cases whose reply was sent before the cases were restored, and return their numbers."""
    settled = []
    for reply in await desk.conversations.use(desk.conversations.sent_replies.before_restore):
        row = await desk.engine.reader.case(reply.case)
        if row is None or row.correlation != reply.conversation or row.status not in {Status.WAITING, Status.PARKED}:
            continue
        if await desk.engine.reader.effect(reply.key) is None:
            await desk.engine.cancel(row.id, by="the desk", why="its reply had been sent before the cases were restored")
            settled.append(row.id)
    return settled


async def approve(desk: Desk, case: int, *, by: str, seen: str | None, despite_violations: bool = False) -> CaseRow:
    """Send the draft. `seen` is the digest of the draft that was shown, or its beginning. Raises DeskError, Refused."""
    pending = await _pending(desk, case, seen)
    first: Approval | None = pending.beside.get("approval")
    if pending.pause == COUNTERSIGN and first is not None and first.by == by:
        raise DeskError(f"you have approved case {case} already; a second, different person must approve it before it is sent.")
    verdict = pending.beside["verdict"]
    if proposed(pending.shown["reply"]) is None:
        raise NotSendable(
            f"there is no draft for case {case} yet; write one with `pointsman-desk edit {case}`, or reject the case.",
            on_page="There is no draft yet; write the reply, or close the mail without one.",
        )
    if isinstance(verdict, Verdict) and verdict.violations and not despite_violations:
        broken = "; ".join(violation.message for violation in verdict.violations)
        raise NotSendable(
            f"the draft of case {case} breaks a rule ({broken}); edit it, or approve it with --despite-violations.",
            on_page=f"The draft breaks a rule ({broken}); change it, or say once more that it is to be sent.",
        )
    _may_leave(desk, pending, pending.shown["addressing"])
    return await _decide(desk, pending, _approval(pending, by, despite_violations=despite_violations))


async def edit(
    desk: Desk, case: int, *, by: str, body: str, seen: str | None, send: bool, to: str | None = None, copies: bool | None = None
) -> CaseRow:  # fmt: skip
    """Replace the text of the draft. The new text is checked and composed, and waits for approval.

    With `send`, it is approved at once if it passes the checks. `to` and `copies` are as in `readdress`.
    """
    if not body.strip():
        raise DeskError(f"the new text for case {case} is empty; write the reply, or reject the case.")
    pending = await _pending(desk, case, seen)
    reply = _rewritten(pending, body, by)
    addressing = _addressed(desk, pending, to, copies)
    if send:
        _may_leave(desk, pending, addressing)
    row = await _decide(desk, pending, Approval(decision="edit", by=by), {"reply": reply, "addressing": addressing})
    if not send or row.status is not Status.WAITING:
        return row
    again = await _pending(desk, case, None)
    if again.shown["reply"] != reply or again.shown["addressing"] != addressing or again.beside["verdict"].violations:
        return row
    return await _decide(desk, again, _approval(again, by))


async def redraft(
    desk: Desk, case: int, *, by: str, instruction: str, seen: str | None, body: str | None = None, to: str | None = None, copies: bool | None = None
) -> CaseRow:  # fmt: skip
    """Ask for a new draft, and say what to change, in the draft or in the person's own text `body`. The new draft waits for a person.

    `to` and `copies` are as in `readdress`. No more than `REDRAFTS_MAX` new drafts are written for a mail. Raises DeskError, Refused.
    """
    text = instruction.strip()
    if not 0 < len(text) <= INSTRUCTION_MAX:
        raise DeskError(f"say what the new draft of case {case} is to be like, in at most {INSTRUCTION_MAX:,} characters.")
    pending = await _pending(desk, case, seen)
    mail, shown = pending.shown["mail"], pending.shown["instructions"]
    if len(instructions_about(mail, shown)) >= REDRAFTS_MAX:
        spent = f"case {case} has had {REDRAFTS_MAX} new drafts, and there are no more; write the reply yourself"
        raise NotSendable(f"{spent}: pointsman-desk edit {case} --text TEXT", on_page=f"{spent}.")
    draft = proposed(pending.shown["reply"]) if body is None else _rewritten(pending, body, by)
    addressing = _addressed(desk, pending, to, copies)
    asked = Instruction(text=text, by=by, about=mail.message_id, draft=draft, addressing=addressing)
    return await _decide(desk, pending, Approval(decision="redraft", by=by), {"instructions": [*shown, asked]})


async def reject(desk: Desk, case: int, *, by: str, why: str, seen: str | None) -> CaseRow:
    """Close the case without a reply."""
    return await _decide(desk, await _pending(desk, case, seen), Approval(decision="reject", by=by, note=why))


async def assign(desk: Desk, case: int, *, to: str, by: str, note: str) -> CaseRow:
    """Ask somebody else to answer what a case waits for: `to`, or nobody in particular if that is "". See `Engine.assign`."""
    return await desk.engine.assign(case, to, by=by, note=note)


async def close(desk: Desk, case: int, *, by: str) -> CaseRow:
    """Close a case that waits for the customer's answer or is probably automatic. Raises DeskError, Refused."""
    pending = await desk.engine.pending(case)
    if pending.pause not in {FOLLOW_UP, SORT}:
        raise DeskError(f"case {case} waits for your decision, not for the customer; approve, edit or reject its draft.")
    answer = FollowedUp(how="closed", by=by) if pending.pause == FOLLOW_UP else Sorting(found="automatic", by=by)
    try:
        await desk.engine.resume(pending.token, answer, by=by)
    except Stale:
        raise DeskError(f"case {case} changed meanwhile; look at it again.") from None
    return await _moved(desk, case)


async def redrive(desk: Desk, case: int, *, by: str, why: str) -> CaseRow:
    """Return a parked case to the backlog after the cause is fixed. Raises Refused, DeskError.

    If there is an archive, a reply in doubt is looked up there again.
    """
    row = await desk.engine.case(case)
    standing = standing_of(row, await desk.engine.reader.effects(case)) if row.status is Status.PARKED else None
    if standing == "in doubt" and not isinstance(desk.safety, Reconcile):
        advice = f"the reply of case {case} may have been sent; find out whether it arrived, then"
        raise DeskError(
            f"{advice}: pointsman-desk resolve {case} --arrived, or --send-again.", on_page=f"{advice} say it on the page of the case."
        )
    if standing == "refused":
        refused = f"the reply of case {case} was refused; when the reason is fixed"
        raise DeskError(f"{refused}: pointsman-desk resolve {case} --send-again.", on_page=f"{refused}, choose “Send it again”.")
    if parked_by_rule(row):
        again = f"case {case} would be parked again ({row.reason}); close it"
        raise DeskError(f"{again}: pointsman-desk cancel {case} --why TEXT", on_page=f"{again}.")
    await desk.engine.redrive(case, by=by, why=why)
    return await _moved(desk, case)


async def redrive_all(desk: Desk, *, by: str, why: str) -> list[CaseRow]:
    """Redrive every parked case, except replies in doubt or refused and cases that a rule parked."""
    parked = await desk.engine.reader.cases(process=SUPPORT_MAIL, status=Status.PARKED, limit=CASES_MAX)
    ready = [row.id for row in parked if may_go_on(row, await desk.engine.reader.effects(row.id))]
    for case in ready:
        await desk.engine.redrive(case, by=by, why=why)
    return await resting(desk, *ready)


async def resolve(desk: Desk, case: int, *, by: str, arrived: bool) -> CaseRow:
    """Record whether a reply in doubt arrived: the desk then takes it as sent, or sends it again.

    A refused reply can also be sent again when the reason is fixed. Raises DeskError.
    """
    row = await desk.engine.case(case)
    wanted: set[Standing] = {"in doubt"} if arrived else {"in doubt", "refused"}
    if arrived and row.status is Status.PARKED and row.step == SEND:
        wanted.add("sent")  # sent, but the server's answer was not stored; otherwise the case would not be parked
    unsettled = [one for one in await dispatches(desk.engine.reader, row) if one.standing in wanted]
    if row.status in {Status.READY, Status.RUNNING, Status.WAITING} or not unsettled:
        raise DeskError(
            f"case {case} has no reply to resolve: it is {row.status} ({reasons(row, await desk.engine.reader.effects(case))})."
        )
    reply = unsettled[-1]
    if reply.outgoing is None:
        raise DeskError(f"the content of case {case} was erased, so the reply is unknown; cancel the case.")
    receipt = Receipt(provider_message_id=reply.outgoing.message_id, transport=desk.transport, detail=f"{by} confirmed that it arrived")
    outcome = (receipt, "sent", sent_of(reply.outgoing, desk.clock.now())) if arrived else None
    why = "it arrived" if arrived else "it did not arrive; send it again"
    if not arrived:
        allow = partial(desk.conversations.sent_replies.allow, reply.outgoing.answers, desk.clock.now())
        await desk.conversations.use(allow)
    await desk.engine.resolve(reply.key, happened=arrived, by=by, why=why, outcome=outcome, expected_attempts=reply.calls)
    return await _moved(desk, case)


async def cancel(desk: Desk, case: int, *, by: str, why: str) -> CaseRow:
    """Cancel a case in any status, without a reply. A mail that waited in it starts the next case. Raises Refused."""
    await desk.engine.cancel(case, by=by, why=why)
    if not desk.stays_open:
        await desk.engine.idle(horizon_seconds=HORIZON_SECONDS)  # for the next case: nobody else would go on with it now
    return await _moved(desk, case)


async def resting(desk: Desk, *cases: int) -> list[CaseRow]:
    """Wait until these cases rest or wait for a later attempt. Where the desk stays open, wait only a moment."""
    if desk.stays_open:
        with suppress(TimeoutError):
            async with asyncio.timeout(SOON_SECONDS):
                await _all_resting(desk, cases)
    elif desk.turn is not None:
        with suppress(TimeoutError):  # another desk may have the cases
            async with asyncio.timeout(HORIZON_SECONDS):
                await _all_resting(desk, cases)
    else:
        # Others wait for the cases meanwhile, so do not wait until every case rests.
        await either(_all_resting(desk, cases), desk.engine.idle(horizon_seconds=HORIZON_SECONDS))
    return [await desk.engine.case(case) for case in cases]


async def _all_resting(desk: Desk, cases: Iterable[int]) -> None:
    for case in cases:
        await desk.engine.wait_until_resting(case)


async def _moved(desk: Desk, case: int) -> CaseRow:
    return (await resting(desk, case))[0]


async def _pending(desk: Desk, case: int, seen: str | None) -> Pending:
    pending = await desk.engine.pending(case)
    if pending.pause == FOLLOW_UP:
        sent = f"the reply of case {case} was sent, and the case waits for an answer"
        raise NotSendable(f"{sent}; close it with `pointsman-desk close {case}`.", on_page=f"{sent}; look at it again.")
    if pending.pause == SORT:
        raise NotSendable(
            f"the mail of case {case} is probably automatic, so nothing was drafted; close it with `pointsman-desk close {case}`, or "
            f"answer it with `pointsman-desk accept {case}`.",
            on_page=f"the mail of case {case} is probably automatic, so nothing was drafted; look at it again.",
        )
    if seen is not None and (len(seen) < SEEN_MIN or not set(seen) <= set(hexdigits)):
        raise DeskError(f"--seen {seen!r} is not the digest of a draft; copy the one that `pointsman-desk show {case}` prints.")
    if seen is not None and not pending.digest.startswith(seen):
        raise DraftChanged(f"the draft of case {case} changed since you saw it ({seen}); nothing was sent.")
    return pending


def _blank(pending: Pending) -> Reply:
    """Return an empty reply for a person to write, if no model produced a draft."""
    mail, grounds, policy = pending.shown["mail"], pending.beside["grounds"], pending.beside["policy"]
    subject = " ".join(mail.subject.split())
    return Reply(subject=subject, body="", language=grounds.language, tone=policy.approved_tones[0], author="")


def _rewritten(pending: Pending, body: str, by: str) -> Reply:
    shown = proposed(pending.shown["reply"]) or _blank(pending)
    return shown.model_copy(update={"body": body.rstrip() + "\n", "author": by, "template": None})


def _approval(pending: Pending, by: str, *, despite_violations: bool = False) -> Approval:
    return Approval(decision="approve", by=by, sha256=pending.beside["outgoing"].sha256, despite_violations=despite_violations)


def _addressed(desk: Desk, pending: Pending, to: str | None, copies: bool | None) -> Addressing:
    before, mail = pending.shown["addressing"], pending.shown["mail"]
    if to is not None and not is_address(to):
        plain_one = f"{to!r} is not a single plain address such as jane@customer.example; correct it."
        raise DeskError(f"--to {plain_one}", on_page=plain_one)
    if to is not None and plain(to) == plain(desk.config.address):
        own = f"{to} is the desk's own address; give the customer's."
        raise DeskError(f"--to {own}", on_page=own)
    now = before.to if to is None else to
    cc = before.cc if copies is None else mail.cc if copies else ()
    copied = tuple(one for one in cc if is_address(one) and plain(one) != plain(now))
    if copies and not copied:
        nobody = f"the mail of case {pending.case} names nobody in Cc who could get a copy"
        raise DeskError(f"{nobody}; leave out --cc.", on_page=f"{nobody}; send none.")
    return Addressing(to=now, cc=copied, problem=before.problem if to is None else "")


def _may_leave(desk: Desk, pending: Pending, addressing: Addressing) -> None:
    to = addressing.to
    if to == UNKNOWN_SENDER:
        why = addressing.problem or f"the mail of case {pending.case} has no sender"
        raise NotSendable(
            f"{why}; give the recipient with --to ADDRESS, or reject the case.",
            on_page=f"{why}; write the recipient's address, or close the mail without a reply.",
        )
    if plain(to) == plain(desk.config.address):
        raise NotSendable(
            f"the reply of case {pending.case} would go to the desk's own address {to}; give the customer's with `pointsman-desk approve "
            f"{pending.case} --to ADDRESS`, or reject the case.",
            on_page=f"the reply would go to the desk's own address {to}; write the customer's, or close the mail without a reply.",
        )


async def readdress(desk: Desk, case: int, *, by: str, seen: str | None, to: str | None, copies: bool | None) -> CaseRow:
    """Change the recipient of the reply, and whether Cc gets a copy; None keeps the value. The new reply waits for approval.

    Raises DeskError if `to` is not a single plain address or is the desk's own, or if nobody in Cc can get a copy.
    """
    pending = await _pending(desk, case, seen)
    addressing = _addressed(desk, pending, to, copies)
    return await _decide(desk, pending, Approval(decision="edit", by=by), {"addressing": addressing})


async def _decide(desk: Desk, pending: Pending, approval: Approval, edits: dict[str, Any] | None = None) -> CaseRow:
    try:
        await desk.engine.resume(pending.token, approval, by=approval.by, edits=edits)
    except Stale:
        raise DraftChanged(f"the draft of case {pending.case} changed while you decided; nothing was sent.") from None
    return await _moved(desk, pending.case)


async def either(*waits: Any) -> None:
    """Return when the first of `waits` returns, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if failures := [failure for task in done if (failure := task.exception()) is not None]:
        raise failures[0]  # all were asked for, because a failed engine fails whoever waits for it
