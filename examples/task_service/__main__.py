"""Run the service: `python -m examples.task_service [--port 8000]`, or `make service`."""

import argparse
import os

import uvicorn

from examples.task_service.app import service, tune


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.task_service", description="The task domain as a service."
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    where = os.environ.get("TASKS_KAFKA") or os.environ.get("TASKS_DB", "tasks.db")
    print(f"Tasks at http://{arguments.host}:{arguments.port}, kept in {where}; Ctrl-C ends it.", flush=True)
    app = service()
    tune()
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
