"""The command line: `eventstore --app module:app COMMAND`."""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with one of the documented exit codes."""
    from eventstore.cli.app import run  # noqa: PLC0415 - typer and rich only when they are used

    run()
