"""Ids: time-ordered for commands, derived for everything a retry must make again the same."""

from __future__ import annotations

from hashlib import sha1
from typing import Final
from uuid import UUID

from eventstore.core.errors import InvalidIdError

_UUID7_VERSION: Final = 0x7 << 76
_UUID5_VERSION: Final = 0x5 << 76
_UUID_VARIANT: Final = 0x2 << 62
_UUID_FREE_BITS: Final = ((1 << 128) - 1) & ~(0xF << 76) & ~(0x3 << 62)
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_MAX_UNIX_MS: Final = (1 << 48) - 1


def uuid7(unix_ms: int, random_bits: int) -> UUID:
    """Make an id that sorts by time (RFC 9562, section 5.7), so that index keys arrive in order.

    Args:
        unix_ms: Milliseconds since 1970, up to 48 bits.
        random_bits: 74 random bits.

    Returns:
        A version 7 UUID.
    """
    high = (random_bits >> 62) & 0xFFF
    low = random_bits & ((1 << 62) - 1)
    return UUID(int=((unix_ms & _MAX_UNIX_MS) << 80) | _UUID7_VERSION | (high << 64) | _UUID_VARIANT | low)


def derived_id(source: UUID, name: str) -> UUID:
    """Derive an id that every retry derives again: the same source and name always give the same id.

    Args:
        source: The id it comes from, for example the event a process manager reacted to.
        name: What it is derived for.

    Returns:
        A version 5 UUID (RFC 9562, section 5.5) with `source` as the name space.
    """
    # What the standard library's `uuid5` does, in half the time: every event needs one.
    digest = sha1(source.bytes + name.encode(), usedforsecurity=False).digest()
    return UUID(int=int.from_bytes(digest[:16]) & _UUID_FREE_BITS | _UUID5_VERSION | _UUID_VARIANT)


def derived_text(source: bytes, name: str) -> str:
    """Give the text of what `derived_id` derives from the same source, without making an object of it.

    Args:
        source: The 16 bytes of the id it comes from.
        name: What it is derived for.
    """
    digest = sha1(source + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def id_text(source: bytes) -> str:
    """Give the text of an id of 16 bytes, as `str(UUID(bytes=source))` does."""
    digits = source.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def event_id(command_id: UUID, index: int) -> UUID:
    """Give the id of the `index`-th event (from 1) of a command: a retried command makes the same ids."""
    return derived_id(command_id, str(index))


def parse_command_id(value: UUID | str) -> UUID:
    """Accept a command id as UUID or text.

    Raises:
        InvalidIdError: The text is no UUID.
    """
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError) as cause:
        message = f"{ascii(value)[:80]} is no command id: give a UUID (derive one with uuid5 from a key of your own)"
        raise InvalidIdError(message) from cause
