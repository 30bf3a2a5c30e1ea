"""The real adapter on the fake workspace, with an inbox that writes down what it is brought."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from adapters.slack import Pace, Settings, Slack, connect
from bot.ports import Writer
from bot.types import Action, Blob, Card, CardFile, Question, Receipt, ThreadRef
from tests.fakes.platform import Thread
from tests.fakes.slack import FakeSlack

PACE = Pace(update=0.0, stream=240.0, twin=0.7)


class Store:
    """A files store that holds what a test put into it."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def keep(self, name: str, content: bytes, media_type: str, alt: str = "") -> CardFile:
        digest = hashlib.sha256(content).hexdigest()
        self._content[digest] = content
        return CardFile(name, media_type, Blob(digest, len(content)), figure=media_type == "image/png", alt=alt)

    async def open(self, blob: Blob) -> AsyncGenerator[bytes, None]:
        content = self._content[blob.digest]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def put(self, chunks: AsyncIterator[bytes]) -> Blob:
        raise NotImplementedError

    def writer(self) -> AbstractAsyncContextManager[Writer]:
        raise NotImplementedError

    async def remove(self, blob: Blob) -> None:
        raise NotImplementedError


@dataclass
class Notes:
    """An inbox of the port's promises: keys are seen once, threads are engaged by what was accepted."""

    questions: list[Question] = field(default_factory=list)
    amended: list[Question] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    answer: Card | None = None
    """What `act` answers with."""
    gate: asyncio.Event | None = None
    """Where set, `accept` waits for it."""
    broken: int = 0
    """So many calls of `accept` fail."""
    handles: dict[str, tuple[str, ThreadRef]] = field(default_factory=dict)
    too_late: Card | None = None

    async def accept(self, question: Question) -> bool:
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            self.broken -= 1
            raise OSError("disk full")
        if any(key in self.handles for key in question.keys):
            return False
        self.handles |= dict.fromkeys(question.keys, (question.id, question.thread))
        self.questions.append(question)
        return True

    async def amend(self, question: Question) -> Card | None:
        self.amended.append(question)
        return self.too_late

    async def act(self, action: Action) -> Card | None:
        self.actions.append(action)
        return self.answer

    async def engaged(self, thread: ThreadRef) -> bool:
        return any(question.thread == thread for question in self.questions)

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        return self.handles.get(handle)

    def shown(self, question: Question, receipt: Receipt) -> None:
        """What the core does with a receipt."""
        self.handles |= dict.fromkeys(receipt.handles, (question.id, question.thread))


class Connect(Protocol):
    """Opens the adapter on the fake."""

    def __call__(self, inbox: Notes | None = None, pace: Pace = PACE) -> AbstractAsyncContextManager["Desk"]: ...


@dataclass
class Desk:
    """A test's place: the workspace, the adapter, the inbox."""

    fake: FakeSlack
    chat: Slack
    inbox: Notes
    store: Store

    async def wait(self, what: Callable[[], bool], seconds: float = 10) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not what():
            assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
            await asyncio.sleep(0.01)

    async def asked(self, count: int = 1) -> Question:
        """The newest question, when there are so many and every event is acknowledged."""
        await self.wait(lambda: len(self.inbox.questions) >= count)
        await self.fake.acknowledged()
        return self.inbox.questions[-1]

    async def begin(self, text: str = "what is in it?", *, direct: bool = False) -> tuple[Thread, Question]:
        """A question that was asked and accepted."""
        thread = await self.fake.ask(text, direct=direct)
        return thread, await self.asked()


def settings(fake: FakeSlack, **other: str) -> Settings:
    values = {key.lower(): value for key, value in fake.env.items()} | other
    return Settings.model_validate(values)


@pytest.fixture
async def fake() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        yield slack


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def desk(fake: FakeSlack, store: Store) -> Connect:
    """Opens adapters on the workspace, one after another as a restarted bot would."""

    @asynccontextmanager
    async def opened(inbox: Notes | None = None, pace: Pace = PACE) -> AsyncIterator[Desk]:
        notes = inbox or Notes()
        async with connect(settings(fake), store, pace) as chat:
            listening = asyncio.create_task(chat.listen(notes))
            try:
                await fake.connected(5)
                yield Desk(fake, chat, notes, store)
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening

    return opened
