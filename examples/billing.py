"""A service on PostgreSQL whose events leave through an outbox: all that `eventstore outbox` has to know of it."""

from sqlalchemy import MetaData

from eventstore.outbox import Outbox, outbox_table

metadata = MetaData()
outbox = Outbox(outbox_table(metadata), name="billing")
