"""Slack's part of a check-up: both tokens and what they may do, tried on Slack itself."""

from collections.abc import Awaitable, Callable, Sequence

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from adapters.slack import api
from adapters.slack.intake import NAME
from adapters.slack.manifest import SCOPES
from adapters.slack.settings import Settings
from bot.types import Finding

_PASSING = frozenset({"fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable", ""})
"""Errors that say nothing about the token. "" is an answer that is not Slack's."""


async def check(settings: Settings) -> Sequence[Finding]:
    """What Slack says of each token, and which of the manifest's scopes the app was not given. Opens no socket: Slack would
    send it events that are for the bot. Waits as long as Slack does."""
    tokens = {"SLACK_BOT_TOKEN": settings.slack_bot_token, "SLACK_APP_TOKEN": settings.slack_app_token}
    missing = [name for name, token in tokens.items() if not token.get_secret_value()]
    if len(missing) == len(tokens):
        return [Finding(NAME, "ok", "not set up")]
    if missing:
        return [Finding(NAME, "fail", f"{missing[0]} is not set", f"export {missing[0]}=...; where to get it: docs/slack.md")]
    async with aiohttp.ClientSession(trust_env=True) as session:
        web = AsyncWebClient(
            token=settings.slack_bot_token.get_secret_value(),
            base_url=settings.slack_api_url,
            session=session,
            retry_handlers=[],  # what does not work at once is what a check-up is there to show
        )
        return [
            await _answer(settings, web.auth_test(), _bot),
            await _answer(settings, web.apps_connections_open(app_token=settings.slack_app_token.get_secret_value()), _app),
        ]


async def _answer(
    settings: Settings, call: Awaitable[AsyncSlackResponse], well: Callable[[AsyncSlackResponse], Finding]
) -> Finding:
    try:
        return well(await call)
    except SlackApiError as error:
        if api.code(error) in _PASSING:
            return Finding(
                NAME, "warn", f"Slack answers, but not now ({api.code(error) or 'no reason given'})", "Try again later"
            )
        return Finding(NAME, "fail", *api.refusal(error))
    except api.UNREACHABLE as error:
        problem = str(error) or type(error).__name__
        said = f"Slack cannot be reached at {settings.slack_api_url} ({problem})"
        return Finding(
            NAME, "fail", said, f"Check the network, HTTPS_PROXY and SLACK_API_URL: curl {settings.slack_api_url}api.test"
        )


def _bot(response: AsyncSlackResponse) -> Finding:
    """`x-oauth-scopes` names the scopes of the token that was used (docs.slack.dev, "Authentication")."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    granted = {scope.strip() for scope in str(headers.get("x-oauth-scopes", "")).split(",") if scope.strip()}
    if granted and (lacking := sorted(set(SCOPES) - granted)):
        return Finding(
            NAME,
            "fail",
            f"The Slack app lacks the scopes {', '.join(lacking)}",
            "Paste what `./run slack manifest` prints into the app's page App Manifest, save, and reinstall it (Install App)",
        )
    scopes = "all its scopes" if granted else "scopes unknown: the server does not name them"
    return Finding(NAME, "ok", f"{response.get('user')} in {response.get('team')}, {scopes}")


def _app(response: AsyncSlackResponse) -> Finding:
    return Finding(NAME, "ok", "Socket Mode is open to the app token")
