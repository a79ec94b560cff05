"""Commands are ordinary functions around one asynchronous one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from eventstore.cli.loading import Session
from eventstore.core.errors import ConfigurationError

T = TypeVar("T")


def session_of(context: typer.Context) -> Session:
    """Give what the options before the command say."""
    session = context.obj
    assert isinstance(session, Session)  # noqa: S101 - set by the callback before any command
    return session


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; Ctrl-C cancels it and lets it clean up."""
    return asyncio.run(work)


def moment(text: str | None) -> int | datetime | None:
    """Read `--at`: a version, or a time, which without zone is UTC.

    Raises:
        ConfigurationError: It is neither.
    """
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as cause:
        message = f"--at {text}: give a version such as 7, or a time such as 2026-01-31T12:00:00Z"
        raise ConfigurationError(message) from cause
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
