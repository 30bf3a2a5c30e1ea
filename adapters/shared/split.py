"""Cut Markdown into messages of a platform's length without breaking its code fences."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_OPEN = re.compile(r"(?P<head>[ \t]*(?P<ticks>`{3,}))(?P<info>[^`]*)")
_LONGEST_INFO = 20
_SMALLEST_LIMIT = 40

_T = TypeVar("_T", str, Sequence["_Unit"])


@dataclass(frozen=True, slots=True)
class _Fence:
    """An open code fence. `raw` is its line as written, `opener` the line that opens it again in the next part."""

    raw: str
    opener: str
    ticks: str

    def closed_by(self, line: str) -> bool:
        """At least as many backticks, and nothing else (CommonMark 0.31, section 4.5)."""
        mark = line.strip()
        return mark.startswith(self.ticks) and not mark.strip("`")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A line, or a piece of one. `joint` stood before it in the text, and is dropped where a part begins with it."""

    joint: str
    text: str
    before: _Fence | None
    after: _Fence | None

    @property
    def blank(self) -> bool:
        return not self.text.strip()

    @property
    def opens(self) -> bool:
        return self.before is None and self.after is not None

    @property
    def closes(self) -> bool:
        return self.before is not None and self.after is None


def split(text: str, limit: int, measure: Callable[[str], int] = len) -> list[str]:
    """Parts of `text` in order, each with `measure(part) <= limit`: cut at a paragraph, else a line, a space, or anywhere.

    Only white space at a cut, and blank lines around the text, are dropped. A cut inside a code fence closes it and opens
    it again in the next part with the same language; a fence left open at the end is closed; no part is blank or holds only
    an empty fence. `measure` must not shrink when text is added. Blank text gives no parts. Raises ValueError for a limit
    under 40, which has no room for fences.
    """
    if limit < _SMALLEST_LIMIT:
        raise ValueError(f"a limit of {limit} leaves no room for code fences; use {_SMALLEST_LIMIT} or more")
    if not text.strip():
        return []
    units = list(_units(text, limit, measure))
    parts = list(_pack(units, lambda part: measure(_render(part)) <= limit, lambda part: measure(_render(part)) * 2 >= limit))
    kept = [part for part in parts if any(not (unit.blank or unit.opens or unit.closes) for unit in part)]
    return [_render(part).strip("\n") for part in kept or parts[:1]]


def _units(text: str, limit: int, measure: Callable[[str], int]) -> Iterator[_Unit]:
    """The text as units that each fit a part of their own, fences and all."""
    fence: _Fence | None = None
    for line in text.split("\n"):
        if fence is None and (opening := _opening(line, limit, measure)):
            fence, info = opening
            yield _Unit("\n", fence.raw, None, fence)
            yield from (
                _Unit(joint, piece, fence, fence) for joint, piece in _pieces("\n", info, fence, limit, measure) if info
            )
        elif fence is not None and fence.closed_by(line):
            yield _Unit("\n", line, fence, None)
            fence = None
        else:
            yield from (_Unit(joint, piece, fence, fence) for joint, piece in _pieces("\n", line, fence, limit, measure))


def _opening(line: str, limit: int, measure: Callable[[str], int]) -> tuple[_Fence, str] | None:
    """The fence this line opens, and its info string where that is too long to stay on the fence's line."""
    match = _OPEN.fullmatch(line)
    if match is None or measure(match["head"]) > limit // 4:
        return None
    info = match["info"].strip()
    if measure(line) > limit // 4:
        return _Fence(match["head"], match["ticks"], match["ticks"]), match["info"]
    return _Fence(line, match["ticks"] + (info if len(info) <= _LONGEST_INFO else ""), match["ticks"]), ""


def _pieces(joint: str, line: str, fence: _Fence | None, limit: int, measure: Callable[[str], int]) -> list[tuple[str, str]]:
    """One line as (joint, piece), each of which fits a part."""

    def fits(piece: str) -> bool:
        return measure(f"{fence.raw}\n{piece}\n{fence.ticks}" if fence else piece) <= limit

    pieces: list[tuple[str, str]] = []
    while not fits(line):
        size = _longest(line, min(limit, len(line)), fits)
        space = line.rfind(" ", 1, size + 1)
        if space > 0 and line[:space].strip():
            pieces.append((joint, line[:space]))
            joint, line = " ", line[space + 1 :]
        else:
            pieces.append((joint, line[:size]))
            joint, line = "", line[size:]
    return [*pieces, (joint, line)]


def _pack(
    units: Sequence[_Unit], fits: Callable[[Sequence[_Unit]], bool], half: Callable[[Sequence[_Unit]], bool]
) -> Iterator[Sequence[_Unit]]:
    """Runs of units, each as long as fits; the white space and the fence's end at a cut belong to no part."""
    start = 0
    while start < len(units):
        if units[start].before is None and units[start].blank:
            start += 1
            continue
        rest = len(units) - start
        size = 1
        while size < rest and fits(units[start : start + size * 2]):
            size *= 2
        size = _longest(units[start:], min(rest, size * 2), fits)
        stop = start + size
        if stop < len(units):
            stop = _cut(units, start, stop, half)
        yield units[start:stop]
        start = stop
        if start < len(units) and units[start].closes:
            start += 1


def _cut(units: Sequence[_Unit], start: int, stop: int, half: Callable[[Sequence[_Unit]], bool]) -> int:
    """Where a part that could reach `stop` ends: the last paragraph of its second half, else there; never after an opener."""
    for place in range(stop, start, -1):
        if not half(units[start:place]):
            break
        after = units[place]
        if after.before is None and after.joint == "\n" and (after.blank or after.opens or units[place - 1].blank):
            return place
    while stop - 1 > start and units[stop - 1].opens:
        stop -= 1
    return stop


def _longest(whole: _T, high: int, fits: Callable[[_T], bool]) -> int:
    """The length, 1 to `high`, of the longest beginning of `whole` that fits, where every shorter one does."""
    return max(1, bisect_right(range(1, high + 1), False, key=lambda length: not fits(whole[:length])))


def _render(part: Sequence[_Unit]) -> str:
    """A part as a text of its own: the fence it begins in opened, the one it ends in closed."""
    head = f"{part[0].before.opener}\n" if part[0].before else ""
    tail = f"\n{part[-1].after.ticks}" if part[-1].after else ""
    return head + part[0].text + "".join(unit.joint + unit.text for unit in part[1:]) + tail
