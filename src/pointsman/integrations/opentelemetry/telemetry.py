"""Sends the spans of cases to an exporter of OpenTelemetry, and counts what they did."""

import asyncio
from collections import OrderedDict
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pointsman.errors import PointsmanError
from pointsman.integrations.opentelemetry.metrics import Measures
from pointsman.integrations.opentelemetry.spans import CaseSpans, Span, span_id, trace_id
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import EventRow
from pointsman.runtime.subscribers import Delivery
from pointsman.store.base import Reader

CASES_MAX = 10_000  # cases whose open steps are remembered; those of the others are read again
SCOPE = "pointsman"
SERVICE = "pointsman"  # the name of the service, if OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have none
NANOSECONDS = 1_000_000_000
CLIENTS = frozenset({"effect", "model"})  # the kinds of spans that are calls of something outside


class ExportFailed(PointsmanError):
    """The exporter did not take the spans. They are sent again."""


class Telemetry:
    """A subscriber that sends each case as one trace, and counts steps, effects and tokens. Pass it to `Engine.open(subscribers=[...])`.

    The ids of a trace and of its spans follow from the database and the number of the case, so every worker continues the trace, and a span
    that is sent twice is the same span. `exporter` sends them, in a thread; the meter is taken from `meter_provider`, or from the global one.
    Spans have names of steps, rules, fields and classes of errors, and no values.
    """

    name = "opentelemetry"

    def __init__(self, exporter: SpanExporter, *, meter_provider: MeterProvider | None = None, resource: Resource | None = None) -> None:
        self._exporter = exporter
        self._resource = resource or resource_of_service()
        self._scope = InstrumentationScope(SCOPE, version("pointsman"))
        self._measures = Measures((meter_provider or get_meter_provider()).get_meter(SCOPE, version("pointsman")))
        self._cases: OrderedDict[int, CaseSpans] = OrderedDict()
        self._last = ""

    async def deliver(self, delivery: Delivery) -> None:
        """Send the spans that end with these events. Raises ExportFailed."""
        if delivery.after != self._last:
            self._cases.clear()  # another engine has read on meanwhile
        self._last = ""
        spans = await self._spans(delivery)
        if spans:
            taken = [self._readable(span, delivery.reader.incarnation) for span in spans]
            result = await asyncio.to_thread(self._exporter.export, taken)
            if result is not SpanExportResult.SUCCESS:
                raise ExportFailed(f"the exporter refused {len(taken)} spans; check that their receiver runs at the OTLP endpoint.")
        self._last = delivery.events[-1].cursor
        self._measures.record(spans)
        self._measures.set_cases(await delivery.reader.count_places())

    async def _spans(self, delivery: Delivery) -> list[Span]:
        await self._remember(delivery)
        spans: list[Span] = []
        for event in delivery.events:
            case = self._cases.get(event.case)
            if case is None:
                continue
            spans += case.take(event)
            if case.ended:
                del self._cases[event.case]
        while len(self._cases) > CASES_MAX:
            self._cases.popitem(last=False)
        return spans

    async def _remember(self, delivery: Delivery) -> None:
        """Read where those cases of a delivery stood before it that are not remembered."""
        first: dict[int, EventRow] = {}
        for event in delivery.events:
            first.setdefault(event.case, event)
        for case in first.keys() & self._cases.keys():
            self._cases.move_to_end(case)
        new = [case for case in first if case not in self._cases]
        incarnation = delivery.reader.incarnation
        for row in await delivery.reader.cases_of(new) if new else ():
            self._cases[row.id] = CaseSpans(incarnation, row)
        known = [case for case in new if case in self._cases and first[case].kind != Kind.ACCEPTED]
        await self._catch_up(delivery.reader, {case: first[case].cursor for case in known})

    async def _catch_up(self, reader: Reader, until: dict[int, str]) -> None:
        for event in await reader.events_of([*until]) if until else ():
            if event.case in until and event.cursor == until[event.case]:
                del until[event.case]
            elif event.case in until:
                self._cases[event.case].take(event)

    def _readable(self, span: Span, incarnation: str) -> ReadableSpan:
        def context(case: int, number: int) -> SpanContext:
            return SpanContext(trace_id(incarnation, case), number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        return ReadableSpan(
            span.name,
            context(span.case, span.id),
            None if span.parent is None else context(span.case, span.parent),
            self._resource,
            attributes={**span.attributes, "pointsman.kind": span.kind, **({} if span.error is None else {"error.type": span.error})},
            events=[Event(name, timestamp=_nanoseconds(at)) for name, at in span.notes],
            links=[Link(context(case, span_id(incarnation, case))) for case in span.links],
            kind=SpanKind.CLIENT if span.kind in CLIENTS else SpanKind.INTERNAL,
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=_nanoseconds(span.start),
            end_time=_nanoseconds(span.end),
            instrumentation_scope=self._scope,
        )  # fmt: skip


def telemetry_from_environment() -> Telemetry:
    """Return what sends by OTLP to where the variables OTEL_EXPORTER_OTLP_ENDPOINT and the like say: both traces and metrics."""
    return _telemetry(OTLPSpanExporter(), OTLPMetricExporter())


def telemetry_to(endpoint: str) -> Telemetry:
    """Return what sends traces and metrics by OTLP over HTTP to the collector at `endpoint`; the variables of OpenTelemetry set the rest."""
    base = endpoint.rstrip("/")
    return _telemetry(OTLPSpanExporter(endpoint=f"{base}/v1/traces"), OTLPMetricExporter(endpoint=f"{base}/v1/metrics"))


def _telemetry(spans: SpanExporter, metrics: MetricExporter) -> Telemetry:
    resource = resource_of_service()
    provider = SdkMeterProvider([PeriodicExportingMetricReader(metrics)], resource)
    return Telemetry(spans, meter_provider=provider, resource=resource)


def resource_of_service() -> Resource:
    """What sends: the service that the environment names, or `pointsman`."""
    found = Resource.create()
    named = found.attributes.get(SERVICE_NAME)
    return found.merge(Resource({SERVICE_NAME: SERVICE})) if str(named).startswith("unknown_service") else found


def _nanoseconds(at: float) -> int:
    return round(at * NANOSECONDS)
