"""Fixtures of the webhook jobs: the engine's runner and the gateway's client."""

from tests.engine.conftest import clock, condition, make_runner, metrics, queue
from tests.gateway.conftest import rpc, settings

__all__ = ["clock", "condition", "make_runner", "metrics", "queue", "rpc", "settings"]
