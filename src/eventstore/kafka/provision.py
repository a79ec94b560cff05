"""Opening a log's topics: create what is missing or only verify, and refuse what would lose events."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.administration import Administration
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.schema import Known
from eventstore.kafka.topics import (
    FoundTopic,
    Kind,
    Problem,
    TopicIdentity,
    WantedTopic,
    count_problems,
    identity_problems,
    problems_of,
    wanted_topics,
)

_LOGGER: Final = logging.getLogger(__name__)


class Topics(NamedTuple):
    """The topics of an open log.

    Attributes:
        log_id: Identifies the log.
        partitions: How many each category has.
        replies: How many partitions the replies topic has.
        identities: What must not change under the topics' names while the log is open.
        sources: Of them, those that events are read from: they must be the same ones ever after.
    """

    log_id: str
    partitions: Mapping[str, int]
    replies: int
    identities: Mapping[str, TopicIdentity]
    sources: Mapping[str, TopicIdentity]


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do about a log's topics.

    Attributes:
        log_id: Which log.
        wanted: All topics, as they would be created.
        found: Those that exist.
        missing: Those that do not, and of which nothing was ever read.
        problems: What is unsafe about those that exist, or lost.
    """

    log_id: str
    wanted: Sequence[WantedTopic]
    found: Mapping[str, FoundTopic]
    missing: Sequence[WantedTopic]
    problems: Sequence[Problem]

    @property
    def changes(self) -> Mapping[str, Mapping[str, str]]:
        """By topic: the settings that `apply` puts right."""
        changes: dict[str, dict[str, str]] = {}
        for problem in self.problems:
            if problem.change is not None:
                changes.setdefault(problem.topic, {}).update([problem.change])
        return changes


async def plan_topics(
    administration: Administration,
    names: Names,
    categories: Sequence[str],
    options: KafkaOptions,
    known: Known,
    public: Sequence[str] = (),
) -> Plan:
    """Compare what a log needs with what the cluster has; changes nothing.

    Args:
        administration: Speaks to the brokers.
        names: Of the topics.
        categories: Of the log.
        options: Partitions, replication, production.
        known: What the local index was read from.
        public: Topics that publications write to.

    Raises:
        ConfigurationError: The brokers refuse this user or this connection.
        LogUnavailableError: They cannot be reached.
    """
    cluster = await administration.cluster()
    log_id = f"{cluster.id}/{names.prefix}"
    remembered: Mapping[str, TopicIdentity] = known.get(log_id, {})
    wanted = wanted_topics(names, categories, options, cluster.brokers, public)
    found = await administration.find([topic.name for topic in wanted])
    problems: list[Problem] = []
    missing: list[WantedTopic] = []
    for topic in wanted:
        recorded = remembered.get(topic.name)
        there = found.get(topic.name)
        if there is not None:
            problems += problems_of(topic, there, recorded, production=options.production)
        elif recorded is not None:
            problems += identity_problems(topic.name, None, recorded)
        else:
            missing.append(_fitting(topic, found, names))
    for category in categories:
        kinds = {
            topic.kind: found[topic.name] for topic in wanted if topic.category == category and topic.name in found
        }
        problems += count_problems(category, kinds)
    return Plan(log_id, wanted, found, missing, problems)


def _fitting(topic: WantedTopic, found: Mapping[str, FoundTopic], names: Names) -> WantedTopic:
    """Give a missing topic as many partitions as the one has whose partitions it serves."""
    other = {Kind.EVENTS: names.commands, Kind.COMMANDS: names.events}.get(topic.kind)
    there = found.get(other(topic.category)) if other else None
    return replace(topic, partitions=there.identity.partitions) if there else topic


async def open_topics(
    administration: Administration,
    names: Names,
    categories: Sequence[str],
    options: KafkaOptions,
    known: Known,
    public: Sequence[str] = (),
) -> Topics:
    """Make sure that the log's topics exist and lose nothing; only development creates what is missing.

    Args:
        administration: Speaks to the brokers.
        names: Of the topics.
        categories: Of the log.
        options: Partitions, replication, production.
        known: What the local index was read from.
        public: Topics that publications write to.

    Raises:
        ConfigurationError: Topics are missing or unsafe; names each, the danger and the fix.
        LogUnavailableError: The brokers cannot be reached.
    """
    plan = await plan_topics(administration, names, categories, options, known, public)
    refuse(plan, creating=not options.production)
    if plan.missing:
        await administration.create(plan.missing)
        # Looked at again: another process, with other options, may have been faster.
        plan = await plan_topics(administration, names, categories, options, known, public)
        refuse(plan, creating=False)
    for topic in plan.found.values():
        if topic.settings is None:
            _LOGGER.warning("%s: this user may not see its settings, so they are not verified", topic.name)
    found = {topic.name: topic for topic in plan.found.values()}
    return Topics(
        plan.log_id,
        {category: found[names.events(category)].identity.partitions for category in categories},
        found[names.replies].identity.partitions,
        {name: topic.identity for name, topic in found.items()},
        {name: found[name].identity for name in map(names.events, categories)},
    )


def refuse(plan: Plan, *, creating: bool) -> None:
    """Raise if there is a problem, or if something is missing that is not about to be created.

    Raises:
        ConfigurationError: Lists everything.
    """
    lines = [str(problem) for problem in plan.problems]
    if plan.missing and not creating:
        lines += [f"{topic.name} does not exist. Fix: eventstore topics apply" for topic in plan.missing]
    if lines:
        message = "\n".join(lines)
        raise ConfigurationError(message)
