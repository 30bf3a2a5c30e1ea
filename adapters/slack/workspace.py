"""One Slack workspace: logging in, listening, and what was said in a thread before."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from adapters.slack import api
from adapters.slack.files import Transfer
from adapters.slack.intake import Us
from adapters.slack.listener import Listener
from adapters.slack.room import Room
from adapters.slack.settings import Settings
from adapters.slack.stream import Pace
from bot.ports import Files, Inbox
from bot.types import Question

PACE = Pace()
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
"""A large file takes as long as it takes, while bytes come."""


class Slack(Room):
    """One workspace, as `bot.ports.Chat`."""

    def __init__(self, settings: Settings, us: Us, transfer: Transfer, pace: Pace) -> None:
        """Made by `connect`."""
        super().__init__(transfer.web, us, transfer, pace)
        self._settings = settings
        self._inbox: Inbox | None = None

    async def listen(self, inbox: Inbox) -> None:
        """See `Chat.listen`."""
        self._inbox = inbox
        await Listener(self, inbox, self._settings).run()

    async def context(self, question: Question) -> Sequence[str]:
        """See `Chat.context`."""
        before = question.keys[0].split("/")[2]
        lines = await self.lines(question.thread, before)
        return [line for handle, line in lines if self._inbox is None or await self._inbox.locate(handle) is None]


@asynccontextmanager
async def connect(settings: Settings, files: Files, pace: Pace = PACE) -> AsyncIterator[Slack]:
    """The chat of one workspace, both tokens tried. Raises `ConfigError`."""
    async with aiohttp.ClientSession(trust_env=True, timeout=TIMEOUT) as session:
        web = api.client(settings, session)
        who = await api.preflight(web, settings)
        us = Us(str(who.get("team_id")), str(who.get("user_id")), str(who.get("bot_id")))
        yield Slack(settings, us, Transfer(web, session, files, settings.slack_api_url), pace)
