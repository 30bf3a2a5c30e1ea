"""Text as Markdown carries it."""

import re


def fence(text: str, language: str = "") -> str:
    """A fenced block that nothing inside can close (CommonMark 0.31 §4.5)."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    body = text.rstrip("\n")
    return f"{mark}{language}\n{body}\n{mark}"


def shorten(text: str, limit: int) -> str:
    """The text, or its head and tail around a line that says how many characters were left out."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit * 2 // 3], text[-limit // 3 :]
    return f"{head}\n… {len(text) - len(head) - len(tail):,} characters left out …\n{tail}"
