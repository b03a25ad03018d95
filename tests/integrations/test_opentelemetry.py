"""Cases become traces: the same ones in every worker, connected, and without what customers wrote."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from telemetry_world import HANG_SECONDS, SECRET, answer_it, run, start_it, world

from pointsman import Delivery, Engine
from pointsman.integrations.opentelemetry import ExportFailed, Telemetry
from pointsman.integrations.opentelemetry.spans import provider_of, trace_id
from pointsman.operations.plain_names import plain_step
from pointsman.store.memory import MemoryStore


class Kept(SpanExporter):
    """An exporter that keeps what it gets, and refuses the first requests."""

    def __init__(self, refuses: int = 0) -> None:
        self.spans: list[ReadableSpan] = []
        self.refuses = refuses

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.refuses:
            self.refuses -= 1
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS

    def told(self) -> list[str]:
        return [span.to_json(indent=None) for span in self.spans]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a receiver in a process of its own, and the folder with what it got."""
    got = tmp_path / "got"
    got.mkdir()
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("otlp_receiver.py"), got], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/traces", got
        process.terminate()


async def all_of(store: MemoryStore) -> list[Any]:
    events, after = [], ""
    while rows := await store.events(after=after):
        events += rows
        after = rows[-1].cursor
    return events


def finished() -> tuple[MemoryStore, int]:
    """A store with a case that has done a bit of everything, and its number."""
    store = MemoryStore(incarnation="i")

    async def main() -> int:
        async with Engine.open("unused", world(), store=store) as engine:
            case = await start_it(engine)
            await answer_it(engine, case)
            return case

    return store, run(main())


def exported(store: MemoryStore, *, at_once: int) -> Kept:
    """What is exported if a new worker goes on after each `at_once` events."""
    kept = Kept()

    async def main() -> None:
        events, after = await all_of(store), ""
        for first in range(0, len(events), at_once):
            some = events[first : first + at_once]
            await Telemetry(kept).deliver(Delivery(some, after, store, 0.0))
            after = some[-1].cursor

    run(main())
    return kept


def test_a_case_that_pauses_and_resumes_on_another_worker_is_one_connected_trace(receiver: tuple[str, Path], tmp_path: Path) -> None:
    address, got = receiver

    def worker() -> Any:
        exporter = OTLPSpanExporter(address, compression=Compression.NoCompression, timeout=HANG_SECONDS)
        return Engine.open(tmp_path / "cases.db", world(), subscribers=[Telemetry(exporter)], grace_seconds=HANG_SECONDS)

    async def main() -> tuple[str, int]:
        async with worker() as engine:
            case = await start_it(engine)
        async with worker() as engine:
            await answer_it(engine, case)
            return engine.reader.incarnation, case

    incarnation, case = run(main())

    bodies = [file.read_bytes() for file in sorted(got.iterdir())]
    sent = [
        span
        for body in bodies
        for of in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]
    mine = [span for span in sent if int.from_bytes(span.trace_id) == trace_id(incarnation, case)]
    ids = {span.span_id for span in mine}
    assert len(bodies) >= 2
    assert [span.name for span in mine if not span.parent_span_id] == ["claims"]
    assert {span.parent_span_id for span in mine if span.parent_span_id} <= ids
    assert len(ids) == len(mine)
    assert {span.name for span in mine} >= {"read", "rate + look", "approval", "pay", "letter", "claims"}
    assert not any(SECRET.encode() in body for body in bodies)


def test_workers_that_go_on_after_each_event_make_the_spans_that_one_makes() -> None:
    store, _ = finished()

    whole, each = exported(store, at_once=1_000), exported(store, at_once=1)

    assert len(whole.spans) > 10
    assert each.told() == whole.told()


def test_a_worker_whose_turn_comes_again_knows_what_the_other_one_has_sent() -> None:
    store, _ = finished()
    kept = Kept()

    async def main() -> None:
        first, second, events = Telemetry(kept), Telemetry(kept), await all_of(store)
        for worker, since, until in ((first, 0, 4), (second, 4, 8), (first, 8, len(events))):
            await worker.deliver(Delivery(events[since:until], events[since - 1].cursor if since else "", store, 0.0))

    run(main())

    assert kept.told() == exported(store, at_once=1_000).told()


def test_spans_have_names_and_no_values() -> None:
    store, _ = finished()

    told = "".join(exported(store, at_once=1_000).told())

    assert "pointsman.fields" in told
    assert SECRET not in told


def test_a_span_says_what_its_step_did() -> None:
    store, case = finished()

    spans = {span.name: span for span in exported(store, at_once=1_000).spans if dict(span.attributes or {})["pointsman.case"] == case}

    def said(name: str, *about: str) -> list[Any]:
        return [dict(spans[name].attributes or {}).get(one) for one in about]

    kinds = {name: said(name, "pointsman.kind") for name in spans}
    assert kinds["approval"] == ["pause"]
    assert kinds["rate + look"] == ["parallel"]
    assert (spans["pay"].kind.name, said("pay", "pointsman.effect.how")) == ("CLIENT", ["called"])
    assert said("chat acme:big", "gen_ai.provider.name", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens") == ["acme", 3, 4]
    assert said("claims", "pointsman.outcome") == ["paid"]
    assert [link.context.trace_id for link in spans["letter"].links] == [trace_id("i", case + 1)]


def test_an_attempt_that_failed_is_a_span_with_the_class_of_its_error() -> None:
    store, _ = finished()

    failed = [span for span in exported(store, at_once=1_000).spans if span.status.description == "ValueError"]

    assert [(span.name, dict(span.attributes or {})["pointsman.attempt"]) for span in failed] == [("read", 1)]


def test_spans_that_were_refused_are_sent_again_and_are_the_same() -> None:
    store, _ = finished()
    kept = Kept(refuses=1)

    async def main() -> None:
        telemetry, events = Telemetry(kept), await all_of(store)
        with pytest.raises(ExportFailed):
            await telemetry.deliver(Delivery(events, "", store, 0.0))
        await telemetry.deliver(Delivery(events, "", store, 0.0))

    run(main())

    assert kept.told() == exported(store, at_once=1_000).told()


def test_what_was_sent_is_counted() -> None:
    store, _ = finished()
    reader = InMemoryMetricReader()

    async def main() -> None:
        await Telemetry(Kept(), meter_provider=MeterProvider([reader])).deliver(Delivery(await all_of(store), "", store, 0.0))

    run(main())

    data = reader.get_metrics_data()
    assert data is not None
    metrics = {
        metric.name: metric.data.data_points for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics
    }
    effects = [point for point in metrics["pointsman.spans"] if point.attributes["pointsman.kind"] == "effect"]
    assert [(point.attributes["pointsman.step"], point.attributes["pointsman.effect.how"], point.value) for point in effects] == [
        ("pay", "called", 1)
    ]
    assert {(point.attributes["gen_ai.token.type"], point.sum) for point in metrics["gen_ai.client.token.usage"]} == {
        ("input", 6),
        ("output", 8),
    }
    assert ("claims", "done", 1) in {
        (point.attributes["pointsman.process"], point.attributes["pointsman.status"], point.value) for point in metrics["pointsman.cases"]
    }


@pytest.mark.parametrize(
    ("step", "name"),
    [("price[Mrs Smith]", "price"), ("park('she said')", "park"), ("rate + look", "rate + look"), ("draft[314615fa33dc]", "draft")],
)
def test_a_name_of_a_step_has_no_item_and_no_arguments(step: str, name: str) -> None:
    assert plain_step(step) == name


@pytest.mark.parametrize(("model", "provider"), [("anthropic:claude", "anthropic"), ("openai/gpt", "openai"), ("offline", "unknown")])
def test_the_provider_is_the_first_part_of_a_models_name(model: str, provider: str) -> None:
    assert provider_of(model) == provider
