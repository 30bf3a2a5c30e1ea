"""From what is recorded and what is going on to the one card of a turn, and the card to its thread.

The newest card wins: while one is being shown, others only replace each other. Only progress may be skipped; a final card is
tried until it is delivered.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from bot.errors import CellmateError
from bot.ports import Chat
from bot.text import fence, shorten
from bot.types import Called, Card, CardFile, Item, Question, Receipt, Returned, Said, State, Step, Table

log = structlog.get_logger()

TICK = 1.0
"""Seconds between two shows of a working card: a platform may skip any of them."""
PATIENCE = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds between tries to deliver a final card; afterwards the turn stays open and is taken up at the next start."""
TEXT_OF_A_CELL = 3_500
"""Characters of one cell's output that a thread shows when no model tells about it; the rest is in an attached file."""


@dataclass(frozen=True, slots=True)
class Live:
    """What is going on and not recorded yet."""

    state: State = "working"
    ahead: int = 0
    text: str = ""
    running: Step | None = None
    closing: str = ""
    """One sentence under a final card: why it was stopped, what failed."""
    waits: str = ""
    label: str = ""
    """What is said of the model under its answer."""


def card(question: Question, items: Sequence[Item], live: Live, *, revision: int, elapsed: float) -> Card:
    """The card of a turn, from its record and the moment."""
    final = live.state in ("done", "stopped", "failed")
    steps = _steps(items)
    if live.running is not None:
        steps = (*steps, live.running)
    by_model = not is_run(items)
    text = (live.text or _said(items, final)) if by_model else ""
    if final and not by_model:
        text = "\n\n".join(filter(None, map(outcome_text, _returned(items))))
    if live.closing:
        text = f"{text}\n\n{live.closing}".strip()
    return Card(
        turn=question.id,
        revision=revision,
        state=live.state,
        ahead=live.ahead,
        text=text,
        steps=steps,
        table=_table(items) if final and not by_model else None,
        files=_files(items),
        notes=_notes(items),
        actions=_actions(final, steps),
        elapsed=elapsed,
        waits=live.waits if live.state == "waiting" else "",
        footer=_footer(steps, elapsed, live.label) if final else "",
    )


def outcome_text(cell: Returned) -> str:
    """One cell's outcome in Markdown, for a thread where no model tells about it."""
    parts = []
    printed = "\n".join(filter(None, (cell.stdout.rstrip("\n"), cell.stderr.rstrip("\n"))))
    if printed:
        parts.append(fence(shorten(printed, TEXT_OF_A_CELL)))
    if cell.result is not None and cell.table is None:
        parts.append(fence(shorten(cell.result, TEXT_OF_A_CELL)))
    if cell.error is not None and cell.error.traceback:
        what = shorten(f"{cell.error.name}: {cell.error.message}", 1_000)
        parts.append(f"The code stopped with an error:\n{fence(what)}")
    elif cell.error is not None:
        parts.append(cell.error.message)
    return "\n\n".join(parts)


def is_run(items: Sequence[Item]) -> bool:
    """Whether a turn runs a person's own cells, with no model: nobody has said anything in it."""
    return not any(isinstance(i, Said) and i.role == "user" for i in items)


def _said(items: Sequence[Item], final: bool) -> str:
    """The model's newest words; while it works, those beside the code count too."""
    for item in reversed(items):
        if isinstance(item, Said) and item.role == "assistant":
            return item.text
        if isinstance(item, Called) and item.text and not final:
            return item.text
    return ""


def _returned(items: Sequence[Item]) -> list[Returned]:
    return [item for item in items if isinstance(item, Returned)]


def _steps(items: Sequence[Item]) -> tuple[Step, ...]:
    outcomes = {item.id: item for item in _returned(items)}
    return tuple(
        _step(item, outcomes[item.id]) for item in items if isinstance(item, Called) and item.id in outcomes and item.code
    )


def _step(call: Called, cell: Returned) -> Step:
    state: Literal["ok", "stopped", "failed"] = "ok"
    if cell.error is not None:
        state = "stopped" if cell.error.name == "Stopped" else "failed"
    return Step(
        call.code or "",
        state,
        cell.stdout,
        cell.stderr,
        cell.result,
        cell.error,
        cell.seconds,
    )


def _table(items: Sequence[Item]) -> Table | None:
    returned = _returned(items)
    return returned[-1].table if returned else None


def _files(items: Sequence[Item]) -> tuple[CardFile, ...]:
    """Every file of the turn, the newest version of each name, in the order they first came."""
    newest: dict[str, CardFile] = {}
    for cell in _returned(items):
        newest.update({file.name: file for file in cell.files})
    return tuple(newest.values())


def _notes(items: Sequence[Item]) -> tuple[str, ...]:
    shown = [item.text for item in items if isinstance(item, Said) and item.role == "note" and item.shown]
    shown += [note for cell in _returned(items) for note in cell.notes]
    return tuple(dict.fromkeys(shown))


def _actions(final: bool, steps: Sequence[Step]) -> tuple[str, ...]:
    if not final:
        return ("stop",)
    return ("code",) if steps else ()


def _footer(steps: Sequence[Step], elapsed: float, label: str) -> str:
    cells = f"{len(steps)} cell" + ("s" if len(steps) != 1 else "")
    return " · ".join(filter(None, (f"{cells} · {elapsed:.1f} s" if steps else "", label)))


class Presenter:
    """Shows one turn to its thread."""

    def __init__(
        self,
        chat: Chat,
        question: Question,
        receipt: Receipt | None,
        keep: Callable[[Receipt], Awaitable[None]],
    ) -> None:
        """`keep` journals a receipt; `receipt` is the journalled one after a restart."""
        self._chat, self.question, self._receipt, self._keep = chat, question, receipt, keep
        self._items: tuple[Item, ...] = ()
        self._live = Live()
        self._revision = 0
        self._began: float | None = None
        self._changed = asyncio.Event()
        self._over = False

    def update(self, items: Sequence[Item] | None = None, **changes: Any) -> None:
        """Change what there is to see (the fields of `Live`); returns at once."""
        if items is not None:
            self._items = tuple(items)
        self._live = replace(self._live, **changes)
        if self._began is None and changes.get("state") == "working":
            self._began = time.monotonic()
        self._revision += 1
        self._changed.set()

    @property
    def card(self) -> Card:
        """The card as it is now."""
        elapsed = time.monotonic() - self._began if self._began is not None else 0.0
        return card(self.question, self._items, self._live, revision=self._revision, elapsed=elapsed)

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """While inside, the newest card is shown whenever something changed and every `TICK` while working.

        Leaving waits for a show under way: one cut short would leave a message that nobody remembers.
        """
        self._over = False
        task = asyncio.create_task(self._keep_showing())
        try:
            yield
        finally:
            self._over = True
            self._changed.set()
            await asyncio.wait({task})

    async def _keep_showing(self) -> None:
        while not self._over:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._changed.wait()
            unchanged = not self._changed.is_set()
            self._changed.clear()
            if self._over or (unchanged and self._live.state == "queued"):
                continue
            try:
                await self._show(self.card)
            except Exception as problem:  # progress may be skipped, whatever the reason; the final card tells the person
                log.warning("progress not shown", problem=repr(problem))
                await asyncio.sleep(TICK)

    async def settle(self, **changes: Any) -> Card:
        """Show the final card and return it when it is delivered. Raises what the platform raised when patience is over."""
        self.update(**changes)
        last = self.card
        for wait in (*PATIENCE, None):
            try:
                await self._show(last)
            except Exception as problem:
                log.warning("answer not delivered yet", problem=repr(problem))
                if wait is None:
                    raise
                await asyncio.sleep(wait)
            else:
                break
        return last

    async def _show(self, card: Card) -> None:
        shown = self._receipt
        if shown is None:
            self._receipt = Receipt()  # from here on a message may stand there that only a search can find
            await self._remember()
        receipt = await self._chat.show(self.question.thread, card, shown)
        if receipt != self._receipt:
            self._receipt = receipt
            await self._remember()

    async def _remember(self) -> None:
        """Journal the receipt. A full disk must not keep an answer from its asker."""
        assert self._receipt is not None
        try:
            await self._keep(self._receipt)
        except CellmateError as problem:
            log.error("receipt not journalled", problem=str(problem))
