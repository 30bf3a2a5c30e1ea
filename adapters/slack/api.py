"""The Web API as this adapter uses it: one client, its retries, and what its errors mean to a person."""

import asyncio
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncRateLimitErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.settings import Settings
from bot.errors import ConfigError, Refused

TOKEN_REFUSED = frozenset(
    {
        "account_inactive",
        "invalid_auth",
        "not_allowed_token_type",
        "not_authed",
        "org_login_required",
        "team_access_not_granted",
        "token_expired",
        "token_revoked",
    }
)
_PERMANENT = {
    "not_in_channel": "Cellmate is not a member of this channel; type /invite @cellmate there, then ask again.",
    "channel_not_found": "Slack does not let Cellmate see this channel; type /invite @cellmate there, then ask again.",
    "is_archived": "This channel is archived; ask in another one.",
    "restricted_action": "The workspace does not let Cellmate post in this channel; an administrator can allow it.",
    "restricted_action_read_only_channel": "Cellmate may not post in this channel; ask in another one.",
    "restricted_action_thread_only_channel": "Only threads are allowed in this channel; ask in one.",
    "restricted_action_thread_locked": "This thread is locked; ask in a new one.",
    "thread_locked": "This thread is locked; ask in a new one.",
    "messages_tab_disabled": "Direct messages to Cellmate are switched off; an administrator enables the app's Messages tab.",
    "missing_scope": "The Slack app lacks a permission Cellmate needs; an administrator adds its scopes and reinstalls it.",
}
UNREACHABLE = (aiohttp.ClientError, SlackClientError, TimeoutError, OSError)
"""What a call raises that is no answer by Slack; `SlackApiError` is caught before it."""


def client(settings: Settings, session: aiohttp.ClientSession) -> AsyncWebClient:
    """A client that waits out rate limits (`Retry-After`) and repeats what Slack's own servers failed at.

    A connection that breaks is not tried again here: what was sent may have been posted, and `Room` looks before it repeats.
    """
    return AsyncWebClient(
        token=settings.slack_bot_token.get_secret_value(),
        base_url=settings.slack_api_url,
        session=session,
        retry_handlers=[
            AsyncRateLimitErrorRetryHandler(max_retry_count=3),
            AsyncServerErrorRetryHandler(max_retry_count=2),
        ],
    )


def code(error: SlackApiError) -> str:
    """Slack's word for what went wrong ("channel_not_found"); "" where its answer holds none."""
    data: Any = error.response.data if hasattr(error.response, "data") else error.response
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def refused(error: SlackApiError) -> Refused | None:
    """What no retry can mend, as a sentence; None for an error that may pass."""
    sentence = _PERMANENT.get(code(error))
    return Refused(sentence) if sentence else None


async def check_tokens(web: AsyncWebClient, settings: Settings) -> dict[str, Any]:
    """Try both tokens; the answer of `auth.test`. Raises what the client raises; `token_error` explains a refusal."""
    async with asyncio.timeout(30):
        who = await web.auth_test()
        await web.apps_connections_open(app_token=settings.slack_app_token.get_secret_value())
    assert isinstance(who.data, dict)
    return who.data


async def preflight(web: AsyncWebClient, settings: Settings) -> dict[str, Any]:
    """The same before anything else. Raises `ConfigError` naming the setting to mend.

    The socket's own connect loop would repeat a refused token for ever and say nothing.
    """
    try:
        return await check_tokens(web, settings)
    except SlackApiError as error:
        raise token_error(error) from error
    except UNREACHABLE as error:
        problem = str(error) or type(error).__name__
        raise ConfigError(
            f"Slack cannot be reached at {settings.slack_api_url} ({problem}): check the network, or SLACK_API_URL."
        ) from error


def token_error(error: SlackApiError) -> ConfigError:
    """Which token Slack refused, and what to do."""
    said, what = refusal(error)
    return ConfigError(f"{said}: {what}.")


def refusal(error: SlackApiError) -> tuple[str, str]:
    """The same in two parts."""
    response: Any = error.response
    if "apps.connections.open" in str(getattr(response, "api_url", "")):
        setting = "SLACK_APP_TOKEN"
        what = "make an app-level token (xapp-…) with the scope connections:write on the app's page Basic Information"
    else:
        setting = "SLACK_BOT_TOKEN"
        what = "copy the Bot User OAuth Token (xoxb-…) from the app's page OAuth & Permissions"
    return f"Slack refused {setting} ({code(error) or 'no reason given'})", f"{what}, and enable Socket Mode"
