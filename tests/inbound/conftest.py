"""The engine in memory."""

from tests.engine.conftest import clock, condition, make_runner, metrics, queue

__all__ = ["clock", "condition", "make_runner", "metrics", "queue"]
