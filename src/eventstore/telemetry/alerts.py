"""Alerts for Prometheus, each with what to do about it: made from the catalogue, so that no name can be wrong."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from eventstore.telemetry import catalog


class Alert(NamedTuple):
    """When to tell somebody.

    Attributes:
        name: Also of its section in the runbook.
        expression: In PromQL.
        lasting: How long it has to hold.
        severity: `page` for a person now, `ticket` for one in working hours.
        summary: What has happened, in a sentence.
    """

    name: str
    expression: str
    lasting: str
    severity: Literal["page", "ticket"]
    summary: str


_LAG: Final = catalog.LAG_SECONDS.exposed_name
_STATE: Final = catalog.PROJECTION_STATE.exposed_name
_DURATION: Final = catalog.COMMAND_DURATION.exposed_name
_OWNER: Final = catalog.OWNER_STATE.exposed_name

ALERTS: Final = (
    Alert(
        "EventstoreProjectionBlocked",
        f'max by (projection) ({_STATE}{{state="blocked"}}) > 0',
        "1m",
        "page",
        "{{ $labels.projection }} is blocked by an event that its handler cannot process.",
    ),
    Alert(
        "EventstoreProjectionStalled",
        f'max by (projection) ({_STATE}{{state="stalled"}}) > 0',
        "5m",
        "page",
        "{{ $labels.projection }} is behind and nobody moves it.",
    ),
    Alert(
        "EventstoreProjectionLate",
        f"max by (projection) ({_LAG}) > 60",
        "5m",
        "ticket",
        "{{ $labels.projection }} shows what is more than a minute old.",
    ),
    Alert(
        "EventstoreDeadLetters",
        f"max by (projection) ({catalog.DEAD_LETTERS.exposed_name}) > 0",
        "5m",
        "ticket",
        "{{ $labels.projection }} has parked events that wait for somebody.",
    ),
    Alert(
        "EventstoreCommandsFail",
        f'sum(rate({_DURATION}_count{{outcome=~"failed|unavailable|unknown"}}[5m])) '
        f"/ sum(rate({_DURATION}_count[5m])) > 0.01",
        "5m",
        "page",
        "More than one command in a hundred fails for other reasons than the domain's.",
    ),
    Alert(
        "EventstoreOutcomesUnknown",
        f'increase({_DURATION}_count{{outcome="unknown"}}[10m]) > 0',
        "0m",
        "ticket",
        "Callers were told that nobody knows whether {{ $labels.command }} was executed.",
    ),
    Alert(
        "EventstoreCommandsSlow",
        f'histogram_quantile(0.99, sum by (le) (rate({_DURATION}_bucket{{outcome="executed"}}[5m]))) > 1',
        "10m",
        "ticket",
        "One command in a hundred takes longer than a second.",
    ),
    Alert(
        "EventstoreConflicts",
        f"sum(rate({catalog.APPEND_CONFLICTS.exposed_name}[5m])) / sum(rate({_DURATION}_count[5m])) > 0.2",
        "10m",
        "ticket",
        "One command in five is decided twice, because processes write to the same streams.",
    ),
    Alert(
        "EventstoreFenced",
        f"sum(increase({catalog.OWNER_FENCES.exposed_name}[10m])) > 5",
        "0m",
        "ticket",
        "Processes keep taking partitions from each other.",
    ),
    Alert(
        "EventstorePartitionNotServed",
        f'sum by (instance) ({_OWNER}{{state=~"claiming|restoring"}}) > 0',
        "2m",
        "page",
        "{{ $labels.instance }} has owned a partition for two minutes without serving it.",
    ),
    Alert(
        "EventstoreIndexBehind",
        f"max by (instance) ({catalog.INDEX_LAG.exposed_name}) > 50000",
        "2m",
        "ticket",
        "The index of {{ $labels.instance }} cannot follow what is committed.",
    ),
    Alert(
        "EventstoreVoidRecords",
        f"delta({catalog.VOID_RECORDS.exposed_name}[1h]) > 0",
        "0m",
        "ticket",
        "Somebody wrote records to the log that do not count.",
    ),
)


def rules(runbook: str) -> dict[str, Any]:
    """Give the file of rules that Prometheus loads.

    Args:
        runbook: The address of the page with a section per alert.
    """
    return {"groups": [{"name": "eventstore", "rules": [_rule(alert, runbook) for alert in ALERTS]}]}


def _rule(alert: Alert, runbook: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": f"{runbook}#{alert.name.lower()}"},
    }
