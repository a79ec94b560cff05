"""The commands, put together."""

from __future__ import annotations

import logging
import re
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from eventstore.cli import (
    dead_letters,
    deploy,
    development,
    doctor,
    errors,
    inbox,
    lag,
    logs,
    metrics,
    new,
    outbox,
    plan,
    projections,
    rebuild,
    relay,
    schemas,
    topics,
    transfers,
    why,
)
from eventstore.cli.failures import EPILOG, exit_codes
from eventstore.cli.loading import Session
from eventstore.cli.output import Output

app = typer.Typer(
    name="eventstore",
    help="Look at, rebuild, check and move event stores.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("new")(new.new)
app.command("streams")(logs.streams)
app.command("show")(logs.show)
app.command("tail")(logs.tail)
app.command("erase")(logs.erase)
app.command("worker")(projections.worker)
app.command("relay")(relay.relay)
app.command("rebuild")(rebuild.rebuild)
app.command("lag")(lag.lag)
app.command("why")(why.why)
app.command("audit")(projections.audit)
app.command("export")(transfers.export)
app.command("import")(transfers.import_)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("errors")(errors.errors)
app.add_typer(projections.app, name="projections")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(deploy.app, name="deploy")
app.add_typer(inbox.app, name="inbox")
app.add_typer(metrics.app, name="metrics")
app.add_typer(outbox.app, name="outbox")
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.add_typer(development.app, name="dev")


_OF_LIBRDKAFKA = re.compile(r"[A-Z]+ \[rdkafka#")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        print(version("eventstore"))
        raise typer.Exit


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out what Kafka's clients say of each try to connect: the command's own error says it once."""
    return not record.name.startswith("aiokafka") and not _OF_LIBRDKAFKA.match(record.getMessage())


@app.callback()
def options(
    context: typer.Context,
    application: Annotated[
        str | None, typer.Option("--app", envvar="EVENTSTORE_APP", help="The application, as module:app.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the log.")] = False,
    show_version: Annotated[  # noqa: ARG001 - the callback does it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Look at, rebuild, check and move event stores."""
    handler = logging.StreamHandler()
    if not debug:
        handler.addFilter(_is_ours)
    level = logging.DEBUG if debug else logging.ERROR
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", handlers=[handler])
    context.obj = Session(application, Output(as_json=as_json), debug)


def run() -> None:
    """Run the command line; errors become a message and an exit code."""
    with exit_codes(debug="--debug" in sys.argv):
        app()
        sys.stdout.flush()
