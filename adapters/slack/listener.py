"""Slack's events to the inbox, over Socket Mode.

Bolt acknowledges an event before its listener runs unless `process_before_response` is set. It is: an event is acknowledged
when its listener has returned, so a question that was not committed is delivered again.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.errors import SlackApiError

from adapters.shared import neutral, words
from adapters.slack import intake, render
from adapters.slack.api import TOKEN_REFUSED, UNREACHABLE, check_tokens, code, token_error
from adapters.slack.intake import NAME, QUESTIONS, Envelope, by_person, handle, thread_ref
from adapters.slack.richtext import mentioned
from adapters.slack.room import Person, Room
from adapters.slack.settings import Settings
from bot.commands import COMMANDS, Command, command_for_word
from bot.ports import Inbox
from bot.types import Action, Asker, Place, Question, ThreadRef

log = structlog.get_logger()

SOCKETS = 2
"""So that a connection which Slack renews or drops never leaves none."""
_PING = 5.0
_DOWN = 10
"""Checks without a connection after which the tokens are tried again."""
_SIGN = 2.0
_EDIT = 2.0
_DRAIN = 5.0
_REMEMBERED = 2_000

_QUIET = logging.getLogger("cellmate.slack.bolt")
_QUIET.setLevel(logging.ERROR)  # Bolt warns of a token in the environment that is not given to it, which is ours

Json = Mapping[str, Any]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Listener:
    """Brings what people do in one workspace to the inbox."""

    def __init__(self, room: Room, inbox: Inbox, settings: Settings) -> None:
        """Nothing is connected before `run`."""
        self._room, self._inbox, self._settings = room, inbox, settings
        self._us = room.us
        self._inside: set[asyncio.Task[Any]] = set()
        self._signed: dict[str, bool] = {}
        self._acted: dict[str, bool] = {}
        self._settled: dict[str, asyncio.Event] = {}
        self._leaders: dict[ThreadRef, str] = {}

    def _app(self) -> AsyncApp:
        """What is listened to; anything else is acknowledged and no more, or Slack would send it again and again."""
        app = AsyncApp(name="cellmate", logger=_QUIET, client=self._room.web, process_before_response=True)
        app.event("message")(self._event(self._message))
        app.event("app_mention")(self._event(self._mention))
        app.event("reaction_added")(self._event(self._reaction))
        app.event("agent_session_stopped")(self._event(self._session_stopped))
        app.event(re.compile(".*"))(self._event(self._nothing))
        app.action(re.compile(".*"))(self._pressed)
        app.command(re.compile(".*"))(self._slash)
        return app

    def _event(self, do: Callable[[Envelope], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def listener(body: Json) -> None:
            self._track()
            await do(Envelope.of(body, self._us))

        return listener

    def _track(self) -> None:
        """Bolt and the SDK keep no hold of the tasks in which listeners run; `run` waits for them."""
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)

    # --- The sockets ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises `ConfigError` when Slack refuses the tokens for good."""
        token = self._settings.slack_app_token.get_secret_value()
        app = self._app()
        handlers = [AsyncSocketModeHandler(app, token, ping_interval=_PING) for _ in range(SOCKETS)]
        connecting = [asyncio.create_task(one.client.connect()) for one in handlers]  # type: ignore[no-untyped-call]  # of the SDK's
        try:
            await self._watch(handlers)
        finally:
            for one in handlers:
                one.client.socket_mode_request_listeners.clear()  # what comes now is delivered to whoever connects next
            for task in connecting:
                task.cancel()
            await asyncio.wait({*connecting, *self._inside}, timeout=_DRAIN)
            for task in self._inside:
                task.cancel()
            for one in handlers:
                await one.client.close()  # type: ignore[no-untyped-call]  # of the SDK's

    async def _watch(self, handlers: list[AsyncSocketModeHandler]) -> None:
        """A client of the SDK tries one expired ticket for ever: take it away, and it asks for a fresh one."""
        down = 0
        while True:
            await asyncio.sleep(self._room.pace.check)
            connected = [await one.client.is_connected() for one in handlers]
            for one, well in zip(handlers, connected, strict=True):
                if not well:
                    one.client.wss_uri = None
            down = 0 if any(connected) else down + 1
            if down and down % _DOWN == 0:
                await self._check_tokens()

    async def _check_tokens(self) -> None:
        try:
            await check_tokens(self._room.web, self._settings)
        except SlackApiError as error:
            if code(error) in TOKEN_REFUSED:
                raise token_error(error) from error
            log.warning("not connected to Slack", error=code(error))
        except UNREACHABLE as error:
            log.warning("not connected to Slack", problem=repr(error))

    # --- Questions ------------------------------------------------------------------------------------------------

    async def _message(self, envelope: Envelope) -> None:
        event = envelope.event
        match event.get("subtype"):
            case "message_changed":
                await self._edited(envelope)
            case "message_deleted":
                await self._deleted(envelope)
            case subtype if subtype in QUESTIONS and by_person(event, self._us):
                await self._said(envelope, mention=False)

    async def _mention(self, envelope: Envelope) -> None:
        if envelope.event.get("subtype") in QUESTIONS and by_person(envelope.event, self._us):
            await self._said(envelope, mention=True)

    async def _nothing(self, envelope: Envelope) -> None:
        """Acknowledged, and that is all."""

    async def _said(self, envelope: Envelope, *, mention: bool) -> None:
        asked = intake.question(envelope, self._us, self._room.known_name)
        settled = _remember(self._settled, asked.keys[0], self._settled.get(asked.keys[0]) or asyncio.Event())
        try:
            await self._consider(envelope, asked, settled if mention else None)
        finally:
            settled.set()

    async def _consider(self, envelope: Envelope, asked: Question, twin: asyncio.Event | None) -> None:
        """Question, command or nothing to us. `twin`: this is a mention, and that is set when its `message` was settled."""
        command = command_for_word(asked.text) if not asked.attachments else None
        if not await self._for_us(envelope, asked, command, mention=twin is not None):
            return
        if not asked.text and not asked.attachments:
            command = COMMANDS["help"]
        if command is not None:
            await self._act_once(Action(asked.keys[0], command.name, asked.thread, None, asked.asker, asked.place))
        elif await self._inbox.locate(asked.keys[0]) is None:
            await self._take(envelope, asked, twin)

    async def _for_us(self, envelope: Envelope, asked: Question, command: Command | None, *, mention: bool) -> bool:
        """Direct messages, mentions, and what goes on in a thread where we were asked: by whoever asked, or "stop" by any."""
        event = envelope.event
        named = mentioned(event)
        if envelope.direct or mention or self._us.user in named:
            return True
        if named or not event.get("thread_ts") or not await self._inbox.engaged(asked.thread):
            return False
        leader = self._leaders.get(asked.thread) or event.get("parent_user_id")
        return asked.asker.id == leader or (command is not None and command.name == "stop")

    async def _take(self, envelope: Envelope, asked: Question, twin: asyncio.Event | None) -> None:
        """The first sign at once; then, for a mention, wait for the twin that may hold its files; then accept."""
        person = Person(asked.asker.id, intake.home_team(envelope.event, envelope), str(envelope.event["ts"]))
        self._room.remember(asked.id, person)
        _remember(self._leaders, asked.thread, self._leaders.get(asked.thread, asked.asker.id))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sign(envelope.channel, asked, person))
            if twin is not None:
                await _wait(twin, self._room.pace.twin)
            accepted = await self._inbox.accept(asked)
        if not accepted and await self._inbox.locate(asked.keys[0]) is None:
            self._room.forget(asked.id)  # known by another key: a message that its writer's client sent twice
            await self._room.status.over(envelope.channel, asked.thread.thread)

    async def _sign(self, channel: str, asked: Question, person: Person) -> None:
        key = asked.keys[0]
        if key in self._signed:
            return
        _remember(self._signed, key, True)
        try:
            async with asyncio.timeout(_SIGN):
                await self._room.status.working(channel, asked.thread.thread, person.message, person.user)
        except TimeoutError:
            log.info("status not shown in time")

    async def _edited(self, envelope: Envelope) -> None:
        """A new wording by its writer; not an unfurl, a locale change or an edit of ours."""
        event = envelope.event
        message, before = event.get("message") or {}, event.get("previous_message") or {}
        if (
            message.get("subtype") not in QUESTIONS
            or not by_person(message, self._us)
            or message.get("text") == before.get("text")
        ):
            return
        key = handle(envelope.team, envelope.channel, str(message.get("ts")))
        if key in self._settled:
            await _wait(self._settled[key], _EDIT)
        known = await self._inbox.locate(key)
        if known is None:
            return
        now = {**message, "channel": envelope.channel, "channel_type": event.get("channel_type")}
        edit = Envelope(envelope.team, envelope.event_id, envelope.shared, now)
        question = intake.question(edit, self._us, self._room.known_name, edit_of=known[0])
        if card := await self._inbox.amend(question):
            await self._room.whisper(envelope.channel, question.asker.id, card, question.thread.thread)

    async def _deleted(self, envelope: Envelope) -> None:
        """Whoever takes a question back wants no answer."""
        gone = envelope.event.get("previous_message") or {}
        if not by_person(gone, self._us):
            return
        known = await self._inbox.locate(handle(envelope.team, envelope.channel, str(gone.get("ts"))))
        if known is not None:
            place = Place(envelope.team, envelope.channel, envelope.direct)
            id = f"{NAME}:event/{envelope.event_id}"
            await self._inbox.act(Action(id, "stop", known[1], known[0], Asker(str(gone["user"])), place))

    # --- Actions --------------------------------------------------------------------------------------------------

    async def _reaction(self, envelope: Envelope) -> None:
        event, item = envelope.event, envelope.event.get("item") or {}
        command = intake.reaction(event)
        if command is None or item.get("type") != "message" or not by_person(event, self._us):
            return
        channel = str(item.get("channel"))
        known = await self._inbox.locate(handle(envelope.team, channel, str(item.get("ts"))))
        if known is not None:
            place = Place(envelope.team, channel, channel.startswith("D"))
            id = f"{NAME}:event/{envelope.event_id}"
            await self._act_once(Action(id, command.name, known[1], known[0], Asker(str(event["user"])), place))

    async def _session_stopped(self, envelope: Envelope) -> None:
        """Slack's own Stop button. Slack has ended the streams already."""
        event = envelope.event
        streams = [str(ts) for ts in event.get("streaming_message_ts") or []]
        self._room.cut_off(streams)
        found = [await self._inbox.locate(handle(envelope.team, envelope.channel, ts)) for ts in streams]
        turn = next((known[0] for known in found if known), None)
        thread = thread_ref(envelope.team, envelope.channel, str(event.get("thread_ts")))
        place = Place(envelope.team, envelope.channel, envelope.direct)
        id = f"{NAME}:event/{envelope.event_id}"
        await self._act_once(Action(id, "stop", thread, turn, Asker(str(event.get("user"))), place))

    async def _pressed(self, body: Json, ack: AsyncAck) -> None:
        self._track()
        action = intake.button_action(body, self._us)
        if action is not None:
            await self._act_once(action)
        await ack()

    async def _slash(self, body: Json, ack: AsyncAck) -> None:
        """Answered in the acknowledgement itself: it reaches its asker also where we are no member."""
        self._track()
        card = await self._inbox.act(intake.slash_action(body, self._us))
        if card is None:
            await ack()
            return
        text = render.parts(words.answer(card))[0]
        await ack(text=neutral.mrkdwn(text), blocks=[render.markdown(text)], response_type="ephemeral")

    async def _act_once(self, action: Action) -> None:
        """Carry out and answer, to the asker alone where the card says so. A redelivered event changes nothing."""
        if action.id in self._acted:
            return
        card = await self._inbox.act(action)
        _remember(self._acted, action.id, True)
        if card is None:
            return
        try:
            if card.audience == "thread" and action.thread is not None:
                await self._room.announce(action.thread, card)
            else:
                root = action.thread.thread if action.thread else None
                await self._room.whisper(action.place.channel, action.asker.id, card, root)
        except SlackApiError as error:
            log.warning("answer to an action not shown", error=code(error))
        except UNREACHABLE as error:
            log.warning("answer to an action not shown", problem=repr(error))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _remember(memory: dict[_K, _V], key: _K, value: _V) -> _V:
    """Keep an entry, and of all entries the newest only."""
    memory[key] = value
    while len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
    return value
