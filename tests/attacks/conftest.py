"""One hostile thread beside an innocent one, on the real engine."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox import Limits, Session, Spec
from sandbox.docker import DockerEngine
from tests.cells import run
from tests.engine import IMAGE, docker_engine, missing

MIB = 1 << 20
LIMITS = Limits(seconds=20, grace=0.5, memory=384 * MIB, workspace=48 * MIB, tmp=16 * MIB, file=32 * MIB, processes=64, files=5)
SPEC = Spec(IMAGE, LIMITS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[DockerEngine]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC, pool=1) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour(engine: DockerEngine) -> Session:
    session = await engine.session("neighbour", SPEC)
    await run(session, "mine = 'untouched'")
    return session


@pytest_asyncio.fixture(loop_scope="module")
async def session(engine: DockerEngine, neighbour: Session) -> AsyncIterator[Session]:
    """After every case the same session must run the next cell, and the neighbour be as it was."""
    opened = await engine.session("hostile", SPEC)
    yield opened
    after = await run(opened, "6 * 7")
    assert (after.value, after.ended.reason) == ("42", "ok")
    assert (await run(neighbour, "mine")).value == "'untouched'"
    await opened.close()
