"""What Kafka, its topics and its users have to be, so that nothing acknowledged is lost and nobody may do too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.deploy.manifests import Document, Manifests, owner

# Longest first: what a name ends with tells what the topic is for.
_KINDS = ("events", "commands", "dead", "replies")
_SAFE_COPIES = 3
_SAFE_IN_SYNC = 2
# What each role cannot do without, by what the topic is for.
_NEEDS: Mapping[str, Mapping[str, set[str]]] = {
    "writer": {
        "events": {"Describe", "Read", "Write"},
        "commands": {"Describe", "Read", "Write"},
        "replies": {"Describe", "Read", "Write"},
    },
    "projection": {"events": {"Describe", "Read"}},
    "relay": {"public": {"Describe", "Write"}},
    "operator": {"events": {"Describe", "DescribeConfigs"}},
}
# What would let it forge, lose or read what is none of its business.
_FORBIDDEN: Mapping[str, Mapping[str, set[str]]] = {
    "writer": {"events": {"Delete", "Alter", "AlterConfigs", "All"}, "public": {"Write", "All"}},
    "projection": {kind: {"Delete", "Alter", "AlterConfigs", "All"} for kind in ("commands", "replies")}
    | {kind: {"Write", "Delete", "Alter", "AlterConfigs", "All"} for kind in ("events", "public")},
    "relay": {kind: {"Write", "Delete", "Alter", "AlterConfigs", "All"} for kind in ("events", "commands")},
    "operator": {"events": {"Read", "Write", "Delete", "All"}, "public": {"Read", "Write", "Delete", "All"}},
}


def listeners_are_encrypted_and_ask_who_it_is(manifests: Manifests) -> list[str]:
    """Nobody speaks to the brokers unseen or unknown, and without a rule nobody may do anything."""
    kafka = manifests.kafka["spec"]["kafka"]
    found = [f"listener {each['name']}: no TLS" for each in kafka["listeners"] if not each["tls"]]
    found += [
        f"listener {each['name']}: no authentication" for each in kafka["listeners"] if "authentication" not in each
    ]
    found += [
        f"listener {each['name']}: open to all" for each in kafka["listeners"] if "networkPolicyPeers" not in each
    ]
    if kafka.get("authorization", {}).get("type") != "simple":
        found.append("no authorization")
    if kafka.get("authorization", {}).get("superUsers"):
        found.append("there are super users")
    return found


def the_cluster_keeps_what_it_acknowledges(manifests: Manifests) -> list[str]:
    """The guardrails of the brokers; a cluster of one is for development and can keep only one copy."""
    kafka, brokers = manifests.kafka["spec"]["kafka"], brokers_of(manifests)
    copies, in_sync = min(_SAFE_COPIES, brokers), _SAFE_IN_SYNC if brokers >= _SAFE_COPIES else 1
    wanted: dict[str, object] = {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "unclean.leader.election.enable": False,
        "auto.create.topics.enable": False,
    }
    found = [
        f"{name} is {kafka['config'].get(name)} instead of {value}"
        for name, value in wanted.items()
        if kafka["config"].get(name) != value
    ]
    found += [
        f"{name} is left to a default"
        for name in ("log.retention.ms", "producer.id.expiration.ms")
        if name not in kafka["config"]
    ]
    controllers = sum(
        each["spec"]["replicas"] for each in manifests.of("KafkaNodePool") if "controller" in each["spec"]["roles"]
    )
    if controllers % 2 == 0 or (brokers > 1 and controllers < _SAFE_COPIES):
        found.append(f"{controllers} controllers")
    if brokers >= _SAFE_COPIES:
        found += [f"{owner(each)}: the claim goes with the cluster" for each in _fleeting_pools(manifests)]
        found += [] if "rack" in kafka else ["copies are not spread over zones"]
    return found


def _fleeting_pools(manifests: Manifests) -> Iterator[Document]:
    for pool in manifests.of("KafkaNodePool"):
        for volume in pool["spec"]["storage"]["volumes"]:
            if volume["type"] != "persistent-claim" or volume.get("deleteClaim"):
                yield pool


def brokers_of(manifests: Manifests) -> int:
    """Count the brokers."""
    return sum(each["spec"]["replicas"] for each in manifests.of("KafkaNodePool") if "broker" in each["spec"]["roles"])


def resources_name_their_cluster(manifests: Manifests) -> list[str]:
    """An operator passes over what carries another cluster's label, or none."""
    made = {
        "KafkaNodePool": "Kafka", "KafkaTopic": "Kafka", "KafkaUser": "Kafka", "KafkaRebalance": "Kafka",
        "KafkaConnector": "KafkaConnect",
    }  # fmt: skip
    found: list[str] = []
    for each in manifests.of(*made):
        name = each["metadata"].get("labels", {}).get("strimzi.io/cluster")
        if name is None or not manifests.has(made[each["kind"]], name):
            found.append(f"{owner(each)}: there is no {made[each['kind']]}/{name}")
    return found


def kind_of(topic: str) -> str:
    """Tell what a topic is for, by its name."""
    kind = topic.rpartition(".")[2]
    return kind if kind in _KINDS else "public"


def name_of(topic: Document) -> str:
    """Give the name on the brokers."""
    return str(topic["spec"].get("topicName", topic["metadata"]["name"]))


def topics_fit_the_brokers(manifests: Manifests) -> list[str]:
    """More copies than brokers cannot be made; as many in sync as there are copies makes a restart an outage."""
    brokers, found = brokers_of(manifests), []
    for topic in manifests.of("KafkaTopic"):
        replicas, in_sync = topic["spec"]["replicas"], int(topic["spec"]["config"]["min.insync.replicas"])
        if replicas > brokers:
            found.append(f"{owner(topic)}: {replicas} copies on {brokers} brokers")
        if replicas < min(_SAFE_COPIES, brokers):
            found.append(f"{owner(topic)}: only {replicas} copies")
        if in_sync >= replicas > 1:
            found.append(f"{owner(topic)}: {in_sync} of {replicas} have to be in sync, so no broker may be restarted")
        if replicas >= _SAFE_COPIES and in_sync < _SAFE_IN_SYNC and kind_of(name_of(topic)) != "replies":
            found.append(f"{owner(topic)}: acknowledged with {in_sync} copy")
    return found


def topics_keep_what_they_should(manifests: Manifests) -> list[str]:
    """Events are compacted under keys of their own and kept for ever; everything else goes after a time that is named."""
    found: list[str] = []
    for topic in manifests.of("KafkaTopic"):
        config, kind = topic["spec"]["config"], kind_of(name_of(topic))
        policy = "compact" if kind == "events" else "delete"
        if config.get("cleanup.policy") != policy:
            found.append(f"{owner(topic)}: cleanup.policy is {config.get('cleanup.policy')} instead of {policy}")
        if (kind == "events") != (config.get("retention.ms") == "-1") or "retention.ms" not in config:
            found.append(f"{owner(topic)}: retention.ms is {config.get('retention.ms')}")
        if config.get("unclean.leader.election.enable") != "false":
            found.append(f"{owner(topic)}: a copy that is behind may lead")
    partitions = {name_of(each): each["spec"]["partitions"] for each in manifests.of("KafkaTopic")}
    for name, count in partitions.items():
        commands = f"{name.removesuffix('events')}commands"
        if kind_of(name) == "events" and partitions.get(commands) != count:
            found.append(f"{name} has {count} partitions and {commands} {partitions.get(commands)}")
    return found


def users_can_log_in(manifests: Manifests) -> list[str]:
    """Each user has a listener of its kind, and whoever logs in is a user and takes that listener."""
    listeners = {
        each["port"]: each["authentication"]["type"]
        for each in manifests.kafka["spec"]["kafka"]["listeners"]
        if "authentication" in each
    }
    users = {each["metadata"]["name"]: each["spec"]["authentication"]["type"] for each in manifests.of("KafkaUser")}
    found = [
        f"KafkaUser/{name}: no listener takes {kind}" for name, kind in users.items() if kind not in listeners.values()
    ]
    for where, user, address in _logins(manifests):
        service, _, port = address.partition(":")
        if service != f"{manifests.kafka['metadata']['name']}-kafka-bootstrap":
            found.append(f"{where}: {service} is not this Kafka")
        if user not in users:
            found.append(f"{where}: there is no KafkaUser/{user}")
        elif listeners.get(int(port)) != users[user]:
            found.append(f"{where}: port {port} does not take {users[user]}")
    return found


def _logins(manifests: Manifests) -> Iterator[tuple[str, str, str]]:
    for pods in manifests.pods():
        for container in pods.containers:
            given = {each["name"]: each.get("value", "") for each in container.get("env", [])}
            if "EVENTSTORE_BOOTSTRAP" in given:
                yield f"{pods.owner}/{container['name']}", given["EVENTSTORE_USER"], given["EVENTSTORE_BOOTSTRAP"]
    for connect in manifests.of("KafkaConnect"):
        yield owner(connect), connect["spec"]["authentication"]["username"], connect["spec"]["bootstrapServers"]


def each_user_has_its_own_password(manifests: Manifests) -> list[str]:
    """The Secret that is mounted where the password is read from is the one of the user that is named."""
    found: list[str] = []
    for pods in manifests.pods():
        secrets = {
            each["name"]: each["secret"]["secretName"] for each in pods.spec.get("volumes", []) if "secret" in each
        }
        for container in pods.containers:
            given = {each["name"]: each.get("value", "") for each in container.get("env", [])}
            if "EVENTSTORE_PASSWORD_FILE" not in given:
                continue
            place = given["EVENTSTORE_PASSWORD_FILE"].rpartition("/")[0]
            mounted = {secrets.get(each["name"]) for each in container["volumeMounts"] if each["mountPath"] == place}
            if mounted != {given["EVENTSTORE_USER"]}:
                found.append(
                    f"{pods.owner}/{container['name']}: {given['EVENTSTORE_USER']} with the Secret of {mounted}"
                )
    return found


def users_may_do_what_their_role_needs(manifests: Manifests) -> list[str]:
    """Each role on each topic of the application, and the epochs that fence each partition."""
    found: list[str] = []
    for user in _application_users(manifests):
        role = user["metadata"]["name"].rpartition("-")[2]
        for topic in manifests.of("KafkaTopic"):
            missing = _NEEDS[role].get(kind_of(name_of(topic)), set()) - rights_on(user, "topic", name_of(topic))
            found += [f"{owner(user)}: no {operation} on {name_of(topic)}" for operation in sorted(missing)]
            if role == "writer" and kind_of(name_of(topic)) == "events":
                ids = [f"{name_of(topic)}.{number}" for number in range(topic["spec"]["partitions"])]
                found += [f"{owner(user)}: cannot fence {each}" for each in ids if not _fences(user, each)]
        events = [name_of(each) for each in manifests.of("KafkaTopic") if kind_of(name_of(each)) == "events"]
        # A relay reads what its publications are made of, which need not be every category.
        if role == "relay" and not any({"Describe", "Read"} <= rights_on(user, "topic", each) for each in events):
            found.append(f"{owner(user)}: no events to read")
    return found


def users_may_do_nothing_else(manifests: Manifests) -> list[str]:
    """Nothing outside the application's prefix, nothing on the cluster, nothing that a role must not."""
    found: list[str] = []
    for user in _application_users(manifests):
        name, role = user["metadata"]["name"], user["metadata"]["name"].rpartition("-")[2]
        prefix = f"{name.removesuffix(f'-{role}')}."
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            if not resource.get("name", "").startswith(prefix):
                found.append(f"{owner(user)}: {resource['type']} {resource.get('name')} is outside {prefix}")
        for topic in manifests.of("KafkaTopic"):
            forbidden = _FORBIDDEN[role].get(kind_of(name_of(topic)), set()) & rights_on(user, "topic", name_of(topic))
            found += [f"{owner(user)}: {operation} on {name_of(topic)}" for operation in sorted(forbidden)]
    return found


def rights_on(user: Document, kind: str, name: str) -> set[str]:
    """Give the operations that a user may do on something."""
    return {
        operation
        for acl in user["spec"]["authorization"]["acls"]
        if acl.get("type", "allow") == "allow" and acl["resource"]["type"] == kind and _covers(acl["resource"], name)
        for operation in acl["operations"]
    }


def _covers(resource: Document, name: str) -> bool:
    pattern = resource["name"]
    return name.startswith(pattern) if resource.get("patternType", "literal") == "prefix" else pattern in {name, "*"}


def _fences(user: Document, transactional_id: str) -> bool:
    return {"Describe", "Write"} <= rights_on(user, "transactionalId", transactional_id)


def _application_users(manifests: Manifests) -> Iterator[Document]:
    return (each for each in manifests.of("KafkaUser") if each["metadata"]["name"].rpartition("-")[2] in _NEEDS)
