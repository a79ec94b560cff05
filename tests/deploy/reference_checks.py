"""Whatever a manifest names is there: pods behind selectors, targets, Secrets and their keys, ports, namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.manifests import Document, Manifests, Pods, own_secrets, owner, selects, template_of


def selectors_find_pods(manifests: Manifests) -> list[str]:
    """A Service, budget, policy or monitor that finds nothing fails in silence."""
    found = [
        f"{owner(each)}: finds no pods"
        for each, selector in _selectors(manifests)
        if not any(selects(selector, pods.labels) for pods in manifests.pods())
    ]
    for each in manifests.of("Deployment", "StatefulSet"):
        if not selects(each["spec"]["selector"], template_of(each)["metadata"]["labels"]):
            found += [f"{owner(each)}: its selector is not that of its pods"]
        found += [
            f"{owner(each)}: spreads other pods than its own"
            for constraint in template_of(each)["spec"].get("topologySpreadConstraints", [])
            if not selects(constraint["labelSelector"], template_of(each)["metadata"]["labels"])
        ]
    return found


def _selectors(manifests: Manifests) -> Iterator[tuple[Document, Document]]:
    for each in manifests.of("Service"):
        yield each, {"matchLabels": each["spec"]["selector"]}
    for each in manifests.of("PodDisruptionBudget", "PodMonitor"):
        yield each, each["spec"]["selector"]
    for each in manifests.of("NetworkPolicy"):
        yield each, each["spec"]["podSelector"]
        for direction in ("ingress", "egress"):
            for rule in each["spec"].get(direction, []):
                for peer in rule.get("from", []) + rule.get("to", []):
                    if "podSelector" in peer and "namespaceSelector" not in peer:
                        yield each, peer["podSelector"]


def each_pod_has_one_owner(manifests: Manifests) -> list[str]:
    """Two workloads with the same labels would adopt each other's pods, and a Service would mix them."""
    found: list[str] = []
    for each in manifests.of("Deployment", "StatefulSet"):
        taken = [pods.owner for pods in manifests.pods() if selects(each["spec"]["selector"], pods.labels)]
        found += [f"{owner(each)}: also selects the pods of {other}" for other in taken if other != owner(each)]
    return found


def targets_are_there(manifests: Manifests) -> list[str]:
    """What is scaled, mounted or run as has to exist."""
    found: list[str] = []
    for each in manifests.of("ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        kind, name = target.get("kind", "Deployment"), target["name"]
        if not manifests.has(kind, name):
            found.append(f"{owner(each)}: there is no {kind}/{name} to scale")
        elif "replicas" in manifests.get(kind, name)["spec"]:
            found.append(f"{owner(each)}: {kind}/{name} names a number of replicas of its own")
    found += [
        f"{owner(each)}: there is no Service/{each['spec']['serviceName']}"
        for each in manifests.of("StatefulSet")
        if not manifests.has("Service", each["spec"]["serviceName"])
    ]
    for pods in manifests.pods():
        account = pods.spec.get("serviceAccountName")
        if account is not None and not manifests.has("ServiceAccount", account):
            found.append(f"{pods.owner}: there is no ServiceAccount/{account}")
        found += [f"{pods.owner}: {finding}" for finding in _volumes(manifests, pods)]
    return found


def _volumes(manifests: Manifests, pods: Pods) -> Iterator[str]:
    claimed = {
        claim["metadata"]["name"]
        for each in manifests.of("StatefulSet")
        if owner(each) == pods.owner
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    volumes = {volume["name"]: volume for volume in pods.spec.get("volumes", [])}
    for name, volume in volumes.items():
        if (claim := volume.get("persistentVolumeClaim")) and not manifests.has(
            "PersistentVolumeClaim", claim["claimName"]
        ):
            yield f"there is no PersistentVolumeClaim/{claim['claimName']}"
        if (config := volume.get("configMap")) and not manifests.has("ConfigMap", config["name"]):
            yield f"there is no ConfigMap/{config['name']}"
        if len(volume) == 1:
            yield f"the volume {name} has no source"
    for container in pods.containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes.keys() | claimed:
                yield f"{container['name']} mounts {mount['name']}, which is no volume"


def secrets_are_made_by_somebody(manifests: Manifests) -> list[str]:
    """By Strimzi for its users and its authority, or by whoever installs, as the README lists them."""
    made: Mapping[str, set[str]] = {**own_secrets(), **_of_strimzi(manifests)}
    return [
        f"{where}: nobody makes the Secret {name}" if name not in made else f"{where}: the Secret {name} has no {key}"
        for where, name, key in wanted_secrets(manifests)
        if key not in made.get(name, set())
    ]


def _of_strimzi(manifests: Manifests) -> dict[str, set[str]]:
    made = {f"{each['metadata']['name']}-cluster-ca-cert": {"ca.crt", "*.crt"} for each in manifests.of("Kafka")}
    for user in manifests.of("KafkaUser"):
        scram = user["spec"]["authentication"]["type"] == "scram-sha-512"
        keys = {"password", "sasl.jaas.config"} if scram else {"ca.crt", "user.crt", "user.key"}
        made[user["metadata"]["name"]] = keys
    return made


def wanted_secrets(manifests: Manifests) -> Iterator[tuple[str, str, str]]:
    """Give who wants which Secret, and which of its keys."""
    for pods in manifests.pods():
        for container in pods.containers:
            for each in container.get("env", []):
                if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                    yield pods.owner, reference["name"], reference["key"]
        for volume in pods.spec.get("volumes", []):
            if secret := volume.get("secret"):
                yield from ((pods.owner, secret["secretName"], item["key"]) for item in secret["items"])
    for connect in manifests.of("KafkaConnect"):
        yield from ((owner(connect), *reference) for reference in _secrets_of_connect(connect["spec"]))


def _secrets_of_connect(spec: Document) -> Iterator[tuple[str, str]]:
    for certificate in spec["tls"]["trustedCertificates"]:
        yield certificate["secretName"], certificate["pattern"]
    password = spec["authentication"]["passwordSecret"]
    yield password["secretName"], password["password"]
    for each in spec["template"]["connectContainer"]["env"]:
        yield each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"]
    for volume in spec["template"]["pod"]["volumes"]:
        yield from ((volume["secret"]["secretName"], item["key"]) for item in volume["secret"]["items"])


def ports_are_there(manifests: Manifests) -> list[str]:
    """A port that nobody listens at makes a probe fail, and a Service, monitor or policy useless."""
    found = [f"{where} asks port {port}" for where, port, own in _probed(manifests) if not _known(port, own)]
    for each in manifests.of("Service"):
        ports = [port["targetPort"] for port in each["spec"]["ports"]]
        found += _missing(manifests, each, {"matchLabels": each["spec"]["selector"]}, ports)
    for each in manifests.of("PodMonitor"):
        ports = [endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]]
        found += _missing(manifests, each, each["spec"]["selector"], ports)
    for each in manifests.of("NetworkPolicy"):
        ports = [port["port"] for rule in each["spec"].get("ingress", []) for port in rule.get("ports", [])]
        found += _missing(manifests, each, each["spec"]["podSelector"], ports)
        for rule in each["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if peer.keys() == {"podSelector"}:
                    found += _unserved(manifests, each, peer["podSelector"], rule["ports"])
    return found


def _probed(manifests: Manifests) -> Iterator[tuple[str, Any, Mapping[str, int]]]:
    for pods in manifests.pods():
        for container in pods.spec.get("containers", []):
            own = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    yield f"{pods.owner}/{container['name']}: {probe}", container[probe]["httpGet"]["port"], own


def _known(port: Any, own: Mapping[str, int]) -> bool:
    return port in own or port in own.values()


def _missing(manifests: Manifests, document: Document, selector: Document, ports: list[Any]) -> list[str]:
    """Tell which ports none of the pods behind a selector has."""
    behind = [pods.ports for pods in manifests.pods() if selects(selector, pods.labels)]
    return [
        f"{owner(document)}: no pod behind it has the port {port}"
        for port in ports
        if not any(_known(port, own) for own in behind)
    ]


def _unserved(manifests: Manifests, document: Document, selector: Document, ports: list[Document]) -> list[str]:
    behind = [port for pods in manifests.pods() if selects(selector, pods.labels) for port in pods.ports.values()]
    return [
        f"{owner(document)}: nothing listens at {each['port']} where it leads"
        for each in ports
        if not any(each["port"] <= port <= each.get("endPort", each["port"]) for port in behind)
    ]


def everything_is_in_one_namespace(manifests: Manifests) -> list[str]:
    """Strimzi's Secrets are only there, and policies and selectors only see that far."""
    (namespace,) = [each["metadata"]["name"] for each in manifests.of("Namespace")]
    return [
        f"{owner(each)}: in {each['metadata'].get('namespace')} instead of {namespace}"
        for each in manifests.documents
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != namespace
    ]


def every_workload_has_a_way_out(manifests: Manifests) -> list[str]:
    """Everything is forbidden, so what needs the brokers has to be let through to them, at the port it uses."""
    found: list[str] = []
    for pods in manifests.pods():
        bootstrap = [each["value"] for each in _variables(pods) if each["name"] == "EVENTSTORE_BOOTSTRAP"]
        bootstrap += [
            each["spec"]["bootstrapServers"] for each in manifests.of("KafkaConnect") if owner(each) == pods.owner
        ]
        found += [
            f"{pods.owner}: no policy lets it reach {address}"
            for address in bootstrap
            if not _leads_to_brokers(manifests, pods, int(address.rpartition(":")[2]))
        ]
    return found


def _variables(pods: Pods) -> Iterator[Document]:
    for container in pods.containers:
        yield from container.get("env", [])


def _leads_to_brokers(manifests: Manifests, pods: Pods, port: int) -> bool:
    brokers = [each.labels for each in manifests.pods() if each.labels.get("strimzi.io/broker-role") == "true"]
    for policy in manifests.of("NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], pods.labels):
            continue
        for rule in policy["spec"].get("egress", []):
            ports = [each["port"] for each in rule.get("ports", [])]
            peers = [peer["podSelector"] for peer in rule.get("to", []) if peer.keys() == {"podSelector"}]
            if port in ports and all(any(selects(peer, labels) for peer in peers) for labels in brokers):
                return True
    return False
