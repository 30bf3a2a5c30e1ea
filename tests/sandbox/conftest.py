"""Engines that the conformance suite runs against. A new engine is one more parameter."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from sandbox import About, Checkpoint, Engine, Limits, Session, Spec
from tests.engine import IMAGE, docker_engine, missing

MIB = 1 << 20
SPEC = Spec(IMAGE, Limits(seconds=20, files=5, memory=512 * MIB, workspace=64 * MIB, file=48 * MIB))


class Tidy:
    """An engine that closes at the end of a test what the test opened."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._opened: list[Session] = []

    async def session(self, key: str, spec: Spec, from_: Checkpoint | None = None) -> Session:
        """As the engine's."""
        self._opened.append(await self._engine.session(key, spec, from_))
        return self._opened[-1]

    async def about(self) -> About:
        """As the engine's."""
        return await self._engine.about()

    async def running(self) -> tuple[str, ...]:
        """As the engine's."""
        return await self._engine.running()

    async def memory(self) -> int:
        """As the engine's."""
        return await self._engine.memory()

    async def check(self) -> str:
        """As the engine's."""
        return await self._engine.check()

    async def close(self) -> None:
        """Close every session."""
        for session in self._opened:
            await session.close()


@pytest_asyncio.fixture(params=["docker"], scope="module", loop_scope="module")
async def shared_engine(request: pytest.FixtureRequest) -> AsyncGenerator[Engine, None]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC, pool=1) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared_engine: Engine) -> AsyncGenerator[Engine, None]:
    """A real engine with short limits."""
    tidy = Tidy(shared_engine)
    yield tidy
    await tidy.close()
