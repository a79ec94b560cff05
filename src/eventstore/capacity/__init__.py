"""What a log on Kafka takes, in disks, memory, network and time: a model of measured figures."""

from eventstore.capacity.model import Demand, Plan, plan, warnings

__all__ = ["Demand", "Plan", "plan", "warnings"]
