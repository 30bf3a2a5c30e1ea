"""The agent: one pure decision over a transcript that only grows. Whoever carries a step out appends what came of it and
asks again; starting over after a crash is asking again."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.text import shorten
from bot.types import Called, CellError, Item, Returned, Said

LAST_WORD = "No more code can be run for this question. Answer now with what there is, and say what is missing."
NO_PROGRESS = "The same code has now failed three times in the same way. Do something different, or say why it cannot be done."
BAD_ARGUMENTS = 'The arguments could not be read. Call python again with one argument: {"code": "..."}.'


@dataclass(frozen=True, slots=True)
class AskModel:
    """Send the transcript to the model and append its reply."""


@dataclass(frozen=True, slots=True)
class RunCell:
    """Run this call's code and append its `Returned`."""

    call: Called
    code: str


@dataclass(frozen=True, slots=True)
class Record:
    """Append this item; nothing else is to be done for it."""

    item: Item


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do. `text` is the answer; `note` is set when it ends for want of steps or progress."""

    text: str
    note: str = ""


def next_step(items: Sequence[Item], *, model: bool, steps: int) -> AskModel | RunCell | Record | Finish:
    """What to do next in a turn. `model`: whether one is asked at all; `steps`: how many cells a turn may run."""
    returned = {item.id: item for item in items if isinstance(item, Returned)}
    open_calls = [item for item in items if isinstance(item, Called) and item.id not in returned]
    told = {item.text for item in items if isinstance(item, Said) and item.role == "note"}
    if open_calls:
        call = open_calls[0]
        if model and LAST_WORD in told:
            return Finish(_last_text(items), f"I stopped after {steps} steps; this is what there is.")
        if call.code is None:
            return Record(Returned(call.id, error=CellError("BadArguments", BAD_ARGUMENTS)))
        return RunCell(call, call.code)
    if not model:
        return Finish("")
    if items and isinstance(items[-1], Said) and items[-1].role == "assistant":
        return Finish(items[-1].text)
    if len(returned) >= steps and LAST_WORD not in told:
        return Record(Said("note", LAST_WORD))
    alike = _alike_failures(items, returned)
    if alike >= 5:
        return Finish(_last_text(items), "The same code kept failing in the same way, so I stopped trying.")
    if alike >= 3 and NO_PROGRESS not in told:
        return Record(Said("note", NO_PROGRESS))
    return AskModel()


def report(cell: Returned, limit: int = 12_000) -> str:
    """What the model reads of a cell's outcome: a function of the outcome alone, never of how its output was cut in pieces."""
    parts = []
    for name, text in (("stdout", cell.stdout), ("stderr", cell.stderr), ("result", cell.result or "")):
        if text.strip():
            parts.append(f"{name}:\n{shorten(text.rstrip(), limit)}")
    if cell.error is not None:
        parts.append("error:\n" + shorten(cell.error.traceback or f"{cell.error.name}: {cell.error.message}", limit // 3))
    if cell.files:
        room = max(100, limit // 3 // len(cell.files))
        kinds = (f"{f.name} ({shorten(f.facts or f.alt or f.media_type, room)}, {f.blob.size} bytes)" for f in cell.files)
        parts.append("delivered to the thread: " + "; ".join(kinds))
    parts.extend(f"note: {note}" for note in cell.notes)
    return "\n\n".join(parts) or "(the code ran and printed nothing)"


def _last_text(items: Sequence[Item]) -> str:
    for item in reversed(items):
        if isinstance(item, Said) and item.role == "assistant" and item.text.strip():
            return item.text
        if isinstance(item, Called) and item.text.strip():
            return item.text
    return ""


def _alike_failures(items: Sequence[Item], returned: dict[str, Returned]) -> int:
    """How many of the last cells had the same code and the same error."""
    outcomes = [(item.code, returned[item.id].error) for item in items if isinstance(item, Called)]
    count = 0
    for code, error in reversed(outcomes):
        if error is None or (code, error.name, error.message) != _failure(outcomes[-1]):
            break
        count += 1
    return count


def _failure(outcome: tuple[str | None, CellError | None]) -> tuple[str | None, str, str]:
    code, error = outcome
    return (code, error.name, error.message) if error else (code, "", "")
