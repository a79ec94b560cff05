"""What is deployed is what is tested: each rendered user can do what its role is for, and nothing else is allowed."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.testing.kafka import KafkaCluster
from tests.deploy.applications import checked_in
from tests.deploy.applying import apply_topics, apply_users
from tests.deploy.attempts import TOPICS, everything_tried
from tests.kafka.connections import connection_to
from tests.kafka.securing import SecureKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def cluster(secure_kafka: SecureKafka) -> KafkaCluster:
    """With the rendered topics and users of development, and a topic of somebody else."""
    cluster, documents = secure_kafka.cluster, checked_in("dev")
    apply_topics(cluster.client_settings(), documents)
    admin = AdminClient(cluster.client_settings())
    admin.create_topics([NewTopic(TOPICS["foreign"], 1, 1)])[TOPICS["foreign"]].result(15)
    asyncio.run(apply_users(cluster, documents))
    return cluster


OWN = ("events", "other events", "commands", "replies")
LOOKS = {f"{verb} {topic}" for topic in OWN for verb in ("describe", "see the settings of")}
PUBLIC = {f"{verb} public" for verb in ("describe", "see the settings of")}
# Whatever is not here has to be refused.
ALLOWED = {
    "tasks-writer": LOOKS
    | {f"{verb} {topic}" for topic in ("events", "other events", "commands", "replies") for verb in ("read", "write")}
    | {f"{verb} the group of {name}" for name in ("owners", "read model") for verb in ("be in", "look at")}
    | {"take the transactional id of events"},
    "tasks-projection": LOOKS
    | {"read events", "read other events", "read replies", "write commands"}  # it runs a process manager
    | {"be in the group of read model", "look at the group of read model"},
    "tasks-relay": LOOKS
    | PUBLIC
    | {"read events", "write public", "take the transactional id of relay"}
    | {"be in the group of relay", "look at the group of relay"},
    "tasks-operator": LOOKS
    | PUBLIC
    | {f"{verb} {topic}" for topic in (*OWN, "public") for verb in ("create", "change the settings of")}
    | {"create scratch", "delete scratch", "take the transactional id of fence"}
    | {f"look at the group of {name}" for name in ("owners", "read model", "relay")},
}


@pytest.mark.parametrize("user", ALLOWED)
async def test_a_user_may_do_what_its_role_needs_and_everything_else_is_refused(
    cluster: KafkaCluster, user: str
) -> None:
    tried = await everything_tried(connection_to(cluster, user))
    assert {attempt for attempt, allowed in tried.items() if allowed} == ALLOWED[user]
    assert len(tried) > 80
