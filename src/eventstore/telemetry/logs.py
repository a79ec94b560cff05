"""Structured logs: one JSON object per line, with ids to search for and nothing of what events and commands hold."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

_FIELDS: Final = ("stream", "version", "command", "command_id", "correlation_id", "outcome", "seconds")
"""What this package's loggers pass as `extra`; whatever else a record carries stays out."""


class JsonFormatter(logging.Formatter):
    """Writes records as JSON: time, level, logger, message, the ids of a command, and the ids of the trace.

    `logging.getLogger("eventstore.commands")` has a record for every command at INFO; the other loggers of `eventstore`
    speak when something is wrong. Payloads are in none of them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        entry |= _trace_ids()
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _trace_ids() -> dict[str, str]:
    try:
        from opentelemetry import trace  # noqa: PLC0415 - optional
    except ImportError:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
