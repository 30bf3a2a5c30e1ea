"""Discord's settings."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.discord.names import NAME

__all__ = ["NAME", "Settings"]


class Settings(BaseSettings):
    """How to reach Discord."""

    model_config = SettingsConfigDict(env_prefix="DISCORD_", extra="ignore")

    token: SecretStr = Field(
        default=SecretStr(""), description="The bot's token (developer portal, Bot). Empty: Discord is not used."
    )
    api_url: str = Field(
        default="https://discord.com/api/v10",
        pattern=r"^https?://\S+$",
        description="Discord's REST API, version 10, or what stands in for it; its host then counts as a file host.",
    )
    gateway_url: str = Field(
        default="",
        pattern=r"^(wss?://\S+)?$",
        description="Discord's Gateway; empty: Discord's own. Its host counts as a file host too.",
    )

    @property
    def configured(self) -> bool:
        """Whether there is a token."""
        return bool(self.token.get_secret_value())
