"""Happenings that do not fit: each kind, right and wrong, for cases in each status and at each step."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any

from directed_walks import Come, Directed, after, message
from pure_walk import PROCESSES
from ways import ENDS, GOALS, WAY

from pointsman import NotSent, Rejected
from pointsman.definition.children import Child
from pointsman.definition.effects import ABSENT, Effect, Found
from pointsman.definition.nodes import Node
from pointsman.definition.rules import Park, parallel
from pointsman.definition.transactions import Transaction
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.case import Case, new_case
from pointsman.kernel.events import Event
from pointsman.kernel.guarding import BEGINNING
from pointsman.kernel.rows import Intent, NewCase
from pointsman.kernel.snapshot import Status


def misfits() -> Iterator[Come]:
    """Each kind of happening, right and wrong, for cases in each status: most of it comes too late, too early, or to the wrong case."""
    all_walks = [Directed(step, then, ends=odd).run() for step, many in ENDS.items() for odd in many for then in GOALS]
    cases = {_standing(case): case for walk in all_walks for case in _seen_by(walk)}
    came = {_told(one): one for walk in all_walks for one in walk.came} | {_told(one): one for one in _made_up(cases.values())}
    for case, happening in product(cases.values(), came.values()):
        yield from (Come(case, happening, place=place, cancel=cancel) for place, cancel in ((True, False), (False, True)))
        yield Come(case.having((message("work"),)), happening)


def _seen_by(walk: Directed) -> Iterator[Case]:
    """The cases of a walk: as they were committed, and claimed, blocked and cancelled from there."""
    yield new_case(1, NewCase("way", 1, None), 1_000.0, "walk")
    for case in walk.cases:
        yield case
        if case.row.status in {Status.READY, Status.WAITING}:
            yield replace(case, row=case.row._replace(status=Status.RUNNING))
            yield after(Come(case, happenings.NotAcceptedHere("its code is elsewhere")))
            yield after(Come(case, happenings.CancelAsked("anna", "enough")))


def _standing(case: Case) -> tuple[object, ...]:
    """What tells cases apart here."""
    return case.row.status, case.row.step, bool(case.row.revision), sorted({entry.status for entry in case.ledger.values()}).__repr__()


def _told(happening: happenings.Happening) -> tuple[object, ...]:
    """What tells happenings apart here: their kind, and the names, texts and ends in them."""
    return type(happening), *(part if isinstance(part, str | bool | None) else _name(part) for part in _parts(happening))


def _name(part: Any) -> str:
    return str(getattr(part, "name", None) or type(part).__name__)


def _parts(told: object) -> Iterator[object]:
    yield told
    within = told if isinstance(told, tuple) else ()
    if isinstance(told, happenings.NodeEnded | commands.CallNode | Event):
        within = tuple(getattr(told, field.name) for field in fields(told))
    for part in within:
        yield from _parts(part)


def _made_up(cases: Iterable[Case]) -> Iterator[happenings.Happening]:
    """Happenings that nothing has brought: unknown keys and pauses, other steps, odd results."""
    elsewhere = PROCESSES[0]
    steps = [
        *WAY.steps.values(),
        *(rule.step for rule in WAY.ordered_rules),
        elsewhere.steps["send"],
        elsewhere.steps["write"],
        Park("nowhere"),
    ]
    ends = [CallEnd(object()), CallEnd(), CallEnd(error=TimeoutError()), CallEnd(error=Rejected("no")), CallEnd(error=NotSent("no"))]
    known = sorted({key for case in cases for key in case.ledger})
    yield from (happenings.Continued(step) for step in steps)
    yield from (happenings.Answered(name, "anna", {}) for name in ("nobody", "answer", "node"))
    yield from (happenings.Assigned(name, to, "anna", "") for name in ("nobody", "answer", "node") for to in ("lead", ""))
    yield from (
        happenings.Redriven("anna", "again", fields) for fields in ({}, {"nothing": 1}, {"then": 1}, {"then": "work"}, {"node": None})
    )
    yield from (
        happenings.CannotGoOn("it cannot be read"),
        happenings.NotAcceptedHere("no"),
        happenings.AcceptedHere(2),
        happenings.Reconsidered(),
    )
    yield from (happenings.EraseAsked("anna", "asked to"), happenings.CancelAsked("anna", "enough"), happenings.CancelledBeforeCall())
    yield from (happenings.BranchesEnded(parallel(), (), calling=calling) for calling in (True, False))
    for key, happened, calls in product((*known, "unknown"), (True, False), (None, 7)):
        yield from (happenings.Resolved(key, happened, "anna", "looked", outcome, calls) for outcome in (None, "it", object()))
    for step, end in product(steps, ends):
        if isinstance(step, Effect):
            yield from _of_effect(step, end, (*known, "unknown"))
        elif isinstance(step, Transaction):
            yield happenings.TransactionEnded(step, end)
        elif isinstance(step, Node):
            call = commands.CallNode(step, 1, BEGINNING)
            yield from (happenings.NodeEnded(call, end), happenings.PermitRefused(call, None))
        elif isinstance(step, Child):
            yield happenings.ChildRefused(step, "no")


def _of_effect(effect: Any, end: CallEnd, keys: Iterable[str]) -> Iterator[happenings.Happening]:
    for key, undone, absent in product(keys, (False, True), (False, True)):
        undoes = key if undone else ""
        call = commands.CallEffect(effect, Intent(key, effect.name, "", 1_000.0, again=False), {}, 1, undoes, doubtful=absent)
        wanted = commands.Acquire(effect, {}, undoes, absent)
        asked = commands.LookUpEffect(effect, key, {}, 1, undoes)
        yield from (happenings.EffectEnded(call, end), happenings.CancelledBeforeCall(call), happenings.Acquired(wanted))
        yield from (
            happenings.PermitRefused(wanted, None),
            happenings.LookedUp(asked, end.result, end.error),
            happenings.LookedUp(asked, ABSENT),
            happenings.LookedUp(asked, Found(object())),
        )
