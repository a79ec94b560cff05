"""A mistake in the file of environments is named with its place and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eventstore.core.errors import ConfigurationError
from eventstore.deploy import read_environments
from eventstore.kafka import KafkaOptions
from tests.deploy.applications import ROOT

GOOD = """
[production]
namespace = "shop"
brokers = 3
partitions = 12
image = "registry.example/shop:1.0.0"
query_store = { secret = "shop-query-store", namespace = "postgres" }
monitoring = { runbook = "https://docs.example/" }
"""


def read(directory: Path, text: str) -> object:
    path = directory / "environments.toml"
    path.write_text(text)
    return read_environments(path)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "environments.toml"
    path.write_text(GOOD)
    environment = read_environments(path)["production"]
    assert (environment.cluster, environment.writers.replicas, environment.production) == ("events", 3, True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + "partition = 3", r"\[production\] partition: there is no such key: did you mean partitions\?$"),
        (GOOD + "[production.writers]\nreplcas = 3", r"\[production\] writers.replcas: .* did you mean replicas\?"),
        (
            GOOD + "[production.relays]\nnonsense = 3",
            r"\[production\] relays.nonsense: there is no such key: remove it",
        ),
        (GOOD.replace("12", '"12"'), r"\[production\] partitions: Input should be a valid integer"),
        (GOOD.replace("12", "0"), r"\[production\] partitions: Input should be greater than or equal to 1"),
        (GOOD.replace("brokers = 3\n", ""), r"\[production\] brokers: it is missing: add it"),
        (GOOD.replace('"shop"', '"Shop"'), r"\[production\] namespace: 'Shop' is not allowed there: it has to match"),
        (GOOD.replace(":1.0.0", ""), r"\[production\] image: 'registry.example/shop' is not allowed"),
        (GOOD.replace("1.0.0", "latest"), r"\[production\] image: Value error, latest is another image every day"),
        (
            GOOD.replace(', namespace = "postgres"', ""),
            r"\[production\] query_store: .*give either namespace or network",
        ),
        (GOOD.replace("[production]", "[production"), r"environments.toml is no TOML: "),
        ("", r"names no environment: write a table for each"),
        ("production = 3", r"\[production\]: Input should be"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path, text)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)brokers: .*\n.*image: "):
        read(tmp_path, GOOD.replace("brokers = 3\n", "").replace(":1.0.0", ""))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.toml cannot be read \(No such file.*--environments"):
        read_environments(tmp_path / "none.toml")


def test_a_log_takes_its_options_from_the_environment() -> None:
    variables = {"EVENTSTORE_PARTITIONS": "7", "EVENTSTORE_PRODUCTION": "true", "EVENTSTORE_DIRECTORY": "/data"}
    options = KafkaOptions.from_environment(variables)
    assert (options.partitions, options.production, options.directory, options.member) == (7, True, "/data", None)
    assert KafkaOptions.from_environment({"EVENTSTORE_MEMBER": ""}) == KafkaOptions()


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("EVENTSTORE_PARTITIONS", "many", "EVENTSTORE_PARTITIONS='many': write a positive number"),
        ("EVENTSTORE_PARTITIONS", "0", r"KafkaOptions\(partitions=0\) makes no sense"),
        ("EVENTSTORE_PRODUCTION", "maybe", "EVENTSTORE_PRODUCTION='maybe': write true or false"),
    ],
)
def test_nonsense_in_the_environment_is_named(variable: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        KafkaOptions.from_environment({variable: value})


def test_the_file_that_the_guide_shows_is_one(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/deployment.md").read_text(), re.DOTALL)
    path = tmp_path / "environments.toml"
    path.write_text(shown)
    environment = read_environments(path)["production"]
    assert (environment.reaches[0].port, environment.index.storage_class, environment.relays.begin) == (
        8443,
        "fast",
        True,
    )
