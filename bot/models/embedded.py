"""The demo model on this machine: llama.cpp's own server in a child process, reached through the same client as any other."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import structlog

from bot.errors import ConfigError
from bot.models.weights import Progress, Tell, Weights, fetch

__all__ = ["CONTEXT", "Progress", "Tell", "Weights", "fetch", "serve"]

log = structlog.get_logger()

CONTEXT = 20_000
"""Characters of a conversation that its 8,192 tokens hold, with room for an answer."""
_LOAD = 180.0
"""Seconds in which a gigabyte is read and laid out, on a slow disk too."""
_STEADY = 60.0
"""Seconds after which one that dies had been up well."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


@asynccontextmanager
async def serve(weights: Path, threads: int = 0, program: Sequence[str] = ()) -> AsyncIterator[str]:
    """The base URL of a server that has loaded `weights`. It is started again when it dies, at the same address.

    `threads`: 0 for as many as this process may use cores. `program`: another server, given weights, port and threads.
    Raises `ConfigError` when it cannot be started, with its last words.
    """
    if not program and find_spec("xllamacpp") is None:
        raise ConfigError("The demo model needs a part that is not installed. Type: pip install 'cellmate[local]'")
    port = _free_port()
    command = (*(program or (sys.executable, "-m", "bot.models.llama_server")), str(weights), str(port))
    server = _Server((*command, str(threads or len(os.sched_getaffinity(0)))), port)
    try:
        await server.start()
        keeper = asyncio.create_task(server.keep(), name="demo model")
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})
    finally:
        await server.end()


class _Server:
    """The child."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self._command, self._port = command, port
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._words = b""

    async def start(self) -> None:
        """Returns when it answers. Raises `ConfigError` when it ends first, or takes too long."""
        await self.end()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the bot's, which finishes what it says first
        )
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            async with asyncio.timeout(_LOAD), aiohttp.ClientSession() as session:
                while not await self._healthy(session):
                    if self._process.returncode is not None:
                        await self._reading
                        raise ConfigError(f"The demo model's server ended at once: {self._last_words()}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ConfigError(f"The demo model was not loaded within {_LOAD:.0f} s.") from None

    async def keep(self) -> None:
        """Start it again whenever it has died: at once, and after ever longer pauses while it does not stay up."""
        pause: float | None = None
        while True:
            assert self._process is not None
            began = time.monotonic()
            status = await self._process.wait()
            pause = next_pause(pause, time.monotonic() - began)
            log.error("the demo model's server died", status=status, again_in=pause, said=self._last_words())
            await asyncio.sleep(pause)
            try:
                await self.start()
            except ConfigError as problem:
                log.error("the demo model's server did not come back", problem=str(problem))

    async def end(self) -> None:
        if self._process is None or self._reading is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(1 << 16):  # not by lines: one too long would end the reading, and hold it up
            self._words = (self._words + chunk)[-600:]

    def _last_words(self) -> str:
        return " ".join(self._words.decode(errors="replace").split())

    async def _healthy(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self._port}/health") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def next_pause(last: float | None, lived: float) -> float:
    """Seconds to wait before a server that died is started again, after it waited `last` and then lived so long."""
    if last is None or lived >= _STEADY:
        return 0.0
    return min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * last))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
