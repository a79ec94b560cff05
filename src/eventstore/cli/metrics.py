"""`metrics`: what is measured, and what watches over it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from eventstore.cli.output import Output
from eventstore.cli.running import session_of
from eventstore.telemetry.alerts import rules
from eventstore.telemetry.catalog import METRICS
from eventstore.telemetry.dashboard import dashboard

app = typer.Typer(help="What is measured: names, a dashboard for Grafana, alerts for Prometheus.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List every metric: its name for OpenTelemetry and for Prometheus, kind, unit, labels and meaning."""
    session_of(context).output.rows(
        "metrics",
        ("metric", "prometheus", "kind", "unit", "labels", "description"),
        [
            {
                "metric": metric.name,
                "prometheus": metric.exposed_name,
                "kind": metric.kind,
                "unit": metric.unit,
                "labels": " ".join(metric.labels),
                "description": metric.description,
            }
            for metric in METRICS
        ],
    )


@app.command("dashboard")
def dashboard_(
    context: typer.Context,
    title: Annotated[str, typer.Option(help="How it is called.")] = "eventstore",
) -> None:
    """Print a dashboard, to be imported in Grafana."""
    _print(session_of(context).output, dashboard(title))


@app.command("rules")
def rules_(
    context: typer.Context,
    runbook: Annotated[
        str, typer.Option(help="Where the runbook is; each alert links to its section.")
    ] = "docs/telemetry.md",
) -> None:
    """Print alerts as a file of rules for Prometheus; JSON, which is YAML too."""
    _print(session_of(context).output, rules(runbook))


def _print(output: Output, document: object) -> None:
    output.text(json.dumps(document, indent=None if output.as_json else 2))
