"""Where a command comes from: its own id, and the id of everything that the same first command set off."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from eventstore.core.ids import parse_command_id
from eventstore.core.records import Recorded
from eventstore.environment import Environment


class Origin(NamedTuple):
    """Identifies a command among all others.

    Attributes:
        command_id: Its own id.
        correlation_id: Shared by everything one first command set off.
        chosen: Whether the caller chose the command id: it stays as it is, and may be in the log already.
    """

    command_id: UUID
    correlation_id: UUID
    chosen: bool


def origin_of(command_id: UUID | str | None, caused_by: Recorded | UUID | None, environment: Environment) -> Origin:
    """Give the origin of a command; without a cause, everything begins with it.

    Args:
        command_id: The caller's, or None for a new one.
        caused_by: The event or correlation id that led to it.
        environment: Makes new ids.

    Raises:
        InvalidIdError: The command id is no UUID.
    """
    identity = parse_command_id(command_id) if command_id is not None else environment.new_id()
    correlation = caused_by.metadata.correlation_id if isinstance(caused_by, Recorded) else caused_by
    return Origin(identity, correlation or identity, command_id is not None)
