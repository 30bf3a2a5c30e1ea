"""The bot as what it is for its users: an operating system process, started by its command line."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

ENVIRONMENT = ("PATH", "HOME", "LANG", "DOCKER_HOST", "XDG_RUNTIME_DIR", "VIRTUAL_ENV")
"""What a bot under test inherits: nothing that could hold a setting or a proxy of the machine."""


class BotProcess:
    """One process; `start` may be called again after it has ended, on the same home."""

    def __init__(self, home: Path, settings: Mapping[str, str], arguments: Sequence[str] = ("-m", "bot", "up")) -> None:
        self.home, self._arguments = home, arguments
        base = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        model = {} if "OPENAI_BASE_URL" in settings else {"CELLMATE_MODEL": "none"}
        self._environment = {**base, "CELLMATE_HOME": str(home), "CELLMATE_POOL": "0", **model, **settings}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.output = ""
        """Everything it has written, on both streams."""

    async def start(self, **settings: str) -> None:
        """Start it, with more settings for this time."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self._environment, **settings},
        )
        self._reading = asyncio.create_task(self._read())

    async def ended(self, seconds: float = 60) -> int:
        """Wait until it has ended by itself; its exit status (negative: the signal's number)."""
        assert self._process is not None and self._reading is not None
        async with asyncio.timeout(seconds):
            await self._reading
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and wait for the orderly shutdown; its exit status."""
        return await self._end(signal.SIGTERM)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self.running:
            self._process.send_signal(number)
        return await self.ended()

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        async for line in self._process.stdout:
            self.output += line.decode(errors="replace")


@asynccontextmanager
async def running_bot(home: Path, settings: Mapping[str, str]) -> AsyncIterator[BotProcess]:
    """A started bot that is stopped in order at the end; what it logged is shown when that fails."""
    bot = BotProcess(home, settings)
    await bot.start()
    try:
        yield bot
    finally:
        status = await bot.stop()
        print(bot.output)
    assert status == 0, f"the bot ended with {status}:\n{bot.output}"
