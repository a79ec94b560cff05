"""Commands are ordinary functions around one asynchronous one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from eventstore.cli.loading import Session
from eventstore.cli.output import end_quietly
from eventstore.core.errors import ConfigurationError

T = TypeVar("T")


def session_of(context: typer.Context) -> Session:
    """Give what the options before the command say."""
    session = context.obj
    assert isinstance(session, Session)  # noqa: S101 - set by the callback before any command
    return session


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; Ctrl-C cancels it and lets it clean up, and so does a reader who has seen enough."""
    try:
        return asyncio.run(work)
    except BrokenPipeError:
        end_quietly()


def told_to_stop() -> asyncio.Event:
    """Give an event that SIGINT and SIGTERM set from now on, instead of what they do otherwise."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def first(stop: asyncio.Event, crews: Iterable[asyncio.Task[None]]) -> None:
    """Wait until told to stop, or until some work has failed for good, which leaving what runs it raises."""
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([told, *crews], return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


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
