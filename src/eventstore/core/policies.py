"""What happens when a handler raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from eventstore.core.errors import ConfigurationError

Outcome: TypeAlias = Literal["halt", "dead_letter", "skip"]


@dataclass(frozen=True, slots=True)
class OnError:
    """What a projection does with an event that its handler cannot process, after `attempts` tries.

    Build one with `OnError.halt()` (the default: stop the partition and say why), `OnError.dead_letter()` (park
    the event with its cause and go on) or `OnError.skip()` (count it and go on). `attempts` and `backoff` retry first.

    Attributes:
        then: What to do in the end.
        attempts: How often the handler is tried in all.
        backoff: Seconds before the second try; doubles each time, at most 30.
    """

    then: Outcome
    attempts: int = 1
    backoff: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.attempts < 1 or self.backoff < 0:
            message = (
                f"OnError(attempts={self.attempts}, backoff={self.backoff}): at least one attempt, no negative wait"
            )
            raise ConfigurationError(message)

    @classmethod
    def halt(cls, *, attempts: int = 1, backoff: float = 0.1) -> OnError:
        """Stop the partition; nothing after the event is processed until somebody acts."""
        return cls("halt", attempts, backoff)

    @classmethod
    def dead_letter(cls, *, attempts: int = 1, backoff: float = 0.1) -> OnError:
        """Park the event with its cause; it can be listed, retried and discarded."""
        return cls("dead_letter", attempts, backoff)

    @classmethod
    def skip(cls, *, attempts: int = 1, backoff: float = 0.1) -> OnError:
        """Log the event and go on; its effect is missing for good."""
        return cls("skip", attempts, backoff)

    def delay(self, attempt: int) -> float:
        """Give the seconds to wait after the attempt-th failure."""
        return min(self.backoff * 2.0 ** (attempt - 1), _LONGEST_BACKOFF)


_LONGEST_BACKOFF: Final = 30.0
