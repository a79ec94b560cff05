"""Telemetry: what a store does, as metrics, traces and structured logs; without it, nothing of this runs."""

from eventstore.telemetry.recording import Telemetry

__all__ = ["Telemetry"]
