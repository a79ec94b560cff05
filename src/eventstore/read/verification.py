"""Two versions of a read model compared row by row, both at the same positions of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from eventstore.core.rows import Key
from eventstore.ports import RowReader

Kind: TypeAlias = Literal["missing", "extra", "changed"]
Values: TypeAlias = Mapping[str, object]
_PAGE: Final = 2_000
_EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that the two versions do not agree on.

    Attributes:
        kind: `missing` in the new version, `extra` in it, or `changed`.
        key: The row's key.
        columns: What changed: old and new value by column; empty unless `changed`.
    """

    kind: Kind
    key: Key
    columns: Mapping[str, tuple[object, object]]

    def kinds(self) -> list[str]:
        """Give the words by which it can be expected: `missing`, `extra`, or `changed:column` for every column."""
        return [f"changed:{column}" for column in self.columns] or [self.kind]


@dataclass(slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        old_version: Compared against this version.
        old_rows: How many rows the old version has.
        new_rows: How many the new version has.
        counts: Differences by kind; `changed:column` counts per column.
        unexpected: Those of them that nobody declared.
        examples: The first differences, unexpected ones first.
        added_columns: Columns only the new version has.
        removed_columns: Columns only the old version has.
        comparable: False when the key columns differ, so that rows cannot be matched; then only rows are counted.
    """

    old_version: int
    old_rows: int = 0
    new_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    unexpected: Counter[str] = field(default_factory=Counter[str])
    examples: list[Difference] = field(default_factory=list[Difference])
    added_columns: tuple[str, ...] = ()
    removed_columns: tuple[str, ...] = ()
    comparable: bool = True

    @property
    def accepted(self) -> bool:
        """Whether every difference was expected."""
        return self.comparable and not self.unexpected

    def add(self, difference: Difference, expected: frozenset[str]) -> None:
        """Count a difference."""
        kinds = difference.kinds()
        unexpected = [kind for kind in kinds if not is_expected(kind, expected)]
        self.counts.update(kinds)
        self.unexpected.update(unexpected)
        if unexpected and len(self.examples) < _EXAMPLES:
            self.examples.insert(0, difference)
        elif len(self.examples) < _EXAMPLES:
            self.examples.append(difference)


def is_expected(kind: str, expected: Iterable[str]) -> bool:
    """Tell whether a kind was declared: by its full name, or all changes at once by `changed`."""
    return kind in expected or kind.partition(":")[0] in expected


@dataclass(frozen=True, slots=True)
class Side:
    """One version's table at one moment."""

    reader: RowReader
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class _Relation:
    """One table of a side."""

    side: Side
    name: str
    key: tuple[str, ...]


async def compare(old: Side, new: Side, expected: frozenset[str]) -> dict[str, Comparison]:
    """Compare two versions row by row, in key order, holding only a page of each in memory.

    Args:
        old: The version that is live.
        new: The version to be judged.
        expected: Kinds of difference that are wanted: `missing`, `extra`, `changed`, `changed:<column>`, `keys`.

    Returns:
        What was found, by the name of the table; tables that only one version has are not compared.

    Raises:
        StoreUnavailableError: The query store is out of reach.
    """
    before = await old.reader.relations(old.name, old.version)
    after = await new.reader.relations(new.name, new.version)
    return {
        name: await _compare(_Relation(old, name, before[name]), _Relation(new, name, after[name]), expected)
        for name in sorted(before.keys() & after.keys())
    }


async def _compare(old: _Relation, new: _Relation, expected: frozenset[str]) -> Comparison:
    found = Comparison(old.side.version)
    if old.key != new.key:
        found.comparable = "keys" in expected
        found.old_rows, found.new_rows = await _count(old), await _count(new)
        return found
    old_rows, new_rows = _rows(old), _rows(new)
    old_row, new_row = await anext(old_rows, None), await anext(new_rows, None)
    if old_row is not None and new_row is not None:
        found.added_columns = tuple(sorted(new_row.keys() - old_row.keys()))
        found.removed_columns = tuple(sorted(old_row.keys() - new_row.keys()))
    while old_row is not None or new_row is not None:
        difference = _difference(old_row, new_row, old.key)
        if difference:
            found.add(difference, expected)
        # A row missing on one side: only the other side goes on.
        if difference is None or difference.kind != "extra":
            found.old_rows += 1
            old_row = await anext(old_rows, None)
        if difference is None or difference.kind != "missing":
            found.new_rows += 1
            new_row = await anext(new_rows, None)
    return found


def _difference(old_row: Values | None, new_row: Values | None, fields: tuple[str, ...]) -> Difference | None:
    """Compare the next row of each side; both are in the query store's key order, which is Python's too."""
    if old_row is None or new_row is None:
        kind: Kind = "missing" if new_row is None else "extra"
        return Difference(kind, _key(old_row or new_row or {}, fields), {})
    old_key, new_key = _key(old_row, fields), _key(new_row, fields)
    if old_key != new_key:
        return Difference("missing", old_key, {}) if old_key < new_key else Difference("extra", new_key, {})
    shared = sorted(old_row.keys() & new_row.keys())
    changed = {name: (old_row[name], new_row[name]) for name in shared if old_row[name] != new_row[name]}
    return Difference("changed", old_key, changed) if changed else None


async def _rows(relation: _Relation) -> AsyncGenerator[Values, None]:
    after: Key | None = None
    side = relation.side
    while True:
        page: Sequence[Values] = await side.reader.raw_page(side.name, side.version, relation.name, after, _PAGE)
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        after = _key(page[-1], relation.key)


async def _count(relation: _Relation) -> int:
    count = 0
    async for _ in _rows(relation):
        count += 1
    return count


def _key(row: Values, fields: tuple[str, ...]) -> Key:
    return tuple(row[field] for field in fields)
