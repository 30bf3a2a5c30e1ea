"""The page: a chat platform of Cellmate's own, for one person's browser on the machine where it runs.

It listens on 127.0.0.1 only. Being its own platform it keeps its threads itself, in `CELLMATE_HOME/web`; bytes stay in the
files store and are served from there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.web.guard import read_key
from adapters.web.names import NAME
from adapters.web.room import Web
from adapters.web.store import open_store
from bot.errors import ConfigError
from bot.ports import Chat, Files
from sandbox import MIB

__all__ = ["NAME", "Settings", "connect"]


class Settings(BaseSettings):
    """Where the page is. What it shares with the core it reads by the core's own names."""

    model_config = SettingsConfigDict(env_prefix="CELLMATE_WEB_", extra="ignore", populate_by_name=True)

    on_demand: ClassVar[bool] = True
    """Needs no token: naming it is enough to start it."""

    enabled: bool = Field(
        default=False, description="Whether `cellmate up` opens the page too; `--only web` opens it in any case."
    )
    port: int = Field(default=8899, ge=1, le=65535, description="The page's port on 127.0.0.1.")
    home: Path = Field(default=Path(".cellmate"), validation_alias="CELLMATE_HOME", description="The core's.")
    file: int = Field(default=512, ge=1, validation_alias="CELLMATE_FILE", description="The core's.")

    @property
    def configured(self) -> bool:
        """Whether it is started without being named."""
        return self.enabled


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
