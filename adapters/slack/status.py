"""The first sign that a question was seen, and the last that its turn is over.

Slack has three kinds (docs.slack.dev): an agent session's status with its own Stop button (`agents.sessions.setStatus`), the
older line under the composer (`assistant.threads.setStatus`, gone after two minutes and after every message of ours), and
where an app has neither, a reaction. What Slack refuses once is not tried again while the process lives.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.api import UNREACHABLE, code

log = structlog.get_logger()

REACTION = "eyes"
_REFRESH = 60.0
UNSUPPORTED = frozenset(
    {
        "access_denied",
        "app_not_agent",
        "channel_type_not_supported",
        "feature_not_enabled",
        "method_deprecated",
        "missing_scope",
        "not_allowed",
        "not_authorized",
        "unknown_method",
    }
)
"""By which Slack says that this app, workspace or kind of channel has no such thing."""


@dataclass(slots=True)
class _Sign:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    written: float = 0.0
    reaction: str = ""
    """The message that carries our reaction."""


class Status:
    """Writes of one thread come one after another, so that a late "working" never follows the end."""

    def __init__(self, web: AsyncWebClient) -> None:
        """Starts with the best kind and steps down as Slack refuses."""
        self._web = web
        self._kinds = ["sessions", "threads", "reactions"]
        self._signs: defaultdict[tuple[str, str], _Sign] = defaultdict(_Sign)

    @property
    def native_stop(self) -> bool:
        """Whether Slack shows a Stop button of its own while a status stands."""
        return self._kinds[:1] == ["sessions"]

    async def working(self, channel: str, root: str, message: str, user: str | None) -> None:
        """Say that work goes on. `message` is the question's ts. Never raises: a sign is not worth an answer."""
        sign = self._signs[channel, root]
        async with sign.lock:
            await self._down(lambda kind: self._say(kind, sign, channel, root, message, user))
            sign.written = time.monotonic()

    async def refresh(self, channel: str, root: str) -> None:
        """Write the older line again before it goes out by itself."""
        sign = self._signs.get((channel, root))
        if sign and self._kinds[:1] == ["threads"] and time.monotonic() - sign.written > _REFRESH:
            await self.working(channel, root, root, None)

    async def over(self, channel: str, root: str) -> None:
        """Take the sign away, after every other write. Never raises."""
        sign = self._signs[channel, root]
        async with sign.lock:
            await self._down(lambda kind: self._clear(kind, sign, channel, root))
        self._signs.pop((channel, root), None)

    async def _down(self, write: Callable[[str], Awaitable[None]]) -> None:
        while self._kinds:
            try:
                return await write(self._kinds[0])
            except SlackApiError as error:
                if code(error) not in UNSUPPORTED:
                    log.info("status not shown", kind=self._kinds[0], error=code(error))
                    return None
                log.info("status kind not available", kind=self._kinds.pop(0), error=code(error))
            except UNREACHABLE as error:
                log.info("status not shown", problem=repr(error))
                return None
        return None

    async def _say(self, kind: str, sign: _Sign, channel: str, root: str, message: str, user: str | None) -> None:
        match kind:
            case "sessions":
                await self._web.agents_sessions_setStatus(
                    channel_id=channel, thread_ts=root, status="processing", initiator_user_id=user
                )
            case "threads":
                await self._web.assistant_threads_setStatus(channel_id=channel, thread_ts=root, status="is working…")
            case _:
                await self._web.reactions_add(channel=channel, timestamp=message, name=REACTION)
                sign.reaction = message

    async def _clear(self, kind: str, sign: _Sign, channel: str, root: str) -> None:
        match kind:
            case "sessions":
                await self._web.agents_sessions_setStatus(channel_id=channel, thread_ts=root, status="active")
            case "threads":
                await self._web.assistant_threads_setStatus(channel_id=channel, thread_ts=root, status="")
            case _:
                if sign.reaction:
                    await self._web.reactions_remove(channel=channel, timestamp=sign.reaction, name=REACTION)
