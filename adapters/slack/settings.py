"""Slack's settings, under the names Slack's own tools use."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """What an operator sets to bring Cellmate into a Slack workspace."""

    slack_bot_token: SecretStr = Field(
        SecretStr(""), description="The app's bot token (xoxb-…), from the page OAuth & Permissions."
    )
    slack_app_token: SecretStr = Field(
        SecretStr(""), description="An app-level token (xapp-…) with the scope connections:write, from Basic Information."
    )
    slack_api_url: str = Field(
        "https://slack.com/api/",
        description="The Web API's address: GovSlack, a proxy or a test server. Its host then counts as a file host too.",
    )

    @field_validator("slack_api_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ValueError("must be an address that starts with https:// (or http:// for a server of your own)")
        return value if value.endswith("/") else f"{value}/"

    @property
    def configured(self) -> bool:
        """Whether there is enough to connect with."""
        return bool(self.slack_bot_token.get_secret_value() and self.slack_app_token.get_secret_value())
