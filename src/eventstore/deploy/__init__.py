"""What runs an application on Kubernetes, made from the application itself, so that code and cluster cannot drift."""

from eventstore.deploy.blueprint import Blueprint, draw
from eventstore.deploy.environments import Environment, read_environments
from eventstore.deploy.rendering import render

__all__ = ["Blueprint", "Environment", "draw", "read_environments", "render"]
