"""A case that this engine runs: the case, its program, and the resources reserved for its next call."""

import asyncio
from dataclasses import dataclass, field

from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import Case
from pointsman.kernel.commands import CallEffect
from pointsman.kernel.events import Event
from pointsman.kernel.happenings import Happening
from pointsman.kernel.machine import Plan, Refusal, advance
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import Program
from pointsman.runtime.limits import Permit
from pointsman.runtime.ports import Ports
from pointsman.runtime.threads import Call


@dataclass(slots=True)
class CaseSession:
    """A running case. Only `case` is durable; everything else is lost with the engine, and nothing depends on it.

    `permit` and `place` are a permit and a thread for the call to come, and `call_until` is when that call must be given up, in the clock's
    monotonic seconds. `calling` is how many calls are under way, `counted` whether the store would count the death of the engine as an interruption.
    `cancel` is the event of a cancel that was asked for while a step runs, and `task` drives the case.
    """

    program: Program
    case: Case
    process: AnyProcess = field(init=False)
    permit: Permit | None = None
    place: Call | None = None
    call_until: float = 0.0
    calling: int = 0
    counted: bool = True
    cancel: Event | None = None
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.process = self.program.process

    def advance(self, ports: Ports, happening: Happening, offer: Offer) -> Plan | Refusal:
        """Ask the machine for the next plan, without committing it."""
        asked = ports.clock.monotonic()
        plan = advance(self.program, self.case, happening, ports.clock.now(), ports.random, offer)
        # The time of a call begins before its intent is committed: a slow commit shortens the call, and the call never outlives
        # what the ledger says.
        if isinstance(plan, Plan) and plan.commands and isinstance(plan.commands[0], CallEffect):
            self.call_until = asked + plan.commands[0].effect.timeout_seconds
        return plan
