"""The filter never calls a stream absent that was added, and seldom sends anybody to the file in vain."""

from __future__ import annotations

from eventstore.kafka.bloom import StreamFilter

STREAMS = [f"task-{number}" for number in range(100_000)]
OTHERS = [f"other-{number}" for number in range(100_000)]


def test_a_stream_that_was_added_is_never_absent() -> None:
    known = StreamFilter()
    known.add(STREAMS)
    known.complete = True
    assert not any(map(known.lacks, STREAMS))


def test_of_streams_that_were_not_added_almost_all_are_absent() -> None:
    known = StreamFilter()
    known.add(STREAMS)
    known.complete = True
    assert sum(map(known.lacks, OTHERS)) > 0.999 * len(OTHERS)


def test_nothing_is_absent_before_everything_was_added() -> None:
    assert not any(map(StreamFilter().lacks, OTHERS))
