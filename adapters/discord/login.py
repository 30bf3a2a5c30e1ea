"""Logging in to Discord, for the bot and for the check-up.

discord.py keeps the addresses of REST and Gateway in class attributes, so a process talks to one Discord only: `connect` sets
both from its settings and leaves them so.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.chat import NO_INTENT, REFUSED, Discord
from adapters.discord.settings import NAME, Settings
from bot.ports import Chat, Files
from bot.types import Finding

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
    add_reactions=True,
)
"""What the bot needs in a server: integer 309237763136."""


@asynccontextmanager
async def connect(settings: Settings, files: Files) -> AsyncIterator[Chat]:
    """Log in and give the chat. Raises `ConfigError` when Discord refuses the token or does not answer."""
    _address(settings)
    hosts = [yarl.URL(url) for url in (settings.api_url, settings.gateway_url) if url]
    async with Discord(settings.token.get_secret_value(), hosts, files) as chat:
        yield chat


async def check(settings: Settings) -> Sequence[Finding]:
    """What Discord says of the token, and whether it grants the message content intent. Waits as long as discord.py does."""
    if not settings.configured:
        return [Finding(NAME, "ok", "not set up")]
    _address(settings)
    try:
        async with discord.Client(intents=discord.Intents.none()) as client:
            await client.login(settings.token.get_secret_value())
            application = await client.application_info()
    except discord.LoginFailure:
        return [Finding(NAME, "fail", *REFUSED.split(". ", 1))]
    except (aiohttp.ClientError, discord.HTTPException, OSError) as problem:
        remedy = f"Check the network and DISCORD_API_URL: curl {settings.api_url}/gateway"
        return [Finding(NAME, "fail", f"Discord does not answer at {settings.api_url} ({problem})", remedy)]
    found = Finding(NAME, "ok", f"logged in as {application.name}")
    granted = application.flags.gateway_message_content or application.flags.gateway_message_content_limited
    return [found] if granted else [found, Finding(NAME, "warn", *NO_INTENT.split(". ", 1))]


def _address(settings: Settings) -> None:
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # voice is not used: no word about its libraries
    Route.BASE = settings.api_url.rstrip("/")
    if settings.gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway_url)


def invite_url(application_id: int) -> str:
    """The page where an administrator adds the bot to a server, with the permissions it needs and no more."""
    return discord.utils.oauth_url(application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands"))
