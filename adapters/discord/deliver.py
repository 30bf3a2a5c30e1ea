"""Showing a card: the thread, its messages, its files. What was sent is in the receipt; what was sent and cut off before the
receipt could be kept is found again by its nonce, or in the channel's history.
"""

import asyncio
import io
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import discord
import structlog

from adapters.discord import names, render, rest
from adapters.shared import neutral, words
from bot.commands import COMMANDS
from bot.ports import Files
from bot.types import Card, CardFile, Receipt, ThreadRef
from sandbox import MIB

log = structlog.get_logger()

GAP = 1.5
"""Seconds between two edits of a message; edits share a small bucket with everything sent to the channel."""
FILES = 10
"""Files of one message ("Create Message")."""
BODY = 24 * MIB
"""Of the 25 MiB that one request may have ("Create Message"), what we use."""
UPLOAD = 20 * MIB
"""One file, where the server has no more."""
UPLOAD_BEFORE = 10 * MIB
"""One file, where Discord has refused more than this."""
ALT = 1024
QUIET = discord.AllowedMentions.none()

Outcome = dict[str, Literal["delivered", "fallback"]]


def buttons(actions: Sequence[str], turn: str) -> discord.ui.View | None:
    """A row of buttons that work for ever: their ids say everything, and no view waits for them."""
    if not actions:
        return None
    view = discord.ui.View(timeout=None)
    for name in actions:
        style = discord.ButtonStyle.danger if name == "stop" else discord.ButtonStyle.secondary
        view.add_item(discord.ui.Button(label=COMMANDS[name].label, style=style, custom_id=names.button_id(name, turn)))
    view.stop()  # a view that has finished is not kept by discord.py: `Client.on_interaction` reads the id
    return view


@dataclass(slots=True)
class _Post:
    """One turn's messages while they are being brought up to a card."""

    channel: discord.PartialMessageable
    turn: str
    reference: discord.MessageReference | None
    texts: list[int]
    others: list[int]
    files: Outcome
    earlier: Sequence[discord.Message] = ()
    """Our messages in the channel, newest first, when some may have been sent that the receipt does not know."""
    used: set[int] = field(default_factory=set)

    def receipt(self) -> Receipt:
        handles = tuple(names.key(self.channel.id, message) for message in (*self.texts, *self.others))
        return Receipt(
            handles, dict(self.files), {"channel": str(self.channel.id), "texts": [str(text) for text in self.texts]}
        )

    async def text(self, place: int, content: str, actions: Sequence[str]) -> None:
        """Make the turn's `place`-th text message this one."""
        if place == len(self.texts) and (found := self._placeholder() if place == 0 else self._same(content, ())):
            self.texts.append(found)
        if place < len(self.texts):
            message = self.channel.get_partial_message(self.texts[place])
            try:
                await rest.patiently(
                    lambda: message.edit(content=content, view=buttons(actions, self.turn), allowed_mentions=QUIET)
                )
                return
            except discord.NotFound as problem:
                if problem.code != rest.UNKNOWN_MESSAGE:
                    raise
        sent = await self.send(
            f"text-{place}-{self.texts[place]}" if place < len(self.texts) else f"text-{place}", content, actions
        )
        self.texts[place : place + 1] = [sent]

    async def send(
        self, part: str, content: str, actions: Sequence[str] = (), files: Callable[[], list[discord.File]] = list
    ) -> int:
        """Send a new message, once for this part of the turn; its id."""

        async def call() -> discord.Message:
            arguments: dict[str, Any] = {"view": buttons(actions, self.turn), "reference": self.reference, "files": files()}
            message: discord.Message = await self.channel.send(
                content,
                nonce=names.nonce(self.turn, part),
                allowed_mentions=QUIET,
                suppress_embeds=True,
                **{name: value for name, value in arguments.items() if value},
            )
            return message

        return (await rest.patiently(call)).id

    def _placeholder(self) -> int | None:
        """The message whose button names this turn."""
        for message in self.earlier:
            for row in message.components:
                for item in getattr(row, "children", ()):
                    named = names.read_button_id(getattr(item, "custom_id", None) or "")
                    if named and named[1] == self.turn:
                        return message.id
        return None

    def _same(self, content: str, files: Sequence[str]) -> int | None:
        """A message after the turn's first that is exactly this one."""
        for message in reversed(self.earlier):
            unknown = message.id not in self.used and message.id not in self.texts and message.id not in self.others
            same = message.content == content.strip() and [a.filename for a in message.attachments] == list(files)
            if self.texts and message.id > self.texts[0] and unknown and same:
                self.used.add(message.id)
                return message.id
        return None


class Deliverer:
    """`Chat.show` on a client that is ready."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._shown: dict[str, float] = {}
        """The turns whose every message this process knows, with the time of the last."""
        self._limits: dict[int, int] = {}
        """By channel: the largest file Discord takes, where it has refused one."""
        self.titles: OrderedDict[int, str] = OrderedDict()
        """By question message: what its thread is called."""

    def entitle(self, message: int, title: str) -> None:
        """Remember what a message says, for the name of its thread."""
        self.titles[message] = title
        if len(self.titles) > 1000:
            self.titles.popitem(last=False)

    async def show(self, client: discord.Client, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """See `Chat.show`."""
        now = asyncio.get_running_loop().time()
        if receipt and receipt.data and not card.final and now - self._shown.get(card.turn, now - GAP) < GAP:
            return receipt
        surely_known = receipt is None or card.turn in self._shown
        self._shown.pop(card.turn, None)
        try:
            post = await self._post(client, thread, card.turn, receipt, surely_known)
            await (self._final(client, thread, post, card) if card.final else post.text(0, render.progress(card), card.actions))
        except discord.NotFound as problem:
            if problem.code != rest.UNKNOWN_CHANNEL:
                raise
            log.warning("the thread was deleted; its answer is dropped", turn=card.turn)
            return Receipt(receipt.handles if receipt else (), {file.name: "fallback" for file in card.files})
        if not card.final:
            self._shown[card.turn] = asyncio.get_running_loop().time()
        return post.receipt()

    async def _post(
        self, client: discord.Client, thread: ThreadRef, turn: str, receipt: Receipt | None, surely_known: bool
    ) -> _Post:
        if receipt and receipt.data:
            channel, reference = client.get_partial_messageable(int(receipt.data["channel"])), None
            texts = [int(text) for text in receipt.data["texts"]]
            others = [m for handle in receipt.handles if (m := names.message_id(handle)) not in texts]
            post = _Post(channel, turn, reference, texts, others, dict(receipt.files))
        else:
            channel, reference = await self._open(client, thread)
            post = _Post(channel, turn, reference, [], [], {})
        if not surely_known:
            post.earlier = await _ours(client, post.channel)
        return post

    # --- Where ----------------------------------------------------------------------------------------------------------

    async def _open(
        self, client: discord.Client, thread: ThreadRef
    ) -> tuple[discord.PartialMessageable, discord.MessageReference | None]:
        """The channel a thread's messages go to, made from the question if need be; else the question to reply to."""
        place, parent = thread.place.split("/")
        target = int(thread.thread)
        if place == names.DIRECT:
            return client.get_partial_messageable(target), None
        guild = client.get_guild(int(place))
        if (guild and guild.get_thread(target)) or await self._threaded(client, guild, int(parent), target):
            return client.get_partial_messageable(target, guild_id=int(place)), None
        channel = client.get_partial_messageable(int(parent), guild_id=int(place))
        return channel, discord.MessageReference(message_id=target, channel_id=channel.id, fail_if_not_exists=False)

    async def _threaded(self, client: discord.Client, guild: discord.Guild | None, parent: int, message: int) -> bool:
        """Make a thread from the message. False where there can be none and the answer is a reply in the channel."""
        channel = guild.get_channel(parent) if guild else None
        if isinstance(channel, discord.ForumChannel):
            return True
        if guild and isinstance(channel, discord.VoiceChannel | discord.StageChannel):
            return False
        if guild and channel:
            may = channel.permissions_for(guild.me)
            if not (may.create_public_threads and may.send_messages_in_threads):
                return False
        question = client.get_partial_messageable(parent, guild_id=guild.id if guild else None).get_partial_message(message)
        name = await self._title(question)
        try:
            await rest.patiently(lambda: question.create_thread(name=name, auto_archive_duration=1440))
        except discord.HTTPException as problem:
            if problem.code == rest.THREAD_EXISTS:
                return True
            if problem.status == 404:
                return await _exists(client, message)
            if problem.code in rest.NO_THREAD_HERE:
                log.warning("no thread could be made; answering in the channel", channel=parent, code=problem.code)
                return False
            raise
        return True

    async def _title(self, question: discord.PartialMessage) -> str:
        title = self.titles.get(question.id, "")
        if not title:
            try:
                title = (await question.fetch()).clean_content
            except discord.HTTPException:
                log.debug("the question cannot be read for its thread's name", message=question.id)
        return neutral.line(title, 80) if title.strip() else "Cellmate"

    # --- What -----------------------------------------------------------------------------------------------------------

    async def _final(self, client: discord.Client, thread: ThreadRef, post: _Post, card: Card) -> None:
        """Text first; then the files, each delivered or named with the reason."""
        parts = render.final(card)
        for place, part in enumerate(parts):
            actions = card.actions if place == len(parts) - 1 else ()
            try:
                await post.text(place, part, actions)
            except discord.HTTPException as problem:
                if problem.code not in rest.BLOCKED_BY_AUTOMOD:
                    raise
                await post.text(place, "This server's AutoMod blocked what belongs here.", actions)
        limit = self._limit(client, thread, post.channel.id)
        waiting = [file for file in card.files if file.name not in post.files]
        lost: dict[str, str] = {}
        for group in _groups(waiting, limit, _file_names(card.files), lost):
            await self._upload(post, group, lost)
        for part in render.plain("\n".join(words.not_delivered(f, lost[f.name]) for f in waiting if f.name in lost)):
            name = f"lost-{waiting[0].name}-{part}"
            post.others.append(post._same(part, ()) or await post.send(name, part))
        post.files.update(dict.fromkeys(lost, "fallback"))

    def _limit(self, client: discord.Client, thread: ThreadRef, channel: int) -> int:
        place = thread.place.split("/")[0]
        guild = client.get_guild(int(place)) if place != names.DIRECT else None
        usual = max(UPLOAD, guild.filesize_limit if guild else 0)
        return min(BODY, self._limits.get(channel, usual))

    async def _upload(self, post: _Post, group: Sequence[tuple[str, CardFile]], lost: dict[str, str]) -> None:
        """Send one message of files; where Discord finds it too large, each by itself, and what is refused then is lost."""
        found = post._same("", [name for name, _ in group])
        try:
            message = found or await self._send_files(post, group)
        except FileNotFoundError:
            lost.update((file.name, "it is no longer stored") for _, file in group)
        except discord.HTTPException as problem:
            if problem.status >= 500 or problem.status == 429 or problem.code == rest.UNKNOWN_CHANNEL:
                raise
            if len(group) > 1:
                for entry in group:
                    await self._upload(post, [entry], lost)
                return
            file = group[0][1]
            if problem.status == 413 or problem.code == rest.TOO_LARGE:
                size = file.blob.size
                self._limits[post.channel.id] = UPLOAD_BEFORE if size > UPLOAD_BEFORE else size - 1
                lost[file.name] = "Discord takes no file of this size here"
            elif problem.status == 403:
                lost[file.name] = "I may not attach files here; an administrator can allow it"
            else:
                lost[file.name] = f"Discord refused it ({problem.code or problem.status})"
        else:
            post.others.append(message)
            post.files.update((file.name, "delivered") for _, file in group)

    async def _send_files(self, post: _Post, group: Sequence[tuple[str, CardFile]]) -> int:
        contents = [(name, await self._read(file), (file.alt or file.name)[:ALT]) for name, file in group]

        def build() -> list[discord.File]:
            return [discord.File(io.BytesIO(content), name, description=alt) for name, content, alt in contents]

        return await post.send("files-" + "/".join(file.name for _, file in group), "", files=build)

    async def _read(self, file: CardFile) -> bytes:
        async with aclosing(self._files.open(file.blob)) as chunks:
            return b"".join([chunk async for chunk in chunks])


def _groups(
    files: Sequence[CardFile], limit: int, called: dict[str, str], lost: dict[str, str]
) -> list[list[tuple[str, CardFile]]]:
    """Messages of at most ten files and one body each; what is over the limit is lost before anything is sent."""
    groups: list[list[tuple[str, CardFile]]] = []
    size = 0
    for file in files:
        if file.blob.size > limit:
            lost[file.name] = f"the limit here is {words.size(limit)}"
            continue
        size += file.blob.size
        if not groups or len(groups[-1]) == FILES or size > BODY:
            groups.append([])
            size = file.blob.size
        groups[-1].append((called[file.name], file))
    return groups


def _file_names(files: Sequence[CardFile]) -> dict[str, str]:
    """A name for each file that Discord keeps as it is, unique in the turn."""
    called: dict[str, str] = {}
    for file in files:
        path = PurePosixPath(re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(file.name).name).lstrip("._") or "file")
        name, number = str(path), 1
        while name in called.values():
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        called[file.name] = name
    return called


async def _exists(client: discord.Client, channel: int) -> bool:
    try:
        await client.fetch_channel(channel)
    except discord.HTTPException:
        return False
    return True


async def _ours(client: discord.Client, channel: discord.PartialMessageable) -> list[discord.Message]:
    """Our newest messages in the channel; none where its history may not be read, for then nonces must do."""
    try:
        return [m async for m in channel.history(limit=50) if client.user and m.author.id == client.user.id]
    except discord.Forbidden:
        return []
