"""The agent: one pure decision over a transcript that only grows. Whoever carries a step out appends what came of it and
asks again; starting over after a crash is asking again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from bot.mending import mended, missing_column, reading, unprinted
from bot.text import fence, shorten
from bot.types import Called, CellError, Item, Returned, Said

LAST_WORD = "No more code can be run for this question. Answer now with what there is, and say what is missing."
NO_PROGRESS = "The same code has failed again in the same way. Do something different, or say why it cannot be done."
AGAIN = "The same code has run twice with the same output. Do not send it again: answer now in plain text with what it printed."
SILENT = "That code has run already, and its variables are kept. Send other code, which computes what was asked and prints it."
UNCOMPUTED = "No code has been run for this. Run code that computes what was asked from the files and prints it, then answer."
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
            return Finish(_last_words(items), f"I stopped after {steps} steps; this is what there is.")
        if call.code is None:
            return Record(Returned(call.id, error=CellError("BadArguments", BAD_ARGUMENTS)))
        return RunCell(call, call.code)
    if not model:
        return Finish("")
    if items and isinstance(items[-1], Said) and items[-1].role == "assistant":
        doubt = UNCOMPUTED if _is_uncomputed(items) else unprinted(items)
        if doubt and not told.intersection((UNCOMPUTED, doubt, LAST_WORD)):
            return Record(Said("note", doubt))
        return Finish(items[-1].text)
    if len(returned) >= steps:
        return AskModel() if LAST_WORD in told else Record(Said("note", LAST_WORD))
    if better := mended(items):
        return Record(better)
    if (columns := missing_column(items)) and columns not in told:
        return Record(Said("note", columns))
    return _if_stuck(items, returned, told) or AskModel()


def _if_stuck(items: Sequence[Item], returned: dict[str, Returned], told: set[str]) -> Record | Finish | None:
    """A word to a model that goes round in circles, and an end to it when that did not help."""
    alike, outcome = _alike(items, returned)
    if alike >= 4:
        why = "kept failing in the same way" if outcome.error else "was sent again and again"
        return Finish(_last_words(items), f"The same code {why}, so I stopped trying.")
    told_something = outcome.stdout or outcome.result or outcome.files
    word = NO_PROGRESS if outcome.error else AGAIN if told_something else SILENT
    return Record(Said("note", word)) if alike >= 2 and word not in told else None


def _is_uncomputed(items: Sequence[Item]) -> bool:
    """Whether tables came with the question, and no code has run for its answer."""
    return all(isinstance(item, Said) for item in items) and bool(reading(items))


def report(cell: Returned, limit: int = 12_000) -> str:
    """What the model reads of a cell's outcome: a function of the outcome alone, never of how its output was cut in pieces."""
    parts = []
    for name, text in (("stdout", cell.stdout), ("stderr", cell.stderr), ("result", cell.result or "")):
        if text.strip():
            parts.append(f"{name}:\n{shorten(text.rstrip(), limit)}")
    if cell.error is not None:
        parts.append("error:\n" + shorten(_error(cell.error), limit // 3))
    if cell.files:
        room = max(100, limit // 3 // len(cell.files))
        kinds = (f"{f.name} ({shorten(f.facts or f.alt or f.media_type, room)}, {f.blob.size} bytes)" for f in cell.files)
        parts.append("delivered to the thread: " + "; ".join(kinds))
    parts.extend(f"note: {note}" for note in cell.notes)
    return "\n\n".join(parts) or "(the code ran and printed nothing)"


def _error(error: CellError) -> str:
    """The lines of the code's own that led there, innermost last, and what was wrong; libraries' own lines are left out."""
    frames = re.findall(r'^  File "(.+)", line (\d+), in .*\n    (.+)$', error.traceback, re.MULTILINE)
    own = [
        f"line {number}: {line}" for file, number, line in frames if not re.search(r"/(site|dist)-packages/|/lib/python", file)
    ]
    if error.name == "SyntaxError":
        return error.traceback or error.message
    return "\n".join([*own[-3:], f"{error.name}: {error.message}"])


def _last_words(items: Sequence[Item]) -> str:
    """What there is where no answer came: words beside code, and the last output that is one."""
    texts = (item.text for item in reversed(items) if isinstance(item, Said | Called) and _by_model(item) and item.text.strip())
    outputs = (
        (item.result or item.stdout).strip() for item in reversed(items) if isinstance(item, Returned) and not item.error
    )
    output = next(filter(None, outputs), "")
    return "\n\n".join(filter(None, (next(texts, ""), fence(shorten(output, 1_500)) if output else "")))


def _by_model(item: Said | Called) -> bool:
    return isinstance(item, Called) or item.role == "assistant"


def _alike(items: Sequence[Item], returned: dict[str, Returned]) -> tuple[int, Returned]:
    """How many of the last cells had the same code and came to the same; the last of them."""
    outcomes = [(item.code, returned[item.id]) for item in items if isinstance(item, Called)]
    if not outcomes:
        return 0, Returned("")
    last = _sign(*outcomes[-1])
    return sum(1 for _ in takewhile(lambda one: _sign(*one) == last, reversed(outcomes))), outcomes[-1][1]


def _sign(code: str | None, cell: Returned) -> tuple[str, ...]:
    """What two cells that are one and the same share."""
    said = (cell.error.name, cell.error.message) if cell.error else (cell.stdout, cell.result or "")
    return ((code or "").strip(), *said)
