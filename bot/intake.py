"""From what a person sent to what a turn begins with: cells out of fenced blocks, files into the workspace, a line on each."""

import json
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from importlib.resources import files as resources
from pathlib import PurePosixPath

from bot.errors import Refused
from bot.mending import FILES_MARK
from bot.ports import Chat
from bot.text import fence
from bot.types import Attachment, Said
from sandbox import MIB, FileRefused, Limits, Printed, Session

MOST_FILES = 20
_READ_BY = "The code that reads them:"
_LONGEST, _CODE = 9_000, 3_000
"""Characters of what is told of a message's files, and of the code that reads them: a small model has room for little more."""

_LOOK_INSIDE = resources("bot.prompts").joinpath("describe.py").read_text("utf-8")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_ONE_LINE = re.compile(r"```(?:(?:python|py)\s+)?([^`\n]+)```")


def cells(text: str) -> list[str]:
    """The code of each fenced block that is bare or marked `python` or `py`, in order (CommonMark 0.31 §4.5).

    A fence opened and closed on one line counts too: people type it so in a chat's message box.
    """
    blocks = [m[3] for m in _FENCE.finditer(text) if m[2].lower() in ("", "python", "py", "python3")]
    if not blocks:
        blocks = [m[1] for m in _ONE_LINE.finditer(text)]
    return [block for block in blocks if block.strip()]


def placed(items: Iterable[object]) -> bool:
    """Whether a turn's files have been put and described already."""
    return any(isinstance(i, Said) and i.role == "note" and i.text.startswith(FILES_MARK) for i in items)


async def place(chat: Chat, session: Session, attachments: Sequence[Attachment], limits: Limits, cell: str) -> list[Said]:
    """Fetch the attachments into the workspace and say what is in them: a note for the model, and one for the person each
    time something was not as it should be. `cell` is the id of the cell that looks inside.
    """
    notes: list[Said] = []
    if len(attachments) > MOST_FILES:
        left = len(attachments) - MOST_FILES
        notes.append(
            _told(f"I took the first {MOST_FILES} of {len(attachments)} files; send the other {left} in another message.")
        )
    names: list[str] = []
    for attachment in _distinct(attachments[:MOST_FILES]):
        try:
            names.append(await _put(chat, session, attachment, limits))
        except (FileRefused, Refused) as problem:
            notes.append(_told(str(problem)))
    if names:
        lines, warnings = await _describe(session, names, limits, cell)
        notes.extend(map(_told, warnings))
        notes.append(Said("note", "\n".join([FILES_MARK, *lines])))
    return notes


def _told(text: str) -> Said:
    return Said("note", text, shown=True)


def _distinct(attachments: Sequence[Attachment]) -> list[Attachment]:
    """The same files, with a number in the name where two of a message have one name."""
    seen: dict[str, int] = {}
    result = []
    for attachment in attachments:
        count = seen[attachment.name] = seen.get(attachment.name, 0) + 1
        path = PurePosixPath(attachment.name)
        result.append(replace(attachment, name=f"{path.stem}-{count}{path.suffix}") if count > 1 else attachment)
    return result


async def _put(chat: Chat, session: Session, attachment: Attachment, limits: Limits) -> str:
    if attachment.size > limits.file:
        raise Refused(
            f"{attachment.name} is {attachment.size / MIB:,.0f} MiB; the most I can take is {limits.file / MIB:,.0f} MiB. "
            "Send a part of it, or a compressed copy."
        )
    async with aclosing(chat.fetch(attachment)) as chunks:
        file = await session.put(attachment.name, attachment.size, _exactly(chunks, attachment))
    return file.name


async def _exactly(chunks: AsyncGenerator[bytes, None], attachment: Attachment) -> AsyncGenerator[bytes, None]:
    """The chunks, as long as the platform's word on their number holds: what it declares is only a claim."""
    left = attachment.size
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise Refused(f"{attachment.name} is larger than the platform said, so I left it out. Attach it again.")
        yield chunk
    if left:
        raise Refused(f"{attachment.name} arrived incomplete, so I left it out. Attach it again.")


async def _describe(session: Session, names: list[str], limits: Limits, cell: str) -> tuple[list[str], list[str]]:
    # A namespace of its own: looking at files must not leave names among the person's variables.
    code = f"exec(compile({f'NAMES = {names!r}' + chr(10) + _LOOK_INSIDE!r}, 'describe', 'exec'), {{}})"
    printed = ""
    async with aclosing(session.run(cell, code, replace(limits, seconds=min(limits.seconds, 30.0)))) as outputs:
        async for output in outputs:
            if isinstance(output, Printed) and output.stream == "stdout":
                printed += output.text
    found = {entry["name"]: entry for entry in map(_entry, printed.splitlines()) if entry}
    share = min(_CODE, _LONGEST // len(names))
    lines = [f"{name} — {found[name]['line'][:share]}" if name in found else name for name in names]
    if together := found.get(""):
        code = _whole_lines(together["code"], _CODE)
        lines += filter(None, [_whole_lines(together["line"], _CODE), code and f"{_READ_BY}\n{fence(code, 'python')}"])
    return lines, [entry["warning"][:300] for name in names if (entry := found.get(name)) and entry["warning"]]


def _whole_lines(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most].rpartition("\n")[0]


def _entry(line: str) -> dict[str, str] | None:
    """One line of the description, or None: what comes out of a sandbox is data that may be anything."""
    try:
        entry = json.loads(line)
        return {key: str(entry[key]) for key in ("name", "line", "code", "warning")}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
