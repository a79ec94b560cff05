"""Headers that clients send: versions to match, keys that make repeats harmless, and how long to wait."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from uuid import UUID

from fastapi import Request

from eventstore.core.aggregates import Aggregate
from eventstore.core.ids import derived_id
from eventstore.core.records import NEW
from eventstore.core.streams import StreamId
from eventstore.fastapi.problems import Meaning, RefusedError, misunderstood
from eventstore.store import EventStore

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY_SPACE: Final = UUID("5f0c1f5e-3c1b-5d0e-9f8a-6b1d6d0b7e42")
_ETAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*')
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_KEY: Final = re.compile(r'"([\x20\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_NOT_THAT_VERSION: Final = Meaning(412, "precondition-failed", "It is at another version")
_CONDITION: Final = misunderstood("invalid-precondition")
_KEY_REQUIRED: Final = misunderstood("key-required")
_INVALID_KEY: Final = misunderstood("invalid-key")
_REQUIRED: Final = Meaning(428, "precondition-required", "A version is required")


class Preconditions(NamedTuple):
    """What `If-Match` and `If-None-Match` say.

    Attributes:
        versions: Versions of which one must be the present one; None if that does not matter.
        must_exist: `If-Match: *`.
        must_be_new: `If-None-Match: *`.
    """

    versions: frozenset[int] | None = None
    must_exist: bool = False
    must_be_new: bool = False


def etag(version: int) -> str:
    """Give the entity tag of a version."""
    return f'"{version}"'


def preconditions(request: Request, *, required: bool) -> Preconditions:
    """Read the conditions of a command.

    Raises:
        RefusedError: They contradict each other, are malformed, or are missing where one is required.
    """
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none_match is not None:
        raise RefusedError(_CONDITION, "If-Match and If-None-Match exclude each other")
    if none_match is not None:
        if none_match.strip() != "*":
            raise RefusedError(_CONDITION, "a command takes If-None-Match: *, which means: only if it is new")
        return Preconditions(must_be_new=True)
    if match is None:
        if required:
            raise RefusedError(_REQUIRED, "send If-Match with the ETag that was read, or If-None-Match: * to create")
        return Preconditions()
    if match.strip() == "*":
        return Preconditions(must_exist=True)
    return Preconditions(frozenset(version for version in _etags(match) if version is not None))


async def expected_version(
    wanted: Preconditions, store: EventStore, aggregate: type[Aggregate], aggregate_id: str
) -> int | None:
    """Give the version that a command may expect, so that the conditions hold when it is executed.

    Raises:
        RefusedError: They do not hold.
    """
    if wanted.must_be_new:
        return NEW
    if wanted.versions is not None and len(wanted.versions) == 1:
        (version,) = wanted.versions
        return version
    if wanted.versions is None and not wanted.must_exist:
        return None
    present = (await store.load(aggregate, aggregate_id)).version
    # What exists goes on to exist, so no version needs to be expected then.
    if wanted.must_exist and present:
        return None
    if wanted.versions and present in wanted.versions:
        return present
    raise RefusedError(_NOT_THAT_VERSION, f"it is at version {present}" if present else "it does not exist")


def is_unchanged(request: Request, version: int) -> bool:
    """Tell whether `If-None-Match` says that the reader has this version already."""
    value = request.headers.get("if-none-match")
    if value is None:
        return False
    return value.strip() == "*" or version in _etags(value, weak=True)


def _etags(value: str, *, weak: bool = False) -> list[int | None]:
    """Read a list of entity tags; None for one that is no version of ours, or a weak one where those never match."""
    found: list[int | None] = []
    for part in value.split(","):
        tag = _ETAG.fullmatch(part)
        if tag is None:
            raise RefusedError(_CONDITION, 'an entity tag is a version in quotes, for example "3"')
        ours = _VERSION.fullmatch(tag[2]) and (weak or not tag[1])
        found.append(int(tag[2]) if ours else None)
    return found


def command_id(request: Request, stream: StreamId, *, required: bool) -> UUID | None:
    """Give the command id that `Idempotency-Key` stands for: itself if it is a UUID, else derived for this stream.

    Raises:
        RefusedError: It is malformed, or missing where it is required.
    """
    value = request.headers.get(IDEMPOTENCY_KEY)
    if value is None:
        if required:
            raise RefusedError(
                _KEY_REQUIRED, f"send {IDEMPOTENCY_KEY}: a new UUID for every command, the same to repeat"
            )
        return None
    found = _KEY.fullmatch(value.strip())
    if found is None:
        raise RefusedError(_INVALID_KEY, f"{IDEMPOTENCY_KEY} takes 1 to 255 printable characters of ASCII")
    key = found[1] or found[2]
    try:
        return UUID(key)
    except ValueError:
        return derived_id(_KEY_SPACE, f"{stream}\n{key}")


def wait_seconds(request: Request, *, usual: float, longest: float) -> float:
    """Give how long the client wants to wait at most (`Prefer: wait=SECONDS`, RFC 7240)."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(found[1]), longest) if found else usual
