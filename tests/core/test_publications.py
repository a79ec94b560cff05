"""Publications say what leaves, and mistakes in them are reported at import or start."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from eventstore import ConfigurationError, Event, EventStore, OnError, Recorded, SqliteLog, projects
from eventstore.core.envelope import Metadata, join_envelope, read_origin, write_envelope
from eventstore.core.ids import derived_id, derived_text, id_text
from eventstore.core.publications import Announcer, Publication, publishes
from eventstore.core.records import StoredEvent, from_micros
from eventstore.kafka.public_records import public_record
from tests.write.domain import Counted, Counter, Remembered


class Moved(Event, type="public.moved"):
    by: int


class Stopped(Event, type="public.stopped"):
    pass


class Feed(Publication, name="feed"):
    @publishes("public.moves", key="by")
    def moved(self, event: Counted, at: Recorded) -> list[Moved]:
        return [Moved(by=event.by + n) for n in range(event.by)]

    @publishes("public.stops", "public.ledger")
    def stopped(self, event: Counted, at: Recorded) -> Stopped | None:
        return None if event.by else Stopped()


def at(event: Event, micros: int = 1_767_225_600_000_000) -> Recorded:
    command = uuid4()
    envelope = write_envelope(event, command, from_micros(micros), Metadata(command, command))
    stored = StoredEvent(7, "counter-s1", 3, event.event_type, 1, command.bytes, command.bytes, 1, 1, micros, envelope)
    return Recorded(stored, "counter/0")


def no_name() -> None:
    class Nameless(Publication):
        @publishes("a")
        def moved(self, event: Counted, at: Recorded) -> Moved: ...


def no_topic() -> None:
    @publishes()
    def moved(self: object, event: Counted, at: Recorded) -> Moved: ...


def topic_twice() -> None:
    @publishes("a", "a")
    def moved(self: object, event: Counted, at: Recorded) -> Moved: ...


def impossible_topic() -> None:
    @publishes("tasks/all")
    def moved(self: object, event: Counted, at: Recorded) -> Moved: ...


def no_return() -> None:
    class Bad(Publication, name="bad"):
        @publishes("a")
        def moved(self, event: Counted, at: Recorded) -> None: ...


def no_such_key() -> None:
    class Bad(Publication, name="bad"):
        @publishes("a", key="project")
        def moved(self, event: Counted, at: Recorded) -> Moved | Stopped: ...


def other_decorator() -> None:
    class Bad(Publication, name="bad"):
        @projects
        def moved(self, event: Counted, at: Recorded) -> Moved: ...


def wrong_parameters() -> None:
    class Bad(Publication, name="bad"):
        @publishes("a")
        def moved(self, event: Counted) -> Moved: ...


def dead_letters() -> None:
    class Bad(Publication, name="bad", on_error=OnError.dead_letter()):
        @publishes("a")
        def moved(self, event: Counted, at: Recorded) -> Moved: ...


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (no_name, r'write class Nameless\(..., name="..."\)'),
        (no_topic, "name each topic once, and at least one"),
        (topic_twice, "name each topic once"),
        (impossible_topic, r"'tasks/all'\): a topic has 1 to 249 of"),
        (no_return, "annotate what it returns with the integration events"),
        (no_such_key, "Moved has no field 'project'"),
        (other_decorator, r'say where to with @publishes\("topic"\)'),
        (wrong_parameters, r"must take \(self, event, at\)"),
        (dead_letters, "a publication has no dead letters"),
    ],
)
def test_a_mistake_is_reported_with_what_to_change(mistake: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        mistake()


def test_a_definition_lists_what_consumers_have_to_expect() -> None:
    assert Feed.definition.topics == ("public.ledger", "public.moves", "public.stops")
    assert set(Feed.definition.contracts) == {
        ("public.moves", Moved), ("public.stops", Stopped), ("public.ledger", Stopped)
    }  # fmt: skip
    assert Feed.definition.events == {"counter.counted"}


def test_what_is_made_of_an_event_has_ids_that_every_repetition_gives_again() -> None:
    announcer, where = Announcer(Feed()), at(Counted(by=2))
    first = announcer.announce(Counted(by=2), where)
    assert [(found.topic, found.key, found.event) for found in first] == [
        ("public.moves", "2", Moved(by=2)), ("public.moves", "3", Moved(by=3))
    ]  # fmt: skip
    assert [found.event_id for found in first] == [str(derived_id(where.event_id, f"feed:moved:{n}")) for n in (0, 1)]
    assert announcer.announce(Counted(by=2), where) == first


def test_an_event_goes_to_every_topic_under_one_id_and_the_aggregates_key() -> None:
    one, other = Announcer(Feed()).announce(Counted(by=0), at(Counted(by=0)))
    assert (one.topic, other.topic) == ("public.stops", "public.ledger")
    assert (one.key, one.event_id) == ("s1", other.event_id)


class Liar(Publication, name="liar"):
    @publishes("a")
    def moved(self, event: Counted, at: Recorded) -> Moved | None:
        return Stopped() if event.by else 7  # type: ignore[return-value]


@pytest.mark.parametrize("by", [0, 1])
def test_a_handler_that_returns_something_else_is_told(by: int) -> None:
    with pytest.raises(TypeError, match="its annotation says Moved, several, or None"):
        Announcer(Liar()).announce(Counted(by=by), at(Counted(by=by)))


def test_a_store_reads_the_categories_that_emit_what_a_publication_handles() -> None:
    store = EventStore(SqliteLog("none.db"), aggregates=[Counter, Remembered], publications=[Feed])
    _, definition = store.application.publication("feed")
    assert definition.categories == ("counter", "remembered")
    assert store.application.public_topics == ["public.ledger", "public.moves", "public.stops"]
    with pytest.raises(ConfigurationError, match="there is no publication 'food'.*there is feed"):
        store.application.publication("food")


def test_settings_are_changed_without_losing_publications() -> None:
    store = EventStore(SqliteLog("none.db"), aggregates=[Counter], publications=[Feed]).with_settings(serve=False)
    assert store.application.publications == (Feed,)


class Impostor(Event, type="counter.counted"):
    pass


def test_an_integration_event_may_not_have_the_name_of_another_event() -> None:
    class Bad(Publication, name="bad"):
        @publishes("a")
        def counted(self, event: Counted, at: Recorded) -> Impostor: ...

    with pytest.raises(ConfigurationError, match=r"are both named 'counter\.counted'"):
        EventStore(SqliteLog("none.db"), aggregates=[Counter], publications=[Bad])
    with pytest.raises(ConfigurationError, match=r"publications=\[\.\.\.\] holds .*Counted"):
        EventStore(SqliteLog("none.db"), publications=[Counted])  # type: ignore[list-item]


def test_texts_of_ids_are_those_of_uuids() -> None:
    for _ in range(200):
        source = uuid4()
        assert derived_text(source.bytes, "feed:noted:0") == str(derived_id(source, "feed:noted:0"))
        assert UUID(derived_text(source.bytes, "feed:noted:0")).version == 5
        assert id_text(source.bytes) == str(source)


@pytest.mark.parametrize("micros", [0, 1, 1_767_225_600_000_000, 1_767_225_600_123_456])
def test_an_envelope_of_texts_is_the_one_of_their_objects(micros: int) -> None:
    command, cause, moment = uuid4(), uuid4(), from_micros(micros)
    written = write_envelope(Moved(by=1), command, moment, Metadata(command, cause))
    text, correlation = read_origin(written) or ("", "")
    assert join_envelope(Moved(by=1), str(command), text, correlation, str(cause)) == written


def test_what_looks_like_the_end_of_an_envelope_is_not_taken_for_it() -> None:
    command, moment = uuid4(), from_micros(5)
    trap = f',"metadata":{{"correlation_id":"{uuid4()}","causation_id":"{uuid4()}"}}}}","occurred_at":"never'
    written = write_envelope(Counted(by=1, note=trap), command, moment, Metadata(command, command))
    assert read_origin(written) == (moment.isoformat(timespec="microseconds"), str(command))


def test_an_envelope_that_was_written_elsewhere_is_parsed() -> None:
    where = at(Counted(by=1))
    spaced = where.stored.envelope.replace(b'":', b'" : ')
    assert read_origin(spaced) is None
    (announcement,) = Announcer(Feed()).announce(Counted(by=1), where)
    foreign = Recorded(where.stored._replace(envelope=spaced), where.partition)
    assert public_record(announcement, foreign) == public_record(announcement, where)
