"""The spans of a case, made of its events alone: every engine makes the same ones, with the same ids, whenever it reads them.

A span names steps, rules, fields and classes of errors, which the process's author gave. It never has a value of a field, a message of an
error, or a reason: those may have content of the case.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from pointsman.kernel.events import Kind
from pointsman.kernel.rows import CaseRow, EventRow
from pointsman.operations.plain_names import plain_step

CASE, PARKED = "case", "parked"
DECIDES_END = "finish("  # how the step of a decision begins that ends the case: it takes no time
ID_BYTES, TRACE_BYTES = 8, 16  # https://www.w3.org/TR/trace-context/#traceparent-header-field-values

Value = str | int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that a case did, or waited for, from `start` to `end` (Unix seconds).

    `kind` is case, node, effect, pause, sleep, child, parallel, branch, attempt, model, compensation, parked or step. `error` is the class of the
    error with which it ended. `notes` are events during it, with their times, and `links` are other cases that it concerns.
    """

    case: int
    kind: str
    name: str
    id: int
    parent: int | None
    start: float
    end: float
    attributes: Mapping[str, Value]
    error: str | None = None
    notes: tuple[tuple[str, float], ...] = ()
    links: tuple[int, ...] = ()


@dataclass(slots=True)
class _Open:
    """A step that has begun."""

    kind: str
    name: str
    start: float
    id: int
    attributes: dict[str, Value]
    notes: list[tuple[str, float]] = field(default_factory=list)
    links: list[int] = field(default_factory=list)


def trace_id(incarnation: str, case: int) -> int:
    """The id of a case's trace: 16 bytes, the same in every worker."""
    return _number(f"trace/{incarnation}/{case}", TRACE_BYTES)


def span_id(incarnation: str, case: int, what: str = CASE) -> int:
    """The id of a span of a case; without `what`, that of the whole case."""
    return _number(f"span/{incarnation}/{case}/{what}", ID_BYTES)


def _number(text: str, size: int) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:size]) or 1  # zero is no id


class CaseSpans:
    """Takes the events of one case in their order, and gives the spans that end with each."""

    def __init__(self, incarnation: str, row: CaseRow) -> None:
        self.ended = False
        self._incarnation = incarnation
        self._row = row
        self._open: _Open | None = None
        self._begun: dict[str, float] = {}  # when the present attempt of a step or branch began
        self._last = row.created_at

    def take(self, event: EventRow) -> list[Span]:
        """Take one more event."""
        facts: Mapping[str, Any] = json.loads(event.facts)
        handler = _HANDLERS.get(event.kind)
        spans = [] if handler is None else handler(self, event, facts)
        if handler is None and self._open is not None:
            self._open.notes.append((event.kind, event.at))
        self._last = event.at
        return spans

    def decided(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """A step begins; what was still open ends."""
        spans = self._close(event, None)
        self._begun.clear()
        step = str(facts.get("step"))
        if not step.startswith(DECIDES_END):
            self._opens("step", plain_step(step), event, {"pointsman.rule": str(facts.get("rule"))})
        return spans

    def is_a(self, kind: str) -> None:
        """Say of which kind the open step is."""
        if self._open is not None:
            self._open.kind = kind

    def child_started(self, _: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """A child began, whose trace is another one."""
        self.is_a("child")
        if self._open is not None and isinstance(facts.get("child"), int):
            self._open.links.append(facts["child"])
        return []

    def succeeded(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """A node or a branch returned."""
        asked = self._asked(event, facts)
        if self._is_open(event):
            return [*asked, *self._close(event, "node", facts)]
        return [*asked, self._call("branch", event, facts)]

    def failed(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """An attempt failed."""
        asked = self._asked(event, facts)
        span = self._call("attempt", event, facts, error=str(facts.get("error")))
        self._begun[event.step or ""] = event.at
        return [*asked, span]

    def violated(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """A response of a model failed its guard."""
        spans = self._asked(event, facts) or [self._call("attempt", event, facts, error="guard.violated")]
        self._begun[event.step or ""] = event.at
        return spans

    def retried(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """Another attempt begins later."""
        self._begun[event.step or ""] = max(event.at, float(facts.get("at") or 0.0))
        return []

    def intended(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The call of an effect begins."""
        self._begun[event.step or ""] = event.at
        if self._is_open(event) and self._open is not None:
            self._open.kind = "effect"
            self._open.attributes["pointsman.effect.safety"] = str(facts.get("safety"))
        return []

    def outcome_recorded(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The outcome of an effect was recorded."""
        if self._is_open(event):
            return self._close(event, "effect", facts)
        return [self._call("effect", event, facts)]

    def not_done(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The call of an effect ended without an outcome."""
        return [self._call("attempt", event, facts, error=event.kind)]

    def joined(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """All branches have ended."""
        return self._close(event, "parallel", facts)

    def closes(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The open step ends."""
        return self._close(event, None, facts)

    def parked(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The step has failed, and the case waits for an operator."""
        spans = self._close(event, None, facts, error=str(facts.get("error") or PARKED))
        self._opens(PARKED, PARKED, event, {})
        return spans

    def ends(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The case has ended."""
        spans = self._close(event, None)
        self.ended = True
        row = self._row
        outcome = str(facts.get("outcome")) if event.kind == Kind.FINISHED else event.kind
        attributes: dict[str, Value] = {**self._about(), "pointsman.version": row.version, "pointsman.outcome": outcome}
        links = () if row.parent is None else (row.parent,)
        return [*spans, Span(row.id, CASE, row.process, self._id(CASE), None, row.created_at, event.at, attributes, links=links)]

    def _asked(self, event: EventRow, facts: Mapping[str, Any]) -> list[Span]:
        """The span of a model's response, by the semantic conventions for generative AI (OpenTelemetry, gen-ai-spans)."""
        used = facts.get("used")
        if not isinstance(used, Mapping):
            return []
        model = str(used.get("model"))
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider_of(model),
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": int(used.get("input_tokens") or 0),
            "gen_ai.usage.output_tokens": int(used.get("output_tokens") or 0),
        }
        error = event.kind if event.kind == Kind.GUARD_VIOLATED else None
        return [self._call("model", event, {}, name=f"chat {model}", attributes=attributes, error=error)]

    def _call(
        self, kind: str, event: EventRow, facts: Mapping[str, Any], *, name: str = "", attributes: Mapping[str, Value] = MappingProxyType({}),
        error: str | None = None,
    ) -> Span:  # fmt: skip
        """The span of one call, inside the open step."""
        step = event.step or ""
        start = self._begun.get(step, self._last if self._open is None else self._open.start)
        what = f"{kind} {event.revision} {event.kind} {step} {event.attempt}"
        more: dict[str, Value] = {
            **self._about(),
            "pointsman.step": plain_step(step),
            "pointsman.attempt": event.attempt,
            **written(facts),
            **attributes,
        }
        parent = self._id(CASE) if self._open is None else self._open.id
        return Span(self._row.id, kind, name or plain_step(step), self._id(what), parent, start, max(start, event.at), more, error)

    def _opens(self, kind: str, name: str, event: EventRow, attributes: Mapping[str, Value]) -> None:
        what = self._id(f"step {event.revision} {name}")
        self._open = _Open(kind, name, event.at, what, {**self._about(), "pointsman.step": name, **attributes})

    def _close(
        self, event: EventRow, kind: str | None, facts: Mapping[str, Any] = MappingProxyType({}), *, error: str | None = None
    ) -> list[Span]:  # fmt: skip
        step, self._open = self._open, None
        if step is None:
            return []
        attributes = {**step.attributes, **written(facts)}
        if kind is not None and step.kind == "step":
            step.kind = kind
        parent, failed = self._id(CASE), None if step.kind == PARKED else error
        notes, links = tuple(step.notes), tuple(step.links)
        return [Span(self._row.id, step.kind, step.name, step.id, parent, step.start, event.at, attributes, failed, notes, links)]

    def _is_open(self, event: EventRow) -> bool:
        return self._open is not None and self._open.name == plain_step(event.step or "")

    def _about(self) -> dict[str, Value]:
        return {"pointsman.case": self._row.id, "pointsman.process": self._row.process}

    def _id(self, what: str) -> int:
        return span_id(self._incarnation, self._row.id, what)


def written(facts: Mapping[str, Any]) -> dict[str, Value]:
    """What a span says about an end: the names of the fields, and how an effect was settled."""
    found: dict[str, Value] = {}
    if facts.get("fields"):
        found["pointsman.fields"] = tuple(str(name) for name in facts["fields"])
    if isinstance(facts.get("how"), str):
        found["pointsman.effect.how"] = facts["how"]
    return found


def provider_of(model: str) -> str:
    """The provider in a model's name such as `anthropic:claude` or `openai/gpt`; `unknown` for a name without one."""
    for mark in (":", "/"):
        provider, found, _ = model.partition(mark)
        if found:
            return provider
    return "unknown"


Handler = Callable[[CaseSpans, EventRow, Mapping[str, Any]], list[Span]]


def _pauses(spans: CaseSpans, _: EventRow, __: Mapping[str, Any]) -> list[Span]:
    spans.is_a("pause")
    return []


def _sleeps(spans: CaseSpans, _: EventRow, __: Mapping[str, Any]) -> list[Span]:
    spans.is_a("sleep")
    return []


def _nothing(_: CaseSpans, __: EventRow, ___: Mapping[str, Any]) -> list[Span]:
    return []


_HANDLERS: Mapping[str, Handler] = MappingProxyType({
    Kind.ACCEPTED: _nothing,
    Kind.DECIDED: CaseSpans.decided,
    Kind.NODE_SUCCEEDED: CaseSpans.succeeded,
    Kind.NODE_FAILED: CaseSpans.failed,
    Kind.NODE_RETRIED: CaseSpans.retried,
    Kind.GUARD_VIOLATED: CaseSpans.violated,
    Kind.JOINED: CaseSpans.joined,
    Kind.EFFECT_INTENDED: CaseSpans.intended,
    Kind.EFFECT_SETTLED: CaseSpans.outcome_recorded,
    Kind.EFFECT_NOT_SENT: CaseSpans.not_done,
    Kind.EFFECT_IN_DOUBT: CaseSpans.not_done,
    Kind.RESULT_DROPPED: CaseSpans.closes,
    Kind.PAUSED: _pauses,
    Kind.RESUMED: CaseSpans.closes,
    Kind.DEADLINE_PASSED: CaseSpans.closes,
    Kind.SLEEPING: _sleeps,
    Kind.WOKEN: CaseSpans.closes,
    Kind.CHILD_STARTED: CaseSpans.child_started,
    Kind.CHILD_ENDED: CaseSpans.closes,
    Kind.COMPENSATED: CaseSpans.closes,
    Kind.PARKED: CaseSpans.parked,
    Kind.REDRIVEN: CaseSpans.closes,
    Kind.CANCELLED: CaseSpans.ends,
    Kind.FINISHED: CaseSpans.ends,
    Kind.ERASED: _nothing,
    Kind.EXPIRED: _nothing,
})  # fmt: skip
