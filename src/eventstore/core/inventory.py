"""What an application consists of, for whoever has to prepare a cluster for it."""

from __future__ import annotations

from dataclasses import dataclass

from eventstore.core.inboxes import InboxDefinition
from eventstore.core.publications import PublicationDefinition


@dataclass(frozen=True, slots=True)
class Inventory:
    """The parts of an application that have topics, groups or rights of their own.

    Attributes:
        categories: Whose events it writes or reads.
        read_models: Names of its projections.
        processes: Names of its process managers.
        publications: What its relays publish, with the categories they read.
        inboxes: Those that read from the log's own cluster.
    """

    categories: tuple[str, ...] = ()
    read_models: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    publications: tuple[PublicationDefinition, ...] = ()
    inboxes: tuple[InboxDefinition, ...] = ()

    @property
    def public_topics(self) -> list[str]:
        """The topics that publications write to, in order of their names."""
        return sorted({topic for publication in self.publications for topic in publication.topics})
