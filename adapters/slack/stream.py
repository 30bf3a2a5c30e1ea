"""One streamed reply, over as many Slack messages as its limits need.

Facts it rests on: a stream dies after about five minutes even with steady appends (python-slack-sdk issue 1859), and one
streamed message bears about 10.6 kB of text, task cards included. So it goes over to a new message well before either.
The SDK's own helper does neither, and loses its place when two appends meet.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.shared import neutral
from adapters.slack.api import code, refused
from adapters.slack.render import MESSAGE, Json

_DEAD = frozenset({"message_not_in_streaming_state", "message_not_found"})
_STOPPED = frozenset({"stopped_by_user"})
_FENCE_ROOM = 64
_EMPTY_TASK = 60


class StreamOver(Exception):
    """This turn cannot be streamed further; what is left is posted. `str()` is Slack's word for it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how long. Seconds."""

    update: float = 1.0
    """Between two edits or appends of one turn, times the turns that work at once: Slack counts by workspace."""
    stream: float = 240.0
    """After which a stream goes over to a new message."""
    twin: float = 0.7
    """How long an `app_mention` waits for its `message` twin, whose files it may lack."""
    check: float = 3.0
    """Between two looks whether the sockets are connected; after ten without one the tokens are tried again."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a stream goes. Outside direct messages Slack wants to know for whom (docs.slack.dev, "chat.startStream")."""

    channel: str
    root: str
    user: str
    team: str


class Stream:
    """Appends task cards and text. Not for two callers at once."""

    def __init__(self, web: AsyncWebClient, to: Destination, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is sent before the first `send`."""
        self._web, self._to, self._pace, self._clock = web, to, pace, clock
        self.messages: list[str] = []
        """Every message it has begun, oldest first."""
        self.open: str | None = None
        self.over = False
        self._began = 0.0
        self._used = 0
        self._body = ""
        self._said = ""
        self._tasks: dict[str, Json] = {}
        self._with_tasks = True

    @property
    def tired(self) -> bool:
        """Whether the open message has stood so long that it should make way for a new one."""
        return self.open is not None and self._clock() - self._began > self._pace.stream

    def pending(self, text: str) -> str:
        """What of a text was not sent yet: its rest where it goes on from what was, else all of it."""
        return text[len(self._said) :] if text.startswith(self._said) else text

    async def send(self, tasks: list[Json], text: str) -> None:
        """Show these task cards and this text, of which only what is new is sent. Raises `StreamOver`."""
        if self.tired:
            await self._roll()
        for task in tasks:
            if self._with_tasks and self._tasks.get(task["id"]) != task:
                await self._append(task, sum(len(str(value).encode()) for value in task.values()))
                self._tasks[task["id"]] = task
        if text and not text.startswith(self._said):
            await self._text("\n\n" if self._body else "")
            self._said = ""
        rest = self.pending(text)
        while rest:
            piece = self._cut(rest)
            await self._text(piece)
            self._said += piece
            rest = rest[len(piece) :]

    async def stop(self, blocks: list[Json], metadata: Json) -> bool:
        """Close the stream with these blocks under it. False where it was closed already, so that they were not shown.

        The session goes on: files may follow, and `Status` ends it.
        """
        if self.open is None:
            return False
        for attached in (blocks, []):
            try:
                await self._stop(blocks=attached or None, metadata=metadata)
            except SlackApiError as error:
                if code(error) in _DEAD | _STOPPED:
                    self.open = None
                    return False
                if not attached:
                    raise
            else:
                return True
        return False

    def cut_off(self, ts: str) -> None:
        """Slack has stopped this stream itself (the native Stop button): nothing may be appended to it."""
        if ts in self.messages:
            self.open, self.over = None, True

    async def _text(self, piece: str) -> None:
        if piece:
            await self._append({"type": "markdown_text", "text": piece}, len(piece.encode()))
            self._body += piece

    def _cut(self, text: str) -> str:
        """As much as this message still bears, up to the end of a line or word."""
        room = MESSAGE - self._used - _FENCE_ROOM if self.open else MESSAGE - _FENCE_ROOM
        if len(text.encode()) <= room:
            return text
        if room < MESSAGE // 8:
            room = MESSAGE - _FENCE_ROOM * 2  # a new message is about to begin
        piece = text.encode()[:room].decode(errors="ignore")
        for mark in ("\n", " "):
            if (stop := piece.rfind(mark)) > len(piece) // 2:
                return piece[: stop + 1]
        return piece

    async def _append(self, chunk: Json, size: int) -> None:
        if self.over:
            raise StreamOver("stopped_by_user")
        if self.open and self._used + size > MESSAGE - _FENCE_ROOM // 2:
            await self._roll()
        for _ in range(3):
            try:
                await (self._start(chunk) if self.open is None else self._add(chunk))
            except SlackApiError as error:
                await self._recover(error, chunk)
                if chunk["type"] == "task_update" and not self._with_tasks:
                    return
            else:
                self._used += size
                return
        raise StreamOver("every new stream was refused")

    async def _recover(self, error: SlackApiError, chunk: Json) -> None:
        """Make the next try of an append fit what Slack said to this one."""
        word = code(error)
        if word in _DEAD:
            self.open = None
        elif word == "msg_too_long" and self.open:
            await self._roll()
        elif word == "invalid_chunks" and chunk["type"] == "task_update":
            self._with_tasks = False
        else:
            self.over = True
            if sentence := refused(error):
                raise sentence from error
            raise StreamOver(word) from error

    async def _add(self, chunk: Json) -> None:
        assert self.open
        await self._web.chat_appendStream(channel=self._to.channel, ts=self.open, chunks=[chunk])

    async def _start(self, chunk: Json) -> None:
        """Begin a message: the task cards that still run, and an open code fence, go on in it."""
        to, fence = self._to, _open_fence(self._body)
        running = [task for task in self._tasks.values() if task["status"] == "in_progress" and task["id"] != chunk.get("id")]
        again: list[Json] = running if self._with_tasks else []
        if fence and chunk["type"] == "markdown_text":
            chunk = {"type": "markdown_text", "text": f"{fence}\n{chunk['text'].lstrip(chr(10))}"}
        who: dict[str, Any] = {}
        if not to.channel.startswith("D"):
            who = {"recipient_user_id": to.user, "recipient_team_id": to.team}
        answer = await self._web.chat_startStream(
            channel=to.channel, thread_ts=to.root, task_display_mode="timeline", chunks=[*again, chunk], **who
        )
        self.open = str(answer["ts"])
        self.messages.append(self.open)
        self._began = self._clock()
        self._used = _EMPTY_TASK * len(again)
        self._body = f"{fence}\n" if fence else ""

    async def _roll(self) -> None:
        """Close this message, so that the next append begins another."""
        closing: list[Json] = [
            {**task, "status": "complete"}
            for task in self._tasks.values()
            if self._with_tasks and task["status"] == "in_progress"
        ]
        if fence := _open_fence(self._body):
            ticks = "`" * (len(fence) - len(fence.lstrip("`")))
            closing.append({"type": "markdown_text", "text": f"\n{ticks}"})
        try:
            await self._stop(chunks=closing or None)
        except SlackApiError as error:
            if code(error) not in _DEAD | _STOPPED | {"msg_too_long", "invalid_chunks"}:
                raise
        self.open = None

    async def _stop(self, **more: Any) -> None:
        assert self.open
        await self._web.chat_stopStream(channel=self._to.channel, ts=self.open, session_status="processing", **more)
        self.open = None


def settled(text: str) -> str:
    """The beginning of a neutral text that no later word can change: up to its last white space, in code its last line."""
    cut = text.rfind("\n") if _open_fence(text) else max(text.rfind(" "), text.rfind("\n"))
    return neutral.markdown(text[:cut].rstrip()) if cut > 0 else ""


def _open_fence(text: str) -> str:
    """The line that opens the code fence in which a text ends; "" outside of one (CommonMark 0.31 §4.5)."""
    fence = ""
    for line in text.split("\n"):
        mark = line.strip()
        ticks = len(mark) - len(mark.lstrip("`"))
        if not fence and ticks >= 3 and "`" not in mark[ticks:]:
            fence = mark[: ticks + 20]
        elif fence and mark == "`" * ticks and ticks >= len(fence) - len(fence.lstrip("`")):
            fence = ""
    return fence
