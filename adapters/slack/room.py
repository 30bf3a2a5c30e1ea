"""What the core sees of Slack: cards become messages, streams and files; attachments become bytes."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.shared import neutral, words
from adapters.slack import render
from adapters.slack.api import UNREACHABLE, code, refused
from adapters.slack.files import Transfer
from adapters.slack.intake import NAME, Us, handle, where
from adapters.slack.status import UNSUPPORTED, Status
from adapters.slack.stream import Destination, Pace, Stream, StreamOver, settled
from bot.types import Attachment, Card, Receipt, ThreadRef, turn_id

log = structlog.get_logger()

Json = dict[str, Any]
_BLOCKS_REFUSED = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "invalid_attachments",
        "block_mismatch",
        "invalid_chunks",
    }
)
_PAGES = 5
_LINES = 20
_LINE = 500


@dataclass(frozen=True, slots=True)
class Person:
    """For whom a turn is: Slack wants to know for streams and for what only one person sees."""

    user: str
    team: str
    message: str
    """The ts of the question."""


@dataclass(slots=True)
class Shown:
    """What a thread shows of one turn, as far as this process knows."""

    turn: str
    thread: ThreadRef
    person: Person | None
    stream: Stream | None = None
    working: str | None = None
    """The message that is edited while the turn works, where there is no stream."""
    posts: list[str] = field(default_factory=list)
    """Parts of the answer that stand in the thread."""
    told: bool = False
    """The whole text is delivered."""
    files: dict[str, Literal["delivered", "fallback"]] = field(default_factory=dict)
    found: dict[str, Literal["delivered", "fallback"]] = field(default_factory=dict)
    """What an earlier process did about files, by their titles."""
    written: float = 0.0
    content: object = None

    @property
    def channel(self) -> str:
        """Slack's id of the channel."""
        return where(self.thread)[1]

    @property
    def root(self) -> str:
        """The ts under which the thread stands."""
        return self.thread.thread

    @property
    def receipt(self) -> Receipt:
        """What the core keeps."""
        team, channel, _ = where(self.thread)
        messages = [*(self.stream.messages if self.stream else ()), *([self.working] if self.working else ()), *self.posts]
        person = self.person
        return Receipt(
            tuple(handle(team, channel, ts) for ts in messages),
            dict(self.files),
            {"messages": messages} | ({"person": [person.user, person.team, person.message]} if person else {}),
        )


class Room:
    """The part of `bot.ports.Chat` that shows and fetches; `listen` is in `adapters.slack.socket`."""

    name = NAME

    def __init__(self, web: AsyncWebClient, us: Us, transfer: Transfer, pace: Pace) -> None:
        """`us` from `auth.test`."""
        self.web, self.us, self.pace = web, us, pace
        self.status = Status(web)
        self._transfer = transfer
        self._shown: dict[str, Shown] = {}
        self._people: dict[str, Person] = {}
        self._names: dict[str, str] = {}
        self._streams = True

    # --- What intake tells ----------------------------------------------------------------------------------------

    def remember(self, turn: str, person: Person) -> None:
        """Who asked a turn, for its streams. Forgotten when it ends."""
        self._people[turn] = person

    def forget(self, turn: str) -> None:
        """A turn that is not to be shown after all."""
        self._people.pop(turn, None)

    def cut_off(self, messages: Sequence[str]) -> None:
        """Slack has stopped these streamed messages by itself."""
        for shown in self._shown.values():
            for ts in messages:
                if shown.stream:
                    shown.stream.cut_off(ts)

    def known_name(self, user: str) -> str:
        """A person's name where it is known already, else the id."""
        return self._names.get(user, user)

    # --- Chat -----------------------------------------------------------------------------------------------------

    def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """See `Chat.fetch`."""
        return self._transfer.fetch(attachment)

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """See `Chat.show`."""
        shown = self._shown.get(card.turn) or await self._begin(thread, card, receipt)
        try:
            if card.audience == "asker":
                await self._whisper(shown, card)
            elif card.final:
                await self._finish(shown, card)
            elif not await self._progress(shown, card, first=receipt is None) and receipt is not None:
                return receipt
        except UNREACHABLE as error:
            if not isinstance(error, SlackApiError):
                self._shown.pop(card.turn, None)  # it may stand there or not: the next call looks
            elif sentence := refused(error):
                raise sentence from error
            raise
        if card.final:
            self._shown.pop(card.turn, None)
            self._people.pop(card.turn, None)
        return shown.receipt

    async def _begin(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Shown:
        """Take a turn up: new, or from what an earlier process left in the thread."""
        person = self._people.get(card.turn)
        if person is None and receipt is not None and "person" in receipt.data:
            person = Person(*receipt.data["person"])
        shown = Shown(card.turn, thread, person)
        if receipt is not None or person is None:
            await self._take_up(shown, card, receipt or Receipt())
        self._shown[card.turn] = shown
        return shown

    # --- Progress -------------------------------------------------------------------------------------------------

    async def _progress(self, shown: Shown, card: Card, *, first: bool) -> bool:
        """Show a card that is not final. False: skipped, for the pace or because nothing has changed."""
        if shown.told:
            return False
        crowd = max(1, len(self._shown))
        if not first and shown.written and time.monotonic() - shown.written < self.pace.update * crowd:
            return False
        if self._may_stream(shown):
            try:
                return await self._stream(shown, card)
            except StreamOver as problem:
                log.info("not streamed", problem=str(problem))
                self._streams = self._streams and str(problem) not in UNSUPPORTED
            if shown.stream and shown.stream.messages:
                return False
            shown.stream = None
        text, blocks = render.working(card)
        if shown.content == blocks:
            return False
        if shown.working is None:
            shown.working = await self._post(shown, text, blocks, render.metadata(card))
        else:
            await self._edit(shown, shown.working, text, blocks, card)
        shown.content, shown.written = blocks, time.monotonic()
        await self.status.refresh(shown.channel, shown.root)
        return True

    def _may_stream(self, shown: Shown) -> bool:
        """Only where a turn can be stopped while it streams, and Slack can be told for whom it is."""
        if shown.working is not None or shown.person is None:
            return False
        return shown.stream is not None or (self._streams and self.status.native_stop)

    async def _stream(self, shown: Shown, card: Card) -> bool:
        if shown.stream is None:
            assert shown.person is not None
            to = Destination(shown.channel, shown.root, shown.person.user, shown.person.team)
            shown.stream = Stream(self.web, to, self.pace)
        tasks, text = render.tasks(card), settled(card.text.lstrip())
        if shown.content != (tasks, text) or shown.stream.tired:
            await shown.stream.send(tasks, text)
            shown.content, shown.written = (tasks, text), time.monotonic()
            return True
        return False

    # --- The end --------------------------------------------------------------------------------------------------

    async def _finish(self, shown: Shown, card: Card) -> None:
        """Text first, then files, then the sign is taken away."""
        if not shown.told:
            await self._tell(shown, card)
            shown.told = True
        await self._deliver(shown, card)
        await self.status.over(shown.channel, shown.root)

    async def _tell(self, shown: Shown, card: Card) -> None:
        body = words.answer(card)
        rest = body
        if shown.stream is not None:
            clean = neutral.markdown(body)
            try:
                await shown.stream.send(render.tasks(card), clean)
                if await shown.stream.stop(render.ending(card), render.metadata(card, final=True)):
                    return
            except StreamOver as problem:
                log.info("the stream ended early", problem=str(problem))
            rest = shown.stream.pending(clean)
        await self._post_answer(shown, card, rest)
        if shown.working is not None:
            await self._remove(shown.channel, shown.working)
            shown.working = None

    async def _post_answer(self, shown: Shown, card: Card, text: str) -> None:
        """As new messages, which notify where an edit would not; the last one carries table, footer and buttons."""
        parts = render.parts(text) or [card.footer or words.answer(card)]
        for number, part in list(enumerate(parts))[len(shown.posts) :]:
            last = number == len(parts) - 1
            blocks = [render.markdown(part), *(render.ending(card) if last else [])]
            if last and card.table:
                part += f"\n\n{render.table(card.table)}"
            shown.posts.append(await self._post(shown, part, blocks, render.metadata(card, part=number, final=last)))

    async def _deliver(self, shown: Shown, card: Card) -> None:
        """Every file in one message, and one more for those Slack does not take."""
        for file in card.files:
            if (outcome := shown.found.get(neutral.line(file.name))) is not None:
                shown.files[file.name] = outcome
        wanted = [file for file in card.files if file.name not in shown.files]
        if not wanted:
            return
        why = await self._transfer.upload(shown.channel, shown.root, wanted)
        shown.files |= {file.name: "delivered" for file in wanted if not why[file.name]}
        lost = [file for file in wanted if why[file.name]]
        if lost:
            titles = [neutral.line(file.name) for file in lost]
            for part in render.parts("\n".join(words.not_delivered(file, why[file.name]) for file in lost)):
                await self._post(shown, part, [render.markdown(part)], render.metadata(card, lost=titles))
            shown.files |= {file.name: "fallback" for file in lost}

    async def _whisper(self, shown: Shown, card: Card) -> None:
        """For one person alone."""
        if shown.person is None:
            log.warning("nobody to tell", turn=card.turn)
            return
        await self.whisper(shown.channel, shown.person.user, card, shown.root)
        shown.files |= {file.name: "fallback" for file in card.files}

    async def whisper(self, channel: str, user: str, card: Card, root: str | None) -> None:
        """An ephemeral message (`chat.postEphemeral`)."""
        for part in render.parts(words.answer(card)):
            await self._say("chat.postEphemeral", {"channel": channel, "user": user, "thread_ts": root}, part)

    async def announce(self, thread: ThreadRef, card: Card) -> None:
        """The answer to an action, for the whole thread."""
        for part in render.parts(words.answer(card)):
            await self._say("chat.postMessage", {"channel": where(thread)[1], "thread_ts": thread.thread}, part)

    # --- Messages -------------------------------------------------------------------------------------------------

    async def _say(self, method: str, args: Json, text: str, blocks: list[Json] | None = None) -> str:
        """Send a message; without its blocks where Slack refuses those. Its ts."""
        safe: Json = {"text": neutral.mrkdwn(text), "parse": "none"}
        if method == "chat.postMessage":
            safe |= {"unfurl_links": False, "unfurl_media": False}
        body = {key: value for key, value in (args | safe).items() if value is not None}
        try:
            answer = await self.web.api_call(method, json=body | {"blocks": blocks or [render.markdown(text)]})
        except SlackApiError as error:
            if code(error) not in _BLOCKS_REFUSED:
                raise
            log.warning("blocks refused, sent as text", error=code(error), where=error.response.get("response_metadata"))
            answer = await self.web.api_call(method, json=body | ({"blocks": []} if method == "chat.update" else {}))
        return str(answer.get("ts") or answer.get("message_ts") or "")

    async def _post(self, shown: Shown, text: str, blocks: list[Json], metadata: Json) -> str:
        args = {"channel": shown.channel, "thread_ts": shown.root, "metadata": metadata}
        return await self._say("chat.postMessage", args, text, blocks)

    async def _edit(self, shown: Shown, ts: str, text: str, blocks: list[Json], card: Card) -> None:
        args = {"channel": shown.channel, "ts": ts, "metadata": render.metadata(card)}
        await self._say("chat.update", args, text, blocks)

    async def _remove(self, channel: str, ts: str) -> None:
        """Delete a message of ours; one that will not go is left."""
        with suppress(SlackApiError):
            await self.web.chat_delete(channel=channel, ts=ts)

    # --- After a restart ------------------------------------------------------------------------------------------

    async def _take_up(self, shown: Shown, card: Card, receipt: Receipt) -> None:
        """Find what stands in the thread of this turn. A whole answer is kept, anything less is removed and shown anew."""
        team, channel, root = where(shown.thread)
        try:
            messages = await self._replies(channel, root)
        except (SlackApiError, *UNREACHABLE) as error:
            log.warning("thread not readable, going by the receipt", problem=repr(error))
            messages = [{"ts": ts, "user": self.us.user, "turn": card.turn} for ts in receipt.data.get("messages", ())]
        for message in messages:
            if shown.person is None and card.turn.startswith(turn_id(handle(team, channel, str(message["ts"])))):
                home = message.get("user_team") or message.get("team") or team
                shown.person = Person(str(message.get("user")), str(home), str(message["ts"]))
        mine = [m for m in messages if m.get("user") == self.us.user or (m.get("bot_id") and m.get("bot_id") == self.us.bot)]
        ours = [m for m in mine if card.turn in str(m)]
        end = max((str(m["ts"]) for m in ours if _payload(m).get("final")), default="")
        if not end:
            for message in ours:
                with suppress(SlackApiError):
                    await self.web.chat_stopStream(channel=channel, ts=str(message["ts"]))
                await self._remove(channel, str(message["ts"]))
            return
        shown.told = True
        shown.posts = [str(m["ts"]) for m in ours]
        after = [m for m in mine if str(m["ts"]) > end]
        shown.found |= {str(file.get("title")): "delivered" for m in after for file in m.get("files") or []}
        shown.found |= {title: "fallback" for m in after for title in _payload(m).get("lost", ())}

    async def _replies(self, channel: str, root: str) -> list[Json]:
        """The thread's messages, oldest first, as far as a few pages go."""
        messages: list[Json] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            answer = await self.web.conversations_replies(
                channel=channel, ts=root, limit=200, include_all_metadata=True, cursor=cursor
            )
            messages += answer.get("messages") or []
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        return messages

    # --- Context --------------------------------------------------------------------------------------------------

    async def lines(self, thread: ThreadRef, before: str) -> list[tuple[str, str]]:
        """(handle, "name: text") of what people wrote in the thread before one message; empty where Slack will not say."""
        team, channel, root = where(thread)
        try:
            messages = await self._replies(channel, root)
        except (SlackApiError, *UNREACHABLE) as error:
            log.info("thread not readable", problem=repr(error))
            return []
        people = [m for m in messages if m.get("user") and not m.get("bot_id") and m["user"] != self.us.user]
        recent = [m for m in people if str(m["ts"]) < before and m.get("text")][-_LINES:]
        return [
            (handle(team, channel, str(m["ts"])), f"{await self._name(str(m['user']))}: {str(m['text'])[:_LINE]}")
            for m in recent
        ]

    async def _name(self, user: str) -> str:
        if user not in self._names:
            try:
                profile = (await self.web.users_info(user=user)).get("user") or {}
            except (SlackApiError, *UNREACHABLE):
                return user
            self._names[user] = str(profile.get("real_name") or profile.get("name") or user)
        return self._names[user]


def _payload(message: Json) -> Json:
    return (message.get("metadata") or {}).get("event_payload") or {}
