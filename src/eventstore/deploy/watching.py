"""How many workers there are, and who is told what: from the catalogue of metrics."""

from __future__ import annotations

import json

from eventstore.core.errors import ConfigurationError
from eventstore.deploy.blueprint import Blueprint, Document
from eventstore.deploy.workloads import MEASURED, METRICS
from eventstore.telemetry import catalog
from eventstore.telemetry.alerts import rules
from eventstore.telemetry.dashboard import dashboard


def scaling(blueprint: Blueprint) -> list[Document]:
    """Give what adds and removes workers, by how many events they are behind; none if there are no read models.

    Args:
        blueprint: The application in its environment.

    Raises:
        ConfigurationError: There are to be more workers than there are partitions to share.
    """
    if "worker" not in blueprint.components:
        return []
    workers, name = blueprint.environment.workers, blueprint.named("worker")
    most = blueprint.shared if workers.most is None else workers.most
    if not workers.replicas <= most <= blueprint.shared:
        message = (
            f"[{blueprint.stage}] workers: from {workers.replicas} to {most} of them cannot be, since a read model has "
            f"{blueprint.shared} partitions to share at most: give replicas <= most <= {blueprint.shared}"
        )
        raise ConfigurationError(message)
    return [
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": blueprint.metadata(name, "worker"),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "pollingInterval": 15,
                "minReplicaCount": workers.replicas,
                "maxReplicaCount": most,
                "fallback": {
                    "failureThreshold": 4,
                    "replicas": workers.replicas,
                    "behavior": "currentReplicasIfHigher",
                },
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _BEHAVIOUR}},
                "triggers": [_trigger(blueprint)],
            },
        }
    ]


# Every change deals the partitions out anew, which lets the lag rise for a moment.
_BEHAVIOUR: Document = {
    "scaleUp": {
        "stabilizationWindowSeconds": 60,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 600,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
    },
}


def _trigger(blueprint: Blueprint) -> Document:
    """Count what all read models lack; every process reports all of it, so the largest report counts once."""
    lag, environment = catalog.LAG_EVENTS.exposed_name, blueprint.environment
    reported = f'{lag}{{namespace="{environment.namespace}"}}'
    return {
        "type": "prometheus",
        "name": "lag",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": environment.monitoring.prometheus,
            "query": f"sum(max by (projection, partition) ({reported}))",
            "threshold": str(environment.workers.lag),
        },
    }


def monitoring(blueprint: Blueprint) -> list[Document]:
    """Give what Prometheus reads, and what it watches.

    Args:
        blueprint: The application in its environment.
    """
    measured = [component for component in MEASURED if component in blueprint.components]
    selector: Document = {
        "matchLabels": {"app.kubernetes.io/name": blueprint.name},
        "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": measured}],
    }
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": blueprint.metadata(blueprint.name),
            "spec": {"selector": selector, "podMetricsEndpoints": [{"port": METRICS, "interval": "15s"}]},
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": blueprint.metadata(blueprint.name),
            "spec": rules(blueprint.environment.monitoring.runbook),
        },
    ]


def dashboards(blueprint: Blueprint) -> list[Document]:
    """Give the dashboard, where Grafana's sidecar finds it.

    Args:
        blueprint: The application in its environment.
    """
    model = json.dumps(dashboard(f"{blueprint.name} ({blueprint.stage})"), indent=2) + "\n"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": blueprint.metadata(f"{blueprint.name}-dashboard", None, grafana_dashboard="1"),
            "data": {f"{blueprint.name}.json": model},
        }
    ]
