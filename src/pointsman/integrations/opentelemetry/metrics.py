"""The metrics of OpenTelemetry, taken from spans: what was sent is counted once in a fleet."""

from collections import Counter
from collections.abc import Iterable, Sequence

from opentelemetry.metrics import Meter

from pointsman.integrations.opentelemetry.spans import CASE, Span
from pointsman.operations.plain_names import plain_step
from pointsman.store.query import CaseCount

MODEL = "model"
LABELS = {CASE: "pointsman.outcome", "effect": "pointsman.effect.how"}  # the attribute that says how something of a kind ended


class Measures:
    """Counts and durations, by process, kind and step. `gen_ai` names are those of OpenTelemetry's semantic conventions."""

    def __init__(self, meter: Meter) -> None:
        self._spans = meter.create_counter("pointsman.spans", "{span}", "Steps, effects, pauses and cases that have ended.")
        self._durations = meter.create_histogram("pointsman.duration", "s", "How long steps, effects, pauses and cases took.")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of the responses of models.")
        self._asked = meter.create_histogram("gen_ai.client.operation.duration", "s", "How long models took to answer.")
        self._cases = meter.create_gauge("pointsman.cases", "{case}", "Cases by process, status and place.")
        self._told: set[tuple[str, str, str]] = set()

    def record(self, spans: Iterable[Span]) -> None:
        """Count spans."""
        for span in spans:
            labels = {"pointsman.process": span.attributes["pointsman.process"], "pointsman.kind": span.kind}
            if span.kind != CASE:
                labels["pointsman.step"] = span.attributes["pointsman.step"]
            if span.kind in LABELS and LABELS[span.kind] in span.attributes:
                labels[LABELS[span.kind]] = span.attributes[LABELS[span.kind]]
            if span.error is not None:
                labels["error.type"] = span.error
            self._spans.add(1, labels)
            self._durations.record(span.end - span.start, labels)
            if span.kind == MODEL:
                self._record_model(span)

    def set_cases(self, counts: Sequence[CaseCount]) -> None:
        """Say how many cases there are now. What there are none of any more is 0."""
        now = Counter[tuple[str, str, str]]()
        for count in counts:
            now[count.process, count.status.value, plain_step(count.place)] += count.cases
        for process, status, place in self._told | now.keys():
            labels = {"pointsman.process": process, "pointsman.status": status, "pointsman.place": place}
            self._cases.set(now[process, status, place], labels)
        self._told |= now.keys()

    def _record_model(self, span: Span) -> None:
        labels = {name: value for name, value in span.attributes.items() if name.startswith("gen_ai.") and ".usage." not in name}
        for kind in ("input", "output"):
            tokens = span.attributes[f"gen_ai.usage.{kind}_tokens"]
            assert isinstance(tokens, int)
            self._tokens.record(tokens, {**labels, "gen_ai.token.type": kind})
        self._asked.record(span.end - span.start, labels)
