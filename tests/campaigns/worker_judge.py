"""What the read models must show, folded from the topic without the product's code."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import NamedTuple

from tests.campaigns.workers import NoteRow, TotalRow
from tests.topics import read_topic


class Shown(NamedTuple):
    """The rows of both read models."""

    totals: dict[str, TotalRow]
    notes: dict[str, NoteRow]


def folded(bootstrap: str, topic: str) -> Shown:
    """Read every partition from its beginning and count what was written by the owner of its time."""
    totals: dict[str, TotalRow] = {}
    notes: dict[str, NoteRow] = {}
    lease: dict[int, str] = defaultdict(str)
    for message in read_topic(bootstrap, topic):
        number, key = message.partition(), message.key()
        if key.startswith(b"\x00claim:"):
            lease[number] = key[len(b"\x00claim:") :].decode()
        elif not key.startswith(b"\x00") and dict(message.headers())["lease"].decode() == lease[number]:
            counter, version, _ = key.decode().rsplit(":", 2)
            data = json.loads(message.value())["data"]
            total = totals.setdefault(counter, TotalRow(counter=counter))
            note = notes.setdefault(data["note"], NoteRow(note=data["note"]))
            total.version = int(version)
            for row in (total, note):
                row.total, row.events = row.total + data["by"], row.events + 1
    return Shown(totals, notes)


def differences(expected: Shown, found: Shown) -> list[str]:
    """Name every row that is not what it must be."""
    return [
        f"{key}: {found_rows.get(key)} instead of {expected_rows.get(key)}"
        for expected_rows, found_rows in zip(expected, found, strict=True)
        for key in sorted({*expected_rows, *found_rows})
        if found_rows.get(key) != expected_rows.get(key)
    ]
