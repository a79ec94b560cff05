"""What an application is for Kubernetes: found by making it in the environment that its containers will have."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from eventstore.core.errors import ConfigurationError
from eventstore.core.inventory import Inventory
from eventstore.core.reactions import Outgoing
from eventstore.deploy.environments import Environment
from eventstore.kafka import KafkaLog
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.rights import Right, Role, rights_of
from eventstore.kafka.topics import WantedTopic, inbox_dead_topic, wanted_topics
from eventstore.prepared import unprepared
from eventstore.store import EventStore

Component: TypeAlias = Literal["writer", "worker", "relay", "inbox", "operator"]
"""What a process is for."""
Document: TypeAlias = dict[str, object]
"""A Kubernetes resource."""

INDEX_DIRECTORY: Final = "/var/lib/eventstore"
PASSWORD_FILE: Final = "/etc/eventstore/user/password"  # noqa: S105 - a path
AUTHORITY_FILE: Final = "/etc/eventstore/authority/ca.crt"
TLS_PORT: Final = 9093
_USERS: Final[Mapping[Component, Role]] = {
    "writer": "writer",
    "worker": "projection",
    "relay": "relay",
    "inbox": "writer",  # it owns partitions, too
    "operator": "operator",
}
_SPARE_SECONDS: Final = 10
"""To start, log in and say goodbye, beyond what draining takes."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An application in an environment, with everything that manifests are made from.

    Attributes:
        app: The application, as `module:app`.
        stage: The environment's name.
        environment: The environment.
        names: Of what is on the cluster.
        inventory: What the application consists of.
        topics: As they are to be.
        receives: Whether it has inboxes, on whichever cluster.
        shared: How many partitions there are to share for the read model that reads most.
        drain_seconds: How long a process may take to finish what is under way.
    """

    app: str
    stage: str
    environment: Environment
    names: Names
    inventory: Inventory
    topics: tuple[WantedTopic, ...]
    receives: bool
    shared: int
    drain_seconds: int

    @property
    def name(self) -> str:
        """What the names of all resources begin with."""
        return self.names.prefix.replace(".", "-").replace("_", "-")

    @property
    def has_read_models(self) -> bool:
        """Whether workers are needed."""
        return bool(self.inventory.read_models or self.inventory.processes)

    @property
    def components(self) -> tuple[Component, ...]:
        """Which processes the application needs."""
        needed: dict[Component, bool] = {
            "writer": True,
            "worker": self.has_read_models,
            "relay": bool(self.inventory.publications),
            "inbox": self.receives,
            "operator": True,
        }
        return tuple(component for component, wanted in needed.items() if wanted)

    def named(self, component: str) -> str:
        """Name what belongs to a component."""
        return f"{self.name}-{component}"

    def user(self, component: Component) -> str:
        """Name the user that a component logs in as; its role is part of it."""
        return self.named(_USERS[component])

    def rights(self, component: Component) -> list[Right]:
        """Give what a component's user may do, and nothing more."""
        sends = component == "worker" and bool(self.inventory.processes)
        return rights_of(_USERS[component], self.names, self.inventory, sends=sends)

    def selector(self, component: Component) -> dict[str, str]:
        """Give the labels that a component's pods are found by."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/component": component}

    def metadata(self, name: str, component: str | None = None, **labels: str) -> Document:
        """Give the metadata of a resource.

        Args:
            name: Its name.
            component: What it belongs to, if to one component.
            labels: Further labels.
        """
        common = {"app.kubernetes.io/name": self.name, "app.kubernetes.io/instance": f"{self.name}-{self.stage}"}
        if component is not None:
            common["app.kubernetes.io/component"] = component
        common |= {"app.kubernetes.io/part-of": self.name, "app.kubernetes.io/managed-by": "eventstore"}
        return {"name": name, "namespace": self.environment.namespace, "labels": common | labels}


def draw(app: str, stage: str, environment: Environment, make: Callable[[], EventStore]) -> Blueprint:
    """Find out what an application is in an environment; nothing is opened.

    Args:
        app: The application, as `module:app`.
        stage: The environment's name.
        environment: The environment.
        make: Makes the application's store.

    Raises:
        ConfigurationError: Its log is not on Kafka there, or it does not heed its environment.
    """
    secrets = dict.fromkeys(environment.secrets, "secret")
    with _variables({**variables_of(app, environment), **environment.variables, **secrets}):
        store = make()
    log = unprepared(store.log)
    if not isinstance(log, KafkaLog):
        message = (
            f"--app {app} keeps its log in a {type(log).__name__} even where EVENTSTORE_BOOTSTRAP is set: only a "
            "KafkaLog is deployed; make it KafkaLog(Connection.from_environment(), ...) there"
        )
        raise ConfigurationError(message)
    _check(app, log.options, environment)
    _check_places(app, stage, store, environment)
    inventory = store.application.inventory(inboxes=store.source is None)
    options = log.options
    topics = [
        *wanted_topics(log.names, inventory.categories, options, environment.brokers, inventory.public_topics),
        *(inbox_dead_topic(log.names, inbox.name, options, environment.brokers) for inbox in inventory.inboxes),
    ]
    return Blueprint(
        app,
        stage,
        environment,
        log.names,
        inventory,
        tuple(topics),
        bool(store.application.inboxes),
        _shared(store, environment),
        round(options.drain_seconds + options.commit_seconds + store.settings.timeout) + _SPARE_SECONDS,
    )


def variables_of(app: str, environment: Environment) -> dict[str, str]:
    """Give the variables that every container gets, but for the user's name and for secrets.

    Args:
        app: The application, as `module:app`.
        environment: The environment.
    """
    return {
        "EVENTSTORE_APP": app,
        "EVENTSTORE_BOOTSTRAP": f"{environment.cluster}-kafka-bootstrap:{TLS_PORT}",
        "EVENTSTORE_AUTHORITY": AUTHORITY_FILE,
        "EVENTSTORE_PARTITIONS": str(environment.partitions),
        "EVENTSTORE_PRODUCTION": "true" if environment.production else "false",
        "EVENTSTORE_DIRECTORY": INDEX_DIRECTORY,
    }


@contextmanager
def _variables(given: Mapping[str, str]) -> Generator[None]:
    """Have the environment that containers will have; what is only known there stands for itself."""
    placeholders = {
        "EVENTSTORE_USER": "user",
        "EVENTSTORE_PASSWORD_FILE": PASSWORD_FILE,
        "EVENTSTORE_QUERY_STORE": "postgresql+asyncpg://query-store/url",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTSTORE_")}
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update({**kept, **placeholders, **given})
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _check(app: str, options: KafkaOptions, environment: Environment) -> None:
    """Refuse an application that would work with other settings than those that its topics are made with."""
    wanted = {
        "partitions": environment.partitions,
        "production": environment.production,
        "directory": INDEX_DIRECTORY,
    }
    for name, value in wanted.items():
        if getattr(options, name) != value:
            message = (
                f"--app {app} works with {name}={getattr(options, name)!r} where EVENTSTORE_{name.upper()} says "
                f"{value!r}: make its log with options=KafkaOptions.from_environment()"
            )
            raise ConfigurationError(message)


def _check_places(app: str, stage: str, store: EventStore, environment: Environment) -> None:
    if store.application.has_read_models and environment.query_store is None:
        message = f"--app {app} has read models, but [{stage}] does not say where: add query_store = {{...}} to it"
        raise ConfigurationError(message)
    if not store.application.has_read_models and environment.writers.command is None:
        message = (
            f"--app {app} has no read models, so `eventstore worker` has nothing to do: say what the writers of [{stage}] "
            "run, with writers.command = [...]"
        )
        raise ConfigurationError(message)


def _shared(store: EventStore, environment: Environment) -> int:
    categories = store.application.categories
    widths = [len(each.definition.categories or categories) for each in store.application.subscribers(_send_nothing)]
    return max(widths, default=0) * environment.partitions


async def _send_nothing(outgoing: Outgoing) -> None:
    """Stand in for what executes commands, in an application that is only looked at."""
