"""Stream ids: which aggregate, of which category."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from eventstore.core.errors import ConfigurationError, InvalidIdError

MAX_ID_BYTES: Final = 64
_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID = re.compile(r"[A-Za-z0-9._~:@+-]{1,64}")


class StreamId(NamedTuple):
    """The name of one aggregate's events; written `category-id`, for example `task-1`.

    A category has no dash, so the text form reads back unambiguously.
    """

    category: str
    id: str

    def __str__(self) -> str:
        """Give the text form that the log stores."""
        return f"{self.category}-{self.id}"


def stream_id(category: str, aggregate_id: str) -> StreamId:
    """Name a stream, or refuse an id that could not be stored safely.

    Ids are limited to an allow-list because they become record keys on Kafka, whose cleaner compares keys by
    MD5, and file and URL parts elsewhere.

    Args:
        category: The aggregate's category, lower case letters, digits and underscores.
        aggregate_id: 1 to 64 of `A-Z a-z 0-9 . _ ~ : @ + -`.

    Returns:
        The stream's id.

    Raises:
        InvalidIdError: The id is not allowed.
        ConfigurationError: The category is not allowed.
    """
    check_category(category)
    if not isinstance(aggregate_id, str) or not _ID.fullmatch(aggregate_id):  # pyright: ignore[reportUnnecessaryIsInstance]
        shown = ascii(aggregate_id)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."  # noqa: PLR2004
        message = (
            f"{shown} is no id for a {category}: use 1 to {MAX_ID_BYTES} of the characters "
            "A-Z a-z 0-9 . _ ~ : @ + - (hash or encode longer or freer names)"
        )
        raise InvalidIdError(message)
    return StreamId(category, aggregate_id)


def check_category(category: str) -> None:
    """Accept a category name or say what is allowed.

    Raises:
        ConfigurationError: It is not 1 to 64 lower case letters, digits or underscores, starting with a letter.
    """
    if not _CATEGORY.fullmatch(category):
        message = (
            f"{category!r} is no category: use 1 to 64 lower case letters, digits and underscores, "
            "starting with a letter"
        )
        raise ConfigurationError(message)


def parse_stream(text: str) -> StreamId:
    """Read `category-id` back.

    Raises:
        InvalidIdError: The text is not of that form.
    """
    category, dash, aggregate_id = text.partition("-")
    if not dash:
        message = f"{text!r} names no stream: write category-id, for example task-1"
        raise InvalidIdError(message)
    return stream_id(category, aggregate_id)
