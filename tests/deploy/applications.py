"""Applications for Kubernetes, one as `--app` names it, and their rendered documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from eventstore import Aggregate, Command, Event, EventStore, Projection, Recorded, Row, SqliteLog, evolves, projects
from eventstore.deploy import Blueprint, Environment, draw, read_environments, render
from eventstore.inbox import Inbox, Received, Send, receives
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.publishing import Publication, publishes

Document = dict[str, Any]
ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "deploy" / "environments.toml"
STAGES = ("dev", "staging", "production")


class Opened(Event, type="account.opened"):
    pass


class Account(Aggregate, category="account"):
    @evolves
    def opened(self, event: Opened) -> None: ...


class Drawn(Event, type="card_issue.drawn"):
    pass


class Card(Aggregate, category="card_issue"):
    @evolves
    def drawn(self, event: Drawn) -> None: ...


class AccountRow(Row):
    id: str


class Accounts(Projection[AccountRow], name="accounts", version=1, key="id"):
    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(id=at.stream.id)


class Credit(Command):
    pass


class Payments(Inbox, name="payments", topics=["paid.public"]):
    @receives
    def paid(self, event: Drawn, at: Received) -> Send | None:
        return Send(Account, at.key, Credit())


class Openings(Publication, name="openings"):
    @publishes("bank.openings", "audit.openings")
    def opened(self, event: Opened, at: Recorded) -> Opened:
        return event


def bank(prefix: str = "bank", **parts: Any) -> Callable[[], EventStore]:
    """Give what makes a store; by default with one aggregate and nothing else."""

    def make() -> EventStore:
        log = KafkaLog(
            Connection.from_environment(),
            prefix=prefix,
            options=KafkaOptions.from_environment(),
        )
        return EventStore(log, **{"aggregates": [Account], "query_store": "postgresql://x/y", **parts})

    return make


def deaf() -> EventStore:
    """Make a store that does not heed its environment."""
    log = KafkaLog(Connection("broker:9092", tls=True), prefix="bank", options=KafkaOptions(partitions=5))
    return EventStore(log, aggregates=[Account])


def embedded() -> EventStore:
    """Make a store that is not on Kafka, whatever its environment says."""
    return EventStore(SqliteLog("bank.db"), aggregates=[Account])


def environment(stage: str = "production", **changes: Any) -> Environment:
    """Give one of the example's environments, with other fields."""
    return read_environments(FILE)[stage].model_copy(update=changes)


def drawn(make: Callable[[], EventStore], stage: str = "production", **changes: Any) -> Blueprint:
    """Draw an application in an environment."""
    return draw("bank:store", stage, environment(stage, **changes), make)


def documents(files: dict[str, str]) -> list[Document]:
    """Parse what was rendered, without the part for kustomize."""
    return [
        document
        for name, text in files.items()
        if name != "kustomization.yaml"
        for document in yaml.safe_load_all(text)
    ]


def rendered(make: Callable[[], EventStore], stage: str = "production", **changes: Any) -> list[Document]:
    """Render an application and parse the result."""
    return documents(render(drawn(make, stage, **changes)))


def checked_in(stage: str) -> list[Document]:
    """Parse the example's files."""
    return documents(
        {path.name: path.read_text() for path in sorted((FILE.parent / "rendered" / stage).glob("*.yaml"))}
    )


def of_kind(found: Sequence[Document], *kinds: str) -> list[Document]:
    """Give the documents of some kinds."""
    return [document for document in found if document["kind"] in kinds]


def named(found: Sequence[Document], kind: str, name: str) -> Document:
    """Give one document."""
    (document,) = [each for each in of_kind(found, kind) if each["metadata"]["name"] == name]
    return document


def pods_of(found: Sequence[Document]) -> dict[str, Document]:
    """Give the pod templates by component."""
    templates = [document["spec"]["template"] for document in of_kind(found, "StatefulSet", "Deployment", "Job")]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}
