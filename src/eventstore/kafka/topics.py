"""Which topics a log consists of, how they are set, and what about existing ones would lose or forge events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions

_DAY_MS: Final = 24 * 3600 * 1000
_SAFE_REPLICATION: Final = 3
_SAFE_IN_SYNC: Final = 2
_MOST_BATCH_BYTES: Final = 24 * 1024 * 1024
_REPLY_PARTITIONS: Final = 16
MISSING: Final = "missing"
"""What a problem's `setting` says of a topic that was deleted."""


class Kind(Enum):
    """What a topic is for."""

    EVENTS = "events"
    COMMANDS = "commands"
    REPLIES = "replies"
    DEAD = "dead"
    PUBLIC = "public"


class TopicIdentity(NamedTuple):
    """What must never change under a topic's name."""

    id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as it is created.

    Attributes:
        name: Its name.
        kind: What it is for.
        category: Whose; empty for the replies and public topics.
        partitions: How many.
        replication: Copies of each.
        settings: Everything that differs from the brokers' defaults.
    """

    name: str
    kind: Kind
    category: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as it is.

    Attributes:
        name: Its name.
        identity: Its id and how many partitions it has.
        replication: Copies of the partition that has fewest.
        led: Whether every partition has a leader.
        settings: All its settings; None if this user may not see them.
        behind: The brokers whose copies of some partition are missing or behind.
    """

    name: str
    identity: TopicIdentity
    replication: int
    led: bool
    settings: Mapping[str, str] | None
    behind: frozenset[int] = frozenset()


class Problem(NamedTuple):
    """Why a topic must not be used as it is.

    Attributes:
        topic: Which.
        setting: What about it.
        danger: What would happen.
        fix: What to do, as a command where one does it.
        change: The setting and value with which `apply` puts it right; None if it cannot.
    """

    topic: str
    setting: str
    danger: str
    fix: str
    change: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        """What is wrong and what to do, without the topic."""
        return f"{self.setting}: {self.danger}. Fix: {self.fix}"

    def __str__(self) -> str:
        """Read as one sentence for the operator."""
        return f"{self.topic}: {self.text}"


class _Rule(NamedTuple):
    """Which values of a setting are safe: one, or all from a number on."""

    setting: str
    safe: str | int
    danger: str
    only_in_production: bool = False

    def allows(self, value: str) -> bool:
        if isinstance(self.safe, int):
            return value.isdigit() and int(value) >= self.safe
        return value == self.safe


_UNCLEAN: Final = _Rule("unclean.leader.election.enable", "false", "a replica that lags could lead and lose messages")
_TWO_COPIES: Final = _Rule(
    "min.insync.replicas",
    _SAFE_IN_SYNC,
    "what was acknowledged would be lost with a single disk",
    only_in_production=True,
)
_DELETED: Final = _Rule(
    "cleanup.policy", "delete", "messages with the same key would replace each other, or stay for ever"
)
_RULES: Final[Mapping[Kind, Sequence[_Rule]]] = {
    Kind.EVENTS: (
        _Rule("cleanup.policy", "compact", "old events would be deleted; only compaction keeps each one"),
        _Rule("retention.ms", "-1", "events of that age are deleted as soon as the policy includes delete"),
        _Rule("retention.bytes", "-1", "events beyond that size are deleted as soon as the policy includes delete"),
        _TWO_COPIES,
        _UNCLEAN,
        _Rule("message.timestamp.type", "LogAppendTime", "a writer with a wrong clock would be refused, or believed"),
        _Rule("max.message.bytes", _MOST_BATCH_BYTES, "a full group commit would be refused"),
        _Rule("segment.bytes", _MOST_BATCH_BYTES, "a full group commit would be refused: it has to fit a segment"),
    ),
    Kind.COMMANDS: (_DELETED, _TWO_COPIES, _UNCLEAN),
    Kind.REPLIES: (_DELETED,),
    Kind.DEAD: (_DELETED, _TWO_COPIES, _UNCLEAN),
    Kind.PUBLIC: (_DELETED, _TWO_COPIES, _UNCLEAN),
}

_EVENTS: Final[Mapping[str, object]] = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": 7 * _DAY_MS,
    "delete.retention.ms": 30 * _DAY_MS,
    # What was erased has to go in the end, however little of the topic is new.
    "max.compaction.lag.ms": 30 * _DAY_MS,
    "min.cleanable.dirty.ratio": "0.9",
    "retention.ms": -1,
    "retention.bytes": -1,
    "max.message.bytes": _MOST_BATCH_BYTES,
}
_COMMANDS: Final[Mapping[str, object]] = {"cleanup.policy": "delete", "retention.ms": 7 * _DAY_MS}
# Only whole segments are deleted, and never the newest: so they have to be small and short.
_REPLIES: Final[Mapping[str, object]] = {
    "cleanup.policy": "delete",
    "retention.ms": 600_000,
    "segment.ms": 600_000,
    "segment.bytes": 16 * 2**20,
}
_DEAD: Final[Mapping[str, object]] = {"cleanup.policy": "delete", "retention.ms": 30 * _DAY_MS}
_PUBLIC: Final[Mapping[str, object]] = {"cleanup.policy": "delete", "retention.ms": 7 * _DAY_MS}


def wanted_topics(
    names: Names, categories: Iterable[str], options: KafkaOptions, brokers: int, public: Iterable[str] = ()
) -> list[WantedTopic]:
    """Give every topic of a log, as it is created on a cluster.

    Args:
        names: Their names.
        categories: Of the log.
        options: Partitions and replication.
        brokers: How many the cluster has.
        public: Topics that its publications write to.

    Raises:
        ConfigurationError: A public topic is one of the log's own.
    """

    def topic(name: str, kind: Kind, category: str, partitions: int, settings: Mapping[str, object]) -> WantedTopic:
        shape = WantedTopic(name, kind, category, partitions, 0, {})
        return _as_safe_as_can_be(shape, settings, options, brokers)

    wanted = [topic(names.replies, Kind.REPLIES, "", _REPLY_PARTITIONS, _REPLIES)]
    for category in categories:
        wanted += [
            topic(names.events(category), Kind.EVENTS, category, options.partitions, _EVENTS),
            topic(names.commands(category), Kind.COMMANDS, category, options.partitions, _COMMANDS),
        ]
    for name in public:
        if names.is_own(name):
            message = f"@publishes({name!r}): that is a topic of the log itself: choose another name"
            raise ConfigurationError(message)
        wanted.append(topic(name, Kind.PUBLIC, "", options.partitions, _PUBLIC))
    return wanted


def inbox_dead_topic(names: Names, inbox: str, options: KafkaOptions, brokers: int) -> WantedTopic:
    """Give the dead letter topic of an inbox: one partition, so that what settles a letter stands behind it."""
    shape = WantedTopic(names.inbox_dead(inbox), Kind.DEAD, "", 1, 0, {})
    return _as_safe_as_can_be(shape, _DEAD, options, brokers)


def _as_safe_as_can_be(
    shape: WantedTopic, settings: Mapping[str, object], options: KafkaOptions, brokers: int
) -> WantedTopic:
    replication = options.replication or min(_SAFE_REPLICATION, brokers)
    common = {
        "min.insync.replicas": _SAFE_IN_SYNC if replication >= _SAFE_REPLICATION else 1,
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "LogAppendTime",
    }
    written = {setting: str(value) for setting, value in (common | dict(settings)).items()}
    return replace(shape, replication=replication, settings=written)


def scratch_topic(name: str, brokers: int) -> WantedTopic:
    """Give a topic for a trial, as safe as the others and with the same limits on who may write."""
    replication = min(_SAFE_REPLICATION, brokers)
    return WantedTopic(name, Kind.EVENTS, "", 1, replication, {"cleanup.policy": "compact"})


def trial_topic(name: str, brokers: int) -> WantedTopic:
    """Give a topic for a trial that has a partition on each broker, which gives records its own time."""
    settings = {"cleanup.policy": "delete", "min.insync.replicas": "1", "message.timestamp.type": "LogAppendTime"}
    return WantedTopic(name, Kind.EVENTS, "", brokers, 1, settings)


def problems_of(
    wanted: WantedTopic, found: FoundTopic, known: TopicIdentity | None, *, production: bool
) -> list[Problem]:
    """Tell what about a topic would lose, reorder or forge events.

    Args:
        wanted: As it would be created.
        found: As it is.
        known: What the local index was read from, if it was.
        production: Whether one copy is too few.
    """
    problems = identity_problems(found.name, found.identity, known)
    if production and found.replication < _SAFE_REPLICATION:
        danger = f"there are {found.replication} copies; {_SAFE_REPLICATION} survive the loss of one while one is down"
        fix = "kafka-reassign-partitions.sh with three replicas for each partition"
        problems.append(Problem(found.name, "replication", danger, fix))
    if found.settings is None:
        if production:
            fix = f"kafka-acls.sh --add --allow-principal User:NAME --operation DescribeConfigs --topic {found.name}"
            problems.append(
                Problem(found.name, "settings", "this user may not see them, so they are not verified", fix)
            )
        return problems
    for rule in _RULES[wanted.kind]:
        value = found.settings.get(rule.setting, "")
        if not rule.allows(value) and (production or not rule.only_in_production):
            setting = f"{rule.setting}={value} instead of {rule.safe}"
            problems.append(
                Problem(found.name, setting, rule.danger, "eventstore topics apply", (rule.setting, str(rule.safe)))
            )
    in_sync = found.settings.get("min.insync.replicas", "")
    if in_sync.isdigit() and int(in_sync) > found.replication:
        danger = f"there are {found.replication} copies, so nothing could be written"
        fix = "kafka-reassign-partitions.sh with more replicas, or kafka-configs.sh with fewer in sync"
        problems.append(Problem(found.name, f"min.insync.replicas={in_sync}", danger, fix))
    return problems


def identity_problems(name: str, found: TopicIdentity | None, known: TopicIdentity | None) -> list[Problem]:
    """Tell whether a topic is no longer the one that the local index was read from."""
    if known is None or found == known:
        return []
    if found is None:
        return [Problem(name, MISSING, "it was deleted, and every event in it is lost", "restore it from a backup")]
    if found.id != known.id:
        danger = f"it was deleted and made anew (topic id {found.id} instead of {known.id}): its events are lost"
        fix = (
            "restore it. If that was intended, delete this log's index files and the read models built from it "
            "(KafkaOptions(directory=...)), then start again"
        )
        return [Problem(name, "topic id", danger, fix)]
    danger = (
        f"there are {found.partitions} instead of {known.partitions}, so ids hash to other partitions than those that "
        "hold their events"
    )
    fix = "eventstore export from a copy of the index, then eventstore import into a log with another prefix"
    return [Problem(name, "partitions", danger, fix)]


def count_problems(category: str, found: Mapping[Kind, FoundTopic]) -> list[Problem]:
    """Tell whether the commands of a partition would come over another number than its events."""
    events, commands = found.get(Kind.EVENTS), found.get(Kind.COMMANDS)
    if events is None or commands is None or events.identity.partitions == commands.identity.partitions:
        return []
    danger = (
        f"{events.name} has {events.identity.partitions} partitions and {commands.name} has "
        f"{commands.identity.partitions}, so partitions of {category} would have no owner, or ids another partition"
    )
    fix = f"undo the change: delete {commands.name} and run eventstore topics apply, if its count is the wrong one"
    return [Problem(commands.name, "partitions", danger, fix)]
