"""Examples, each a package that runs with `python -m examples.<name>`."""
