"""What people do at the desk: work off the mailbox, look at what waits, and decide on it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from string import hexdigits
from typing import Any

from pointsman import CaseRow, Pending, Reconcile, Stale, Started, Status
from pointsman_desk.case import Addressing, Approval, FollowedUp, Receipt, Reply, Sorting, Verdict, proposed, sent_of
from pointsman_desk.errors import DeskError, MailboxMissing
from pointsman_desk.mail.automatic import plain
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.nodes.ingest import ingest
from pointsman_desk.process import FOLLOW_UP, SORT
from pointsman_desk.standing import SEND, Standing, dispatches, may_go_on, parked_by_rule, reasons, standing_of
from pointsman_desk.wiring import Desk

ASKED_SECONDS = 0.2  # how soon somebody who waits is seen
PATIENCE_SECONDS = 15.0  # a shop that restarts is back by then; what is to be tried later than that waits for the next run
CASES_MAX = 1_000_000  # more than a desk answers in its life
SEEN_MIN = 8  # characters of a digest: fewer could be a slip, or an empty variable of a script


@dataclass(slots=True)
class Run:
    """What a run of the desk did.

    The cases it started, those that mails of open conversations joined, mails it knew already, and what went wrong with mails and
    mailboxes. It `made_way` where it ended early for a command that waits, and is to go on.
    """

    started: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    known: int = 0
    problems: list[str] = field(default_factory=list)
    made_way: bool = False


class DraftChanged(DeskError):
    """The draft was rewritten since it was shown. `pending` is what is shown now."""

    def __init__(self, message: str, pending: Pending) -> None:
        super().__init__(message)
        self.pending = pending


class NotSendable(DeskError):
    """The draft breaks a rule, and nobody has said that it should go out all the same."""


async def work_off(
    desk: Desk,
    seen: Callable[[str], None],
    stop: asyncio.Event,
    mails: Iterable[Found] | None = None,
    arrivals: Arrivals | None = None,
    *,
    wanted: Callable[[], bool] = lambda: False,
    run: Run | None = None,
    again_seconds: float | None = None,
) -> Run:
    """Start a case for each mail that has none yet, and wait until nothing moves by itself any more.

    The mails are those of the mailbox, or `mails` instead, and what mailboxes on servers hand over in `arrivals`. `seen` is
    told each one's name. Setting `stop` ends the run early, with what was begun brought to a safe place; so does `wanted`, which is
    asked after each mail whether others wait for the cases: an iterator of `mails`, and the `run`, then go on where they stopped.
    While something moves for long, such as a reply to a slow server, the mailbox is looked into again every `again_seconds`.
    """
    run, arrivals = run or Run(), arrivals or Arrivals()
    run.made_way = False

    async def take(found: Found) -> Started | None:
        seen(found.name)
        if found.raw is None:
            run.problems.append(found.problem or f"{found.name} cannot be read")
            return None
        taken = await ingest(desk.engine, desk.process, found.raw, desk.conversations, now=desk.clock.now())
        if taken.how == "started":
            run.started.append(taken.case)
        elif taken.how == "joined":
            run.joined.append(taken.case)
        else:
            run.known += 1
        return Started(taken.case, duplicate=taken.how == "duplicate")

    await _take_all(desk.mails() if mails is None else mails, take, run, lambda: stop.is_set() or wanted())
    while not (stop.is_set() or run.made_way):
        await arrivals.take_in(take, stop, wanted)
        quiet = asyncio.Event()
        waits = [_quiet(desk, arrivals, quiet), arrivals.news.wait(), stop.wait(), _asked(wanted)]
        await either(*waits, *([asyncio.sleep(again_seconds)] if again_seconds is not None else []))
        run.made_way = not stop.is_set() and wanted()
        if arrivals.news.is_set() or run.made_way:
            continue
        if quiet.is_set() or stop.is_set():
            break
        await _take_all(desk.mails(), take, run, lambda: stop.is_set() or wanted())
    run.problems += arrivals.told()
    return run


async def _take_all(
    mails: Iterable[Found], take: Callable[[Found], Awaitable[Started | None]], run: Run, interrupted: Callable[[], bool]
) -> None:
    """Take each mail of the mailbox. One that is gone, or half of it, keeps nobody from the other mails, and is told of."""
    try:
        for found in mails:
            await take(found)
            if interrupted():
                run.made_way = True
                break
    except MailboxMissing as missing:
        run.problems.append(str(missing))


async def _quiet(desk: Desk, arrivals: Arrivals, quiet: asyncio.Event) -> None:
    await arrivals.fetched()
    await desk.engine.idle(horizon_seconds=PATIENCE_SECONDS)
    quiet.set()


async def _asked(wanted: Callable[[], bool]) -> None:
    """Return when somebody waits for the cases."""
    while not wanted():  # noqa: ASYNC110 - it is another process that waits
        await asyncio.sleep(ASKED_SECONDS)


async def settle_restored(desk: Desk) -> list[int]:
    """Cancel the open cases whose reply left before the cases were put back, and return their numbers."""
    settled = []
    for departure in desk.conversations.departures.of_earlier_lives():
        row = await desk.engine.reader.case(departure.case)
        if row is None or row.correlation != departure.conversation or row.status not in {Status.WAITING, Status.PARKED}:
            continue
        if await desk.engine.reader.effect(departure.key) is None:
            await desk.engine.cancel(row.id, by="the desk", why="its reply had left before the cases were put back")
            settled.append(row.id)
    return settled


async def approve(desk: Desk, case: int, *, by: str, seen: str | None, despite_violations: bool = False) -> CaseRow:
    """Send the draft as it is. `seen` is the digest of what was shown, or its beginning. Raises DeskError, Refused."""
    pending = await _pending(desk, case, seen)
    verdict = pending.beside["verdict"]
    if proposed(pending.shown["reply"]) is None:
        raise NotSendable(f"there is no draft for case {case} yet; write one with `pointsman-desk edit {case}`, or reject the case.")
    if isinstance(verdict, Verdict) and verdict.violations and not despite_violations:
        broken = "; ".join(violation.message for violation in verdict.violations)
        raise NotSendable(f"the draft of case {case} breaks a rule ({broken}); edit it, or approve it with --despite-violations.")
    _may_leave(desk, pending, pending.shown["addressing"])
    return await _decide(desk, pending, _approval(pending, by, despite_violations=despite_violations))


async def edit(
    desk: Desk, case: int, *, by: str, body: str, seen: str | None, send: bool, to: str | None = None, copies: bool | None = None
) -> CaseRow:  # fmt: skip
    """Put another text in place of the draft; it is checked and composed again, and waits again.

    With `send` what was composed of it is approved at once, if it passes the checks. `to` and `copies` are as for `readdress`.
    """
    if not body.strip():
        raise DeskError(f"the new text for case {case} is empty; write the reply, or reject the case.")
    pending = await _pending(desk, case, seen)
    shown = proposed(pending.shown["reply"]) or _blank(pending)
    reply = shown.model_copy(update={"body": body.rstrip() + "\n", "author": by, "template": None})
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


async def reject(desk: Desk, case: int, *, by: str, why: str, seen: str | None) -> CaseRow:
    """Do not answer this mail."""
    return await _decide(desk, await _pending(desk, case, seen), Approval(decision="reject", by=by, note=why))


async def close(desk: Desk, case: int, *, by: str) -> CaseRow:
    """End a case that waits for the customer's answer, or whose mail is probably automatic. Raises DeskError, Refused."""
    pending = await desk.engine.pending(case)
    if pending.pause not in {FOLLOW_UP, SORT}:
        raise DeskError(f"case {case} does not wait for the customer, it waits for a decision; approve, edit or reject its draft.")
    answer = FollowedUp(how="closed", by=by) if pending.pause == FOLLOW_UP else Sorting(found="automatic", by=by)
    try:
        await desk.engine.resume(pending.token, answer, by=by)
    except Stale:
        raise DeskError(f"something came to case {case} meanwhile; look at it again.") from None
    return await _moved(desk, case)


async def redrive(desk: Desk, case: int, *, by: str, why: str) -> CaseRow:
    """Put a parked case back into the line, after what parked it has been mended. Raises Refused, DeskError.

    A reply in doubt is looked for again, where there is an archive to look in.
    """
    row = await desk.engine.case(case)
    standing = standing_of(row, await desk.engine.reader.effects(case)) if row.status is Status.PARKED else None
    if standing == "in doubt" and not isinstance(desk.safety, Reconcile):
        told = f"the reply of case {case} may have been sent; find out, and say so"
        raise DeskError(f"{told}: pointsman-desk resolve {case} --arrived, or --send-again.")
    if standing == "refused":
        raise DeskError(f"the reply of case {case} was refused; once the reason is mended: pointsman-desk resolve {case} --send-again.")
    if parked_by_rule(row):
        raise DeskError(f"case {case} would be parked again ({row.reason}); close it: pointsman-desk cancel {case} --why ...")
    await desk.engine.redrive(case, by=by, why=why)
    return await _moved(desk, case)


async def redrive_all(desk: Desk, *, by: str, why: str) -> list[CaseRow]:
    """Put every parked case back into the line that can go on: no reply in doubt or refused, and not for a person anyway."""
    parked = await desk.engine.reader.cases(status=Status.PARKED, limit=CASES_MAX)
    ready = [row.id for row in parked if may_go_on(row, await desk.engine.reader.effects(row.id))]
    for case in ready:
        await desk.engine.redrive(case, by=by, why=why)
    await desk.engine.idle(horizon_seconds=PATIENCE_SECONDS)
    return [await desk.engine.case(case) for case in ready]


async def resolve(desk: Desk, case: int, *, by: str, arrived: bool) -> CaseRow:
    """Say whether a reply arrived whose sending was cut short: it is then taken as sent, or sent again.

    A reply that the other side refused can be sent again, too, once the reason is mended. Raises DeskError.
    """
    row = await desk.engine.case(case)
    wanted: set[Standing] = {"in doubt"} if arrived else {"in doubt", "refused"}
    if arrived and row.status is Status.PARKED and row.step == SEND:
        wanted.add("sent")  # without what the way out answered, or the case would not have stopped here
    unsettled = [one for one in await dispatches(desk.engine.reader, row) if one.standing in wanted]
    if row.status in {Status.READY, Status.RUNNING, Status.WAITING} or not unsettled:
        raise DeskError(
            f"case {case} has no reply to resolve: it is {row.status} ({reasons(row, await desk.engine.reader.effects(case))})."
        )
    reply = unsettled[-1]
    if reply.outgoing is None:
        raise DeskError(f"the content of case {case} was erased, so nobody can say what was sent; cancel it.")
    receipt = Receipt(provider_message_id=reply.outgoing.message_id, transport=desk.transport, detail=f"{by} found that it arrived")
    outcome = (receipt, "sent", sent_of(reply.outgoing, desk.clock.now())) if arrived else None
    why = "it arrived" if arrived else "it did not arrive; send it again"
    if not arrived:
        desk.conversations.departures.allow(reply.outgoing.answers, desk.clock.now())
    await desk.engine.resolve(reply.key, happened=arrived, by=by, why=why, outcome=outcome, expected_attempts=reply.calls)
    return await _moved(desk, case)


async def cancel(desk: Desk, case: int, *, by: str, why: str) -> CaseRow:
    """Close a case without an answer, wherever it stands; a mail that waited in it begins the next case. Raises Refused."""
    row = await desk.engine.cancel(case, by=by, why=why)
    await desk.engine.idle(horizon_seconds=PATIENCE_SECONDS)
    return row


async def _moved(desk: Desk, case: int) -> CaseRow:
    """Wait until the case rests, or waits for a later attempt."""
    await desk.engine.idle(horizon_seconds=PATIENCE_SECONDS)
    return await desk.engine.case(case)


async def _pending(desk: Desk, case: int, seen: str | None) -> Pending:
    pending = await desk.engine.pending(case)
    if pending.pause == FOLLOW_UP:
        raise NotSendable(
            f"the reply of case {case} is sent, and the case waits for an answer; close it with `pointsman-desk close {case}`."
        )
    if pending.pause == SORT:
        raise NotSendable(
            f"the mail of case {case} is probably automatic, so nothing was drafted; close it with `pointsman-desk close {case}`, or have "
            f"it answered with `pointsman-desk accept {case}`."
        )
    if seen is not None and (len(seen) < SEEN_MIN or not set(seen) <= set(hexdigits)):
        raise DeskError(f"--seen {seen!r} is no digest of a draft; copy the one that `pointsman-desk show {case}` prints.")
    if seen is not None and not pending.digest.startswith(seen):
        raise DraftChanged(f"the draft of case {case} was rewritten since you looked at it ({seen}); nothing was sent.", pending)
    return pending


def _blank(pending: Pending) -> Reply:
    """What a person writes into where no model has come to a draft."""
    mail, grounds, policy = pending.shown["mail"], pending.beside["grounds"], pending.beside["policy"]
    subject = " ".join(mail.subject.split())
    return Reply(subject=subject, body="", language=grounds.language, tone=policy.approved_tones[0], author="")


def _approval(pending: Pending, by: str, *, despite_violations: bool = False) -> Approval:
    return Approval(decision="approve", by=by, sha256=pending.beside["outgoing"].sha256, despite_violations=despite_violations)


def _addressed(desk: Desk, pending: Pending, to: str | None, copies: bool | None) -> Addressing:
    before, mail = pending.shown["addressing"], pending.shown["mail"]
    if to is not None and not is_address(to):
        raise DeskError(f"--to {to!r} is not one plain address such as jane@customer.example; correct it.")
    if to is not None and plain(to) == plain(desk.config.address):
        raise DeskError(f"--to {to} is the desk's own address; name the customer's.")
    now = before.to if to is None else to
    cc = before.cc if copies is None else mail.cc if copies else ()
    copied = tuple(one for one in cc if is_address(one) and plain(one) != plain(now))
    if copies and not copied:
        raise DeskError(f"the mail of case {pending.case} names nobody in Cc who could get a copy; leave out --cc.")
    return Addressing(to=now, cc=copied, problem=before.problem if to is None else "")


def _may_leave(desk: Desk, pending: Pending, addressing: Addressing) -> None:
    to = addressing.to
    if to == UNKNOWN_SENDER:
        why = addressing.problem or f"the mail of case {pending.case} names no sender"
        raise NotSendable(f"{why}; name the recipient with --to ADDRESS, or reject it.")
    if plain(to) == plain(desk.config.address):
        raise NotSendable(
            f"the reply of case {pending.case} would go to the desk's own address {to}; name the customer with `pointsman-desk approve "
            f"{pending.case} --to ADDRESS`, or reject it."
        )


async def readdress(desk: Desk, case: int, *, by: str, seen: str | None, to: str | None, copies: bool | None) -> CaseRow:
    """Choose whom the reply goes to, and whether those in Cc get a copy; None leaves it. It is composed anew, and waits for approval.

    Raises DeskError where `to` is not one plain address, or is the desk's own, and where nobody in Cc can get a copy.
    """
    pending = await _pending(desk, case, seen)
    addressing = _addressed(desk, pending, to, copies)
    return await _decide(desk, pending, Approval(decision="edit", by=by), {"addressing": addressing})


async def _decide(desk: Desk, pending: Pending, approval: Approval, edits: dict[str, Any] | None = None) -> CaseRow:
    try:
        await desk.engine.resume(pending.token, approval, by=approval.by, edits=edits)
    except Stale as stale:
        raise DraftChanged(f"the draft of case {pending.case} was rewritten while you decided; nothing was sent.", stale.current) from None
    return await _moved(desk, pending.case)


async def either(*waits: Any) -> None:
    """Return when the first of `waits` does, and drop the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
