"""The stages of a partition while the election says that it is this process's turn.

ASSIGNED ---> CLAIMING ---> RESTORING ---> SERVING ---> DRAINING ---> RELEASED
^   ^            |             |
|   '------------'             |  fenced by another owner, or an outcome in doubt
'------------------------------'
"""

from __future__ import annotations

from enum import Enum, auto


class Stage(Enum):
    """See the diagram above."""

    ASSIGNED = auto()
    CLAIMING = auto()
    RESTORING = auto()
    SERVING = auto()
    DRAINING = auto()
    RELEASED = auto()
