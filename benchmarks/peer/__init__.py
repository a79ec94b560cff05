"""Our store against PyPI's `eventsourcing`, measured in turns on one machine.

`python -m benchmarks.peer` runs both sides; `--side eventsourcing` runs one alone. What is equal on both sides:
the events' names, fields and ids (`workload`), one SQLite file in WAL mode with `synchronous=FULL` for the log and
for the read model, no aggregate cache, no snapshots, a fresh process for every measurement.
"""
