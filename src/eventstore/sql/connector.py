"""The connector that carries an outbox to Kafka: Debezium's configuration, whose defaults lose, rename or reorder things."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from eventstore.core.errors import ConfigurationError
from eventstore.sql.outbox import Outbox

_REFERENCE: Final = re.compile(r"\$\{[A-Za-z0-9_-]+:[^}]+\}")
_HEADERS: Final = (
    "id:header:event_id", "type:header:event_type", "schema_version:header", "occurred_at:header",
    "correlation_id:header", "causation_id:header", "traceparent:header",
)  # fmt: skip
_BEAT: Final = "INSERT INTO {} (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()"
CONNECTOR_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"


@dataclass(frozen=True, slots=True)
class ConnectorOptions:
    """Where the connector finds the database, and what it creates; values may be references such as `${env:NAME}`.

    Attributes:
        host: The database's host.
        port: Its port.
        database: Its name.
        user: Who logs in: the role of `eventstore outbox sql`.
        password: A reference to the password, never the password itself.
        sslmode: How the connection is protected, as PostgreSQL says it.
        partitions: Of each topic that is created.
        replication: Copies of each.
        heartbeat: Whether the heartbeat's table is there.

    Raises:
        ConfigurationError: The password is none, or a number makes no sense.
    """

    host: str = "${env:OUTBOX_HOST}"
    port: str = "5432"
    database: str = "${env:OUTBOX_DATABASE}"
    user: str = "${env:OUTBOX_USER}"
    password: str = "${env:OUTBOX_PASSWORD}"  # noqa: S105 - a reference
    sslmode: str = "verify-full"
    partitions: int = 12
    replication: int = 3
    heartbeat: bool = False

    def __post_init__(self) -> None:
        """Refuse a secret, which would be shown by Connect's API and stored in its topics."""
        if not _REFERENCE.fullmatch(self.password):
            message = (
                "a connector's configuration is no place for a password: give a reference to a configuration provider, "
                "such as ${env:OUTBOX_PASSWORD} or ${secrets:kafka/outbox:password}"
            )
            raise ConfigurationError(message)
        if self.partitions < 1 or self.replication < 1:
            message = f"partitions={self.partitions}, replication={self.replication}: give positive numbers"
            raise ConfigurationError(message)


def connector_name(outbox: Outbox) -> str:
    """Give the connector's name."""
    return f"{outbox.name}-outbox".replace("_", "-")


def connector_config(outbox: Outbox, options: ConnectorOptions | None = None) -> dict[str, str]:
    """Give the configuration that delivers each event at least once, in order per stream, in this library's envelope.

    Args:
        outbox: Which outbox.
        options: Where the database is.
    """
    chosen = options or ConnectorOptions()
    return {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        **_database(outbox, chosen),
        **_converters(),
        **_router(outbox),
        # Behind a restart the connector repeats what it has not noted; inside a transaction it does not, where
        # the workers allow that (exactly.once.source.support).
        "exactly.once.support": "requested",
        "errors.tolerance": "none",
        "producer.override.acks": "all",
        "topic.creation.default.partitions": str(chosen.partitions),
        "topic.creation.default.replication.factor": str(chosen.replication),
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.min.insync.replicas": str(max(chosen.replication - 1, 1)),
    }


def _database(outbox: Outbox, options: ConnectorOptions) -> dict[str, str]:
    return {
        "plugin.name": "pgoutput",
        "database.hostname": options.host,
        "database.port": options.port,
        "database.dbname": options.database,
        "database.user": options.user,
        "database.password": options.password,
        "database.sslmode": options.sslmode,
        "topic.prefix": outbox.name,
        "slot.name": outbox.slot,
        "publication.name": outbox.slot,
        # Made by an administrator, so that the connector needs no rights on the table but to read it.
        "publication.autocreate.mode": "disabled",
        "table.include.list": outbox.qualified_table,
        # The table is always empty: everything is in the log of the database, from the slot on.
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "heartbeat.interval.ms": "10000",
        **({"heartbeat.action.query": _BEAT.format(outbox.heartbeat_table)} if options.heartbeat else {}),
    }


def _converters() -> dict[str, str]:
    strings = "org.apache.kafka.connect.storage.StringConverter"
    return {
        # Quotes around a key would give it another partition than other producers do.
        "key.converter": strings,
        "header.converter": strings,
        # The envelope's bytes as they are; heartbeats are no bytes.
        "value.converter": "io.debezium.converters.BinaryDataConverter",
        "value.converter.delegate.converter.type": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.delegate.converter.type.schemas.enable": "false",
        "extended.headers.enabled": "false",
    }


def _router(outbox: Outbox) -> dict[str, str]:
    return {
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.route.topic.replacement": outbox.topic_of("${routedByValue}"),
        "transforms.outbox.table.fields.additional.placement": ",".join(_HEADERS),
        "transforms.outbox.table.expand.json.payload": "false",
    }


def strimzi_connector(
    outbox: Outbox, cluster: str, options: ConnectorOptions | None = None, namespace: str | None = None
) -> dict[str, object]:
    """Give the `KafkaConnector` resource for Strimzi, whose `KafkaConnect` needs `strimzi.io/use-connector-resources`.

    Args:
        outbox: Which outbox.
        cluster: The name of the `KafkaConnect` resource.
        options: Where the database is.
        namespace: The resource's namespace; None to leave it open.
    """
    config = connector_config(outbox, options)
    rest = {name: value for name, value in config.items() if name not in {"connector.class", "tasks.max"}}
    metadata: dict[str, object] = {"name": connector_name(outbox), "labels": {"strimzi.io/cluster": cluster}}
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaConnector",
        "metadata": {**metadata, **({"namespace": namespace} if namespace else {})},
        "spec": {"class": CONNECTOR_CLASS, "tasksMax": 1, "autoRestart": {"enabled": True}, "config": rest},
    }


def as_yaml(document: Mapping[str, object], indent: int = 0) -> str:
    """Write mappings of strings, numbers and mappings as YAML; strings are quoted, so none is taken for something else."""
    lines: list[str] = []
    for name, value in document.items():
        if isinstance(value, dict):
            lines += [f"{'  ' * indent}{name}:", as_yaml(cast("dict[str, object]", value), indent + 1)]
        else:
            lines.append(f"{'  ' * indent}{name}: {json.dumps(value)}")
    return "\n".join(lines)
