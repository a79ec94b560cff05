"""Errors as exit codes and one readable message, the same for every command."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from eventstore.cli.output import end_quietly
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CorruptLogError,
    EventSchemaError,
    EventStoreError,
    OwnershipLostError,
    ReadModelStaleError,
    StoreUnavailableError,
)

FOUND: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
DAMAGED: Final = 4
STUCK: Final = 5
INTERRUPTED: Final = 130

EPILOG: Final = (
    "Exit codes: 0 fine, 1 the command found a problem (audit, doctor, unexpected differences, a halted read model), "
    "2 wrong usage or configuration, 3 unavailable now, 4 damaged data, 5 a read model is stalled or blocked (lag), 130 interrupted."
)
_CODES: Final[tuple[tuple[tuple[type[EventStoreError], ...], int], ...]] = (
    ((CorruptLogError, EventSchemaError), DAMAGED),
    ((StoreUnavailableError, OwnershipLostError, ReadModelStaleError, AppendOutcomeUnknownError), UNAVAILABLE),
)


class FoundProblemError(Exception):
    """The command did its work and what it found is bad news; it was printed already.

    Args:
        code: The exit code.
    """

    def __init__(self, code: int = FOUND) -> None:
        super().__init__(code)
        self.code: Final = code


@contextmanager
def exit_codes(*, debug: bool) -> Generator[None]:
    """End the process with a message and an exit code instead of a traceback.

    Args:
        debug: Show the traceback as well.
    """
    try:
        yield
    except FoundProblemError as found:
        sys.exit(found.code)
    except EventStoreError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(next((code for kinds, code in _CODES if isinstance(error, kinds)), USAGE))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        end_quietly()
