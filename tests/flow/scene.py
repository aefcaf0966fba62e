"""A platform, people and a receiver: where whole paths are played."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.flow.receiver import Receiver
from tests.flow.shop import Shop, open_shop
from tests.flow.worker_process import WorkerProcess
from tests.people import People
from tests.stack.platform import Platform


@dataclass(frozen=True)
class Scene:
    platform: Platform
    people: People
    receiver: Receiver

    async def shop(self, *, products: int = 50, endpoints: int = 1) -> Shop:
        return await open_shop(self.people, self.receiver, products=products, endpoints=endpoints)

    def worker(self, **settings: str) -> WorkerProcess:
        """Not started yet; ends with the platform at the latest."""
        return WorkerProcess(self.platform, **settings)


@contextlib.asynccontextmanager
async def played_on(platform: Platform) -> AsyncIterator[Scene]:
    """A scene on a platform that runs already."""
    people = People(platform.addresses)
    async with Receiver() as receiver:
        try:
            yield Scene(platform, people, receiver)
        finally:
            await people.close()


@contextlib.asynccontextmanager
async def scene(*, durable: bool = False, with_functions: bool = False) -> AsyncIterator[Scene]:
    """A scene on a platform of its own."""
    with Platform(durable=durable, with_functions=with_functions) as platform:
        async with played_on(platform) as played:
            yield played
