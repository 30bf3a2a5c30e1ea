"""What the benches open and wait for."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot import journal, log
from bot.files import open_folder
from bot.sessions import Bounds, Sessions
from bot.types import ThreadRef
from sandbox import Spec
from sandbox.docker import DockerEngine
from tests.cells import Outcome, run
from tests.engine import docker_engine

RUNTIME = os.environ.get("BENCH_RUNTIME") or None


@asynccontextmanager
async def house(spec: Spec, pool: int) -> AsyncIterator[tuple[DockerEngine, Sessions]]:
    """An engine, and the bot's sessions on it."""
    log.configure("error")
    with tempfile.TemporaryDirectory() as folder:
        async with journal.connect(f"sqlite:///{folder}/journal.db") as records, docker_engine(spec=spec, pool=pool) as engine:
            sessions = Sessions(engine, spec, open_folder(Path(folder) / "files"), records, Bounds())
            yield engine, sessions
            await sessions.close()


async def cell(sessions: Sessions, thread: ThreadRef, code: str) -> Outcome:
    """Run it as a turn does."""
    async with sessions.use(thread) as session:
        outcome = await run(session, code)
        assert outcome.ended.reason in ("ok", "died"), outcome.outputs
        return outcome


async def filled(engine: DockerEngine, count: int = 1) -> None:
    """Wait until so many containers are ready and warm, and the machine is at rest: no start's end is measured."""
    async with asyncio.timeout(120):
        while sum(container.warm for container in engine._pool.ready) < count:  # noqa: ASYNC110 - the engine has no event for it, and needs none
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
