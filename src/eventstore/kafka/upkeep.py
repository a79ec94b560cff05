"""What an operator does about a log's topics: plan, apply, check. The log need not be open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from eventstore.core.inventory import Inventory
from eventstore.environment import Environment
from eventstore.kafka.administration import Administration
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import ForbiddenError
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.proof import prove_fence
from eventstore.kafka.provision import Plan, plan_topics
from eventstore.kafka.rights import Role, grant_commands, rights_of
from eventstore.kafka.schema import Known, read_known
from eventstore.kafka.wire import Wire


class TopicUpkeep:
    """Looks after the topics of one log.

    Args:
        connection: The brokers; its user needs the rights of an operator to apply, and to prove the fence.
        names: Of the topics.
        inventory: What the application consists of.
        options: Partitions, replication, production, and where the indexes are.
        environment: Clock and randomness.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        inventory: Inventory,
        options: KafkaOptions,
        environment: Environment,
    ) -> None:
        self._connection: Final = connection
        self._names: Final = names
        self._inventory: Final = inventory
        self._options: Final = options
        self._environment: Final = environment

    def of(self, inventory: Inventory) -> TopicUpkeep:
        """Give what looks after all that an application has, its public topics too.

        Args:
            inventory: What it consists of.
        """
        return TopicUpkeep(self._connection, self._names, inventory, self._options, self._environment)

    async def plan(self) -> Plan:
        """Tell what there is to do; changes nothing.

        Raises:
            ConfigurationError: The brokers refuse this user or this connection.
            LogUnavailableError: They cannot be reached.
        """
        return await self._plan(Administration(self._connection))

    async def apply(self) -> Plan:
        """Create what is missing, put unsafe settings right, and give what remains; a second time changes nothing.

        Raises:
            ConfigurationError: This user may not.
            LogUnavailableError: The brokers cannot be reached.
        """
        administration = Administration(self._connection)
        plan = await self._plan(administration)
        await administration.create(plan.missing)
        for topic, changes in plan.changes.items():
            await administration.change(topic, changes)
        return await self._plan(administration)

    async def prove_fence(self) -> bool:
        """Return True if the cluster keeps former owners out, False if this user may not create a topic to try it on.

        Raises:
            ConfigurationError: It does not, or the connection is refused.
            LogUnavailableError: The brokers cannot be reached.
        """
        administration = Administration(self._connection)
        await administration.cluster()  # names what is wrong with the connection
        async with Wire(self._connection) as wire:
            try:
                await prove_fence(wire, administration, self._names, self._environment)
            except ForbiddenError:
                return False
        return True

    def grants(self, role: Role, user: str, *, sends: bool = False) -> list[str]:
        """Give the commands of Kafka's own tools that grant a role's least rights; nothing is granted here.

        Args:
            role: What the user is to do.
            user: Who.
            sends: A projection that also sends commands.
        """
        rights = rights_of(role, self._names, self._inventory, sends=sends)
        return grant_commands(rights, user, self._connection.bootstrap)

    async def _plan(self, administration: Administration) -> Plan:
        known = await asyncio.to_thread(self._known)
        categories, public = self._inventory.categories, self._inventory.public_topics
        return await plan_topics(administration, self._names, categories, self._options, known, public)

    def _known(self) -> Known:
        """What the indexes of this machine were read from."""
        files = sorted(Path(self._options.directory).glob(f"{self._names.prefix}.*.db"))
        return {log_id: topics for file in files for log_id, topics in read_known(file).items()}
