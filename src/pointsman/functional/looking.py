"""Describe a body and its calls, for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.definition.rules import Park
from pointsman.definition.state import Failure
from pointsman.functional.body import Body, TaskFailed, Value
from pointsman.functional.record import ANSWERS, ASKED, OUTCOMES, RECORD, RESULTS, SHOWN, WOKEN
from pointsman.kernel.decide import Decision
from pointsman.kernel.program import CallDescription, Description

SHOWN_BY_CALLS = frozenset({ANSWERS, ASKED, OUTCOMES, RECORD, RESULTS, SHOWN, WOKEN})
_HOW: Mapping[str, str] = {"pause": "answered", "sleep": "slept"}


def describe(body: Body, decision: Decision, changed: Sequence[str], left: Sequence[str]) -> Description:
    """Describe a body that has run as far as its record goes.

    `changed` are the recorded calls that it asks for with other arguments, and `left` those that it has not asked for and may not leave out.
    """
    several = Counter(name.partition("[")[0] for name in {**body.known, **body.calls})
    missing = frozenset(left) if body.ended else frozenset()
    calls = [_described(body, name, several, outcome, left_out=name in missing) for name, outcome in body.known.items()]
    calls += [_described(body, name, several, None) for name in body.open]
    short = {call.call: call.name for call in calls}
    anew = tuple(sorted({name.partition("[")[0] for name in changed}))
    return Description(decision, tuple(calls), anew, tuple(short[name] for name in left), _redrive(body, decision), SHOWN_BY_CALLS)


def _described(body: Body, call: str, several: Counter[str], outcome: Value | Failure | None, *, left_out: bool = False) -> CallDescription:
    step = call.partition("[")[0]
    asked = body.calls.get(call)
    kind = asked.wanted.kind if asked is not None else ""
    name = step if several[step] == 1 else call
    if outcome is None:
        return CallDescription(name, call, kind, "open", None if asked is None else asked.wanted.arguments)
    if isinstance(outcome, Failure):
        times = f", after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
        value: Any = f"{outcome.error}: {outcome.message}{times}"
    else:
        value = outcome.value
    if left_out:
        return CallDescription(name, call, kind, "left out", value)
    return CallDescription(name, call, kind, "failed" if isinstance(outcome, Failure) else _HOW.get(kind, "returned"), value)


def _redrive(body: Body, decision: Decision) -> str:
    """What a redrive would do with a case that this decision parks."""
    if not isinstance(decision.step, Park):
        return ""
    if isinstance(body.raised, TaskFailed) and body.calls[body.raised.call].wanted.kind == "effect":
        return "a redrive does not call a rejected effect again; correct the body so that it catches the failure, or cancel the case"
    if isinstance(body.raised, TaskFailed):
        return f"a redrive calls {body.raised.call.partition('[')[0]} again, and repeats no other call"
    return "a redrive runs the body again over its record, and repeats no call; it parks again unless the body was corrected"
