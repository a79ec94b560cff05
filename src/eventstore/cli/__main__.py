"""`python -m eventstore.cli`, for where scripts are not on the path."""

from eventstore.cli import main

main()
