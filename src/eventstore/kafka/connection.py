"""Provisional."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Connection:
    bootstrap: str

    def confluent(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap}

    def aiokafka(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.bootstrap}
