"""What differs from one environment to the next: a TOML file beside the application, one table for each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from eventstore.core.errors import ConfigurationError

Label: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name as Kubernetes wants it."""
Quantity: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]+(?:\.[0-9]+)?(?:m|[kMGT]i?)?$")]
"""An amount as Kubernetes writes it: `500m`, `512Mi`."""
Port: TypeAlias = Annotated[int, Field(ge=1, le=65_535)]


def _fixed(image: str) -> str:
    if image.endswith(":latest"):
        message = "latest is another image every day: give the tag or the digest of one version"
        raise ValueError(message)
    return image


Image: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9._:/-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$"),
    AfterValidator(_fixed),
]
"""An image with the tag or digest of one version."""

_WHAT_TO_DO: Final = {
    "missing": "it is missing: add it",
    "string_pattern_mismatch": "{input!r} is not allowed there: it has to match {pattern}",
}
_UNKNOWN: Final = "extra_forbidden"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(_Table):
    """What a container asks for, and may take at most.

    Attributes:
        cpu: Asked for.
        memory: Asked for, and the most it gets.
        most_cpu: The most it gets.
    """

    cpu: Quantity = "250m"
    memory: Quantity = "512Mi"
    most_cpu: Quantity = "2"


class Volume(_Table):
    """Where a process keeps its index, which it restores from the log if it is lost.

    Attributes:
        size: Of each process's volume.
        storage_class: Which class; None for the cluster's default.
    """

    size: Quantity = "10Gi"
    storage_class: Label | None = None


class Serving(_Table):
    """How a web service is asked.

    Attributes:
        port: Where it listens.
        live: The path of its liveness.
        ready: The path of its readiness.
        clients: The namespace that requests come from, such as the ingress controller's.
    """

    port: Port = 8000
    live: str = "/health/live"
    ready: str = "/health/ready"
    clients: Label = "ingress-nginx"


class Writers(_Table):
    """The processes that own the log's partitions and execute commands.

    Attributes:
        replicas: How many.
        command: What runs in the container; None for `eventstore worker`, which also keeps the read models.
        serving: How it is asked, if it is a web service.
        variables: Further environment variables.
        resources: Of each.
    """

    replicas: int = Field(default=3, ge=1)
    command: list[str] | None = None
    serving: Serving | None = None
    variables: dict[str, str] = {}
    resources: Resources = Resources()


class Workers(_Table):
    """The processes that keep the read models.

    Attributes:
        replicas: At least so many.
        most: At most so many; None for as many as there are partitions to share.
        lag: Events behind, for each of them, from which on there are to be more.
        resources: Of each.
    """

    replicas: int = Field(default=1, ge=1)
    most: int | None = Field(default=None, ge=1)
    lag: int = Field(default=10_000, ge=1)
    resources: Resources = Resources()


class Relays(_Table):
    """The processes that publish to public topics.

    Attributes:
        replicas: How many.
        begin: Publish from the log's beginning where no position is known; wanted once, when a publication is new.
        resources: Of each.
    """

    replicas: int = Field(default=2, ge=1)
    begin: bool = False
    resources: Resources = Resources()


class Inboxes(_Table):
    """The processes that execute what other systems' events lead to.

    Attributes:
        replicas: How many.
        resources: Of each.
    """

    replicas: int = Field(default=2, ge=1)
    resources: Resources = Resources()


class Place(_Table):
    """Somewhere that the application speaks to.

    Attributes:
        port: Where it listens.
        namespace: The namespace it runs in, if it runs in the cluster.
        network: Its addresses otherwise, such as `10.20.0.0/16`.
    """

    port: Port
    namespace: Label | None = None
    network: Annotated[str, Field(pattern=r"^[0-9a-f.:]+/[0-9]{1,3}$")] | None = None

    @model_validator(mode="after")
    def _placed_once(self) -> Self:
        if (self.namespace is None) == (self.network is None):
            message = "say where it is: give either namespace or network"
            raise ValueError(message)
        return self


class SecretKey(_Table):
    """A value that somebody put into a Secret.

    Attributes:
        secret: The Secret.
        key: Under which key.
    """

    secret: Label
    key: str


class Database(Place):
    """The PostgreSQL of the read models.

    Attributes:
        port: Where it listens.
        secret: The Secret that holds its URL, `postgresql+asyncpg://user:password@host/database`.
        key: Under which key.
    """

    port: Port = 5432
    secret: Label
    key: str = "url"


class Monitoring(_Table):
    """Who watches.

    Attributes:
        namespace: Prometheus's.
        prometheus: Its address, which the number of workers is decided by.
        runbook: The address of the page that says what to do about each alert.
    """

    namespace: Label = "monitoring"
    prometheus: str = "http://prometheus-operated.monitoring.svc:9090"
    runbook: str


class Environment(_Table):
    """One environment.

    Attributes:
        namespace: Where everything runs, and Kafka with it.
        cluster: The name of the Kafka resource.
        brokers: How many it has; three or more are held to what production needs.
        partitions: Of each category's topics; fixed for life.
        image: What the containers run.
        metrics_port: Where processes serve metrics and their health.
        restore_seconds: How long a process may restore its index before it is given up.
        index: Where it keeps it.
        writers: Own partitions.
        workers: Keep read models.
        relays: Publish.
        inboxes: Receive.
        query_store: Holds the read models; None if there are none.
        monitoring: Watches.
        reaches: Where else all of them speak to, such as a schema registry or the brokers that an inbox reads from.
        variables: Further environment variables of all.
        secrets: Further environment variables of all, each from a Secret.
    """

    namespace: Label
    cluster: Label = "events"
    brokers: int = Field(ge=1)
    partitions: int = Field(ge=1)
    image: Image
    metrics_port: Port = 9464
    restore_seconds: int = Field(default=600, ge=5)
    index: Volume = Volume()
    writers: Writers = Writers()
    workers: Workers = Workers()
    relays: Relays = Relays()
    inboxes: Inboxes = Inboxes()
    query_store: Database | None = None
    monitoring: Monitoring
    reaches: list[Place] = []
    variables: dict[str, str] = {}
    secrets: dict[str, SecretKey] = {}

    @property
    def production(self) -> bool:
        """Whether topics are only verified, and held to what survives the loss of a broker."""
        return self.brokers >= 3  # noqa: PLR2004 - one may be lost while another one is restarted


_FILE: Final = TypeAdapter[dict[Label, Environment]](dict[Label, Environment])


def read_environments(path: Path) -> Mapping[str, Environment]:
    """Read every environment; a mistake in any of them is named with its place.

    Args:
        path: The TOML file.

    Raises:
        ConfigurationError: It cannot be read, is no TOML, or has a key or value that is not known.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        message = f"{path} cannot be read ({cause.strerror}): name the file with --environments"
        raise ConfigurationError(message) from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        message = f"{path} is no TOML: {cause}"
        raise ConfigurationError(message) from cause
    try:
        found = _FILE.validate_python(content)
    except ValidationError as cause:
        message = "\n".join(_explained(path, error) for error in cause.errors(include_url=False))
        raise ConfigurationError(message) from cause
    if not found:
        message = f"{path} names no environment: write a table for each, such as [production]"
        raise ConfigurationError(message)
    return found


def _explained(path: Path, error: ErrorDetails) -> str:
    place = [str(part) for part in error["loc"]]
    where = f"{path}: " + (f"[{place[0]}] {'.'.join(place[1:])}".rstrip() + ": " if place else "")
    if error["type"] == _UNKNOWN:
        close = get_close_matches(place[-1], _keys_at(place[1:-1]), 1)
        return f"{where}there is no such key" + (f": did you mean {close[0]}?" if close else ": remove it")
    context: dict[str, Any] = {"input": error["input"], **error.get("ctx", {})}
    return where + _WHAT_TO_DO.get(error["type"], error["msg"]).format(**context)


def _keys_at(place: list[str]) -> list[str]:
    table: type[BaseModel] = Environment
    for name in place:
        default: object = table.model_fields[name].get_default(call_default_factory=True)
        if not isinstance(default, BaseModel):
            return []
        table = type(default)
    return [*table.model_fields]
