"""Carry out a command at the open desk."""

from collections.abc import Sequence

from pointsman import CaseRow, Refused, UnknownCase, decided_since
from pointsman_desk import desk as at_desk
from pointsman_desk import sorting
from pointsman_desk.commands import (
    Accept,
    Approve,
    Assign,
    Cancel,
    Close,
    CloseAll,
    Command,
    Done,
    Edit,
    ErasePerson,
    OnCase,
    Readdress,
    Redeliver,
    Redraft,
    Redrive,
    RedriveAll,
    Reject,
    Reopen,
    Resolve,
)
from pointsman_desk.wiring import Desk


async def carry_out(desk: Desk, command: Command) -> Done:
    """Carry out a command, or find out that it was carried out. Raises DeskError and what the engine raises."""
    match command:
        case OnCase(case=case, by=by, after=str(after)) if await decided_since(desk.engine.reader, case, by, after):
            rows = await at_desk.resting(desk, case)
        case OnCase():
            rows = [await _decide(desk, command)]
        case Reopen(case=case, by=by, why=why):
            rows = [await sorting.reopen(desk, case, by=by, why=why)]
        case RedriveAll(by=by, why=why):
            rows = await at_desk.redrive_all(desk, by=by, why=why)
        case CloseAll(by=by, cases=cases):
            rows = await sorting.close_all(desk, cases, by=by)
        case ErasePerson(by=by, why=why, cases=cases):
            return await _erase(desk, cases, by=by, why=why)
        case Redeliver(subscriber=subscriber, forget=forget):
            return Done(messages=await desk.engine.redeliver(subscriber, forget=forget))
        case _:
            raise AssertionError(f"nothing carries out {command.name}")
    return Done(cases=tuple(row.id for row in rows))


async def _decide(desk: Desk, asked: OnCase) -> CaseRow:
    case, by = asked.case, asked.by
    match asked:
        case Approve(seen=seen, despite_violations=despite):
            return await at_desk.approve(desk, case, by=by, seen=seen, despite_violations=despite)
        case Readdress(seen=seen, to=to, copies=copies):
            return await at_desk.readdress(desk, case, by=by, seen=seen, to=to, copies=copies)
        case Edit(body=body, seen=seen, send=send, to=to, copies=copies):
            return await at_desk.edit(desk, case, by=by, body=body, seen=seen, send=send, to=to, copies=copies)
        case Redraft(instruction=instruction, seen=seen):
            return await at_desk.redraft(desk, case, by=by, instruction=instruction, seen=seen)
        case Reject(seen=seen, why=why):
            return await at_desk.reject(desk, case, by=by, why=why, seen=seen)
        case Assign(to=to, note=note):
            return await at_desk.assign(desk, case, to=to, by=by, note=note)
        case Close():
            return await at_desk.close(desk, case, by=by)
        case Accept():
            return await sorting.accept(desk, case, by=by)
        case Redrive(why=why):
            return await at_desk.redrive(desk, case, by=by, why=why)
        case Cancel(why=why):
            return await at_desk.cancel(desk, case, by=by, why=why)
        case Resolve(arrived=arrived):
            return await at_desk.resolve(desk, case, by=by, arrived=arrived)
        case _:
            raise AssertionError(f"nothing carries out {asked.name}")


async def _erase(desk: Desk, cases: Sequence[int], *, by: str, why: str) -> Done:
    """Erase these cases, each in a commit of its own, and then the raw mails that nothing refers to any more."""
    erased, left = [], []
    for case in cases:
        try:
            erased.append((await desk.engine.erase(case, by=by, why=why)).id)
        except Refused as error:
            left.append(str(error))
        except UnknownCase:
            continue  # it is gone altogether
    return Done(cases=tuple(erased), left=tuple(left), raw_mails=(await desk.engine.vacuum()).blobs)
