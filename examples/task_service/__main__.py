"""Run the service: `python -m examples.task_service [--port 8000]`, or `make service`."""

import argparse
import os
from contextlib import ExitStack

import uvicorn

from eventstore.telemetry import Telemetry
from eventstore.telemetry.prometheus import served
from examples.task_domain.app import store as task_store
from examples.task_service.app import service, tune


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.task_service", description="The task domain as a service."
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--metrics-port", type=int, help="serve metrics for Prometheus there, and to nobody else")
    parser.add_argument("--metrics-address", default="127.0.0.1", help="where (default: this machine only)")
    arguments = parser.parse_args()
    where = os.environ.get("EVENTSTORE_BOOTSTRAP") or os.environ.get("TASKS_DB", "tasks.db")
    print(f"Tasks at http://{arguments.host}:{arguments.port}, kept in {where}; Ctrl-C ends it.", flush=True)
    port: int | None = arguments.metrics_port
    telemetry = None if port is None else Telemetry()
    app = service(lambda: task_store().with_settings(telemetry=telemetry))
    tune()
    with ExitStack() as serving:
        if telemetry is not None and port is not None:
            serving.enter_context(served(telemetry.measurements, port, arguments.metrics_address))
        uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
