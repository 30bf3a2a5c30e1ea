"""One hostile thread beside an innocent one, on the real engine.

The cases of a module share the hostile session: after each of them the same session must run the next cell, and the
neighbour be as it was. Then Python is started again and the folders are emptied; only a session that was lost is opened anew.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Limits, Session, Spec
from sandbox.docker import DockerEngine
from tests.cells import run
from tests.engine import IMAGE, docker_engine, missing

MIB = 1 << 20
LIMITS = Limits(seconds=20, grace=0.5, memory=384 * MIB, workspace=48 * MIB, tmp=16 * MIB, file=32 * MIB, processes=64, files=5)
SPEC = Spec(IMAGE, LIMITS)
SHORT = Limits(seconds=1.0, grace=0.3, files=5)

_EMPTY = """
chmod 700 /workspace && find /workspace /tmp /dev/shm -mindepth 1 -not -path '/tmp/.*' -delete; ls -A /workspace /dev/shm
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[DockerEngine]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour(engine: DockerEngine) -> Session:
    session = await engine.session("neighbour", SPEC)
    await run(session, "mine = 'untouched'")
    return session


@pytest_asyncio.fixture(loop_scope="module")
async def session(engine: DockerEngine, neighbour: Session) -> AsyncIterator[Session]:
    opened = await engine.session("hostile", SPEC)
    memory = _own_memory()
    yield opened
    after = await run(opened, "6 * 7")
    assert (after.value, after.ended.reason) == ("42", "ok")
    assert (await run(neighbour, "mine")).value == "'untouched'"
    assert _own_memory() - memory <= 32 * MIB
    await _begin_again(opened)


def _own_memory() -> int:
    """Bytes that this process, which is the host here, holds (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def _begin_again(session: Session) -> None:
    await run(session, "__import__('os')._exit(0)")
    emptied = await run(session, f"print(__import__('subprocess').run(['sh', '-c', {_EMPTY!r}], capture_output=True))")
    if r"stdout=b'/dev/shm:\n\n/workspace:\n'" not in emptied.stdout:
        await session.close()
        pytest.fail(f"what a case left cannot be removed: {emptied.stdout}")
