"""Every error a user of `eventstore` can meet, grouped by what the reader must do about it.

    EventStoreError
    |- CommandRejectedError          the domain said no                -> tell the caller; never retry
    |- CommandFailedError            the owner's domain code raised  -> fix the code; nothing was written
    |- InvalidIdError                an id that cannot be stored       -> choose another id
    |- WrongExpectedVersionError     the stream moved on               -> reload and decide again
    |- OwnershipLostError            another process has taken over    -> retry; it will be routed or claimed anew
    |- StoreUnavailableError         log or query store out of reach   -> retry later; nothing was written
    |  `- LogUnavailableError        ... the event log
    |- AppendOutcomeUnknownError     written or not, nobody can tell   -> repeat with the same command id
    |- AnswerLostError               the owner sent no answer         -> internal: ask again with the same id
    |- EventSchemaError              data and code do not fit          -> fix the data or deploy the right code
    |  |- UnknownEventTypeError      ... no class has this type
    |  |- UndecodableEventError      ... stored bytes do not fit the class
    |  |- UpcastError                ... an old event could not be brought up to date
    |  `- UnencodableEventError      ... a new event cannot be stored; nothing was written
    |- ProjectionFailedError         a handler raised                  -> fix it, or park the event
    |- RowConflictError              a row appeared meanwhile         -> internal: fold the batch again
    |- UnstorableRowError            a row does not fit its column    -> fix the handler
    |- ReadModelStaleError           a read model is not there yet     -> wait longer or read stale rows
    |- ConfigurationError            wrong settings or definitions     -> fix them; raised at import or start
    |- CorruptLogError               stored data is damaged            -> stop, restore; never written over
    `- StoreClosedError              used before start or after close  -> a bug in the caller

`retriable` on each class says whether the very same call may succeed later.
"""

from __future__ import annotations

from typing import ClassVar


class EventStoreError(Exception):
    """The root: `except EventStoreError` catches everything this package raises on purpose."""

    retriable: ClassVar[bool] = False


class CommandRejectedError(EventStoreError):
    """The aggregate refused the command; nothing was written.

    Raised by `@decides` methods. The store adds the stream and the command before it reaches the caller.

    Args:
        reason: What the domain objects to, for a person to read.
        code: A stable word for programs, for example `"already_exists"`.
    """

    def __init__(self, reason: str, *, code: str = "rejected") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.stream: str | None = None
        self.command: str | None = None

    def __str__(self) -> str:
        """Read as the reason, then where it was raised."""
        where = f" ({self.command} on {self.stream})" if self.stream else ""
        return f"{self.reason}{where}"


class CommandFailedError(EventStoreError):
    """The domain code raised something other than a rejection in the process that owns the stream; nothing was written.

    If that is the caller's own process, it gets the exception itself instead.

    Args:
        command: The command's class.
        stream: The stream's name.
        cause: What was raised, in words.
    """

    def __init__(self, *, command: str, stream: str, cause: str) -> None:
        super().__init__(f"{command} on {stream} failed in the process that owns it: {cause}. Nothing was written")
        self.command = command
        self.stream = stream
        self.cause = cause


class InvalidIdError(EventStoreError):
    """An aggregate id or stream name is outside the allowed characters or length; nothing was read or written."""


class WrongExpectedVersionError(EventStoreError):
    """The stream is not at the version the caller expected; nothing was written.

    Args:
        stream: The stream's name, for example `"task-1"`.
        expected: What the caller believed; 0 is "no such stream yet".
        actual: Where the stream stands.
    """

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        wanted = "not to exist yet" if expected == 0 else f"at version {expected}"
        found = "does not exist" if actual == 0 else f"is at version {actual}"
        super().__init__(f"{stream} was expected {wanted} but {found}: load it again and decide again")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class OwnershipLostError(EventStoreError):
    """Another process has taken this work over; nothing of the call took effect."""

    retriable = True


class StoreUnavailableError(EventStoreError):
    """A database or broker could not be reached or refused to work; nothing was written."""

    retriable = True


class LogUnavailableError(StoreUnavailableError):
    """The event log could not be reached or refused to write; certainly nothing was written."""


class AppendOutcomeUnknownError(EventStoreError):
    """The log did not say whether the events were written.

    Repeat the command with the same `command_id`: if it was written, the first result comes back, otherwise it
    is executed now. Never repeat it with a new id.

    Args:
        command_ids: The commands in doubt, as text.
        cause: What went wrong, in the log's words.
    """

    retriable = True

    def __init__(self, command_ids: tuple[str, ...], cause: str) -> None:
        shown = ", ".join(command_ids[:3]) + (", ..." if len(command_ids) > 3 else "")  # noqa: PLR2004
        repeat = f"with the same command_id to learn or complete the outcome of: {shown}" if shown else "the same call"
        super().__init__(
            f"the log failed while it was writing ({cause}) and could not be asked what it kept; repeat {repeat}"
        )
        self.command_ids = command_ids
        self.cause = cause


class AnswerLostError(EventStoreError):
    """A message went to another process and no answer came in time. Internal: ask again with the same command id."""

    retriable = True


class EventSchemaError(EventStoreError):
    """Stored data and code do not fit each other. The message names stream, version and remedy."""


class UnknownEventTypeError(EventSchemaError):
    """An event was read whose type no registered class has."""


class UndecodableEventError(EventSchemaError):
    """An event was read whose bytes are not an envelope, or do not fit the event's class."""


class UpcastError(EventSchemaError):
    """An upcaster raised, or returned something that is not a JSON object."""


class UnencodableEventError(EventSchemaError):
    """A new event cannot be stored and read back the same; nothing was written."""


class ProjectionFailedError(EventStoreError):
    """A projection or process manager is halted because a handler raised; the cause is chained.

    Args:
        projection: Its name and version, for example `"task_board v1"`.
        event: Which event, for example `"task.created at task-1 version 3"`.
        cause: What the handler raised, in words.
        remedy: What to do.
    """

    def __init__(self, *, projection: str, event: str, cause: str, remedy: str) -> None:
        super().__init__(f"{projection} is halted at {event}: {cause}. {remedy}")
        self.projection = projection
        self.event = event
        self.cause = cause
        self.remedy = remedy


class RowConflictError(EventStoreError):
    """Somebody else inserted a row that was not there when it was read. Internal: roll back and fold the batch again."""

    retriable = True


class UnstorableRowError(EventStoreError):
    """A row holds a value that its column cannot: a handler's mistake, nothing of the transaction happened.

    Args:
        message: Which row and field, and why.
        key: The row's key, if it is known.
    """

    def __init__(self, message: str, key: tuple[object, ...] | None = None) -> None:
        super().__init__(message)
        self.key = key


class ReadModelStaleError(EventStoreError):
    """The read model did not reach the wanted position in time; reading it would show older data."""

    retriable = True


class ConfigurationError(EventStoreError):
    """Settings or definitions are wrong; raised at import or start, with what to change."""


class CorruptLogError(EventStoreError):
    """Stored data is damaged or is not ours. It is never written over: restore or move it away first."""


class StoreClosedError(EventStoreError):
    """The store was used before `async with` opened it or after it was closed."""
