"""What every platform says in the same words: the state of a turn, its steps and output as Markdown, sizes and times.

Nothing here is neutralised: pass what these give through `adapters.shared.neutral` on its way out.
"""

from bot.text import fence
from bot.types import Card, CardFile, Progress, Step, Table

ROWS = 100
"""Rows of a table that a message shows; Slack's own limit, and more than a person reads."""


def size(count: int) -> str:
    """Bytes for a person, in powers of 1,000: "0 bytes", "1 byte", "1.5 kB", "20 MB"."""
    if count < 1000:
        return f"{count} byte" + ("" if count == 1 else "s")
    power = 1 if count < 999_500 else 2 if count < 999_500_000 else 3
    value, unit = count / 1000**power, ("kB", "MB", "GB")[power - 1]
    return f"{value:.1f} {unit}" if value < 9.95 and round(value, 1) % 1 else f"{value:,.0f} {unit}"


def duration(seconds: float) -> str:
    """Elapsed time for a person: "3 s", "2 min 5 s", "1 h 4 min"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def state_line(card: Card) -> str:
    """One line on where a turn is; empty for a finished one: "In line, 2 before you", "Working… step 2 · 3 s"."""
    match card.state:
        case "queued":
            return f"In line, {card.ahead} before you" if card.ahead else "In line, next"
        case "waiting":
            return card.waits or "Waiting for you"
        case "working":
            step = f" step {len(card.steps)} ·" if card.steps else ""
            done = " · " + progress(card.steps[-1].progress) if card.steps and card.steps[-1].progress else ""
            return f"Working…{step} {duration(card.elapsed)}{done}"
        case _:
            return ""


def progress(done: Progress) -> str:
    """How far a step says it is: "45%", "45%, 2 min 5 s left"."""
    return f"{done.fraction:.0%}" + (f", {duration(done.eta)} left" if done.eta is not None else "")


def bar(done: Progress) -> str:
    """The same as a line of its own: what is done, ten marks, and the rest of it."""
    marks = int(done.fraction * 10)
    return f"{done.label} {'▰' * marks}{'▱' * (10 - marks)} {progress(done)}".strip()


def tail(text: str, limit: int) -> str:
    """The end of a text, at most `limit` characters, from the beginning of a line where that is near."""
    if len(text) <= limit:
        return text
    kept = text[-(limit - 2) :]
    start = kept.find("\n") + 1
    return "…\n" + (kept[start:] if start < len(kept) // 2 else kept)


def head(text: str, limit: int) -> str:
    """The beginning of a text, at most `limit` characters, up to the end of a line where that is near."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 2]
    stop = kept.rfind("\n")
    return (kept[:stop] if stop > len(kept) // 2 else kept) + "\n…"


def step_title(step: Step, limit: int = 100) -> str:
    """What a step does, in one line: the comment its code begins with, else its first line of code."""
    lines = [stripped for line in step.code.splitlines() if (stripped := line.strip())]
    first = lines[0] if lines else "Python"
    title = first.lstrip("#% ").strip() if first.startswith("#") else first
    title = title or "Python"
    return title if len(title) <= limit else title[: limit - 1] + "…"


def outcome(step: Step, limit: int = 1500) -> str:
    """A step's output as Markdown: the end of what it printed, its result, its error. Empty when there is nothing."""
    printed = "\n".join(part.rstrip("\n") for part in (step.stdout, step.stderr) if part.strip())
    parts = [fence(tail(printed, limit))] if printed else []
    if step.result is not None:
        parts.append(fence(head(step.result, limit)))
    if step.error is not None:
        what = f"{step.error.name}: {step.error.message}".rstrip(": ")
        parts.append("The code stopped with an error:\n" + fence(head(what, limit)))
    return "\n\n".join(parts)


def working(card: Card, limit: int = 1200) -> str:
    """A turn that is not finished, as Markdown of about twice `limit` characters at most: state, text so far, the step that
    runs and the end of its output."""
    parts = [f"*{state_line(card)}*"]
    if card.text.strip():
        parts.append(tail(card.text.strip(), limit))
    elif card.steps:
        step = card.steps[-1]
        parts += [bar(step.progress)] if step.progress else []
        parts += [fence(head(step.code, limit // 2), "python"), outcome(step, limit // 2)]
    return "\n\n".join(part for part in parts if part)


def answer(card: Card) -> str:
    """A final card as Markdown, without its table, files and footer: text, then notes. Never empty."""
    text = card.text.strip()
    if not text:
        text = {"stopped": "Stopped.", "failed": "This could not be finished."}.get(card.state, "Done.")
    return "\n\n".join([text, *(f"*{' '.join(note.split())}*" for note in card.notes)])


def table(data: Table, rows: int = ROWS) -> str:
    """A GFM table of the first `rows` rows, and a line under it where there are more."""
    shown = data.rows[:rows]
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (data.columns, *shown)]
    lines.insert(1, "|" + " --- |" * len(data.columns))
    more = f"\n\n*First {len(shown):,} of {data.total:,} rows.*" if data.total > len(shown) else ""
    return "\n".join(lines) + more


def _cell(text: str) -> str:
    flat = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return flat or "\u00a0"


def not_delivered(file: CardFile, why: str) -> str:
    """The line that stands in the thread for a file the platform would not take."""
    return f"{file.name} ({size(file.blob.size)}) could not be posted here: {why.rstrip('.')}."
