"""The page's settings."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
