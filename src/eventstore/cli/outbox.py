"""`outbox`: what the database and Kafka Connect need to carry a service's outbox to Kafka."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer

from eventstore.cli.loading import load_object
from eventstore.cli.running import session_of
from eventstore.outbox import ConnectorOptions, Outbox, connector_config, strimzi_connector
from eventstore.sql.connector import as_yaml, connector_name

app = typer.Typer(help="An outbox in PostgreSQL: sql, connector.", no_args_is_help=True)
_Target = Annotated[str, typer.Argument(help="The Outbox, as module:name.", show_default=False)]
_DEFAULTS = ConnectorOptions()


class Format(Enum):
    """How the connector is printed."""

    JSON = "json"
    STRIMZI = "strimzi"


@app.command()
def sql(
    context: typer.Context,
    target: _Target,
    role: Annotated[str, typer.Option(help="Who the connector logs in as; set its password yourself.")] = "debezium",
    heartbeat: Annotated[bool, typer.Option("--heartbeat", help="With a heartbeat, for quiet databases.")] = False,
) -> None:
    """Print the statements that prepare the database; changes nothing.

    It needs wal_level=logical. Execute them before the first event is written: what comes before the slot is not carried.
    """
    output = session_of(context).output
    statements = load_object(target, Outbox).sql(role, heartbeat=heartbeat)
    if output.as_json:
        output.document(statements)
    else:
        output.text(";\n".join(statements) + ";")


@app.command()
def connector(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    target: _Target,
    format: Annotated[Format, typer.Option(help="For Connect's REST API, or for Strimzi.")] = Format.JSON,  # noqa: A002
    host: Annotated[str, typer.Option(help="The database's host.")] = _DEFAULTS.host,
    port: Annotated[str, typer.Option(help="The database's port.")] = _DEFAULTS.port,
    database: Annotated[str, typer.Option(help="The database.")] = _DEFAULTS.database,
    user: Annotated[str, typer.Option(help="Who logs in.")] = _DEFAULTS.user,
    password: Annotated[
        str, typer.Option(help="A reference to the password, such as ${secrets:kafka/outbox:password}.")
    ] = _DEFAULTS.password,
    sslmode: Annotated[str, typer.Option(help="As PostgreSQL says it.")] = _DEFAULTS.sslmode,
    partitions: Annotated[int, typer.Option(help="Of each topic that is created.")] = _DEFAULTS.partitions,
    replication: Annotated[int, typer.Option(help="Copies of each.")] = _DEFAULTS.replication,
    heartbeat: Annotated[bool, typer.Option("--heartbeat", help="The heartbeat's table is there.")] = False,
    cluster: Annotated[str, typer.Option(help="With strimzi: the KafkaConnect resource.")] = "connect",
    namespace: Annotated[str | None, typer.Option(help="With strimzi: the namespace.")] = None,
) -> None:
    """Print the connector: as the body of POST /connectors, or as a KafkaConnector resource; changes nothing."""
    options = ConnectorOptions(host, port, database, user, password, sslmode, partitions, replication, heartbeat)
    output, outbox = session_of(context).output, load_object(target, Outbox)
    if format is Format.JSON:
        document: dict[str, object] = {"name": connector_name(outbox), "config": connector_config(outbox, options)}
        output.text(json.dumps(document, indent=None if output.as_json else 2))
        return
    resource = strimzi_connector(outbox, cluster, options, namespace)
    output.text(json.dumps(resource) if output.as_json else as_yaml(resource))
