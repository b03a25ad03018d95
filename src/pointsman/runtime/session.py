"""A case that this engine runs: the case, its program, and the resources reserved for its next call."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import TaskWait
from pointsman.kernel.case import Case
from pointsman.kernel.commands import CallEffect
from pointsman.kernel.events import Event
from pointsman.kernel.happenings import Happening
from pointsman.kernel.machine import Plan, Refusal, advance
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import Program
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Cell
from pointsman.runtime.limits import Permit
from pointsman.runtime.ports import Ports
from pointsman.runtime.threads import Call


class Rested(NamedTuple):
    """A case at rest: its row, and its fields if they are at hand."""

    row: CaseRow
    cells: Mapping[str, Cell] | None = None


@dataclass(slots=True)
class CaseSession:
    """A running case. Only `case` is durable. A crash loses the other attributes, and no promise depends on them.

    `permit` and `reserved` are the permit and the thread reserved for the next call. `call_until` is when the engine gives up on that call, in
    monotonic seconds. `calling` is the number of calls under way. `counted` says whether the store would count a crash now as an interruption.
    `cancel` is the event of a cancel that was requested while a step runs. `task` drives the case. `waits` is what a body waits for, and until
    when (Unix seconds).
    """

    program: Program
    case: Case
    process: AnyProcess = field(init=False)
    permit: Permit | None = None
    reserved: Call | None = None
    call_until: float = 0.0
    calling: int = 0
    counted: bool = True
    cancel: Event | None = None
    task: asyncio.Task[Any] | None = None
    waits: tuple[TaskWait, float] | None = None

    def __post_init__(self) -> None:
        self.process = self.program.process

    def advance(self, ports: Ports, happening: Happening, offer: Offer) -> Plan | Refusal:
        """Ask the machine for the next plan, without committing it."""
        asked = ports.clock.monotonic()
        plan = advance(self.program, self.case, happening, ports.clock.now(), ports.random, offer)
        # The time of a call begins before its intent is committed. So a slow commit shortens the call, and the call never outlives the
        # deadline in the ledger.
        if isinstance(plan, Plan) and plan.commands and isinstance(plan.commands[0], CallEffect):
            self.call_until = asked + plan.commands[0].effect.timeout_seconds
        return plan
