"""`FakeDiscord`: what people do, and what they see."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from aiohttp import web

from sandbox.media import media_type
from tests.fakes.discord import page
from tests.fakes.discord.contract import load
from tests.fakes.discord.gateway import Gateway, interaction_user
from tests.fakes.discord.rest import MIB, Failure, Interaction, Rest
from tests.fakes.discord.world import (
    DM,
    FORUM,
    PERMISSIONS,
    PUBLIC_THREAD,
    TEXT,
    VOICE,
    Channel,
    File,
    User,
    World,
    now,
    snowflake,
)
from tests.fakes.discord.world import Message as Raw
from tests.fakes.platform import Message, Shown, Thread

BOT = "cellmate"
ACKNOWLEDGE = 3.0
"""Seconds in which an interaction must be answered ("Receiving and Responding")."""


class FakeDiscord:
    """`async with FakeDiscord() as fake`. Channels: general and random (text), lounge (voice), ideas (forum).

    `port` 0 takes a free one; a fixed one lets a picture be taken or a bot be pointed at it by hand.
    """

    name = "discord"

    def __init__(self, *, port: int = 0, token: str = "fake.discord.token") -> None:
        self.token, self._port = token, port
        self.world = World(User(BOT, bot=True))
        self.gateway = Gateway(self.world, token)
        self.violations: list[str] = []
        self._allowed: list[str] = []
        self._newest: dict[Thread, Raw] = {}
        self._last: tuple[str, dict[str, Any], bool] | None = None
        for channel in (Channel("general"), Channel("random"), Channel("lounge", VOICE), Channel("ideas", FORUM)):
            self.world.add(channel)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(load)
        self.rest = Rest(self.world, self.gateway, self.token, self.violations.append)
        app = web.Application(client_max_size=256 * MIB)
        app.router.add_get("/gateway/", self.gateway.connection)
        app.router.add_route("*", "/api/v10/{rest:.*}", self.rest.handle)
        app.router.add_get("/attachments/{channel}/{file}/{name}", self._download)
        app.router.add_get("/", self._index)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.world.base = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for socket in list(self.gateway.sockets):
            await socket.close(code=1001)
        await self._runner.cleanup()
        unexpected = [v for v in self.violations if not any(allowed in v for allowed in self._allowed)]
        if unexpected and kind is None:
            raise AssertionError("\n".join(["the fake Discord saw what must not be:", *unexpected]))

    @property
    def env(self) -> Mapping[str, str]:
        """The settings with which a bot reaches this."""
        base = self.world.base
        return {
            "DISCORD_TOKEN": self.token,
            "DISCORD_API_URL": f"{base}/api/v10",
            "DISCORD_GATEWAY_URL": f"{base.replace('http', 'ws')}/gateway/",
        }

    async def connected(self, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            await self.gateway.identified.wait()

    def allow(self, violation: str) -> None:
        self._allowed.append(violation)

    # --- What people do -------------------------------------------------------------------------------------------------

    async def ask(
        self,
        text: str,
        *,
        files: Sequence[tuple[str, bytes]] = (),
        user: str = "ada",
        channel: str = "general",
        thread: Thread | None = None,
        mention: bool = True,
        direct: bool = False,
        role: bool = False,
        reply: Raw | None = None,
        forward: Raw | None = None,
    ) -> Thread:
        """See `Platform.ask`. `role`: mention the bot's role; `reply`, `forward`: a message that it answers or carries."""
        author = self.world.user(user)
        place, inline = self._place(author, channel, thread, direct)
        if mention and not direct:
            text = f"<@&{self.world.role}> {text}" if role else f"<@{self.world.bot.id}> {text}"
        replied = reply or (self._newest_of_bot(place) if inline else None)
        starts_post = place.type == FORUM
        if starts_post:
            place = await self._post(place, text, author)
        message = Raw(place, author, text, [_upload(*file) for file in files], replied=replied, forwarded=forward)
        if source := replied or forward:
            message.type = 19 if replied else 0
            message.reference = {"channel_id": source.channel.id, "message_id": source.id}
        if starts_post:
            message.id = place.id
        await self.say(message)
        asked = thread or Thread(channel, place.id if direct or place.is_thread else message.id)
        self._newest[asked] = message
        return asked

    async def say(self, message: Raw) -> Raw:
        """Put any message at all in its channel, whoever wrote it."""
        await self.rest.publish(message)
        event = self._event(message)
        self._last = ("MESSAGE_CREATE", event, message.channel.type == DM)
        return message

    def _event(self, message: Raw) -> dict[str, Any]:
        data = self.world.message_json(message) | {"channel_type": message.channel.type}
        if message.channel.type == DM:
            return data
        return data | {"guild_id": self.world.guild, "member": self.world.member_json(message.author)}

    def _place(self, author: User, channel: str, thread: Thread | None, direct: bool) -> tuple[Channel, bool]:
        """Where to write, and whether a conversation goes on there by replies alone."""
        if thread is not None and thread.thread in self.world.channels:
            return self.world.channels[thread.thread], False
        if thread is not None:
            return self.world.named(thread.channel), True
        return (self.world.direct(author) if direct else self.world.named(channel)), False

    def _newest_of_bot(self, channel: Channel) -> Raw | None:
        return next((m for m in reversed(channel.messages) if m.author is self.world.bot and not m.only_for), None)

    async def _post(self, forum: Channel, title: str, author: User) -> Channel:
        post = self.world.add(Channel(title[:100], PUBLIC_THREAD, parent=forum, owner=author))
        await self.gateway.send("THREAD_CREATE", {**self.world.channel_json(post), "newly_created": True})
        return post

    async def thread(self, channel: str = "general", user: str = "ada", *, archived: bool = False) -> Thread:
        """A person starts a thread of their own, without a message of the bot's."""
        thread = Channel(
            "notes", PUBLIC_THREAD, parent=self.world.named(channel), owner=self.world.user(user), archived=archived
        )
        self.world.add(thread)
        if not archived:
            await self.gateway.send("THREAD_CREATE", {**self.world.channel_json(thread), "newly_created": True})
        return Thread(channel, thread.id)

    def raw(self, thread: Thread) -> list[Raw]:
        """The thread's messages as the fake has them, oldest first, the opening message included."""
        place = self.world.channels.get(thread.thread)
        if place is not None:
            opening = self.world.message(thread.thread) if place.parent and place.parent.type == TEXT else None
            return ([opening] if opening else []) + [m for m in place.messages if m.type != 21]
        opening = self.world.message(thread.thread)
        if opening is None:
            raise LookupError(f"there is no thread {thread}")
        inside = {opening.id}
        for message in opening.channel.messages:
            if message.reference and message.reference["message_id"] in inside:
                inside.add(message.id)
        later = [m for m in opening.channel.messages if m.author is self.world.bot and not m.reference and m.id > opening.id]
        return [m for m in opening.channel.messages if m.id in inside or m in later]

    def opening(self, thread: Thread) -> Raw:
        """The message that opened the thread."""
        return self.raw(thread)[0]

    async def edit(self, thread: Thread, text: str) -> None:
        """The newest message that `ask` wrote in the thread is edited. See `Platform.edit`."""
        message = self._newest[thread]
        mention = re.match(r"<@[!&]?\d+> ", message.content)
        message.content = (mention[0] if mention else "") + text
        message.edited = now()
        await self.rest.publish(message, "MESSAGE_UPDATE")

    async def unfurl(self, thread: Thread) -> None:
        """Discord adds a preview of a link: an update of a message nobody edited."""
        await self.rest.publish(self.opening(thread), "MESSAGE_UPDATE")

    async def delete(self, message: Raw) -> None:
        """A message is deleted."""
        message.channel.messages.remove(message)
        place = {} if message.channel.type == DM else {"guild_id": self.world.guild}
        data = {"id": message.id, "channel_id": message.channel.id, **place}
        await self.gateway.send("MESSAGE_DELETE", data, direct=message.channel.type == DM)

    async def delete_thread(self, thread: Thread) -> None:
        channel = self.world.channels.pop(thread.thread)
        assert channel.parent
        data = {"id": channel.id, "guild_id": self.world.guild, "parent_id": channel.parent.id, "type": channel.type}
        await self.gateway.send("THREAD_DELETE", data)

    async def lock(self, thread: Thread) -> None:
        """A moderator archives and locks the thread."""
        channel = self.world.channels[thread.thread]
        channel.archived = channel.locked = True
        await self.gateway.send("THREAD_UPDATE", self.world.channel_json(channel))

    async def react(self, message: Raw, emoji: str, user: str = "ada") -> None:
        """A person adds a reaction."""
        who, direct = self.world.user(user), message.channel.type == DM
        data: dict[str, Any] = {
            "user_id": who.id,
            "channel_id": message.channel.id,
            "message_id": message.id,
            "emoji": {"id": None, "name": emoji},
            "message_author_id": message.author.id,
            "burst": False,
            "type": 0,
        }
        if not direct:
            data |= {"guild_id": self.world.guild, "member": self.world.member_json(who, whole=True)}
        await self.gateway.send("MESSAGE_REACTION_ADD", data, direct=direct)

    async def redeliver(self) -> None:
        assert self._last is not None, "nothing was delivered yet"
        kind, data, direct = self._last
        await self.gateway.send(kind, data, direct=direct)

    async def press(self, thread: Thread, label: str, user: str = "ada") -> None:
        for message in reversed(self.raw(thread)):
            for row in message.components:
                for button in row["components"]:
                    if button.get("label") == label and not button.get("disabled"):
                        await self._press(message, button, self.world.user(user))
                        return
        raise LookupError(f"no button {label!r} in\n{self.transcript(thread)}")

    async def _press(self, message: Raw, button: dict[str, Any], user: User) -> None:
        data = {"component_type": 2, "custom_id": button["custom_id"], "id": button["id"]}
        await self._interact(3, data, message.channel, user, message)

    async def slash(self, command: str, *, thread: Thread | None = None, channel: str = "general", user: str = "ada") -> None:
        """Use a registered slash command: "help", "cellmate files". Raises LookupError when there is none."""
        name, *rest = command.split()
        registered = next((c for c in self.rest.commands if c["name"] == name), None)
        options = [o["name"] for o in (registered or {}).get("options", ())]
        if registered is None or (rest and rest[0] not in options):
            raise LookupError(f"no command /{command}")
        data: dict[str, Any] = {"id": registered["id"], "name": name, "type": 1}
        if rest:
            data["options"] = [{"name": rest[0], "type": 1, "options": []}]
        who = self.world.user(user)
        place = self._place(who, channel, thread, direct=False)[0]
        await self._interact(2, data, place, who, None)

    async def _interact(self, kind: int, data: dict[str, Any], channel: Channel, user: User, message: Raw | None) -> None:
        """Send an interaction and wait for its acknowledgement; one that is late fails the test."""
        interaction = Interaction(snowflake(), f"token-{snowflake()}", channel, user, message)
        self.rest.interactions[interaction.token] = interaction
        payload: dict[str, Any] = {
            "id": interaction.id,
            "application_id": self.world.application,
            "type": kind,
            "data": data,
            "channel_id": channel.id,
            "channel": {**self.world.channel_json(channel), "permissions": str(channel.permissions)},
            "token": interaction.token,
            "version": 1,
            "app_permissions": str(channel.permissions),
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": self.world.guild},
            "context": 1 if channel.type == DM else 0,
            "attachment_size_limit": channel.limit or self.rest.upload_limit,
        }
        if channel.type == DM:
            payload["user"] = user.json()
        else:
            payload |= {"guild_id": self.world.guild, "guild_locale": "en-US", "member": interaction_user(self.world, user)}
        if message is not None:
            payload["message"] = self.world.message_json(message)
        await self.gateway.send("INTERACTION_CREATE", payload)
        try:
            async with asyncio.timeout(ACKNOWLEDGE):
                await interaction.acknowledged.wait()
        except TimeoutError:
            del self.rest.interactions[interaction.token]
            self.violations.append(f"an interaction was not acknowledged within {ACKNOWLEDGE:.0f} s")

    # --- How Discord behaves --------------------------------------------------------------------------------------------

    def fail(
        self,
        route: str,
        *,
        status: int = 503,
        times: int = 1,
        abort: bool = False,
        after: bool = False,
        retry_after: float = 0.05,
        via: bool = True,
        code: int = 0,
    ) -> None:
        """The next `times` requests of a route ("POST /channels/{channel_id}/messages") fail with `status`, or with `abort`
        by a connection cut off; `after`: only once they have been carried out. A 429 without `via` is Cloudflare's."""
        self.rest.failures.append(Failure(route, status, times, abort, after, retry_after, via, code))

    async def deny(self, channel: str, *permissions: str) -> None:
        """Take permissions from the bot in a channel and its threads."""
        place = self.world.named(channel)
        for permission in permissions:
            place.denied |= PERMISSIONS[permission]
        await self.gateway.send("CHANNEL_UPDATE", self.world.channel_json(place))

    def expire(self) -> None:
        """Every attachment's address given out so far stops working."""
        self.world.era += 1

    async def _download(self, request: web.Request) -> web.Response:
        for message in (m for c in self.world.channels.values() for m in c.messages):
            for file in message.files:
                if file.id == request.match_info["file"] and request.query.get("ex") == str(self.world.era):
                    return web.Response(body=file.content, content_type=file.media_type)
        return web.Response(status=404, text="This content is no longer available.")

    # --- What people see ------------------------------------------------------------------------------------------------

    def messages(self, thread: Thread) -> list[Message]:
        return [self._seen(message) for message in self.raw(thread)]

    def _seen(self, message: Raw) -> Message:
        return Message(
            id=message.id,
            author=message.author.name,
            text=message.content,
            files=[Shown(file.name, file.content, file.alt) for file in message.files],
            buttons=[button["label"] for row in message.components for button in row["components"]],
            only_for=message.only_for.name if message.only_for else None,
            notified=list(message.notified),
        )

    def transcript(self, thread: Thread) -> str:
        lines = []
        for message in self.messages(thread):
            text = message.text
            for user in (*self.world.users.values(), self.world.bot):
                text = text.replace(f"<@{user.id}>", f"@{user.name}")
            text = text.replace(f"<@&{self.world.role}>", f"@{BOT}")
            line = f"{message.author}: {text}".replace("\n", "⏎")
            line += "".join(f" [file {file.name}{': ' + file.alt if file.alt else ''}]" for file in message.files)
            line += "".join(f" [button {label}]" for label in message.buttons)
            line += f" (only for {message.only_for})" if message.only_for else ""
            lines.append(line + (f" (pings {', '.join(message.notified)})" if message.notified else ""))
        return "\n".join(lines)

    async def until(self, thread: Thread, what: Callable[[list[Message]], bool], seconds: float = 60) -> list[Message]:
        try:
            async with asyncio.timeout(seconds), self.rest.changed:
                await self.rest.changed.wait_for(lambda: what(self.messages(thread)))
        except TimeoutError:
            raise AssertionError(f"not within {seconds:.0f} s:\n{self.transcript(thread)}") from None
        return self.messages(thread)

    def page(self, thread: Thread) -> str:
        """The thread as a page of its own: no script, nothing loaded from elsewhere."""
        channel = self.world.channels.get(thread.thread) or self.opening(thread).channel
        return page.render(self.world, channel, self.raw(thread))

    async def _index(self, request: web.Request) -> web.Response:
        """`/?thread=ID`: the page, for a browser."""
        thread = Thread("", request.query.get("thread", ""))
        return web.Response(text=self.page(thread), content_type="text/html")


def _upload(name: str, content: bytes) -> File:
    """A person's file: Discord keeps a name it cannot hold in `title`."""
    stem, dot, _ = name.rpartition(".")
    plain = re.sub(r"[^A-Za-z0-9._-]", "", name.replace(" ", "_"))
    title = (stem if dot else name) if plain != name else None
    return File(plain if not plain.startswith(".") else f"unknown{plain}", content, media_type(name), title=title)
