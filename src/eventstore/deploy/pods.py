"""The pods of every component: restricted, stateless but for an index that the log can restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eventstore.deploy.blueprint import (
    AUTHORITY_FILE,
    INDEX_DIRECTORY,
    PASSWORD_FILE,
    Blueprint,
    Component,
    Document,
    variables_of,
)
from eventstore.deploy.environments import Database, Resources, SecretKey, Serving

USER_ID: Final = 10_001
"""Of the image's user; the volume with the index belongs to its group."""
INDEX: Final = "index"
QUERYING: Final[tuple[Component, ...]] = ("writer", "worker", "inbox")
"""Who needs the query store."""
_PROBE_SECONDS: Final = 5
_READABLE_BY_GROUP: Final = 0o440
_LEAVE_SECONDS: Final = 5
"""How long after its end is decided a service goes on, so that whoever sends it requests hears of it in time."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs in a pod.

    Attributes:
        component: What for.
        command: The command; the image's own entry point if it is empty.
        arguments: Of the image's entry point, or of the command.
        resources: What it may take.
        ports: By name.
        health: The port's name, and the paths of liveness and readiness; None for a program that ends by itself.
        variables: Further environment variables.
        index: Whether it keeps an index on a volume of its own; one that keeps none may still write to it.
    """

    component: Component
    command: Sequence[str]
    arguments: Sequence[str]
    resources: Resources
    ports: dict[str, int]
    health: Serving | None
    variables: dict[str, str]
    index: bool


def pod(blueprint: Blueprint, program: Program) -> Document:
    """Give the template of a pod.

    Args:
        blueprint: The application in its environment.
        program: What runs in it.
    """
    labels = blueprint.metadata("", program.component)["labels"]
    return {"metadata": {"labels": labels}, "spec": _spec(blueprint, program)}


def _spec(blueprint: Blueprint, program: Program) -> Document:
    ends = {} if program.health is not None else {"restartPolicy": "Never"}
    return {
        **ends,
        "serviceAccountName": blueprint.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": blueprint.drain_seconds + _LEAVE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({} if program.health is None else {"topologySpreadConstraints": _spread(blueprint, program.component)}),
        "containers": [_container(blueprint, program)],
        "volumes": _volumes(blueprint, program),
    }


def _spread(blueprint: Blueprint, component: Component) -> list[Document]:
    """Spread over zones first, then over machines; one that is lost must not keep the rest from running elsewhere."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": blueprint.selector(component)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _container(blueprint: Blueprint, program: Program) -> Document:
    resources = program.resources
    started: Document = {"command": [*program.command]} if program.command else {}
    if program.arguments:
        started["args"] = [*program.arguments]
    ports: list[Document] = [{"name": name, "containerPort": number} for name, number in program.ports.items()]
    return {
        "name": program.component,
        "image": blueprint.environment.image,
        **started,
        "env": _environment(blueprint, program),
        **({"ports": ports} if ports else {}),
        **({} if program.health is None else _probes(blueprint, program.health, next(iter(program.ports)))),
        **({} if "http" not in program.ports else {"lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_SECONDS}}}}),
        "resources": {
            "requests": {"cpu": resources.cpu, "memory": resources.memory},
            "limits": {"cpu": resources.most_cpu, "memory": resources.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "user", "mountPath": _directory(PASSWORD_FILE), "readOnly": True},
            {"name": "authority", "mountPath": _directory(AUTHORITY_FILE), "readOnly": True},
            {"name": INDEX, "mountPath": INDEX_DIRECTORY},
            {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }


def _environment(blueprint: Blueprint, program: Program) -> list[Document]:
    environment = blueprint.environment
    plain = {
        **variables_of(blueprint.app, environment),
        "EVENTSTORE_USER": blueprint.user(program.component),
        "EVENTSTORE_PASSWORD_FILE": PASSWORD_FILE,
        **environment.variables,
        **program.variables,
    }
    secret: dict[str, SecretKey | Database] = {**environment.secrets}
    if environment.query_store is not None and program.component in QUERYING:
        secret["EVENTSTORE_QUERY_STORE"] = environment.query_store
    variables: list[Document] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, kept in secret.items():
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": kept.secret, "key": kept.key}}})
    return variables


def _probes(blueprint: Blueprint, health: Serving, port: str) -> Document:
    """Wait for the restore, restart what does not answer, and send requests only to what is ready."""
    live: Document = {"httpGet": {"path": health.live, "port": port}}
    ready: Document = {"httpGet": {"path": health.ready, "port": port}}
    failures = -(-blueprint.environment.restore_seconds // _PROBE_SECONDS)
    timing: Document = {"periodSeconds": _PROBE_SECONDS, "timeoutSeconds": _PROBE_SECONDS}
    return {
        "startupProbe": {**live, **timing, "failureThreshold": failures},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": _PROBE_SECONDS, "failureThreshold": 6},
        "readinessProbe": {**ready, **timing, "failureThreshold": 2},
    }


def _volumes(blueprint: Blueprint, program: Program) -> list[Document]:
    environment = blueprint.environment
    given: list[Document] = [
        _secret("user", blueprint.user(program.component), PASSWORD_FILE),
        _secret("authority", f"{environment.cluster}-cluster-ca-cert", AUTHORITY_FILE),
        {"name": "temporary", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
    return given if program.index else [*given, {"name": INDEX, "emptyDir": {"sizeLimit": "64Mi"}}]


def _secret(volume: str, secret: str, file: str) -> Document:
    key = file.rpartition("/")[2]
    items: list[Document] = [{"key": key, "path": key}]
    return {
        "name": volume,
        "secret": {"secretName": secret, "defaultMode": _READABLE_BY_GROUP, "items": items},
    }


def _directory(file: str) -> str:
    return file.rpartition("/")[0]
