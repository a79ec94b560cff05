"""`dev`: servers for a developer's machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from eventstore.cli.running import session_of
from eventstore.core.errors import StoreUnavailableError
from eventstore.testing.kafka import KafkaCluster

app = typer.Typer(help="Servers for development.", no_args_is_help=True)
_POLL_SECONDS = 0.2


@app.callback()
def development() -> None:
    """Run servers that go away again."""


@app.command()
def kafka(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes; 3 tolerate the death of one.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65_000, help="The first node's port; the others follow.")] = 9092,
    keep: Annotated[Path | None, typer.Option(help="Where to keep the data; otherwise it is removed.")] = None,
) -> None:
    """Run Apache Kafka until Ctrl-C: it is fetched once, and nothing is left behind but what --keep names."""
    output = session_of(context).output
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output.note("starting ...")
    try:
        with KafkaCluster(nodes=nodes, port=port, directory=keep) as cluster:
            if output.as_json:
                output.document({"bootstrap": cluster.bootstrap})
            output.note(f"Apache Kafka answers at {cluster.bootstrap}")
            output.note(f"  tests use it with: export KAFKA_BOOTSTRAP={cluster.bootstrap}")
            output.note("  Ctrl-C ends it" + ("." if keep is None else f" and keeps its data in {keep}."))
            _watch(cluster)
    except KeyboardInterrupt:
        output.note("ended")


def _watch(cluster: KafkaCluster) -> None:
    while True:
        for node in cluster.nodes:
            if node.pid is None:
                message = f"Kafka node {node.id} ended; it logged:\n{node.log_tail()}"
                raise StoreUnavailableError(message)
        time.sleep(_POLL_SECONDS)
