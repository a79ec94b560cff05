"""Traces lead from the caller to the append and to read models, over tasks and processes; logs carry the same ids."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from eventstore import CommandRejectedError, EventStore, Settings
from eventstore.ports import EventLog
from eventstore.telemetry import Telemetry
from eventstore.telemetry.logs import JsonFormatter
from eventstore.telemetry.tracing import span_id_of, traceparent
from eventstore.testing.cluster import MemoryCluster
from eventstore.testing.memory import MemoryLog
from tests.fastapi.serving import application, asked, store_on
from tests.telemetry.test_metrics import Totals
from tests.waiting import until
from tests.write.domain import Count, Counter, CountUpTo

SECRET = "canary-7f3a"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)  # once per process
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def store_of(log: EventLog, place: Path, telemetry: Telemetry | None = None) -> EventStore:
    settings = Settings(telemetry=telemetry or Telemetry())
    return EventStore(log, aggregates=[Counter], projections=[Totals], query_store=place / "read.db", settings=settings)


def context_of(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


async def test_a_trace_leads_from_the_caller_over_the_append_to_the_read_model(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    async with store_of(MemoryLog(partitions=1), tmp_path) as store:
        with trace.get_tracer("test").start_as_current_span("request"):
            done = await store.execute(Counter, "a", Count())
        await store.wait_for(Totals, done.token)
        await until(lambda: bool(named(spans, "project totals")))
        ((_, at),) = await store.history(Counter, "a")
    (request,), (command,) = named(spans, "request"), named(spans, "execute Count")
    (append,), (project,) = named(spans, "append p0"), named(spans, "project totals")
    trace_id, span_id = context_of(command).trace_id, context_of(command).span_id
    assert trace_id == context_of(request).trace_id
    assert command.parent is not None
    assert command.parent.span_id == context_of(request).span_id
    for later in (append, project):
        assert later.parent is not None
        assert (context_of(later).trace_id, later.parent.span_id) == (trace_id, span_id)
    assert at.metadata.correlation_id.int == trace_id
    assert span_id_of(at.metadata.causation_id) == span_id
    assert at.command_id.version == 7
    assert traceparent(*at.metadata) == f"00-{trace_id:032x}-{span_id:016x}-01"
    assert command.attributes is not None
    assert (command.attributes["eventsourcing.outcome"], command.attributes["eventsourcing.version"]) == ("executed", 1)


async def test_a_read_model_is_traced_in_a_process_that_was_not_asked(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    cluster = MemoryCluster("a", "b", partitions=1)
    async with store_of(cluster.member("a"), tmp_path), store_of(cluster.member("b"), tmp_path) as other:
        with trace.get_tracer("test").start_as_current_span("request"):
            done = await other.execute(Counter, "a", Count())
        await other.wait_for(Totals, done.token)
        await until(lambda: bool(named(spans, "project totals")))
    (command,), (project, *_) = named(spans, "execute Count"), named(spans, "project totals")
    assert project.parent is not None
    assert (context_of(project).trace_id, project.parent.span_id) == (
        context_of(command).trace_id,
        context_of(command).span_id,
    )


async def test_a_command_that_came_over_http_is_the_parent_of_its_read_model_s_span(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    """Without Idempotency-Key nobody chose the command id, so it tells the span. FastAPI makes the request's span."""
    settings = Settings(telemetry=Telemetry())
    async with asked(application(lambda: store_on(MemoryLog(partitions=1), tmp_path, settings))) as service:
        answer = await service.create("1")
        await until(lambda: bool(named(spans, "project task_board")))
    (request,) = named(spans, "POST /tasks/{aggregate_id}/commands/create-task")
    (command,), (project, *_) = named(spans, "execute CreateTask"), named(spans, "project task_board")
    assert project.parent is not None
    assert context_of(project).trace_id == context_of(request).trace_id
    assert project.parent.span_id == context_of(command).span_id
    assert span_id_of(UUID(answer.json()["command_id"])) == context_of(command).span_id


async def test_a_batch_of_several_traces_is_linked_to_each(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    log = MemoryLog(partitions=1)
    async with EventStore(log, aggregates=[Counter], settings=Settings(telemetry=Telemetry())) as store:
        for name in "ab":
            with trace.get_tracer("test").start_as_current_span("request"):
                await store.execute(Counter, name, Count())
    async with store_of(log, tmp_path) as store:
        await store.wait_for(Totals, await store.present())
        await until(lambda: bool(named(spans, "project totals")))
    (project,) = named(spans, "project totals")
    assert project.parent is None
    linked = {(link.context.trace_id, link.context.span_id) for link in project.links}
    assert linked == {(context_of(span).trace_id, context_of(span).span_id) for span in named(spans, "execute Count")}


@pytest.mark.parametrize("sampled", [True, False])
async def test_commands_of_callers_that_are_not_traced_make_no_spans_and_ids_as_ever(
    sampled: bool, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    async with store_of(MemoryLog(partitions=1), tmp_path) as store:
        if sampled:
            done = await store.execute(Counter, "a", Count())
        else:
            with TracerProvider(sampler=ALWAYS_OFF).get_tracer("x").start_as_current_span("dropped"):
                done = await store.execute(Counter, "a", Count())
        await store.wait_for(Totals, done.token)
        ((_, at),) = await store.history(Counter, "a")
    assert at.metadata.correlation_id == at.metadata.causation_id
    assert spans.get_finished_spans() == ()


async def test_ids_that_the_caller_chose_stay_as_they_are(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    async with store_of(MemoryLog(partitions=1), tmp_path) as store:
        with trace.get_tracer("test").start_as_current_span("request"):
            await store.execute(Counter, "a", Count(), command_id=UUID(int=7), caused_by=UUID(int=9))
        ((_, at),) = await store.history(Counter, "a")
    assert tuple(at.metadata) == (UUID(int=9), UUID(int=7))
    assert len(named(spans, "execute Count")) == 1


async def test_a_failed_command_is_marked_and_neither_trace_nor_log_holds_what_it_held(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("eventstore.commands")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with store_of(MemoryLog(partitions=1), tmp_path) as store:
            with trace.get_tracer("test").start_as_current_span("request"):
                await store.execute(Counter, "a", Count(note=SECRET))
                with pytest.raises(CommandRejectedError):
                    await store.execute(Counter, "a", CountUpTo(limit=0))
                with pytest.raises(Exception, match="."):
                    await store.execute(Counter, "a", Count(), expected_version=7)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    shown = "".join(span.to_json() for span in spans.get_finished_spans()) + text.getvalue()
    assert SECRET not in shown
    executed, rejected, conflict = (json.loads(line) for line in text.getvalue().splitlines())
    assert (executed["stream"], executed["version"], executed["command"]) == ("counter-a", 1, "Count")
    assert (rejected["outcome"], conflict["outcome"]) == ("rejected", "conflict")
    by_outcome = {
        span.attributes["eventsourcing.outcome"]: span
        for span in spans.get_finished_spans()
        if span.attributes and "eventsourcing.outcome" in span.attributes
    }
    assert by_outcome["rejected"].status.status_code is StatusCode.UNSET
    assert by_outcome["conflict"].status.status_code is StatusCode.ERROR
    assert executed["trace_id"] == f"{context_of(by_outcome['executed']).trace_id:032x}"
    assert executed["correlation_id"].replace("-", "") == executed["trace_id"]
