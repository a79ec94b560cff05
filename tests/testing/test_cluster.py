"""A member of a cluster in memory keeps the contract of logs while it owns everything."""

from __future__ import annotations

import pytest

from eventstore.core.errors import ConfigurationError, LogUnavailableError, OwnershipLostError
from eventstore.ports import StreamQuery
from eventstore.testing.cluster import ClusterMember, MemoryCluster
from eventstore.testing.log_contract import LogContract, commit_of


class TestClusterMember(LogContract):
    @pytest.fixture(autouse=True)
    def _cluster(self) -> None:
        self.cluster = MemoryCluster("only")

    def open_log(self) -> ClusterMember:
        return self.cluster.member("only")


async def test_only_the_owner_of_a_partition_may_write_it() -> None:
    cluster = MemoryCluster("a", "b", partitions=1)
    async with cluster.member("a") as one, cluster.member("b") as other:
        with pytest.raises(OwnershipLostError, match="p0 is owned by a, not by b"):
            await other.commit("p0", [commit_of("task-1", 0)])
        cluster.move("p0", "b")
        await other.commit("p0", [commit_of("task-1", 0)])
        with pytest.raises(OwnershipLostError, match="p0 is owned by b, not by a"):
            await one.commit("p0", [commit_of("task-1", 1)])
        with pytest.raises(OwnershipLostError, match="p0 is owned by b, not by a"):
            await one.erase("task-1", 1)
        (events,) = await one.read_streams([StreamQuery("task-1")])
    assert len(events) == 1


async def test_a_crashed_member_can_do_nothing_until_it_is_opened_again() -> None:
    cluster = MemoryCluster("a", partitions=1)
    member = cluster.member("a")
    async with member:
        cluster.crash("a")
        with pytest.raises(LogUnavailableError, match="member a has crashed"):
            await member.commit("p0", [commit_of("task-1", 0)])
    async with member:
        await member.commit("p0", [commit_of("task-1", 0)])


def test_a_cluster_without_members_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="name the members"):
        MemoryCluster()
