"""The inbox, on a real journal and a chat that records what it is shown. The engine is one that does not answer: what needs no
container works all the same."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot import journal
from bot.dispatcher import Dispatcher
from bot.files import open_folder
from bot.ports import Journal
from bot.sessions import Bounds, Sessions
from bot.settings import Settings, read
from bot.setup import Setup
from bot.turns import NO_MODEL, Line, Means
from bot.types import Action, Asker, Attachment, Card, Finding, Place, Question, Receipt, ThreadRef, Turn, turn_id
from sandbox import Spec
from sandbox.docker import connect

ADA, BOB = Asker("u1", "ada"), Asker("u2", "bob")
PLACE = Place("w", "c")
THREAD = ThreadRef("test", "w/c", "1")


class RecordingChat:
    """Keeps every card; can be told to refuse some."""

    name = "test"

    def __init__(self) -> None:
        self.cards: list[tuple[Card, Receipt | None]] = []
        self.refuse = 0
        self.changed = asyncio.Condition()

    async def listen(self, inbox: object) -> None:
        await asyncio.Event().wait()

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        async with self.changed:
            self.changed.notify_all()
            if self.refuse:
                self.refuse -= 1
                raise ConnectionError("the platform is away")
            self.cards.append((card, receipt))
        return Receipt(handles=(f"test:shown-{card.turn}",))

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        yield b""

    async def context(self, question: Question) -> Sequence[str]:
        return ()

    async def final(self, turn: str) -> Card:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: any(card.final and card.turn == turn for card, _ in self.cards))
        return next(card for card, _ in self.cards if card.final and card.turn == turn)


class SlowJournal:
    """On a slow disk: a question is on record some time before its `accept` returns, and `unfinished` is read in between."""

    def __init__(self, records: Journal) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def accept(self, question: Question) -> bool:
        new = await self._records.accept(question)
        await asyncio.sleep(0.4)
        return new

    async def unfinished(self) -> list[Turn]:
        await asyncio.sleep(0.2)
        return await self._records.unfinished()


async def nothing() -> list[Finding]:
    return []


@asynccontextmanager
async def working(
    home: Path, chat: RecordingChat, wrap: Callable[[Journal], Any] = lambda records: records, **changes: Any
) -> AsyncIterator[Dispatcher]:
    nowhere = f"unix://{home}/no-engine.sock"
    async with (
        journal.connect(f"sqlite:///{home}/journal.db") as records,
        connect("test", Spec("cellmate-sandbox:latest"), pool=0, url=nowhere) as engine,
    ):
        files = open_folder(home / "files")
        sessions = Sessions(engine, Spec("cellmate-sandbox:latest"), files, records, Bounds())
        no_model = read(Settings).model_copy(update={"home": home, "model": "none", **changes})
        setup = Setup(no_model, asks=False, diagnose=nothing)
        means = Means(wrap(records), files, sessions, setup, Line(2), steps=20, files_a_turn=20)
        dispatcher = Dispatcher({"test": chat}, means)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.serve(stop))
            yield dispatcher
            stop.set()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """What is put on record once a card has been shown is there a moment after it."""
    for _ in range(1_000):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it has not come on record in 20 s")


def question(key: str, text: str = "hello?", asker: Asker = ADA) -> Question:
    return Question(turn_id(key), (key,), THREAD, asker, PLACE, text)


def action(name: str, turn: str | None = None, asker: Asker = ADA) -> Action:
    return Action("a1", name, THREAD, turn, asker, PLACE)


async def test_a_redelivery_changes_nothing(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1")
        assert await inbox.accept(asked) is True
        assert await inbox.accept(replace(asked, id=turn_id("test:2"), keys=("test:2", "test:1"))) is False
        assert (await chat.final(asked.id)).text == NO_MODEL
    assert {card.turn for card, _ in chat.cards} == {asked.id}


async def test_a_question_asked_while_the_bot_comes_up_is_carried_out_once(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat, SlowJournal) as inbox:
        asked = question("test:1")
        await inbox.accept(asked)
        await chat.final(asked.id)
    assert sum(card.final for card, _ in chat.cards) == 1


async def test_it_ends_when_told_to_though_set_up_never_came_right(tmp_path: Path) -> None:
    async with asyncio.timeout(10), working(tmp_path, RecordingChat(), setup=tmp_path / "never-run") as inbox:
        assert await inbox.accept(question("k1"))


async def test_a_bot_is_refused_once_and_never_run(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1", "```\n1\n```", asker=Asker("b", bot=True))
        assert await inbox.accept(asked) and not await inbox.accept(asked)
    (shown,) = chat.cards
    assert (shown[0].state, shown[0].text) == ("failed", "I answer people only, not other bots.")


async def test_an_engine_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1", "```\nprint(1)\n```")
        await inbox.accept(asked)
        card = await chat.final(asked.id)
    assert card.state == "failed" and "engine" in card.text and card.text.count("\n") == 0


async def test_an_answer_is_delivered_though_the_platform_was_away(tmp_path: Path) -> None:
    chat = RecordingChat()
    chat.refuse = 2
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1")
        await inbox.accept(asked)
        assert (await chat.final(asked.id)).text == NO_MODEL
    assert chat.cards[0][1] == Receipt(), "a first show that failed may have been seen: the next must look for it"


async def test_unfinished_turns_are_taken_up_at_the_next_start_and_only_those(tmp_path: Path) -> None:
    async with journal.connect(f"sqlite:///{tmp_path}/journal.db") as records:
        done, left = question("test:1"), question("test:2")
        for asked in (done, left):
            await records.accept(asked)
        await records.finish(done.id, "done")
        await records.receipt(left.id, Receipt(handles=("test:m1",)))
    chat = RecordingChat()
    async with working(tmp_path, chat):
        await chat.final(left.id)
    assert {card.turn for card, _ in chat.cards} == {left.id}
    assert chat.cards[0][1] == Receipt(handles=("test:m1",))


async def test_help_names_every_word_and_stop_has_nothing_to_stop(tmp_path: Path) -> None:
    async with working(tmp_path, RecordingChat()) as inbox:
        card = await inbox.act(action("help"))
        assert card is not None and card.audience == "asker"
        assert all(f"**{word}**" in card.text for word in ("stop", "files", "reset", "help"))
        assert "Code has no network here. A message" in card.text
        nothing = await inbox.act(action("stop"))
        assert nothing is not None and nothing.text == "Nothing is running here."


async def test_only_the_asker_may_start_a_thread_afresh(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1")
        await inbox.accept(asked)
        await chat.final(asked.id)
        refused = await inbox.act(action("reset", asker=BOB))
        done: Card | None = None

        async def reset() -> bool:
            nonlocal done
            done = await inbox.act(action("reset", asker=ADA))
            return done is None or "running here" not in done.text

        await until(reset)
        assert refused is not None and refused.text == "Only the person who asked here can do that."
        assert done is not None and "container engine" in done.text, "what still runs there cannot be forgotten without it"


async def test_messages_are_found_by_question_key_and_by_receipt(tmp_path: Path) -> None:
    chat = RecordingChat()
    async with working(tmp_path, chat) as inbox:
        asked = question("test:1")
        assert not await inbox.engaged(THREAD)
        await inbox.accept(asked)
        await chat.final(asked.id)
        assert await inbox.engaged(THREAD)
        assert await inbox.locate("test:1") == (asked.id, THREAD)

        async def found() -> bool:
            return await inbox.locate(f"test:shown-{asked.id}") == (asked.id, THREAD)

        await until(found)
        assert await inbox.locate("test:unknown") is None


@pytest.mark.parametrize("name", ["code", "files"])
async def test_nothing_was_run_yet(tmp_path: Path, name: str) -> None:
    async with working(tmp_path, RecordingChat()) as inbox:
        card = await inbox.act(action(name))
    assert card is not None and card.audience == "asker" and card.text
