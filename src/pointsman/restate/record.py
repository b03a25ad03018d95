"""The record of a case: everything durable about it, as one value that a virtual object keeps."""

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from pointsman.definition.effects import Effect
from pointsman.definition.messages import WhileOpen
from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import History, PastIntent
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import EventWrite, Transition
from pointsman.store.one_case import CaseRecord


class Refusing(NamedTuple):
    """Why a caller is refused: the name of the error, its message, and who was faster."""

    error: str
    message: str
    by: str = ""


class Message(NamedTuple):
    """A message from outside. `texts` are the JSON of the fields of a case that starts with it, or None if it starts none."""

    process: str
    name: str
    body: str
    at: float
    while_open: WhileOpen
    tenant: str = ""
    correlation: str | None = None
    key: str | None = None
    texts: dict[str, str] | None = None
    priority: int = 0


@dataclass(slots=True)
class Record(CaseRecord):
    """A case between two invocations. `seed` is what its number was computed from.

    `intents` and `written` are the case's `History`. A child's `home` is the key of its parent's object, and `result` the field that the parent takes.
    `arrived` counts the messages that came, and `came` has those that are in the inbox.
    """

    seed: str = ""
    intents: dict[str, PastIntent] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    home: str = ""
    result: str = ""
    arrived: int = 0
    came: dict[int, Message] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """The past of the case."""
        return History(self.intents, {key: frozenset(names) for key, names in self.written.items()})

    def remember(self, process: AnyProcess | None, t: Transition) -> None:
        """Add the effects of a transition, which this record is after, to the case's history."""
        for event in t.events:
            if event.kind == Kind.EFFECT_INTENDED and (key := json.loads(event.facts)["key"]) not in self.intents:
                step = process.steps.get(process.called(event.step or "")) if process is not None else None
                kept = tuple(self.fields.values()) if isinstance(step, Effect) and step.undo is not None else ()
                self.intents = {**self.intents, key: PastIntent(len(self.intents), self.row.version, kept)}
            elif event.kind == Kind.EFFECT_SETTLED:
                facts = json.loads(event.facts)
                self.written = {**self.written, facts["key"]: (*self.written.get(facts["key"], ()), *facts["fields"])}


@dataclass(frozen=True, slots=True)
class Stamped:
    """The events of one transition."""

    revision: int
    at: float
    events: tuple[EventWrite, ...]
