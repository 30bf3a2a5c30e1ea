"""The real adapter on the fake Discord, with an inbox that only takes notes."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters import discord as room
from adapters.discord.gateway import Client
from bot.ports import Chat, Writer
from bot.types import Action, Blob, Card, CardFile, Question, Receipt, ThreadRef, turn_id
from sandbox import media_type
from tests.fakes.discord import FakeDiscord


class Inbox:
    """Records what adapters bring; remembers keys and handles as the journal does."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.amended: list[Question] = []
        self.too_late: Card | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.actions: list[Action] = []
        self.refused: list[Question] = []
        self.known: dict[str, tuple[str, ThreadRef]] = {}
        self.answer: Callable[[Action], Card | None] = lambda action: None
        self.changed = asyncio.Condition()

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def accept(self, question: Question) -> bool:
        await self.open.wait()
        if any(key in self.known for key in question.keys):
            self.refused.append(question)
            await self._note()
            return False
        self.known |= dict.fromkeys(question.keys, (question.id, question.thread))
        self.questions.append(question)
        await self._note()
        return True

    async def amend(self, question: Question) -> Card | None:
        self.amended.append(question)
        if self.too_late is None:
            self.known |= dict.fromkeys(question.keys, (question.id, question.thread))
        await self._note()
        return self.too_late

    async def act(self, action: Action) -> Card | None:
        self.actions.append(action)
        await self._note()
        return self.answer(action)

    async def engaged(self, thread: ThreadRef) -> bool:
        return any(thread == question.thread for question in self.questions)

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        return self.known.get(handle)

    async def until(self, what: Callable[["Inbox"], object], seconds: float = 10) -> None:
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(lambda: bool(what(self)))
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {self.questions=} {self.actions=} {self.amended=}") from None

    async def question(self, number: int = 1) -> Question:
        """The `number`-th question."""
        await self.until(lambda inbox: len(inbox.questions) >= number)
        return self.questions[number - 1]


class Store:
    """Files in memory."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, name: str, content: bytes, alt: str = "", figure: bool = False) -> CardFile:
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return CardFile(name, media_type(name), Blob(digest, len(content)), figure, alt)

    async def put(self, chunks: AsyncIterator[bytes]) -> Blob:
        return self.add("", b"".join([chunk async for chunk in chunks])).blob

    def writer(self) -> AbstractAsyncContextManager[Writer]:
        raise NotImplementedError("adapters write no files")

    async def open(self, blob: Blob) -> AsyncGenerator[bytes, None]:
        if blob.digest not in self.contents:
            raise FileNotFoundError(blob.digest)
        content = self.contents[blob.digest]
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    async def remove(self, blob: Blob) -> None:
        self.contents.pop(blob.digest, None)


@dataclass
class Bot:
    """A fake Discord with the adapter connected to it."""

    fake: FakeDiscord
    chat: Chat
    inbox: Inbox
    store: Store
    receipts: dict[str, Receipt] = field(default_factory=dict)

    async def show(self, question: Question, card: Card) -> Receipt:
        """Show a card as the core does: with the last receipt, and its handles made known to the inbox."""
        receipt = await self.chat.show(question.thread, card, self.receipts.get(card.turn))
        self.receipts[card.turn] = receipt
        self.inbox.known |= dict.fromkeys(receipt.handles, (question.id, question.thread))
        return receipt


@asynccontextmanager
async def bot_on(fake: FakeDiscord, inbox: Inbox | None = None, store: Store | None = None) -> AsyncIterator[Bot]:
    """One process of the bot: leaving is a restart."""
    inbox, store = inbox or Inbox(), store or Store()
    env = {name.removeprefix("DISCORD_").lower(): value for name, value in fake.env.items()}
    async with room.connect(room.Settings.model_validate(env), store) as chat:
        listening = asyncio.create_task(chat.listen(inbox))
        try:
            await fake.connected()
            yield Bot(fake, chat, inbox, store)
            if listening.done():
                listening.result()
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            fake.gateway.identified.clear()


def card(question: Question, text: str = "", **fields: object) -> Card:
    """A final card, unless `state` says otherwise."""
    return Card(**{"turn": question.id, "revision": 1, "state": "done", "text": text, **fields})  # type: ignore[arg-type]


def key(message_channel: str, message: str) -> str:
    return turn_id(f"discord:{message_channel}:{message}")


@pytest.fixture(autouse=True)
def _addresses() -> Iterator[None]:
    """discord.py's class attributes, which `connect` sets, as they were; and shorter waits, for one server and no typist."""
    rest, gateway, burst, settle = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, Client.burst, Client.settle
    Client.burst, Client.settle = 0.2, 0.05
    yield
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, Client.burst, Client.settle = rest, gateway, burst, settle


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
async def bot(fake: FakeDiscord) -> AsyncIterator[Bot]:
    async with bot_on(fake) as bot:
        yield bot
