"""A card as Discord's Markdown. Pure: cards in, texts out.

Discord knows no tables, no headings under the third, no rules, no `~~~` fences, and any three backticks end its fences.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from adapters.shared import neutral, words
from adapters.shared.split import split
from bot.types import Card, Table

LIMIT = 1900
"""Characters of a message; Discord takes 2,000, and whoever counts in UTF-16 must find room too."""
WIDTH = 55
"""Columns of a monospace table that a desktop window shows without wrapping."""
ROWS = 15

_FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)")
_RULE = re.compile(r"[ \t]*([-*_])([ \t]*\1){2,}[ \t]*")
_HEADING = re.compile(r"[ \t]*#{4,6}[ \t]+(?P<title>.*?)[ \t]*#*")
_DELIMITERS = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_NUMBER = re.compile(r"[-+]?[\d.,]+%?|nan|NaN|")


def final(card: Card) -> list[str]:
    """The messages of a final card, in order; at least one."""
    text = dialect(neutral.markdown(words.answer(card)))
    if card.table is not None:
        text += "\n\n" + _head_of(card.table)
    if card.footer:
        text += "\n\n-# " + neutral.line(card.footer)
    return _parts(text)


def progress(card: Card) -> str:
    """One message for a card that is not final."""
    return _parts(dialect(neutral.markdown(words.working(card, 800))))[0]


def plain(text: str) -> list[str]:
    """Messages for a sentence of Cellmate's own."""
    return _parts(dialect(neutral.markdown(text)))


def _parts(text: str) -> list[str]:
    """Messages in order. A cut inside a word may leave one that pings, which costs one character more to prevent."""
    return [neutral.markdown(part) for part in split(text, LIMIT - 1, _length)]


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def dialect(markdown: str) -> str:
    """CommonMark with GFM tables in the Markdown that Discord shows."""
    lines = markdown.split("\n")
    shown: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if fence := _FENCE.fullmatch(line):
            stop = _end_of_fence(lines, place, fence["mark"])
            body = "\n".join(lines[place + 1 : stop]).replace("```", "`\u200b`\u200b`")
            shown += [f"```{fence['info'].strip()}", body, "```"]
            place = stop + 1
        elif "|" in line and place + 1 < len(lines) and "|" in lines[place + 1] and _DELIMITERS.fullmatch(lines[place + 1]):
            stop = next((n for n in range(place + 2, len(lines)) if "|" not in lines[n]), len(lines))
            shown += _table([_cells(row) for row in (line, *lines[place + 2 : stop])])
            place = stop
        else:
            shown.append(_line(line))
            place += 1
    return "\n".join(shown)


def _end_of_fence(lines: Sequence[str], start: int, mark: str) -> int:
    """The line that closes a fence (CommonMark 0.31, section 4.5), or the number of lines."""
    for place in range(start + 1, len(lines)):
        line = lines[place].strip()
        if line.startswith(mark) and not line.strip(mark[0]):
            return place
    return len(lines)


def _line(line: str) -> str:
    if _RULE.fullmatch(line):
        return ""
    heading = _HEADING.fullmatch(line)
    return f"**{heading['title'].replace('**', '')}**" if heading else line


def _cells(row: str) -> list[str]:
    """A GFM table row's cells: split at unescaped bars, without the marks that monospace would show as they are."""
    cells = re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|").replace("**", "").replace("`", "") for cell in cells]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of the text, whole: monospace where it is narrow enough, else a list item a row."""
    header, body = rows[0], rows[1:]
    if sum(_widths(rows)) + 2 * (len(header) - 1) <= WIDTH:
        return ["```", *_aligned(rows), "```"]
    return ["- " + " · ".join(f"{name}: {cell}" for name, cell in zip(header, row, strict=False) if cell) for row in body]


def _head_of(table: Table) -> str:
    """The head of a DataFrame as a monospace block, and what of it is not shown."""
    columns, rows = list(table.columns), [list(row) for row in table.rows[:ROWS]]
    most = (WIDTH + 2) // 6
    cut = [[_clip(" ".join(cell.split()), WIDTH) for cell in row[:most]] for row in (columns, *rows)]
    widths = _widths(cut)
    cap = next(
        cap for cap in range(WIDTH, 3, -1) if sum(min(w, cap) for w in widths) + 2 * (len(widths) - 1) <= WIDTH or cap == 4
    )
    block = "\n".join(_aligned([[_clip(cell, cap) for cell in row] for row in cut])).replace("```", "`\u200b`\u200b`")
    missing = [f"first {len(rows)} of {table.total:,} rows"] * (table.total > len(rows))
    missing += [f"first {most} of {len(columns)} columns"] * (len(columns) > most)
    note = f"\n-# {', '.join(missing)}" if missing else ""
    return f"```\n{neutral.markdown(block)}\n```{note}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns under each other, numbers to the right, and a rule under the header."""
    widths = _widths(rows)
    numeric = [all(_NUMBER.fullmatch(row[n]) for row in rows[1:] if n < len(row)) for n in range(len(widths))]
    for number, row in enumerate(rows):
        cells = []
        for cell, width, right in zip(row, widths, numeric, strict=False):
            space = " " * (width - _columns(cell))
            cells.append(space + cell if right else cell + space)
        yield "  ".join(cells).rstrip()
        if number == 0:
            yield "  ".join("─" * width for width in widths)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(_columns(row[n]) if n < len(row) else 0 for row in rows) for n in range(len(rows[0]))]


def _columns(text: str) -> int:
    """Columns in a monospace font (Unicode Standard Annex 11): wide ones count two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _clip(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"
