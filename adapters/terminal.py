"""The terminal as a chat platform: the smallest adapter, and the one behind `cellmate run` and `cellmate ask`.

A line is a question; lines between two fences (```) are one question. `@path` in a question attaches that file. Files that come
back are written to a folder.
"""

import asyncio
import getpass
import re
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import anyio
from pydantic_settings import BaseSettings

from adapters.shared import words
from bot.commands import command_for_word
from bot.errors import Refused
from bot.ports import Chat, Files, Inbox
from bot.types import Action, Asker, Attachment, Card, CardFile, Place, Question, Receipt, ThreadRef, turn_id
from sandbox import media_type

NAME = "terminal"
PLACE = Place("local", "terminal", direct=True)
_ATTACHED = re.compile(r"(?:^|\s)@(\S+)")


class Settings(BaseSettings):
    """The terminal needs none."""

    on_demand: ClassVar[bool] = True
    """Needs no token: naming it is enough to start it."""

    @property
    def configured(self) -> bool:
        """Started only when named: a service's standard input is nobody's keyboard."""
        return False


@asynccontextmanager
async def connect(settings: Settings, files: Files) -> AsyncIterator[Chat]:
    """An interactive terminal on standard input and output; files land in ./out."""
    yield Terminal(files)


def question(thread: str, text: str, paths: Sequence[Path], *, run: bool = False) -> Question:
    """A question asked here. Raises `Refused` when a path is no file, ValueError when the thread's name has a colon."""
    key = f"{NAME}:{uuid4().hex}"  # unlike any earlier one: nothing here is ever delivered twice
    return Question(
        id=turn_id(key),
        keys=(key,),
        thread=ThreadRef(NAME, "local", thread),
        asker=Asker(getpass.getuser(), getpass.getuser()),
        place=PLACE,
        text=text,
        kind="run" if run else "ask",
        attachments=tuple(map(_attachment, paths)),
    )


def _attachment(path: Path) -> Attachment:
    if not path.is_file():
        raise Refused(f"{path} is not a file. Give the path of one that exists.")
    return Attachment(path.name, path.stat().st_size, media_type(path.name), {"path": str(path.absolute())})


class _Local:
    """What both terminals share: files come from and go to this machine's disk."""

    name = NAME

    def __init__(self, files: Files) -> None:
        self._files = files

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """See `Chat.fetch`."""
        try:
            async with await anyio.open_file(attachment.locator["path"], "rb") as f:
                while chunk := await f.read(1 << 18):
                    yield chunk
        except OSError as problem:
            raise Refused(f"{attachment.name} cannot be read: {problem.strerror}.") from None

    async def context(self, question: Question) -> Sequence[str]:
        """Nothing is said here but questions."""
        return ()

    async def write(self, files: Sequence[CardFile], folder: Path) -> dict[str, Path]:
        """Copy the files into the folder, under their workspace names; by name, where each now is."""
        paths = {}
        for file in files:
            path = paths[file.name] = folder / file.name
            await anyio.Path(path.parent).mkdir(parents=True, exist_ok=True)
            async with await anyio.open_file(path, "wb") as f:
                async for chunk in self._files.open(file.blob):
                    await f.write(chunk)
        return paths


class OneShot(_Local):
    """One question and its answer, for a command that then ends."""

    def __init__(self, files: Files, asked: Question, out: Path) -> None:
        """`out`: where the answer's files are written."""
        super().__init__(files)
        self._asked, self._out = asked, out
        self.answer: asyncio.Future[Card] = asyncio.get_running_loop().create_future()
        self.paths: dict[str, Path] = {}

    async def listen(self, inbox: Inbox) -> None:
        """Ask, and wait for the answer."""
        await inbox.accept(self._asked)
        await asyncio.shield(self.answer)

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """Progress goes to standard error where a person watches; the final card is the command's to print."""
        if card.final:
            self.paths = await self.write(card.files, self._out)
            if not self.answer.done():
                self.answer.set_result(card)
        elif sys.stderr.isatty():
            print(f"\r{_doing(card)}\x1b[K", end="\r", file=sys.stderr, flush=True)
        return Receipt(files=dict.fromkeys(self.paths, "delivered"))


class Terminal(_Local):
    """A conversation on standard input and output."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self._thread = f"terminal-{uuid4().hex[:8]}"
        self._waiting: set[str] = set()
        self._idle = asyncio.Event()

    async def listen(self, inbox: Inbox) -> None:
        """Take questions until standard input ends and all are answered."""
        async for text in _questions():
            if command := command_for_word(text):
                thread = ThreadRef(NAME, "local", self._thread)
                asker = Asker(getpass.getuser(), getpass.getuser())
                if card := await inbox.act(Action(uuid4().hex, command.name, thread, None, asker, PLACE)):
                    print(plain(card), flush=True)
                continue
            try:
                asked = question(self._thread, text, list(map(Path, _ATTACHED.findall(text))))
            except Refused as problem:
                print(problem, flush=True)
                continue
            self._waiting.add(asked.id)
            self._idle.clear()
            await inbox.accept(asked)
        if self._waiting:
            await self._idle.wait()

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """Progress on one line that the answer replaces."""
        if not card.final:
            if sys.stdout.isatty():
                print(f"\r{_doing(card)}\x1b[K", end="", flush=True)
            return Receipt(data={"shown": True})
        paths = await self.write(card.files, Path("out"))
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        print(clear + plain(card, paths), flush=True)
        self._waiting.discard(card.turn)
        if not self._waiting:
            self._idle.set()
        return Receipt(files=dict.fromkeys(paths, "delivered"))


def plain(card: Card, paths: dict[str, Path] | None = None) -> str:
    """A final card as a terminal shows it."""
    parts = [card.text]
    if card.table is not None:
        parts.append(_columns([card.table.columns, *card.table.rows]))
    parts.extend(f"{file.name}: {(paths or {}).get(file.name, '')} {file.alt}".rstrip() for file in card.files)
    parts.extend(f"Note: {note}" for note in card.notes)
    if card.footer:
        parts.append(f"({card.footer})")
    return "\n".join(filter(None, parts))


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _doing(card: Card) -> str:
    if card.state == "queued":
        return f"In line, {card.ahead} before you…"
    if card.waits:
        return card.waits
    done = f", {words.bar(card.steps[-1].progress)}" if card.steps and card.steps[-1].progress else ""
    return f"Working… step {len(card.steps) or 1}, {card.elapsed:.0f} s{done}"


async def _questions() -> AsyncIterator[str]:
    """Standard input as questions. A thread reads it, for a terminal, a pipe and a file cannot all be polled alike."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    block: list[str] = []
    while (line := await lines.get()) is not None:
        block.append(line)
        fences = sum(part.lstrip().startswith("```") for part in block)
        if fences % 2 == 0:
            if text := "".join(block).strip():
                yield text
            block = []
