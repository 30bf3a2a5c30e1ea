"""From Discord's messages to questions. No calls to Discord are made here."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import discord

from adapters.discord import names
from bot.types import Asker, Attachment, Place, Question, ThreadRef, turn_id
from sandbox import media_type

_MENTION = re.compile(r"<@(?P<kind>[!&]?)(?P<id>\d{15,20})>")


def is_from_person(message: discord.Message) -> bool:
    """Whether a person wrote it: no bot, no webhook, nothing that Discord itself posts."""
    ordinary = message.type in (discord.MessageType.default, discord.MessageType.reply)
    return ordinary and not message.author.bot and message.webhook_id is None


def mentions(message: discord.Message, me: discord.ClientUser) -> bool:
    """Whether the bot is mentioned, itself or by its own role: the picker offers both, and people cannot tell them apart."""
    role = message.guild.self_role if message.guild else None
    return any(user.id == me.id for user in message.mentions) or (role is not None and role in message.role_mentions)


def text_of(message: discord.Message, me: discord.ClientUser) -> str:
    """What the message says to the bot: without its mention, with other people's names in place of their ids."""
    people = {user.id: user.display_name for user in message.mentions}
    roles = {role.id: role.name for role in message.role_mentions}
    own_role = message.guild.self_role if message.guild else None

    def name(match: re.Match[str]) -> str:
        number = int(match["id"])
        if number == me.id or (own_role is not None and number == own_role.id):
            return ""
        known = (roles if match["kind"] == "&" else people).get(number)
        return f"@{known}" if known else match[0]

    return _MENTION.sub(name, message.content).strip()


def quoted(message: discord.Message, me: discord.ClientUser) -> str:
    """What the message brings along: forwarded text, and the text it replies to where that is not ours."""
    parts = [f"Forwarded:\n{snapshot.content}" for snapshot in message.message_snapshots if snapshot.content]
    replied = replied_to(message)
    if replied is not None and replied.author.id != me.id and (said := text_of(replied, me)):
        parts.append(f"In reply to {replied.author.display_name}:\n{said}")
    return "\n\n".join(parts)


def replied_to(message: discord.Message) -> discord.Message | None:
    """The message this one replies to, where Discord sent it along."""
    resolved = message.reference.resolved if message.reference else None
    return resolved if isinstance(resolved, discord.Message) else None


def attachments(message: discord.Message, me: discord.ClientUser) -> list[Attachment]:
    """Every file of the message, of what it forwards, and of what it replies to where that is not ours."""
    replied = replied_to(message)
    sources: list[discord.Message] = [message] + ([replied] if replied is not None and replied.author.id != me.id else [])
    found: dict[int, Attachment] = {}
    for source in sources:
        for file in (*source.attachments, *(a for snapshot in source.message_snapshots for a in snapshot.attachments)):
            found.setdefault(file.id, _attachment(file, source))
    return list(found.values())


def _attachment(file: discord.Attachment, message: discord.Message) -> Attachment:
    """Discord keeps the name a person gave in `title` when `filename` could not hold it; the suffix is in `filename`."""
    suffix = PurePosixPath(file.filename).suffix
    title = (file.title or "").strip()
    name = file.filename if not title else title if title.lower().endswith(suffix.lower()) else title + suffix
    locator = {"url": file.url, "id": str(file.id), "channel": str(message.channel.id), "message": str(message.id)}
    return Attachment(name, file.size, (file.content_type or media_type(name)).split(";")[0], locator)


def asker(user: discord.User | discord.Member) -> Asker:
    """Who a person is; their roles' ids where Discord says them."""
    roles = tuple(str(role.id) for role in user.roles if not role.is_default()) if isinstance(user, discord.Member) else ()
    return Asker(str(user.id), user.display_name, roles, bot=user.bot)


def place(thread: ThreadRef) -> Place:
    """Where something is asked; a thread's place is its parent channel."""
    workspace, channel = thread.place.split("/")
    return Place(workspace, channel, direct=workspace == names.DIRECT)


def thread_of(message: discord.Message) -> ThreadRef:
    """The conversation a message is in or begins."""
    return channel_thread(message.guild, message.channel) or names.thread_ref(
        message.guild.id if message.guild else None, message.channel.id, message.id
    )


def channel_thread(guild: discord.Guild | None, channel: object) -> ThreadRef | None:
    """The conversation that a channel is: a thread, a post or a direct message. None for a channel of many conversations."""
    if isinstance(channel, discord.Thread):
        return names.thread_ref(channel.guild.id, channel.parent_id, channel.id)
    if guild is None and isinstance(channel, discord.abc.Snowflake):
        return names.thread_ref(None, channel.id, channel.id)
    return None


def question(
    messages: Sequence[discord.Message], thread: ThreadRef, me: discord.ClientUser, follows: str | None = None
) -> Question:
    """One question from one person's messages, sent in one breath."""
    keys = tuple(names.key(message.channel.id, message.id) for message in messages)
    texts = [*(text_of(message, me) for message in messages), *(quoted(message, me) for message in messages)]
    return Question(
        id=follows or turn_id(keys[0]),
        keys=keys,
        thread=thread,
        asker=asker(messages[0].author),
        place=place(thread),
        text="\n\n".join(filter(None, texts)),
        attachments=tuple(_unique(a for message in messages for a in attachments(message, me))),
        follows=follows,
    )


def _unique(files: Iterable[Attachment]) -> list[Attachment]:
    return list({file.locator["id"]: file for file in files}.values())
