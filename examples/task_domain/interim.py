"""Stands in for `Connection.from_environment()`."""

import os

from eventstore.kafka import Connection


def connection() -> Connection:
    user = os.environ.get("EVENTSTORE_USER")
    return Connection(
        os.environ["EVENTSTORE_BOOTSTRAP"],
        user=user,
        password="later" if user else None,
        authority=os.environ.get("EVENTSTORE_AUTHORITY"),
    )
