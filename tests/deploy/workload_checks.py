"""What every workload of ours has to be: of a known version, bounded, unprivileged, watched, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.deploy.manifests import Document, Manifests, owner, selects

_SECRET = re.compile(r"password|passwd|secret|token|credential|api_?key|private", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@{$]+@")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def images_are_of_one_version(manifests: Manifests) -> list[str]:
    """A tag that moves would run something else after the next restart."""
    return [f"{where}: {image} does not say which version" for where, image in _images(manifests) if not _pinned(image)]


def _images(manifests: Manifests) -> Iterator[tuple[str, str]]:
    for pods in manifests.pods():
        yield from ((f"{pods.owner}/{each['name']}", each["image"]) for each in pods.containers)
    for document in manifests.of("Kafka", "KafkaConnect"):
        spec = document["spec"].get("kafka", document["spec"])
        if "image" in spec:
            yield owner(document), spec["image"]


def _pinned(image: str) -> bool:
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return True
    tag = re.search(r":([\w][\w.-]*)$", image)
    return tag is not None and bool(re.search(r"\d", tag[1])) and tag[1] != "latest"


def resources_are_bounded(manifests: Manifests) -> list[str]:
    """Without requests a pod is the first to be evicted, without a limit of memory it evicts others."""
    found: list[str] = []
    for where, container in _containers(manifests):
        resources = container.get("resources", {})
        found += [
            f"{where}: no {kind}.{name}"
            for kind in ("requests", "limits")
            for name in ("cpu", "memory")
            if name not in resources.get(kind, {})
        ]
        if resources.get("requests", {}).get("memory") != resources.get("limits", {}).get("memory"):
            found.append(f"{where}: memory is promised that may not be there")
    return found


def _containers(manifests: Manifests) -> Iterator[tuple[str, Document]]:
    """Give ours, and the parts of Strimzi's resources that become containers."""
    for pods in manifests.pods():
        yield from ((f"{pods.owner}/{each['name']}", each) for each in pods.containers)
    for document in manifests.of("KafkaNodePool", "KafkaConnect"):
        yield owner(document), document["spec"]
    spec = manifests.kafka["spec"]
    entity = spec.get("entityOperator", {})
    for name, part in {
        **entity,
        **{name: spec[name] for name in ("kafkaExporter", "cruiseControl") if name in spec},
    }.items():
        yield f"{owner(manifests.kafka)}/{name}", part


def security_is_restricted(manifests: Manifests) -> list[str]:
    """The Pod Security Standard that the namespace enforces, and more: nothing to write to, no token."""
    found: list[str] = []
    for pods in manifests.pods():
        if not pods.spec:
            continue  # Strimzi's, which the operator is told to restrict
        context = pods.spec.get("securityContext", {})
        wanted = {
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser", 0) > 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "automountServiceAccountToken": pods.spec.get("automountServiceAccountToken") is False,
            "hostNetwork, hostPID, hostIPC": not {"hostNetwork", "hostPID", "hostIPC"} & pods.spec.keys(),
            "hostPath": not any("hostPath" in volume for volume in pods.spec.get("volumes", [])),
        }
        found += [f"{pods.owner}: {name}" for name, met in wanted.items() if not met]
        for container in pods.containers:
            found += [
                f"{pods.owner}/{container['name']}: {name}" for name in _lax(container.get("securityContext", {}))
            ]
    return found + _unrestricted_namespaces(manifests)


def _lax(context: Document) -> Iterator[str]:
    wanted = {
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
        "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "privileged": not context.get("privileged"),
        "runAsUser": context.get("runAsUser", 1) > 0,
        "runAsNonRoot": context.get("runAsNonRoot", True) is True,
    }
    yield from (name for name, met in wanted.items() if not met)


def _unrestricted_namespaces(manifests: Manifests) -> list[str]:
    label = "pod-security.kubernetes.io/enforce"
    return [
        f"{owner(each)}: {label} is not restricted"
        for each in manifests.of("Namespace")
        if each["metadata"].get("labels", {}).get(label) != "restricted"
    ]


def probes_are_there(manifests: Manifests) -> list[str]:
    """What runs for ever has to be started in time, alive and ready, and to get time to end."""
    found: list[str] = []
    for pods in manifests.pods():
        if not pods.owner.startswith(("Deployment/", "StatefulSet/")):
            continue
        for container in pods.spec["containers"]:
            found += [
                f"{pods.owner}/{container['name']}: no {probe}"
                for probe in ("startupProbe", "livenessProbe", "readinessProbe")
                if probe not in container
            ]
        budgets = [each["spec"]["selector"] for each in manifests.of("PodDisruptionBudget")]
        if not any(selects(budget, pods.labels) for budget in budgets):
            found.append(f"{pods.owner}: no PodDisruptionBudget")
        if not pods.spec.get("topologySpreadConstraints"):
            found.append(f"{pods.owner}: not spread over zones")
    return found


def no_secret_is_in_clear(manifests: Manifests) -> list[str]:
    """Secrets come from Secrets that operators or people make; what is in a repository is none."""
    found = [f"{owner(each)}: a Secret with its content" for each in manifests.of("Secret")]
    for document in manifests.documents:
        for place, text in _texts(document, ""):
            if _URL_WITH_PASSWORD.search(text) or _KEY.search(text):
                found.append(f"{owner(document)}{place}: a secret in clear")
    for pods in manifests.pods():
        for container in pods.containers:
            found += [
                f"{pods.owner}/{container['name']}: {each['name']} holds its value"
                for each in container.get("env", [])
                if "value" in each and _SECRET.search(each["name"]) and not each["name"].endswith("_FILE")
            ]
    return found + _credentials_of_connectors(manifests)


def _credentials_of_connectors(manifests: Manifests) -> list[str]:
    return [
        f"{owner(each)}: {name} is no reference"
        for each in manifests.of("KafkaConnector", "KafkaConnect")
        for name, value in each["spec"].get("config", {}).items()
        if _SECRET.search(name) and not str(value).startswith("${")
    ]


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, f"{place}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _texts(part, f"{place}[{index}]")
