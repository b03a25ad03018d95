"""Carry out a command at the open desk."""

from pointsman import CaseRow, decided_since
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
    OnCase,
    Readdress,
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
