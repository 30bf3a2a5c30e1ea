"""From the journal's items to the messages a Chat Completions server reads, and from its reply back to items. Pure.

*Tool mode*: a cell is a call of the one tool `python`, its outcome a `tool` message. *Fenced mode*: a cell is the first fenced
Python block of a reply, its outcome a user message. What a model writes after that first block was written before it knew the
outcome, so it is dropped.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

from bot import mending
from bot.types import Called, Item, Reply, Returned, Said

Message = dict[str, Any]
Report = Callable[[Returned], str]

TOOL: Message = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Run Python in this thread's session and get what it prints and the value of its last line.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "Python source"}},
            "required": ["code"],
            "additionalProperties": False,
        },
    },
}

_LEFT_OUT = Said("note", "Earlier messages of this thread are left out here for want of room.")
_AFTER_OUTPUT = "Now give the answer in plain text, or send one more block."
_AFTER_ERROR = "Mend what failed, and send one more block."
_AFTER_NOTHING = "It ran, and its variables are kept. To compute and print what was asked, send one more block."
_CUT = "\n\n(The answer was cut off here: it reached the model's limit for one reply.)"
_BLOCK = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(?:python3?|py)\b[^\n]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.M | re.S | re.I)
_BARE = re.compile(r"^```[ \t]*\n(.*?)(?:^```[ \t]*$|\Z)", re.M | re.S)
_HALF_FENCE = re.compile(r"(?:^|\n)[ \t]*[`~]{1,}[^\n]*\Z")
_THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.S)


@dataclass(slots=True)
class ToolCall:
    """One call as it comes in pieces."""

    id: str | None
    arguments: str = ""


@dataclass(slots=True)
class Draft:
    """A reply as far as it has come."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish: str | None = None
    tokens: int = 0
    begun: bool = False
    """Whether anything at all has come."""
    _by_index: dict[int, ToolCall] = field(default_factory=dict)

    def add_call(self, index: int, id: str | None, arguments: str) -> None:
        """Take in a fragment: pieces of one call share an index, and only the first must bear the id.

        Some servers give every call index 0 and tell them apart by id alone.
        """
        call = self._by_index.get(index)
        if call is None or (id and call.id and id != call.id):
            call = self._by_index[index] = ToolCall(id)
            self.calls.append(call)
        call.arguments += arguments

    def visible(self, *, code: bool) -> str:
        """What a person may read of it so far: never the model's thoughts; Python blocks only where `code` says so."""
        text = clean(_THOUGHT.sub("", self.text)).lstrip()
        if "<think>".startswith(text):
            return ""
        if code or not ("`" in text or "~" in text):
            return text
        block = _BLOCK.search(text)
        return text[: block.start()].rstrip() if block else _HALF_FENCE.sub("", text)


# --- Items to messages ----------------------------------------------------------------------------------------------


def fit(items: Sequence[Item], budget: int, report: Report) -> list[Item]:
    """The newest items of `budget` characters together; calls and their outcomes stay or go as one.

    The last question and the notes that follow it are always kept. Where something is left out, a note at the start says so.
    """
    units = _units(items)
    asked = max((n for n, unit in enumerate(units) if _is_question(unit)), default=0)
    pinned = {asked}
    for n in range(asked + 1, len(units)):
        if not isinstance(units[n][0], Said):
            break
        pinned.add(n)
    left = budget - sum(size(units[n], report) for n in pinned)
    kept = pinned.copy()
    for n in sorted(set(range(len(units))) - pinned, reverse=True):
        left -= size(units[n], report)
        if left < 0:
            break
        kept.add(n)
    result = [item for n in sorted(kept) for item in units[n]]
    return result if len(kept) == len(units) else [_LEFT_OUT, *result]


def messages(items: Sequence[Item], system: str, report: Report, *, fenced: bool) -> list[Message]:
    """The conversation as a server accepts it: no null content, every call answered right after it, arguments that parse,
    and no two messages of a person, or of the model, in a row."""
    result: list[Message] = [{"role": "system", "content": system}]
    for unit in _question_last(_without_mended(_units(items))):
        for message in _messages(unit, report, fenced=fenced):
            last = result[-1]
            if message["role"] == last["role"] in ("user", "assistant") and "tool_calls" not in last:
                content = "\n\n".join(filter(None, (last["content"], message["content"])))
                result[-1] = {**last, **message, "content": content}
            else:
                result.append(message)
    return [{**message, "content": clean(message["content"])} for message in result]


def _units(items: Sequence[Item]) -> list[list[Item]]:
    """Each `Said` alone; calls made at once together, with their outcomes behind them whatever was noted in between."""
    outcomes = {item.id: item for item in items if isinstance(item, Returned)}
    units: list[list[Item]] = []
    previous: Item | None = None
    for item in items:
        if isinstance(item, Called) and isinstance(previous, Called):
            units[-1].append(item)
        elif not isinstance(item, Returned):
            units.append([item])
        previous = item
    for unit in units:
        calls = [item for item in unit if isinstance(item, Called)]
        unit.extend(outcomes.get(call.id) or Returned(call.id, notes=("What came of this is not known.",)) for call in calls)
    return units


def lead(items: Sequence[Item]) -> str:
    """How the next reply in fenced mode is best begun, for a server that goes on from there: with a block where only one will
    do, and a question's first block with the code that reads its files. Empty: let the model begin."""
    asked = max((n for n, item in enumerate(items) if isinstance(item, Said) and item.role == "user"), default=0)
    since = items[asked:]
    if all(isinstance(item, Said) for item in since):
        return f"```python\n{code}#" if (code := mending.reading(since)) else ""
    last = since[-1]
    return "```python\n" if isinstance(last, Returned) and _what_now(last) != _AFTER_OUTPUT else ""


def _without_mended(units: Sequence[list[Item]]) -> list[list[Item]]:
    """Less the blocks that were put right and sent again: the model need not read what it got wrong."""
    calls = [unit[0] for unit in units if isinstance(unit[0], Called)]
    wrong = [call for call, by in pairwise(calls) if mending.is_mended(call, by)]
    return [unit for unit in units if len(unit) != 2 or unit[0] not in wrong]


def _question_last(units: Sequence[list[Item]]) -> list[list[Item]]:
    """With the notes that follow a question, on its files, in front of it: a small model keeps to what it read last."""
    result: list[list[Item]] = []
    at = None
    for unit in units:
        if _is_question(unit):
            at = len(result)
        elif not (isinstance(unit[0], Said) and unit[0].role == "note"):
            at = None
        if at is not None and not _is_question(unit):
            result.insert(at, unit)
            at += 1
        else:
            result.append(unit)
    return result


def _is_question(unit: Sequence[Item]) -> bool:
    return isinstance(unit[0], Said) and unit[0].role == "user"


def size(items: Iterable[Item], report: Report) -> int:
    """Characters that the items take, roughly."""
    total = 0
    for item in items:
        match item:
            case Said():
                total += len(item.text)
            case Called():
                total += len(item.text) + len(item.code or "")
            case Returned():
                total += len(report(item))
    return total


def _messages(unit: Sequence[Item], report: Report, *, fenced: bool) -> list[Message]:
    match unit[0]:
        case Said("assistant", text):
            return [{"role": "assistant", "content": text}] if text.strip() else []
        case Said("note", text):
            return [{"role": "user", "content": f"[note] {text}"}]
        case Said(_, text):
            return [{"role": "user", "content": text if text.strip() else "(no words)"}]
    calls = [item for item in unit if isinstance(item, Called)]
    cells = [item for item in unit if isinstance(item, Returned)]
    if fenced:
        return _fenced_pairs(calls, [f"{report(cell)}\n\n{_what_now(cell)}" for cell in cells])
    return _tool_calls(calls, list(map(report, cells)))


def _tool_calls(calls: Sequence[Called], outcomes: Sequence[str]) -> list[Message]:
    # Servers differ in the characters they allow in an id; those of cells that a person sent hold a full stop.
    ids = [re.sub(r"[^A-Za-z0-9_-]", "_", call.id) for call in calls]
    arguments = [json.dumps({"code": clean(call.code or "")}) for call in calls]
    made = [
        {"id": id, "type": "function", "function": {"name": "python", "arguments": code}}
        for id, code in zip(ids, arguments, strict=True)
    ]
    text = "\n\n".join(call.text for call in calls if call.text)
    answers = [{"role": "tool", "tool_call_id": id, "content": text} for id, text in zip(ids, outcomes, strict=True)]
    return [{"role": "assistant", "content": text, "tool_calls": made}, *answers]


def _fenced_pairs(calls: Sequence[Called], outcomes: Sequence[str]) -> list[Message]:
    result = []
    for call, outcome in zip(calls, outcomes, strict=True):
        block = _fence(call.code) if call.code is not None else "(a block that could not be read)"
        result.append({"role": "assistant", "content": "\n\n".join(filter(None, (call.text, block)))})
        result.append({"role": "user", "content": f"[output]\n{outcome}"})
    return result


def _what_now(cell: Returned) -> str:
    if cell.error is not None:
        return _AFTER_ERROR
    return _AFTER_OUTPUT if cell.stdout.strip() or cell.result or cell.files else _AFTER_NOTHING


def _fence(code: str) -> str:
    longest = max(map(len, re.findall(r"`{3,}", code)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}python\n{code.rstrip()}\n{ticks}"


# --- Reply to items -------------------------------------------------------------------------------------------------


def reply(draft: Draft, *, fenced: bool) -> Reply | None:
    """What a finished draft says; None when it says nothing at all."""
    text = clean(_THOUGHT.sub("", draft.text)).strip()
    cut = draft.finish == "length"
    if draft.calls:
        last = len(draft.calls) - 1
        calls = [_called(call, text if n == 0 else "", cut and n == last) for n, call in enumerate(draft.calls)]
        return Reply(tuple(calls), draft.tokens)
    if fenced and (item := _from_block(text, cut)):
        return Reply((item,), draft.tokens)
    if not text:
        return None
    return Reply((Said("assistant", text + _CUT if cut else text),), draft.tokens)


def _from_block(text: str, cut: bool) -> Called | Said | None:
    """The cell in a reply's first Python block, or the answer where that block holds words; None without a block."""
    if block := _BLOCK.search(text):
        if answer := _words_only(block[2]):
            return Said("assistant", answer)
        open_end = cut and block.end() == len(text) and not text.endswith(block[1])
        return Called(_new_id(), None if open_end else _telling(block[2]), text[: block.start()].strip())
    if (block := _BARE.search(text)) and _does_something(block[1]):
        return Called(_new_id(), _telling(block[1]), text[: block.start()].strip())
    return None


def _words_only(code: str) -> str:
    """The answer in a block that is none: plain words, or the printing of fixed ones. Empty where it is code."""
    body = _statements(code)
    if not body and code.strip() and not re.search(r"[=\[\]{}#]|\w\(|^\s*(?:import|from) ", code):
        return code.strip()
    fixed = [_fixed_print(statement) for statement in body]
    return "\n".join(line for line in fixed if line) if body and all(fixed) else ""


def _fixed_print(statement: ast.stmt) -> str:
    match statement:
        case ast.Expr(ast.Call(ast.Name("print"), [ast.Constant(str() as words)], [])) if " " in words:
            return words
    return ""


def _telling(code: str) -> str:
    """The code, and where it ends by giving a name its value without printing anything, that name: its value is then shown."""
    last = body[-1] if (body := _statements(code)) else None
    if "print(" in code or not isinstance(last, ast.Assign) or not isinstance(last.targets[0], ast.Name):
        return code
    return f"{code.rstrip()}\n{last.targets[0].id}\n"


def _does_something(code: str) -> bool:
    """Whether a block that does not say what it holds is Python that calls or keeps something."""
    return any(isinstance(node, ast.Call | ast.Assign) for statement in _statements(code) for node in ast.walk(statement))


def _statements(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def ends_in_its_only_block(text: str) -> bool:
    """Whether a reply looks like a cell from a model that knows no tools: one fenced Python block, and nothing after it."""
    text = _THOUGHT.sub("", text).strip()
    blocks = list(_BLOCK.finditer(text))
    return len(blocks) == 1 and blocks[0].end() == len(text) and text.endswith(blocks[0][1])


def _called(call: ToolCall, text: str, cut: bool) -> Called:
    code = None if cut else _code(call.arguments)
    return Called(_new_id(), None if code is None else clean(code), text)


def _code(arguments: str) -> str | None:
    """The code in a call's arguments; None where there is none to be read. Some models send the code bare, or as a string."""
    try:
        value = json.loads(arguments, strict=False)  # raw line breaks inside a string are what small models write
    except RecursionError:
        return None
    except ValueError:
        return arguments if arguments.strip() and not arguments.lstrip().startswith(("{", '"')) else None
    if isinstance(value, dict):
        value = value.get("code")
    return value if isinstance(value, str) else None


def clean(text: str) -> str:
    """The text with halves of surrogate pairs joined or replaced: nothing further on could encode them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _new_id() -> str:
    return uuid4().hex[:12]
