"""The test kit: scenarios, an in-memory log, a manual clock, faults, contract suites and a real PostgreSQL."""
