"""What the database and Kafka Connect need for an outbox is printed from its definition."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, cast

import pytest
import yaml
from sqlalchemy import Column, Integer, MetaData, Table

from eventstore import ConfigurationError, Event
from eventstore.core.errors import InvalidIdError
from eventstore.outbox import ConnectorOptions, Outbox, connector_config, outbox_table, strimzi_connector
from tests.cli.conftest import command
from tests.deploy.definitions import Definitions, directory

TARGET = "tests.sql.test_outbox:outbox"
outbox = Outbox(outbox_table(MetaData()), name="billing")


class Paid(Event, type="billing.paid"):
    number: int


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "EVENTSTORE_APP"}
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=environment)


def test_the_statements_end_with_the_slot_from_which_on_nothing_is_missed() -> None:
    statements = outbox.sql("carrier")
    assert statements[0].startswith("CREATE TABLE outbox (")
    assert statements[1:] == [
        "CREATE PUBLICATION billing_outbox FOR TABLE public.outbox WITH (publish = 'insert')",
        "CREATE ROLE carrier WITH LOGIN REPLICATION",
        "GRANT USAGE ON SCHEMA public TO carrier",
        "GRANT SELECT ON public.outbox TO carrier",
        "SELECT pg_create_logical_replication_slot('billing_outbox', 'pgoutput')",
    ]
    printed = run("outbox", "sql", TARGET, "--role", "carrier")
    assert (printed.returncode, printed.stdout) == (0, ";\n".join(statements) + ";\n")
    as_json = run("--json", "outbox", "sql", TARGET, "--role", "carrier", "--heartbeat")
    assert json.loads(as_json.stdout) == outbox.sql("carrier", heartbeat=True)


def test_a_table_in_a_schema_of_its_own_is_named_with_it() -> None:
    own = Outbox(outbox_table(MetaData(), "events", schema="shop"), name="shop", topic="public.{category}")
    assert "GRANT SELECT ON shop.events TO debezium" in own.sql("debezium")
    config = connector_config(own)
    assert config["table.include.list"] == "shop.events"
    assert config["transforms.outbox.route.topic.replacement"] == "public.${routedByValue}"


def test_the_connector_holds_what_its_defaults_would_lose_rename_or_reorder() -> None:
    printed = run("outbox", "connector", TARGET, "--replication", "1", "--heartbeat")
    document = json.loads(printed.stdout)
    assert document == {
        "name": "billing-outbox",
        "config": connector_config(outbox, ConnectorOptions(replication=1, heartbeat=True)),
    }
    assert (
        document["config"].items()
        >= {
            "publication.autocreate.mode": "disabled",
            "snapshot.mode": "no_data",
            "tombstones.on.delete": "false",
            "extended.headers.enabled": "false",
            "errors.tolerance": "none",
            "exactly.once.support": "requested",
            "database.sslmode": "verify-full",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "io.debezium.converters.BinaryDataConverter",
            "transforms.outbox.table.expand.json.payload": "false",
            "topic.creation.default.min.insync.replicas": "1",
        }.items()
    )
    assert document["config"]["heartbeat.action.query"].startswith("INSERT INTO public.outbox_heartbeat ")


def test_a_password_is_never_part_of_it() -> None:
    refused = run("outbox", "connector", TARGET, "--password", "hunter2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "a connector's configuration is no place for a password" in refused.stderr
    assert "hunter2" not in refused.stderr
    for half in ("${env:A}hunter2", "x${env:A}", "${env}"):
        with pytest.raises(ConfigurationError, match="give a reference"):
            ConnectorOptions(password=half)


def resource() -> dict[str, Any]:
    password = "${secrets:kafka/outbox:password}"
    printed = run("outbox", "connector", TARGET, "--format", "strimzi", "--cluster", "shop", "--password", password)
    found = cast("dict[str, Any]", yaml.safe_load(printed.stdout))
    assert found == strimzi_connector(outbox, "shop", ConnectorOptions(password=password))
    return found


def test_for_strimzi_it_is_a_resource() -> None:
    found = resource()
    assert found["metadata"] == {"name": "billing-outbox", "labels": {"strimzi.io/cluster": "shop"}}
    assert found["spec"]["config"]["database.password"] == "${secrets:kafka/outbox:password}"
    assert not {"connector.class", "tasks.max"} & found["spec"]["config"].keys()


def test_strimzis_own_definition_of_the_resource_allows_it() -> None:
    folder = directory()
    if folder is None:
        pytest.skip("no definitions of Strimzi's resources: make crds, or name a folder in STRIMZI_CRDS")
    definitions = Definitions(folder)
    assert definitions.findings(resource()) == []
    assert definitions.findings({**resource(), "spec": {"tasksmax": 1}}) != []


def test_a_wrong_definition_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="the table t has no column aggregateid, .*: make it with outbox_table"
    ):
        Outbox(Table("t", MetaData(), Column("id", Integer)), name="billing")
    table = outbox_table(MetaData())
    with pytest.raises(ConfigurationError, match=r"Outbox\(name='Bill-ing'\)"):
        Outbox(table, name="Bill-ing")
    with pytest.raises(ConfigurationError, match=r"Outbox\(topic='a b'\)"):
        Outbox(table, name="billing", topic="a b")
    with pytest.raises(ConfigurationError, match="is no role"):
        outbox.sql("x; DROP TABLE outbox")
    with pytest.raises(ConfigurationError, match="give positive numbers"):
        ConnectorOptions(partitions=0)


async def test_a_stream_that_could_not_be_stored_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidIdError):
        await outbox.add(cast("Any", None), "no stream", Paid(number=1))


def test_something_else_than_an_outbox_is_refused() -> None:
    refused = run("outbox", "sql", "tests.sql.test_outbox:TARGET")
    assert refused.returncode == 2
    assert "is a str: name an Outbox, or a function that makes one" in refused.stderr
