"""Names of streams, as people type them."""

from __future__ import annotations

import pytest

from eventstore.core.errors import ConfigurationError, InvalidIdError
from eventstore.core.streams import StreamId, parse_stream


@pytest.mark.parametrize("name", [StreamId("task", "1"), StreamId("task", "a-b-c"), StreamId("t_2", "-")])
def test_a_stream_is_read_back_from_its_text(name: StreamId) -> None:
    assert parse_stream(str(name)) == name


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("task", InvalidIdError, "names no stream: write category-id, for example task-1"),
        ("", InvalidIdError, "names no stream"),
        ("task-", InvalidIdError, "is no id for a task"),
        ("task-../etc", InvalidIdError, "is no id for a task"),
        ("-1", ConfigurationError, "is no category"),
        ("Task-1", ConfigurationError, "is no category"),
    ],
)
def test_text_that_names_no_stream_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        parse_stream(text)
