"""`deploy`: what runs the application on Kubernetes, made from the application; no broker is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from eventstore.cli.failures import FoundProblemError
from eventstore.cli.loading import Session
from eventstore.cli.running import session_of
from eventstore.core.errors import ConfigurationError

app = typer.Typer(help="Manifests for Kubernetes from the application: render, diff.", no_args_is_help=True)

_Stages: TypeAlias = Annotated[
    list[str] | None, typer.Option("--env", help="Which environment; may be repeated, all by default.")
]
_Environments: TypeAlias = Annotated[Path, typer.Option(help="The file with what differs between environments.")]
_Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="A folder with one for each environment; by default `rendered`, beside the file."),
]
_FILE = Path("deploy/environments.toml")


@app.command("render")
def render_(
    context: typer.Context, env: _Stages = None, environments: _Environments = _FILE, output: _Output = None
) -> None:
    """Write topics, users, workloads, policies, scaling and alerts of the application; nothing is opened or asked."""
    session = session_of(context)
    rendered = _rendered(session, env, environments, output)
    from eventstore.deploy.rendering import write  # noqa: PLC0415 - optional, and found to be there

    for folder, files in rendered.items():
        write(files, folder)
        session.output.note(f"{folder}: {', '.join(files)}")
        if session.output.as_json:
            session.output.document({"folder": str(folder), "files": [*files]})


@app.command("diff")
def diff_(
    context: typer.Context, env: _Stages = None, environments: _Environments = _FILE, output: _Output = None
) -> None:
    """Show where the files are not what render would write; exit code 1 if they differ."""
    session = session_of(context)
    rendered, differ = _rendered(session, env, environments, output), False
    from eventstore.deploy.rendering import differences  # noqa: PLC0415 - optional, and found to be there

    for folder, files in rendered.items():
        found = differences(files, folder)
        differ |= bool(found)
        for difference in found:
            session.output.note(*difference.lines)
        if not found:
            session.output.note(f"{folder}: as rendered")
        if session.output.as_json:
            session.output.document(
                {
                    "folder": str(folder),
                    "differences": [
                        {"file": each.file.name, "state": each.state, "diff": "\n".join(each.lines)} for each in found
                    ],
                }
            )
    if differ:
        raise FoundProblemError


def _rendered(
    session: Session, stages: list[str] | None, file: Path, output: Path | None
) -> Mapping[Path, Mapping[str, str]]:
    try:
        from eventstore.deploy import draw, read_environments, render  # noqa: PLC0415 - optional
    except ImportError as cause:
        message = f"deploy needs more packages ({cause}): pip install 'eventstore[deploy,kafka]'"
        raise ConfigurationError(message) from cause
    environments = read_environments(file)
    rendered: dict[Path, Mapping[str, str]] = {}
    for stage in stages or environments:
        if stage not in environments:
            message = f"there is no environment {stage!r} in {file}; there is {', '.join(environments)}"
            raise ConfigurationError(message)
        blueprint = draw(session.app or "", stage, environments[stage], session.store)
        rendered[(output or file.parent / "rendered") / stage] = render(blueprint)
    return rendered
