"""What stands in the fake Discord: people, channels, messages; and how they read on the wire (API version 10)."""

import itertools
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

EPOCH = 1420070400000
_last = itertools.count(1)

TEXT, DM, VOICE, PUBLIC_THREAD, FORUM = 0, 1, 2, 11, 15

PERMISSIONS = {
    "add_reactions": 1 << 6,
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "embed_links": 1 << 14,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "create_public_threads": 1 << 35,
    "send_messages_in_threads": 1 << 38,
}
ALL_PERMISSIONS = sum(PERMISSIONS.values())


def snowflake() -> str:
    """A new id, larger than every earlier one ("Reference", Snowflakes)."""
    return str((int(time.time() * 1000) - EPOCH << 22) | next(_last) & 0x3FFFFF)


def now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(slots=True)
class User:
    name: str
    bot: bool = False
    id: str = field(default_factory=snowflake)

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "username": self.name,
            "global_name": None,
            "avatar": None,
            "discriminator": "0",
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
            **({"bot": True} if self.bot else {}),
        }


@dataclass(slots=True)
class File:
    name: str
    content: bytes
    media_type: str
    alt: str = ""
    title: str | None = None
    id: str = field(default_factory=snowflake)


@dataclass(slots=True)
class Message:
    channel: "Channel"
    author: User
    content: str = ""
    files: list[File] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    type: int = 0
    flags: int = 0
    reference: dict[str, str] | None = None
    replied: "Message | None" = None
    forwarded: "Message | None" = None
    only_for: User | None = None
    notified: list[str] = field(default_factory=list)
    webhook: bool = False
    thinking: bool = False
    edited: str | None = None
    nonce: str | None = None
    id: str = field(default_factory=snowflake)
    timestamp: str = field(default_factory=now)


@dataclass(slots=True)
class Channel:
    name: str
    type: int = TEXT
    id: str = field(default_factory=snowflake)
    parent: "Channel | None" = None
    owner: User | None = None
    """Who made the thread; whose direct messages these are."""
    messages: list[Message] = field(default_factory=list)
    denied: int = 0
    archived: bool = False
    locked: bool = False
    limit: int | None = None
    """The largest file taken here, where it is not the usual."""

    @property
    def is_thread(self) -> bool:
        return self.type == PUBLIC_THREAD

    @property
    def permissions(self) -> int:
        """What the bot may do here; a thread has its parent's."""
        return ALL_PERMISSIONS & ~(self.parent.denied if self.parent else self.denied)

    def may(self, permission: str) -> bool:
        return self.type == DM or bool(self.permissions & PERMISSIONS[permission])


@dataclass(slots=True)
class World:
    bot: User
    base: str = ""
    """The server's own address, for attachments."""
    era: int = 0
    """Attachment addresses of an earlier era have expired."""
    guild: str = field(default_factory=snowflake)
    role: str = field(default_factory=snowflake)
    application: str = field(default_factory=snowflake)
    users: dict[str, User] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)

    def user(self, name: str, *, bot: bool = False) -> User:
        if name not in self.users:
            self.users[name] = User(name, bot)
        return self.users[name]

    def add(self, channel: Channel) -> Channel:
        self.channels[channel.id] = channel
        return channel

    def named(self, name: str) -> Channel:
        """A channel of the server by name. Raises LookupError."""
        for channel in self.channels.values():
            if channel.name == name and not channel.is_thread and channel.type != DM:
                return channel
        raise LookupError(f"there is no channel {name!r}")

    def direct(self, user: User) -> Channel:
        for channel in self.channels.values():
            if channel.type == DM and channel.owner is user:
                return channel
        return self.add(Channel(user.name, DM, owner=user))

    def message(self, id: str) -> Message | None:
        return next((m for c in self.channels.values() for m in c.messages if m.id == id), None)

    # --- On the wire ----------------------------------------------------------------------------------------------------

    def message_json(self, message: Message, *, deep: bool = True) -> dict[str, Any]:
        """As REST gives it ("Message object")."""
        ids = re.findall(r"<@!?(\d+)>", message.content)
        replied = [message.replied.author] if message.replied and message.type == 19 and not message.author.bot else []
        people = {u.id: u for u in [*(u for u in (*self.users.values(), self.bot) if u.id in ids), *replied]}
        data = {
            "id": message.id,
            "channel_id": message.channel.id,
            "type": message.type,
            "content": message.content,
            "author": message.author.json(),
            "mentions": [user.json() for user in people.values()],
            "mention_roles": [self.role] if f"<@&{self.role}>" in message.content else [],
            "mention_everyone": "everyone" in message.notified,
            "attachments": [self.file_json(message, file) for file in message.files],
            "embeds": [],
            "components": message.components,
            "timestamp": message.timestamp,
            "edited_timestamp": message.edited,
            "flags": message.flags | (64 if message.only_for else 0) | (128 if message.thinking else 0),
            "pinned": False,
            "tts": False,
        }
        if message.webhook:
            data["webhook_id"] = message.author.id
        if message.reference:
            data["message_reference"] = {"type": 1 if message.forwarded else 0, **message.reference}
        if message.forwarded:
            inner = self.message_json(message.forwarded)
            left_out = {"id", "channel_id", "author", "mention_everyone", "pinned", "tts", "message_snapshots"}
            data["message_snapshots"] = [{"message": {key: value for key, value in inner.items() if key not in left_out}}]
        if deep and message.type in (19, 21):
            data["referenced_message"] = self.message_json(message.replied, deep=False) if message.replied else None
        return data

    def file_json(self, message: Message, file: File) -> dict[str, Any]:
        path = f"{self.base}/attachments/{message.channel.id}/{file.id}/{file.name}?ex={self.era}"
        data: dict[str, Any] = {"id": file.id, "filename": file.name, "size": len(file.content), "url": path, "proxy_url": path}
        data["content_type"] = file.media_type
        if file.alt:
            data["description"] = file.alt
        if file.title:
            data["title"] = file.title
        return data

    def channel_json(self, channel: Channel) -> dict[str, Any]:
        base = {"id": channel.id, "type": channel.type, "flags": 0, "last_message_id": None}
        if channel.type == DM:
            assert channel.owner
            return {**base, "recipients": [channel.owner.json()]}
        base |= {"guild_id": self.guild, "name": channel.name}
        if channel.is_thread:
            assert channel.parent and channel.owner
            count = len(channel.messages)
            meta = {
                "archived": channel.archived,
                "archive_timestamp": now(),
                "auto_archive_duration": 1440,
                "locked": channel.locked,
            }
            counts = {"message_count": count, "member_count": 2, "total_message_sent": count}
            return {**base, "parent_id": channel.parent.id, "owner_id": channel.owner.id, "thread_metadata": meta, **counts}
        overwrite = {"id": self.guild, "type": 0, "allow": "0", "deny": str(channel.denied)}
        extra: dict[str, Any] = {"position": 0, "parent_id": None, "permission_overwrites": [overwrite]}
        if channel.type == VOICE:
            extra |= {"bitrate": 64000, "user_limit": 0}
        if channel.type == FORUM:
            extra |= {"available_tags": [], "default_reaction_emoji": None, "default_sort_order": None, "topic": None}
        return {**base, **extra}

    def member_json(self, user: User, *, whole: bool = False) -> dict[str, Any]:
        member = {
            "roles": [self.role] if user is self.bot else [],
            "joined_at": now(),
            "deaf": False,
            "mute": False,
            "flags": 0,
        }
        return {**member, "user": user.json()} if whole else member

    def role_json(self, id: str, name: str, *, managed: bool) -> dict[str, Any]:
        role = {"id": id, "name": name, "permissions": str(ALL_PERMISSIONS), "position": 0, "color": 0, "hoist": False}
        tags = {"tags": {"bot_id": self.bot.id}} if managed else {}
        return {**role, "managed": managed, "mentionable": False, "flags": 0, **tags}

    def guild_json(self) -> dict[str, Any]:
        """GUILD_CREATE ("Guild Create Extra Fields")."""
        channels = [c for c in self.channels.values() if c.type != DM]
        return {
            "id": self.guild,
            "name": "Lab",
            "owner_id": self.user("owner").id,
            "roles": [
                self.role_json(self.guild, "@everyone", managed=False),
                self.role_json(self.role, self.bot.name, managed=True),
            ],
            "emojis": [],
            "stickers": [],
            "features": [],
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "system_channel_flags": 0,
            "afk_timeout": 300,
            "icon": None,
            "banner": None,
            "splash": None,
            "description": None,
            "discovery_splash": None,
            "member_count": len(self.users) + 1,
            "large": False,
            "joined_at": now(),
            "unavailable": False,
            "members": [self.member_json(self.bot, whole=True)],
            "channels": [self.channel_json(c) for c in channels if not c.is_thread],
            "threads": [self.channel_json(c) for c in channels if c.is_thread and not c.archived],
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }
