"""Measurements, each a module that runs with `python -m benchmarks.<name>`."""
