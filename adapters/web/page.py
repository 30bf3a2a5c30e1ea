"""Opening the page's room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.web.guard import read_key
from adapters.web.room import Web
from adapters.web.settings import Settings
from adapters.web.store import open_store
from bot.errors import ConfigError
from bot.ports import Chat, Files
from sandbox import MIB


@asynccontextmanager
async def connect(settings: Settings, files: Files) -> AsyncIterator[Chat]:
    """Open the page's own store and give the chat; the port is taken by `listen`. Raises `ConfigError` for a bad folder."""
    folder = settings.home / "web"
    try:
        key = await asyncio.to_thread(read_key, folder)
    except OSError as problem:
        raise ConfigError(f"{folder} cannot be used: {problem.strerror}.") from None
    async with open_store(folder / "threads.db") as store:
        yield Web(store, files, key, settings.port, settings.file * MIB)
