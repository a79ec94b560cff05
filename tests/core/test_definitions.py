"""Mistakes in a definition are reported at import or start, with what to change."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import (
    Aggregate,
    Command,
    ConfigurationError,
    Event,
    EventStore,
    OnError,
    ProcessManager,
    ProcessState,
    Projection,
    Recorded,
    Row,
    Send,
    Settings,
    SqliteLog,
    decides,
    evolves,
    projects,
    reacts,
    upcasts,
)
from eventstore.testing.memory import MemoryLog


class Done(Event, type="thing.done"):
    key: str = ""


class Undone(Event, type="thing.undone"):
    pass


class Do(Command):
    pass


class ThingRow(Row):
    thing: str
    other: int = 0


def event_without_a_name() -> None:
    class Nameless(Event):
        pass


def event_with_a_bad_name() -> None:
    class Bad(Event, type="Thing Done"):
        pass


def event_version_zero() -> None:
    class Zero(Event, type="thing.zero", version=0):
        pass


def missing_upcaster() -> None:
    class Third(Event, type="thing.third", version=3):
        @upcasts(from_version=2)
        def up(data: Any) -> Any:
            return data


def upcaster_beyond() -> None:
    class First(Event, type="thing.first"):
        @upcasts(from_version=1)
        def up(data: Any) -> Any:
            return data


def two_upcasters() -> None:
    class Second(Event, type="thing.second", version=2):
        @upcasts(from_version=1)
        def up(data: Any) -> Any:
            return data

        @upcasts(from_version=1)
        def up_again(data: Any) -> Any:
            return data


def aggregate_without_category() -> None:
    class Thing(Aggregate):
        pass


def aggregate_with_a_bad_category() -> None:
    class Thing(Aggregate, category="Thing-1"):
        pass


def two_commands_of_one_name() -> None:
    other = type("Do", (Command,), {})

    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command: Do) -> None:
            pass

        @decides
        def do_otherwise(self, command: other) -> None:  # type: ignore[valid-type]
            pass


def two_handlers_for_one_command() -> None:
    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command: Do) -> None:
            pass

        @decides
        def do_again(self, command: Do) -> None:
            pass


def missing_evolver() -> None:
    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command: Do) -> Done:
            return Done()


def two_evolvers() -> None:
    class Thing(Aggregate, category="thing"):
        @evolves
        def one(self, event: Done) -> None:
            pass

        @evolves
        def other(self, event: Done | Undone) -> None:
            pass


def events_that_share_a_name() -> None:
    class DoneToo(Event, type="thing.done"):
        pass

    class Thing(Aggregate, category="thing"):
        @evolves
        def one(self, event: Done | DoneToo) -> None:
            pass


def no_return_annotation() -> None:
    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command: Do):
            pass


def no_parameter_annotation() -> None:
    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command) -> None:
            pass


def wrong_parameter() -> None:
    class Thing(Aggregate, category="thing"):
        @evolves
        def done(self, event: int) -> None:
            pass


def too_many_parameters() -> None:
    class Thing(Aggregate, category="thing"):
        @decides
        def do(self, command: Do, more: int) -> None:
            pass


def field_without_default() -> None:
    class Thing(Aggregate, category="thing"):
        name: str


def reserved_field() -> None:
    class Thing(Aggregate, category="thing"):
        version: int = 0


def private_attribute() -> None:
    class Thing(Aggregate, category="thing"):
        _cache: int = 0


def frozen_aggregate() -> None:
    class Thing(Aggregate, category="thing"):
        model_config = {"frozen": True}


def no_snapshots_ever() -> None:
    class Thing(Aggregate, category="thing", snapshot_every=0):
        pass


def unknown_annotation() -> None:
    class Thing(Aggregate, category="thing"):
        @evolves
        def done(self, event: Nowhere) -> None:  # noqa: F821
            pass


def projection_without_a_name() -> None:
    class Things(Projection[ThingRow], key="thing"):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def projection_version_zero() -> None:
    class Things(Projection[ThingRow], name="things", version=0, key="thing"):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def projection_without_rows() -> None:
    class Things(Projection, name="things", key="thing"):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def projection_without_a_key() -> None:
    class Things(Projection[ThingRow], name="things"):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def projection_key_that_is_no_field() -> None:
    class Things(Projection[ThingRow], name="things", key=("thing", "nothing")):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def projection_without_handlers() -> None:
    class Things(Projection[ThingRow], name="things", key="thing"):
        pass


def projection_handler_with_too_few_parameters() -> None:
    class Things(Projection[ThingRow], name="things", key="thing"):
        @projects
        def done(self, row: ThingRow | None, event: Done) -> None:
            pass


def handler_key_that_is_no_field_of_the_event() -> None:
    class Things(Projection[ThingRow], name="things", key="thing"):
        @projects(key="nothing")
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> None:
            pass


def process_with_a_state_that_is_none() -> None:
    class Things(ProcessManager[ThingRow], name="things", key="thing"):  # type: ignore[type-var]
        @reacts
        def done(self, state: ThingRow, event: Done, at: Recorded) -> None:
            pass


def policy_without_attempts() -> None:
    OnError.halt(attempts=0)


def settings_that_make_no_sense() -> None:
    Settings(batch_size=0)


def negative_cache() -> None:
    Settings(cache_size=-1)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (event_without_a_name, 'write class Nameless(Event, type="category.what_happened")'),
        (event_with_a_bad_name, "instead of type='Thing Done'"),
        (event_version_zero, "version=0 is no schema version"),
        (missing_upcaster, "nothing turns version 1 into 2: add a function with @upcasts(from_version=1)"),
        (upcaster_beyond, "write version=2 in the class statement"),
        (two_upcasters, "has two upcasters from version 1; remove up_again"),
        (aggregate_without_category, 'write class Thing(Aggregate, category="...")'),
        (aggregate_with_a_bad_category, "'Thing-1' is no category"),
        (two_commands_of_one_name, "are both named Do: the name tells commands apart between processes; rename one"),
        (two_handlers_for_one_command, "do and do_again both decide Do; a command has one handler, remove one"),
        (missing_evolver, "emits Done but no @evolves method takes it: add one"),
        (two_evolvers, "one and other both evolve Done; keep one"),
        (events_that_share_a_name, "share one name; rename one"),
        (no_return_annotation, "annotate what it returns with the events it may emit"),
        (no_parameter_annotation, "Thing.do"),
        (wrong_parameter, "Thing.done"),
        (too_many_parameters, "must take exactly one parameter after self: the command"),
        (field_without_default, "give name a default"),
        (reserved_field, "every aggregate has version already; rename the field"),
        (private_attribute, "make _cache a field without underscore"),
        (frozen_aggregate, "remove frozen and validate_assignment"),
        (no_snapshots_ever, "snapshot_every=0 must be at least 1"),
        (unknown_annotation, "the annotation 'Nowhere' cannot be found"),
        (projection_without_a_name, 'write class Things(..., name="...", version=1)'),
        (projection_version_zero, "version=0 is no version"),
        (projection_without_rows, "write class Things(Projection[YourRow], ...)"),
        (projection_without_a_key, "must name the field of ThingRow that identifies a row"),
        (projection_key_that_is_no_field, "must name the field of ThingRow"),
        (projection_without_handlers, "handles no event: mark at least one method"),
        (projection_handler_with_too_few_parameters, "must take (self, row, event, at), it takes (self, row, event)"),
        (handler_key_that_is_no_field_of_the_event, "Done has no field 'nothing' to take the row's key from"),
        (process_with_a_state_that_is_none, "ThingRow must be a ProcessState"),
        (policy_without_attempts, "at least one attempt"),
        (settings_that_make_no_sense, "batch_size=0"),
        (negative_cache, "cache_size=-1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_is_reported_with_what_to_change(mistake: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        mistake()
    assert said in " ".join(str(error.value).split())


class Thing(Aggregate, category="thing"):
    @evolves
    def done(self, event: Done) -> None:
        pass


class SameCategory(Aggregate, category="thing"):
    pass


class OtherDone(Event, type="thing.done"):
    pass


class OtherThing(Aggregate, category="other"):
    @evolves
    def done(self, event: OtherDone) -> None:
        pass


class Things(Projection[ThingRow], name="things", key="thing"):
    @projects
    def done(self, row: ThingRow | None, event: Done, at: Recorded) -> ThingRow:
        return ThingRow(thing=at.stream.id)


class ThingsToo(Projection[ThingRow], name="things", key="thing"):
    @projects
    def done(self, row: ThingRow | None, event: Done, at: Recorded) -> ThingRow:
        return ThingRow(thing=at.stream.id)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"aggregates": [Thing, SameCategory]}, "share the category 'thing'"),
        ({"aggregates": [Thing, OtherThing]}, "are both named 'thing.done'"),
        ({"aggregates": [Thing], "projections": [Things, ThingsToo]}, "are both named 'things'"),
        ({"aggregates": [Things]}, "list classes there, such as aggregates=[Task]"),
        ({"projections": [Thing]}, "list classes there, such as projections=[TaskBoard]"),
        ({"processes": [Things]}, "list classes there, such as processes=[Escalation]"),
        ({"aggregates": [Thing()]}, "list classes there"),
    ],
)
def test_parts_that_contradict_each_other_are_refused_at_start(parts: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        EventStore(SqliteLog("unused.db"), **parts)
    assert said in str(error.value)


def test_read_models_need_a_place() -> None:
    with pytest.raises(ConfigurationError, match="name a place for the read models"):
        EventStore(MemoryLog(), aggregates=[Thing], projections=[Things])


def test_a_union_selects_several_events() -> None:
    class Both(Aggregate, category="both"):
        count: int = 0

        @evolves
        def happened(self, event: Done | Undone) -> None:
            self.count += 1

    state = Both.initial("1")
    state.evolve(Done())
    state.evolve(Undone())
    assert (state.count, state.version) == (2, 2)


def test_a_decider_that_returns_something_else_is_told() -> None:
    class Odd(Aggregate, category="odd"):
        @decides
        def do(self, command: Do) -> Done | None:
            return 7  # type: ignore[return-value]

        @evolves
        def done(self, event: Done) -> None:
            pass

    with pytest.raises(ConfigurationError, match="returned 7: return an event, a list or tuple of events, or None"):
        Odd.initial("1").decide(Do())


def test_a_reaction_that_returns_something_else_is_told() -> None:
    from eventstore.core.projections import HandlerFailedError
    from eventstore.testing.scenarios import sent_by

    class Odd(ProcessManager[None], name="odd"):
        @reacts
        def done(self, event: Done, at: Recorded) -> Send:
            return [7]  # type: ignore[return-value]

    with pytest.raises(HandlerFailedError, match="return a Send, several, or None"):
        sent_by(Odd, ("thing-1", Done()))


def test_a_row_of_another_key_is_told() -> None:
    from eventstore.core.projections import HandlerFailedError
    from eventstore.testing.scenarios import rows_of

    class Wrong(Projection[ThingRow], name="wrong", key="thing"):
        @projects
        def done(self, row: ThingRow | None, event: Done, at: Recorded) -> ThingRow:
            return ThingRow(thing="another")

    with pytest.raises(HandlerFailedError, match="return that row or None"):
        rows_of(Wrong, ("thing-1", Done()))


def test_a_process_state_holds_what_its_fields_say() -> None:
    assert ProcessState().finished is False
