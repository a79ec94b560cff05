"""An outbox for services whose truth is PostgreSQL: their events leave for Kafka when their transactions commit.

`outbox_table` belongs in the service's migrations, `Outbox.add` in its transactions; `eventstore outbox sql` and
`eventstore outbox connector` print what the database and Kafka Connect need.
"""

from eventstore.sql.connector import ConnectorOptions, connector_config, strimzi_connector
from eventstore.sql.outbox import Outbox, outbox_table

__all__ = ["ConnectorOptions", "Outbox", "connector_config", "outbox_table", "strimzi_connector"]
