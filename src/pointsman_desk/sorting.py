"""What people do with automatic mails and with cases that ended too soon."""

from collections.abc import Iterable, Mapping
from functools import partial

from pointsman import CaseRow, NotWaiting, Stale, Status
from pointsman_desk.case import Case, Incoming, Risk, Sorting
from pointsman_desk.desk import resting
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.threads import Kind, Place
from pointsman_desk.standing import reasons
from pointsman_desk.steps import SORT
from pointsman_desk.wiring import Desk

ENDED = frozenset({Status.DONE, Status.CANCELLED})
_RISKS = tuple(Risk)  # lowest first


async def close_all(desk: Desk, cases: Iterable[int], *, by: str, seen: Mapping[int, str] | None = None) -> list[CaseRow]:
    """Close these cases as automatic. A case that changed meanwhile, for example through a new mail, stays open.

    `seen` has the digest of what was shown of each case; a case that shows something else by now stays open, too.
    """
    cases = list(cases)
    for case in cases:
        try:
            await _sort(desk, case, Sorting(found="automatic", by=by), None if seen is None else seen.get(case, ""))
        except (DeskError, NotWaiting):
            continue
    return [row for row in await resting(desk, *cases) if row.status is Status.DONE]


async def accept(desk: Desk, case: int, *, by: str) -> CaseRow:
    """Treat a probably automatic mail as a customer's. Its reply always needs approval. Raises DeskError."""
    await _sort(desk, case, Sorting(found="a customer's", by=by))
    return (await resting(desk, case))[0]


async def _sort(desk: Desk, case: int, sorting: Sorting, seen: str | None = None) -> None:
    pending = await desk.engine.pending(case)
    if pending.pause != SORT:
        raise DeskError(f"case {case} is not probably automatic; it waits for something else.")
    if seen is not None and seen != pending.digest:
        raise DeskError(f"case {case} changed meanwhile; look at it again.")
    try:
        await desk.engine.resume(pending.token, sorting, by=sorting.by)
    except Stale:
        raise DeskError(f"case {case} changed meanwhile; look at it again.") from None


async def reopen(desk: Desk, case: int, *, by: str, why: str) -> CaseRow:
    """Put the mails of an ended case before a person again, as a new case of the same conversation. Raises DeskError, UnknownCase.

    If the conversation has an open case, they go to that case. A second call changes nothing, because each mail has a key.
    """
    row = await desk.engine.case(case)
    if row.status not in ENDED:
        raise DeskError(f"case {case} has not ended: it is {row.status} ({reasons(row, ())}); decide on it as it is.")
    state = await desk.engine.state(case, Case)
    for mail in state.mails:
        if await desk.engine.reader.blob(mail.raw) is None:
            raise DeskError(f"the mails of case {case} were deleted at the end of their retention; ask the customer to write again.")
    if row.correlation is None or not state.mails:
        raise DeskError(f"case {case} was erased; ask the customer to write again.")
    now, duplicates, number, threads = desk.clock.now(), 0, case, desk.conversations.threads
    for mail in state.mails:
        delivered = await desk.engine.send(desk.process, _again(mail, state, case, f"{by}: {why}" if why else by, now), name="mails")
        assert delivered.case is not None, "a message that no open case takes starts a case"
        number, duplicates = delivered.case, duplicates + (delivered.how == "duplicate")
        names: list[tuple[Kind, str]] = [("key", mail.key), ("mail", mail.email_id)]
        place = Place(number, row.correlation)
        await desk.conversations.use(partial(threads.add, place, names, mail.key))
    await desk.conversations.use(partial(threads.follows, case, Place(number, row.correlation)))
    [opened] = await resting(desk, number)
    if duplicates == len(state.mails) and opened.status in ENDED:
        raise DeskError(f"case {case} was reopened as case {number}, which has ended too; reopen case {number}.")
    return opened


def _again(mail: Incoming, state: Case, case: int, reopened: str, now: float) -> Incoming:
    return mail.model_copy(
        update={
            "key": f"{mail.key}/opened again from {case}",
            "at": now,
            "related": case,
            "risk_so_far": max(state.risk or Risk.LOW, mail.risk_so_far, key=_RISKS.index),
            "history": (*mail.history, *(one.body for one in state.sent)),
            "flood": None,
            "before": "",
            "reopened": reopened,
        }
    )
