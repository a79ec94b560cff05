"""Formats turn messages of other systems into events with an id that is the same in every delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from eventstore import ConfigurationError, Event
from eventstore.core.envelope import Metadata
from eventstore.core.errors import UndecodableEventError, UnknownEventTypeError
from eventstore.core.ids import derived_id
from eventstore.core.inboxes import InboxFold
from eventstore.core.registry import TypeRegistry
from eventstore.inbox import (
    Change,
    DebeziumRows,
    Envelopes,
    Inbox,
    Message,
    Operation,
    PlainMessages,
    Received,
    Send,
    SourceRow,
    receives,
)
from tests.write.domain import Count, Counter

NOTHING = TypeRegistry([])


class TaskRow(SourceRow, table="public.tasks"):
    id: int
    title: str


class NoteRow(SourceRow, table="public.notes"):
    text: str


class Paid(Event, type="billing.paid"):
    number: int


def change(
    op: str,
    *,
    key: object = None,
    before: object = None,
    after: object = None,
    lsn: int | None = 7,
    schema: bool = False,
) -> Message:
    """Make a message of Debezium's, with or without the schemas that its converter may write beside values."""
    source = {"db": "shop", "schema": "public", "table": "tasks", "lsn": lsn, "txId": 70, "connector": "postgresql"}
    value: object = {"op": op, "before": before, "after": after, "source": source, "ts_ms": 1_767_312_000_000}
    if schema:
        value, key = {"schema": {}, "payload": value}, {"schema": {}, "payload": key}
    return Message("t", 0, 1, None if key is None else json.dumps(key).encode(), json.dumps(value).encode(), {})


def read(message: Message, **options: Any) -> tuple[Change[TaskRow], Received]:
    arrival = DebeziumRows(**options).read(message, TaskRow, NOTHING)
    assert isinstance(arrival.event, Change)
    return arrival.event, arrival.at


ONE: Mapping[str, object] = {"id": 1, "title": "one", "colour": "red"}


def test_a_change_tells_what_happened_to_which_row() -> None:
    event, at = read(change("u", key={"id": 1}, before=ONE, after={**ONE, "title": "uno"}))
    assert (event.operation, event.key, event.after) == (Operation.UPDATE, {"id": 1}, TaskRow(id=1, title="uno"))
    assert event.before is None  # nobody said that it can be trusted
    assert event.transaction == 70
    assert (at.event_type, at.topic, at.correlation_id) == ("public.tasks", "t", at.event_id)
    assert at.occurred_at.isoformat() == "2026-01-02T00:00:00+00:00"
    with_old, _ = read(change("d", key={"id": 1}, before=ONE), old_rows=True)
    assert (with_old.before, with_old.after) == (TaskRow(id=1, title="one"), None)
    truncated, _ = read(change("t"))
    assert (truncated.operation, truncated.key, truncated.after) == (Operation.TRUNCATE, {}, None)


def test_the_schema_beside_a_value_makes_no_difference() -> None:
    plain, schema = (read(change("c", key={"id": 1}, after=ONE, schema=schema)) for schema in (False, True))
    assert plain[0] == schema[0]
    assert plain[1].event_id == schema[1].event_id


def test_the_id_is_made_of_table_key_and_place_in_the_databases_log() -> None:
    def of(**changes: Any) -> UUID:
        return read(change(changes.pop("op", "u"), **{"key": {"id": 1}, "after": ONE, **changes}))[1].event_id

    assert str(of()) == "0e71aefa-cb5c-5142-ba4a-80d12200c8f1"
    assert of() == of(after={**ONE, "title": "another reading of the same place"})
    different = [of(), of(lsn=8), of(key={"id": 2}), of(op="c"), of(op="r"), of(key=None), of(key=None, after=None)]
    assert len(set(different)) == len(different)


def test_a_row_that_a_snapshot_reads_is_identified_by_its_content() -> None:
    def of(title: str, lsn: int, **options: Any) -> UUID:
        return read(change("r", key={"id": 1}, after={**ONE, "title": title}, lsn=lsn), **options)[1].event_id

    assert of("one", 7) == of("one", 99)
    assert of("one", 7) != of("uno", 7)
    assert of("one", 7) != of("one", 7, generation=2)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Message("t", 0, 1, None, b'{"id": 1}', {}), "is no change event of Debezium: op: Field required"),
        (Message("t", 0, 1, None, b"\x00", {}), r"is no change event of Debezium: the value: Invalid JSON"),
        (change("x", after=ONE), "what is unknown: op='x'"),
        (change("c", after=ONE, lsn=None), "does not tell its place in the database's log"),
        (change("c", after={"id": 1}), r"t partition 0 offset 1 \(public.tasks\) cannot be decoded: title"),
        (change("c", after=ONE)._replace(key=b"1"), "its key is no JSON object"),
    ],
)
def test_what_is_no_change_is_refused_with_what_to_do(message: Message, complaint: str) -> None:
    with pytest.raises(UndecodableEventError, match=complaint):
        read(message)


class Tasks(Inbox, name="tasks", topics="t", format=DebeziumRows()):
    @receives
    def changed(self, change: Change[TaskRow] | Change[NoteRow], at: Received) -> Send:
        return Send(Counter, "a", Count())


def test_rows_are_received_by_their_tables() -> None:
    assert Tasks.definition.receivers.keys() == {"public.tasks", "public.notes"}
    assert Tasks.definition.topics == ("t",)
    (incoming,) = InboxFold(Tasks()).commands(change("c", key={"id": 1}, after=ONE))
    assert incoming.send == Send(Counter, "a", Count())
    assert InboxFold(Tasks()).commands(change("c", after=ONE)._replace(value=None)) == []


def test_rows_are_checked_when_they_are_defined() -> None:
    with pytest.raises(ConfigurationError, match=r'class Tableless\(SourceRow, table="public.tableless"\)'):
        type("Tableless", (SourceRow,), {})
    with pytest.raises(ConfigurationError, match="instead of table='tasks'"):
        type("Unqualified", (SourceRow,), {}, table="tasks")
    with pytest.raises(ConfigurationError, match=r"annotate `event` with Change\[...\] of the SourceRow"):

        class Rows(Inbox, name="rows", topics=["t"], format=DebeziumRows()):
            @receives
            def changed(self, event: TaskRow, at: Received) -> None: ...


def plain(value: bytes, **headers: bytes) -> Message:
    return Message("t", 0, 1, b"k", value, headers, 1_767_312_000_000)


def test_plain_messages_are_identified_by_whatever_their_sender_has() -> None:
    def of(identifier: bytes, **options: Any) -> Received:
        return PlainMessages(**options).read(plain(b'{"number": 1, "more": 2}', event_id=identifier), Paid, NOTHING).at

    given = UUID(int=7)
    assert of(str(given).encode()).event_id == given
    assert of(b"INV-1").event_id == of(b"INV-1").event_id != of(b"INV-2").event_id
    assert of(b"x", identify=lambda _: given).event_id == given
    assert of(b"INV-1").correlation_id == of(b"INV-1").event_id
    at = PlainMessages().read(plain(b'{"number": 1}', event_id=b"1", correlation_id=b"ORDER-1"), Paid, NOTHING).at
    assert at.correlation_id != at.event_id
    assert (at.key, at.headers["event_id"]) == ("k", b"1")
    assert at.occurred_at.isoformat() == "2026-01-02T00:00:00+00:00"


def test_plain_messages_that_do_not_fit_are_refused_with_what_to_do() -> None:
    formats = PlainMessages()
    with pytest.raises(
        UndecodableEventError, match=r"has no type: there is no header 'event_type'.*event_type=<a header"
    ):
        formats.type_of(plain(b"{}"), NOTHING)
    with pytest.raises(UndecodableEventError, match=r"has no id: there is no header 'event_id'.*identify=<a header"):
        formats.read(plain(b"{}"), Paid, NOTHING)
    with pytest.raises(UndecodableEventError, match=r"\(billing.paid\) cannot be decoded: number: Field required"):
        formats.read(plain(b"{}", event_id=b"1"), Paid, NOTHING)
    with pytest.raises(UndecodableEventError, match="it is Avro of the registry's schema 1"):
        formats.read(plain(b"\x00\x00\x00\x00\x01", event_id=b"1"), Paid, NOTHING)
    assert formats.type_of(plain(b"{}", event_type=b"billing.paid"), NOTHING) == "billing.paid"


def enveloped(**headers: bytes) -> Message:
    from datetime import UTC, datetime

    from eventstore.core.envelope import write_envelope

    value = write_envelope(
        Paid(number=1), UUID(int=1), datetime(2026, 1, 2, tzinfo=UTC), Metadata(UUID(int=2), UUID(int=3))
    )
    return plain(value, **headers)


@pytest.mark.parametrize("moment", [b"1767312000000000", b"2026-01-02T00:00:00Z", b"2026-01-02T00:00:00"])
def test_what_headers_say_is_not_looked_up_in_the_envelope(moment: bytes) -> None:
    one = str(UUID(int=9)).encode()
    message = enveloped(event_id=one, correlation_id=one, occurred_at=moment)
    _, at = Envelopes().read(message, Paid, TypeRegistry([Paid]))
    assert (at.event_id, at.correlation_id) == (UUID(int=9), UUID(int=9))
    assert at.occurred_at.isoformat() == "2026-01-02T00:00:00+00:00"


def test_envelopes_that_headers_contradict_are_refused() -> None:
    registry = TypeRegistry([Paid])
    arrival = Envelopes().read(enveloped(), Paid, registry)
    assert (arrival.event, arrival.at.event_id, arrival.at.correlation_id) == (Paid(number=1), UUID(int=1), UUID(int=2))
    with pytest.raises(UndecodableEventError, match="the header schema_version is no number"):
        Envelopes().read(enveloped(schema_version=b"one"), Paid, registry)
    headers = {"event_id": b"1", "occurred_at": b"now", "correlation_id": b"2"}
    with pytest.raises(UndecodableEventError, match="its headers event_id, occurred_at, correlation_id are malformed"):
        Envelopes().read(enveloped(**headers), Paid, registry)
    with pytest.raises(UnknownEventTypeError, match="has schema version 2 but Paid is version 1"):
        Envelopes().read(enveloped(schema_version=b"2"), Paid, registry)
    with pytest.raises(UndecodableEventError, match="cannot be read: .*it is Avro of the registry's schema 1"):
        Envelopes().read(
            plain(
                b"\x00\x00\x00\x00\x01", event_id=str(UUID(int=1)).encode(), occurred_at=b"2026-01-02T00:00:00Z",
                correlation_id=str(UUID(int=1)).encode(), schema_version=b"1",
            ),
            Paid, registry,
        )  # fmt: skip
    with pytest.raises(UndecodableEventError, match="it is Avro of the registry's schema 1"):
        Envelopes().type_of(plain(b"\x00\x00\x00\x00\x01"), registry)


def test_the_commands_of_an_event_count_on_from_its_id() -> None:
    class Several(Inbox, name="several", topics=["t"]):
        @receives
        def paid(self, event: Paid, at: Received) -> list[Send]:
            return [Send(Counter, "a", Count(by=number)) for number in range(3)]

    incoming = InboxFold(Several()).commands(enveloped())
    source = derived_id(derived_id(UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), "eventstore:inbox"), "several")
    assert [each.command_id for each in incoming] == [
        derived_id(source, f"{UUID(int=1)}:{index}") for index in range(3)
    ]
    assert {each.correlation_id for each in incoming} == {UUID(int=2)}

    class Wrong(Inbox, name="wrong", topics=["t"]):
        @receives
        def paid(self, event: Paid, at: Received) -> Any:
            return 1

    with pytest.raises(TypeError, match="return a Send, several, or None"):
        InboxFold(Wrong()).commands(enveloped())
