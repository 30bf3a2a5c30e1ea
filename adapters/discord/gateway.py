"""What people do on Discord, brought to the inbox: messages, edits, deletions, buttons, reactions, commands."""

import asyncio
import io
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

import discord
import structlog
from discord import app_commands

from adapters.discord import intake, names, render
from adapters.discord.deliver import QUIET, Deliverer
from bot.commands import COMMANDS, Command, command_for_reaction, command_for_word
from bot.ports import Inbox
from bot.types import Action, Asker, Card, ThreadRef, turn_id

log = structlog.get_logger()

REACTIONS = {"🛑": "octagonal_sign", "❌": "x", "✖️": "x", "⛔": "no_entry"}
"""Unicode emoji by Slack's short names, in which `bot.commands` has them."""
_FENCES = re.compile(r"^```(python)?\n?", re.MULTILINE)
CLOSING = 3.0
"""Seconds that events under way get when the bot shuts down."""
EXPIRED = "This control has expired; ask again."
UNREADABLE = (
    "I cannot read messages here that do not mention me. Mention me, or ask an administrator to give me the message content "
    "intent."
)


@dataclass(slots=True)
class _Burst:
    """The question somebody asked last in a channel, while they may still go on with it."""

    thread: ThreadRef
    messages: list[discord.Message]
    until: float


class Client(discord.Client):
    """One connection to the Gateway. `ready` is set once the servers are known."""

    settle = 0.5
    """Seconds without another server after which all of them are known."""
    burst = 0.8
    """Seconds in which another message of the same person continues the question; nothing visible waits for them."""

    def __init__(self, deliverer: Deliverer, *, content: bool) -> None:
        """`content`: ask for the message-content intent."""
        intents = discord.Intents(
            guilds=True, guild_messages=True, dm_messages=True, guild_reactions=True, dm_reactions=True, message_content=content
        )
        super().__init__(intents=intents, allowed_mentions=QUIET, guild_ready_timeout=self.settle, enable_debug_events=False)
        self.ready = asyncio.Event()
        self.inbox: Inbox | None = None
        self._deliverer = deliverer
        self._bursts: dict[tuple[int, int], _Burst] = {}
        self._order: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._people: dict[int, set[int]] = {}
        """Who has written in a thread, of those threads where somebody wrote without a mention."""
        self._said: OrderedDict[int, str] = OrderedDict()
        """By message: the wording that was asked, to tell an edit from an unfurled link."""
        self._hinted: set[int] = set()
        self._events: set[asyncio.Task[None]] = set()
        self._tree = app_commands.CommandTree(self)
        add_commands(self._tree, self._command)

    # --- Life -----------------------------------------------------------------------------------------------------------

    async def setup_hook(self) -> None:
        """Tell Discord of the commands, when it has others: creations are limited to 200 a day."""
        assert self.application_id is not None
        known = await self.http.get_global_commands(self.application_id)
        mine = [command.to_dict(self._tree) for command in self._tree.get_commands()]
        if sorted(map(_shape, known), key=repr) != sorted(map(_shape, mine), key=repr):
            await self._tree.sync()
            log.info("commands registered with Discord", count=len(mine))

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """discord.py's own tasks may outlive the connection; what they say then has nowhere to go."""
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)

    def _schedule_event(self, *args: Any, **kwargs: Any) -> asyncio.Task[None]:
        """discord.py starts a task for each event and forgets it; what a person has just sent must not be lost with it."""
        task: asyncio.Task[None] = super()._schedule_event(*args, **kwargs)
        self._events.add(task)
        task.add_done_callback(self._events.discard)
        return task

    async def close(self) -> None:
        """Disconnect; events under way get a few seconds, so that a question just asked is still accepted."""
        await super().close()
        for limit in (CLOSING, None):
            if self._events:
                await asyncio.wait(self._events, timeout=limit)
            for task in self._events:
                task.cancel()

    async def on_ready(self) -> None:
        """Connected, and the servers are known; also after each session that could not be resumed."""
        log.info("connected to Discord", servers=len(self.guilds))
        self.ready.set()

    @property
    def me(self) -> discord.ClientUser:
        """The bot's own user."""
        assert self.user is not None
        return self.user

    def _inbox(self) -> Inbox:
        assert self.inbox is not None, "events come only while listening"
        return self.inbox

    # --- Messages -------------------------------------------------------------------------------------------------------

    async def on_message(self, message: discord.Message) -> None:
        """A question, a command's word, the rest of a question, or nothing to do with us."""
        if not intake.is_from_person(message):
            return
        if (
            not isinstance(message.channel, discord.Thread)
            and message.guild
            and not message.guild.get_channel(message.channel.id)
        ):
            message.channel = await self.fetch_channel(message.channel.id)  # type: ignore[assignment]  # an archived thread
        async with self._in_order(message.channel.id):
            await self._take(message)

    def _in_order(self, channel: int) -> asyncio.Lock:
        """Questions of a channel are taken in the order in which they were asked, and edits after what they edit."""
        return self._order.setdefault(channel, asyncio.Lock())

    async def _take(self, message: discord.Message) -> None:
        key = (message.author.id, message.channel.id)
        burst = self._bursts.get(key)
        if burst is not None and (message.guild is None or not intake.mentions(message, self.me)):
            known = any(message.id == other.id for other in burst.messages)
            if known or await self._go_on(burst, [*burst.messages, message]):
                return
        thread = await self._conversation(message)
        if thread is None:
            return
        command = command_for_word(intake.text_of(message, self.me)) if not message.attachments else None
        if command is not None:
            await self._word(command, message, thread)
            return
        await self._ask(message, thread, key)

    async def _conversation(self, message: discord.Message) -> ThreadRef | None:
        """The conversation a message belongs to, when it is meant for us."""
        self._note_person(message)
        if message.guild is None or intake.mentions(message, self.me):
            return await self._replied(message) or intake.thread_of(message)
        if thread := await self._replied(message):
            return thread
        thread = intake.channel_thread(message.guild, message.channel)
        if thread is None or message.mentions or message.role_mentions or not await self._inbox().engaged(thread):
            return None
        if command_for_word(message.content) is not None:
            return thread
        if not await self._alone(message):
            return None
        if not message.content and not message.attachments and not message.message_snapshots:
            await self._hint(message)
            return None
        return thread

    async def _replied(self, message: discord.Message) -> ThreadRef | None:
        """The conversation of our message that this one replies to."""
        if message.reference is None or message.reference.message_id is None or message.type is not discord.MessageType.reply:
            return None
        found = await self._inbox().locate(names.key(message.reference.channel_id, message.reference.message_id))
        resolved = intake.replied_to(message)
        ours = resolved is None or resolved.author.id == self.me.id
        return found[1] if found and ours else None

    def _note_person(self, message: discord.Message) -> None:
        if (people := self._people.get(message.channel.id)) is not None:
            people.add(message.author.id)

    async def _alone(self, message: discord.Message) -> bool:
        """Whether nobody but the author has written in this thread, as far as its newest 100 messages tell."""
        channel = message.channel
        if channel.id not in self._people:
            people = {message.author.id}
            try:
                async for earlier in channel.history(limit=100):
                    starter = earlier.type is discord.MessageType.thread_starter_message
                    author = (
                        (replied.author if (replied := intake.replied_to(earlier)) else None) if starter else earlier.author
                    )
                    if author is not None and not author.bot:
                        people.add(author.id)
            except discord.Forbidden:
                log.warning("a thread's history may not be read", channel=channel.id)
            self._people[channel.id] = people
        return self._people[channel.id] == {message.author.id}

    async def _hint(self, message: discord.Message) -> None:
        """Once a thread: why a message without a mention stays unanswered."""
        if self.intents.message_content or message.channel.id in self._hinted:
            return
        self._hinted.add(message.channel.id)
        await message.channel.send(UNREADABLE, allowed_mentions=QUIET)

    async def _ask(self, message: discord.Message, thread: ThreadRef, key: tuple[int, int]) -> None:
        """Show at once that it was seen, and accept it; its turn waits for what its author may add."""
        self._deliverer.entitle(message.id, intake.text_of(message, self.me))
        question = replace(intake.question([message], thread, self.me), hold=self.burst)
        self._bursts[key] = _Burst(thread, [message], asyncio.get_running_loop().time() + self.burst)
        self._remember(message)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sign(message))
            await self._inbox().accept(question)

    async def _go_on(self, burst: _Burst, messages: list[discord.Message]) -> bool:
        """Make these messages the question of a burst. False when its author has paused too long, or its turn has begun."""
        now = asyncio.get_running_loop().time()
        if now > burst.until:
            return False
        first = names.key(burst.messages[0].channel.id, burst.messages[0].id)
        whole = intake.question(messages, burst.thread, self.me, follows=turn_id(first))
        if await self._inbox().amend(replace(whole, hold=self.burst)) is not None:
            return False
        burst.messages, burst.until = messages, now + self.burst
        for message in messages:
            self._remember(message)
        return True

    async def _sign(self, message: discord.Message) -> None:
        try:
            await self.http.send_typing(message.channel.id)
        except (discord.HTTPException, OSError) as problem:
            log.warning("typing not shown", problem=repr(problem))

    def _remember(self, message: discord.Message) -> None:
        self._said[message.id] = message.content
        if len(self._said) > 2000:
            self._said.popitem(last=False)

    async def _word(self, command: Command, message: discord.Message, thread: ThreadRef) -> None:
        """A whole message that means a command; in a channel of many conversations it is about none of them."""
        begins = thread.thread == str(message.id)
        action = Action(
            names.key(message.channel.id, message.id),
            command.name,
            None if begins else thread,
            None,
            intake.asker(message.author),
            intake.place(thread),
        )
        if card := await self._inbox().act(action):
            await self._reply(message, card, action.id)

    async def _reply(self, message: discord.Message, card: Card, once: str) -> None:
        """Answer a message itself; `once` tells this answer from every other."""
        for number, text in enumerate(render.final(card)):
            await message.channel.send(
                text,
                reference=message.to_reference(fail_if_not_exists=False) if number == 0 else None,  # type: ignore[arg-type]
                allowed_mentions=QUIET,
                suppress_embeds=True,
                nonce=names.nonce(once, str(number)),
            )

    # --- Edits, deletions, reactions ------------------------------------------------------------------------------------

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """A question that got another wording. An unfurled link is a message update too, and is none."""
        message = event.message
        if not event.data.get("edited_timestamp") or not intake.is_from_person(message) or not self._changed(message):
            return
        async with self._in_order(event.channel_id):
            await self._reworded(message)

    async def _reworded(self, message: discord.Message) -> None:
        for burst in list(self._bursts.values()):
            edited = [message if other.id == message.id else other for other in burst.messages]
            if message in edited and await self._go_on(burst, edited):
                return
        found = await self._inbox().locate(names.key(message.channel.id, message.id))
        if found is not None:
            self._remember(message)
            if card := await self._inbox().amend(intake.question([message], found[1], self.me, follows=found[0])):
                await self._reply(message, card, f"{found[0]}-edit")

    def _changed(self, message: discord.Message) -> bool:
        if message.id in self._said:
            return self._said[message.id] != message.content
        return message.edited_at is not None and datetime.now(UTC) - message.edited_at < timedelta(minutes=1)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """A deleted question is not worth working on."""
        await self._deleted(event.channel_id, event.message_id)

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """The same for many."""
        for message in event.message_ids:
            await self._deleted(event.channel_id, message)

    async def _deleted(self, channel: int, message: int) -> None:
        key = names.key(channel, message)
        found = await self._inbox().locate(key)
        if found is not None and found[0] == turn_id(key):
            await self._stop(found[1], found[0], key)

    async def on_raw_thread_delete(self, event: discord.RawThreadDeleteEvent) -> None:
        """Nobody can see an answer in a deleted thread."""
        await self._stop(names.thread_ref(event.guild_id, event.parent_id, event.thread_id), None, f"{event.thread_id}-deleted")

    async def on_thread_update(self, before: discord.Thread, after: discord.Thread) -> None:
        """A moderator has locked the thread."""
        if after.locked and not before.locked:
            await self._stop(names.thread_ref(after.guild.id, after.parent_id, after.id), None, f"{after.id}-locked")

    async def _stop(self, thread: ThreadRef, turn: str | None, why: str) -> None:
        moderator = Asker("discord", "Discord")
        await self._inbox().act(Action(f"{names.NAME}:{why}", "stop", thread, turn, moderator, intake.place(thread)))

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        """A reaction that means a command, on a question or an answer."""
        command = command_for_reaction(REACTIONS.get(event.emoji.name or "", ""))
        if command is None or event.user_id == self.me.id or (event.member is not None and event.member.bot):
            return
        handle = names.key(event.channel_id, event.message_id)
        found = await self._inbox().locate(handle)
        if found is None:
            return
        who = intake.asker(event.member) if event.member else Asker(str(event.user_id))
        action = Action(f"{handle}-{event.user_id}", command.name, found[1], found[0], who, intake.place(found[1]))
        await self._inbox().act(action)

    # --- Buttons and slash commands -------------------------------------------------------------------------------------

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """A button of ours, of this process or an earlier one."""
        if interaction.type is not discord.InteractionType.component:
            return
        named = names.read_button_id(str(dict(interaction.data or {}).get("custom_id", "")))
        if named is None or named[0] not in COMMANDS:
            await _acknowledge(interaction, ephemeral=True)
            await interaction.followup.send(EXPIRED, ephemeral=True, allowed_mentions=QUIET)
            return
        await _acknowledge(interaction)
        found = await self._inbox().locate(
            names.key(interaction.channel_id or 0, interaction.message.id if interaction.message else 0)
        )
        thread = found[1] if found else intake.channel_thread(interaction.guild, interaction.channel)
        await self._act(interaction, named[0], thread, named[1])

    async def _command(self, interaction: discord.Interaction, name: str) -> None:
        await _acknowledge(interaction, ephemeral=True)
        await self._act(interaction, name, intake.channel_thread(interaction.guild, interaction.channel), None)

    async def _act(self, interaction: discord.Interaction, name: str, thread: ThreadRef | None, turn: str | None) -> None:
        place = intake.place(thread or names.thread_ref(interaction.guild_id, interaction.channel_id or 0, 0))
        action = Action(f"{names.NAME}:{interaction.id}", name, thread, turn, intake.asker(interaction.user), place)
        card = await self._inbox().act(action)
        if card is not None:
            await _answer(interaction, name, card)
        elif interaction.type is discord.InteractionType.application_command:
            await interaction.followup.send("Done.", ephemeral=True, allowed_mentions=QUIET)


async def _acknowledge(interaction: discord.Interaction, ephemeral: bool = False) -> None:
    """Within the three seconds Discord gives, before anything else. Too late is no reason not to act."""
    try:
        await interaction.response.defer(ephemeral=ephemeral)
    except discord.HTTPException as problem:
        log.warning("interaction not acknowledged in time", problem=repr(problem))


async def _answer(interaction: discord.Interaction, command: str, card: Card) -> None:
    """For the one who pressed, unless the card is for everybody; a file where it is too long for a message."""
    alone = card.audience == "asker"
    parts = render.final(card)
    if len(parts) == 1:
        await interaction.followup.send(parts[0], ephemeral=alone, allowed_mentions=QUIET, suppress_embeds=True)
        return
    name, text = ("code.py", _FENCES.sub("", card.text)) if command == "code" else ("answer.md", card.text)
    file = discord.File(io.BytesIO(text.encode()), name)
    await interaction.followup.send(file=file, ephemeral=alone, allowed_mentions=QUIET)


def add_commands(tree: app_commands.CommandTree[Client], act: Callable[[discord.Interaction, str], Awaitable[None]]) -> None:
    """The table's slash commands; and `/cellmate …`, which has every command that makes sense without a message."""
    group = app_commands.Group(name="cellmate", description="What Cellmate can do besides answering")
    for command in COMMANDS.values():
        if command.slash:
            tree.add_command(_slash(command, act))
        if command.words:
            group.add_command(_slash(command, act))
    tree.add_command(group)


def _slash(
    command: Command, act: Callable[[discord.Interaction, str], Awaitable[None]]
) -> app_commands.Command[Any, ..., None]:
    async def run(interaction: discord.Interaction) -> None:
        await act(interaction, command.name)

    return app_commands.Command(name=command.name, description=command.help[:100], callback=run)


def _shape(command: Mapping[str, Any]) -> tuple[object, ...]:
    """What a person sees of a command; Discord adds much to what it is sent."""
    options = command.get("options") or ()
    return (command.get("type", 1), command["name"], command.get("description", ""), *map(_shape, options))
