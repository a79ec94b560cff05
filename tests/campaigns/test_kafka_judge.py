"""The judge of the Kafka campaigns objects to every kind of broken promise: evidence is doctored, and has to be noticed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.campaigns.kafka_judge import Claim, Evidence, Record, Written, violations

A, B, C, NOBODY = (UUID(int=number) for number in (1, 2, 3, 4))


def honest() -> tuple[Written, Evidence]:
    """Give two events of A, one of B, both on stream s; C was rejected."""
    evidence = Evidence()
    for line in (
        f"sent {A} 10 s 2 -", f"done {A} 20 2 counter/0", f"again {A} 25", f"done {A} 27 2 counter/0",
        f"sent {B} 30 s 1 2", f"done {B} 40 3 counter/0",
        f"sent {C} 50 s 1 -", f"rejected {C} 60 CommandRejectedError",
        f"failed {B} 35 LogUnavailableError",
        "loaded 1 21 22 s 2 2 plain", "loaded 1 45 46 s 3 3 linearizable", "unread 47 OwnershipLostError",
        "loaded 7 46 47 s 2 2 plain",  # it was deposed at 30 and does not know yet
    ):  # fmt: skip
        evidence.hear(line)
    valid = [event(1, 1, A, 1, 2), event(2, 2, A, 2, 2), event(3, 3, B, 1, 1)]
    return Written(valid=valid, claims={0: [Claim(-1, "host:7:cc", 1), Claim(0, "host:1:aa", 30)]}), evidence


def event(offset: int, version: int, command: UUID, part: int, size: int, partition: int = 0) -> Record:
    return Record(partition, offset, f"s:{version}:ab".encode(), "s", version, command, part, size, by=1)


def lost_ack(written: Written, evidence: Evidence) -> None:
    written.valid.pop()


def doubled(written: Written, evidence: Evidence) -> None:
    written.valid.append(event(4, 4, B, 1, 1))


def rejected_with_an_event(written: Written, evidence: Evidence) -> None:
    written.valid.append(event(4, 4, C, 1, 1))


def refused_with_an_event(written: Written, evidence: Evidence) -> None:
    evidence.rejected.clear()
    evidence.hear(f"refused {C} 60")
    written.valid.append(event(4, 4, C, 1, 1))


def reordered(written: Written, evidence: Evidence) -> None:
    written.valid[:2] = [event(1, 2, A, 2, 2), event(2, 1, A, 1, 2)]


def torn(written: Written, evidence: Evidence) -> None:
    written.valid[:] = [event(1, 1, A, 1, 2)]
    del evidence.acks[A], evidence.acks[B]


def interrupted(written: Written, evidence: Evidence) -> None:
    written.valid[:] = [event(1, 1, A, 1, 2), event(2, 2, A, 2, 2)._replace(offset=5)]
    del evidence.acks[B]


def gap(written: Written, evidence: Evidence) -> None:
    written.valid[2] = event(3, 4, B, 1, 1)


def two_partitions(written: Written, evidence: Evidence) -> None:
    written.valid[2] = event(3, 3, B, 1, 1, partition=1)


def key_twice(written: Written, evidence: Evidence) -> None:
    written.valid[2] = event(3, 3, B, 1, 1)._replace(key=b"s:1:ab")


def other_version_acknowledged(written: Written, evidence: Evidence) -> None:
    evidence.hear(f"done {B} 45 4 counter/0")


def expectation_ignored(written: Written, evidence: Evidence) -> None:
    evidence.sent[B].expected = 1


def sent_by_nobody(written: Written, evidence: Evidence) -> None:
    written.valid.append(event(4, 4, NOBODY, 1, 1))


def later_one_first(written: Written, evidence: Evidence) -> None:
    """B was sent after A had been acknowledged, and stands before it."""
    written.valid[:] = [event(1, 1, B, 1, 1), event(2, 2, A, 1, 2), event(3, 3, A, 2, 2)]
    evidence.acks[A], evidence.acks[B] = [(20, 3, "counter/0")], [(40, 1, "counter/0")]
    evidence.sent[B].expected = None


def untyped_error(written: Written, evidence: Evidence) -> None:
    evidence.hear(f"broken {B} 45 KeyError()")


def internal_error(written: Written, evidence: Evidence) -> None:
    evidence.hear(f"failed {B} 45 AnswerLostError")


def loaded_what_never_was(written: Written, evidence: Evidence) -> None:
    evidence.hear("loaded 1 21 22 s 2 5 plain")


def loaded_what_was_not_committed(written: Written, evidence: Evidence) -> None:
    evidence.hear("loaded 1 45 46 s 4 4 plain")


def loaded_an_old_state(written: Written, evidence: Evidence) -> None:
    evidence.hear("loaded 1 45 46 s 2 2 plain")


def loaded_a_state_from_before_it_was_deposed(written: Written, evidence: Evidence) -> None:
    evidence.hear("loaded 7 46 47 s 0 0 plain")


def loaded_an_old_state_linearizably(written: Written, evidence: Evidence) -> None:
    evidence.hear("loaded 7 46 47 s 2 2 linearizable")


def test_honest_evidence_is_believed() -> None:
    assert violations(*honest()) == []


@pytest.mark.parametrize(
    ("doctor", "objection"),
    [
        (lost_ack, "acknowledged and lost"),
        (doubled, "in part, twice, or torn"),
        (rejected_with_an_event, "rejected, and there"),
        (refused_with_an_event, "'nothing was written', and there"),
        (reordered, "versions are not 1..n"),
        (torn, "in part, twice, or torn"),
        (interrupted, "in part, twice, or torn"),
        (gap, "versions are not 1..n"),
        (two_partitions, "two partitions"),
        (key_twice, "a key twice"),
        (other_version_acknowledged, "was acknowledged with"),
        (expectation_ignored, "expected version 1"),
        (sent_by_nobody, "nobody sent"),
        (later_one_first, "had been acknowledged"),
        (untyped_error, "KeyError"),
        (internal_error, "AnswerLostError reached a caller"),
        (loaded_what_never_was, "no prefix of the stream"),
        (loaded_what_was_not_committed, "no prefix of the stream"),
        (loaded_an_old_state, "version 3 had been acknowledged"),
        (loaded_a_state_from_before_it_was_deposed, "version 2 had been acknowledged"),
        (loaded_an_old_state_linearizably, "version 3 had been acknowledged"),
    ],
)
def test_doctored_evidence_is_noticed(doctor: Callable[[Written, Evidence], None], objection: str) -> None:
    written, evidence = honest()
    doctor(written, evidence)
    assert any(objection in found for found in violations(written, evidence))
