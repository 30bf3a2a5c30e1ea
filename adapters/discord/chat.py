"""`Chat` on Discord."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self

import aiohttp
import discord
import structlog
import yarl

from adapters.discord import intake, names, rest
from adapters.discord.deliver import Deliverer
from adapters.discord.fetch import Downloads, Gone
from adapters.discord.gateway import Client
from bot.errors import ConfigError, Refused
from bot.ports import Files, Inbox
from bot.types import Attachment, Card, Question, Receipt, ThreadRef

log = structlog.get_logger()

REFUSED = "Discord refused DISCORD_TOKEN. Copy the bot's token anew from the developer portal (Bot, Reset Token)."
NO_INTENT = (
    "Discord does not grant the message content intent: I answer mentions, replies and direct messages only. "
    "To follow threads without a mention, switch it on in the developer portal (Bot, Message Content Intent)."
)
RECENT = 30


class Discord:
    """Discord as a `Chat`; an async context manager that logs in and out."""

    name = names.NAME

    def __init__(self, token: str, hosts: Sequence[yarl.URL], files: Files) -> None:
        """`hosts`: the settings' own addresses, from which files may come too."""
        self._token, self._hosts = token, hosts
        self._deliverer = Deliverer(files)
        self._inbox: Inbox | None = None

    async def __aenter__(self) -> Self:
        self._downloads = Downloads(self._hosts)
        self._ready = asyncio.Event()
        try:
            self._client = await self._log_in(content=True)
        except BaseException:
            await self._downloads.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self._downloads.close()

    async def _log_in(self, *, content: bool) -> Client:
        try:
            return await rest.patiently(lambda: self._try_to_log_in(content=content))
        except discord.LoginFailure as problem:
            raise ConfigError(REFUSED) from problem
        except (aiohttp.ClientError, discord.HTTPException, OSError) as problem:
            raise ConfigError(f"Discord does not answer ({problem}). Check the network, or DISCORD_API_URL.") from problem

    async def _try_to_log_in(self, *, content: bool) -> Client:
        """A client for each try: discord.py opens a session with every login, and closes only the last."""
        client = Client(self._deliverer, content=content)
        try:
            await client.login(self._token)
        except BaseException:
            await client.close()
            raise
        return client

    async def listen(self, inbox: Inbox) -> None:
        """See `Chat.listen`."""
        self._inbox = inbox
        try:
            try:
                await self._connect(inbox)
            except discord.PrivilegedIntentsRequired:
                log.warning(NO_INTENT)
                await self._client.close()
                self._client = await self._log_in(content=False)
                await self._connect(inbox)
        except discord.ConnectionClosed as problem:
            raise ConfigError(REFUSED if problem.code == 4004 else f"Discord closed the connection: {problem}") from problem

    async def _connect(self, inbox: Inbox) -> None:
        self._client.inbox, self._client.ready = inbox, self._ready
        await self._client.connect()

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """See `Chat.show`. Waits until Discord is connected."""
        await self._ready.wait()
        return await self._deliverer.show(self._client, thread, card, receipt)

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """See `Chat.fetch`. An address that has expired (they are signed for about a day) is looked up anew, once."""
        locator = attachment.locator
        try:
            async with aclosing(self._downloads.read(locator["url"], attachment.name, attachment.size)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        except Gone:
            address = await self._anew(attachment)
        try:
            async with aclosing(self._downloads.read(address, attachment.name, attachment.size)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Gone:
            raise Refused(_gone(attachment)) from None

    async def _anew(self, attachment: Attachment) -> str:
        locator = attachment.locator
        channel = self._client.get_partial_messageable(int(locator["channel"]))
        try:
            message = await channel.fetch_message(int(locator["message"]))
        except discord.HTTPException as problem:
            raise Refused(_gone(attachment)) from problem
        files = (*message.attachments, *(a for snapshot in message.message_snapshots for a in snapshot.attachments))
        address = next((file.url for file in files if str(file.id) == locator["id"]), None)
        if address is None:
            raise Refused(_gone(attachment))
        return address

    async def context(self, question: Question) -> Sequence[str]:
        """See `Chat.context`."""
        place, _ = question.thread.place.split("/")
        asked = names.message_id(question.keys[0])
        if place == names.DIRECT or self._inbox is None or question.thread.thread == str(asked):
            return ()
        channel = self._client.get_partial_messageable(int(question.thread.thread))
        lines = []
        try:
            async for message in channel.history(limit=RECENT, before=discord.Object(asked)):
                if await self._is_context(message):
                    lines.append(f"{message.author.display_name}: {intake.text_of(message, self._client.me)}")
        except (discord.HTTPException, aiohttp.ClientError, OSError) as problem:
            log.info("recent messages cannot be read", problem=repr(problem))
        return tuple(reversed(lines))

    async def _is_context(self, message: discord.Message) -> bool:
        """Whether a person said something that was not asked of us."""
        assert self._inbox is not None
        if not message.content or not intake.is_from_person(message):
            return False
        return await self._inbox.locate(names.key(message.channel.id, message.id)) is None


def _gone(attachment: Attachment) -> str:
    return f"{attachment.name} is no longer on Discord. Attach it again."
