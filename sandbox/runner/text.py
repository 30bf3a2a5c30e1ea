"""Text that came from code: cleaned, bounded, and names made safe. Pure functions; used by both sides."""

import codecs
import re
import unicodedata
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_ANSI = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, as in hyperlinks
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI, as in colours
    r"|\x1b[ -/]*[0-~]"  # two-character sequences
)
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?|\r)\Z")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_CARRY = 4096


def clean(text: str) -> str:
    """Without escape sequences, control characters (newline and tab stay), bidi overrides and lone surrogates."""
    return _FORBIDDEN.sub("", _ANSI.sub("", text)).replace("\r\n", "\n").replace("\r", "\n")


def shorten(text: str, limit: int) -> str:
    """At most about `limit` characters: head and tail around a line that says how many were dropped."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters dropped …\n{text[-half:]}"


class Cleaner:
    """Cleans bytes piece by piece. A line rewritten with carriage returns (a progress bar) appears once, as it ended."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._carry = ""
        self._line = ""

    def feed(self, data: bytes, final: bool = False) -> str:
        """The text that is certain so far; all of it when `final`."""
        text = self._carry + self._decoder.decode(data, final)
        unfinished = None if final else _UNFINISHED.search(text, max(0, len(text) - _CARRY))
        self._carry = unfinished.group() if unfinished else ""
        text = text[: len(text) - len(self._carry)]
        return self._lines(_FORBIDDEN.sub("", _ANSI.sub("", text)).replace("\r\n", "\n"), final)

    def _lines(self, text: str, final: bool) -> str:
        text, self._line = self._line + text, ""
        if "\r" not in text:
            return text
        *whole, rest = text.split("\n")
        done = "".join(_overwritten(line) + "\n" for line in whole)
        if "\r" in rest and not final and len(rest) < _CARRY:
            self._line = "\r" + _overwritten(rest)
            return done
        return done + _overwritten(rest)


def _overwritten(line: str) -> str:
    """What a terminal would leave of a line with carriage returns."""
    return next((part for part in reversed(line.split("\r")) if part), "")


_PERCENT = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d+)?) ?%")
_COUNT = re.compile(r"(?<![\w.:/])(\d+(?:\.\d+)?) ?(?:/|of) ?(\d+(?:\.\d+)?)(?![\w/:])")
_LEFT = re.compile(r"(?:<|\b(?:eta|left|remaining)\b\W{0,3})((?:\d+:){0,2}\d+)(?=[,\] s]|$)", re.IGNORECASE)
_LABEL = 60


class Progress(NamedTuple):
    """What a line that is rewritten says: how far it is (0 to 1), seconds left, what is being done."""

    fraction: float
    eta: float | None
    label: str


def progress(data: bytes) -> Progress | None:
    """The newest progress in printed bytes: tqdm's line, or any that is rewritten and holds a percentage or "3/10"."""
    if b"\r" not in data:
        return None
    text = _ANSI.sub("", data[-_CARRY:].decode("utf-8", "replace")).replace("\r\n", "\n")
    if "\r" not in text:
        return None
    lines = re.split(r"[\r\n]", text)[-4:]
    return next(filter(None, map(_bar, reversed(lines))), None)


def _bar(line: str) -> Progress | None:
    percent, count, left = _PERCENT.search(line), _COUNT.search(line), _LEFT.search(line)
    found = percent or count
    if not found:
        return None
    done, whole = (float(found[1]), 100.0) if percent else (float(found[1]), float(found[2]))
    if not 0 <= done <= whole or not whole:
        return None
    label = re.split(r"[^\w\s.,:()'/-]", clean(line[: found.start()]), maxsplit=1)[0].strip(" :-.\n\t")[:_LABEL]
    return Progress(done / whole, _seconds(left[1]) if left else None, label)


def _seconds(clock: str) -> float:
    """From "1:02:03", "2:03" or "3"."""
    return float(sum(int(part[-6:]) * 60**place for place, part in enumerate(reversed(clock.split(":")))))


class Transcript:
    """A cell's text as head and tail: `add` gives what is to be shown at once, `rest` what remains at the end."""

    def __init__(self, limit: int) -> None:
        self._head = limit // 2
        self._room = limit - self._head
        self._tail: deque[tuple[str, bytes]] = deque()
        self._held = 0
        self._cleaners = {"stdout": Cleaner(), "stderr": Cleaner()}
        self.dropped = 0
        self.lines = 0

    def add(self, stream: str, data: bytes) -> str:
        """Text of `stream` to show now; empty once the head is full."""
        head, rest = data[: self._head], data[self._head :]
        self._head -= len(head)
        if rest:
            self._keep(stream, rest)
        return self._cleaners[stream].feed(head) if head else ""

    def _keep(self, stream: str, data: bytes) -> None:
        self._tail.append((stream, data))
        self._held += len(data)
        while self._held > self._room:
            stream, oldest = self._tail.popleft()
            drop = min(len(oldest), self._held - self._room)
            self.dropped += drop
            self.lines += oldest.count(b"\n", 0, drop)
            self._held -= drop
            if drop < len(oldest):
                self._tail.appendleft((stream, oldest[drop:]))

    def rest(self) -> Iterable[tuple[str, str]]:
        """The line about what was dropped and the tail, as (stream, text)."""
        if self.dropped:
            for name in self._cleaners:
                yield name, self._cleaners[name].feed(b"", final=True)
                self._cleaners[name] = Cleaner()
            yield "stdout", f"\n… {self.dropped:,} bytes dropped …\n"
        for stream, data in self._merged():
            yield stream, self._cleaners[stream].feed(data)
        for name, cleaner in self._cleaners.items():
            yield name, cleaner.feed(b"", final=True)

    def _merged(self) -> Iterable[tuple[str, bytes]]:
        parts: list[tuple[str, bytearray]] = []
        for stream, data in self._tail:
            if parts and parts[-1][0] == stream:
                parts[-1][1].extend(data)
            else:
                parts.append((stream, bytearray(data)))
        return [(stream, bytes(data)) for stream, data in parts]


def safe_name(path: str) -> str:
    """A relative path safe to show and create: NFC, no `..`, no control or bidi characters, parts of at most 120 characters."""
    parts = [_safe_part(part) for part in path.replace("\\", "/").split("/")]
    return "/".join(part for part in parts[-16:] if part not in ("", ".", "..")) or "file"


def _safe_part(part: str) -> str:
    part = (
        _FORBIDDEN.sub("", unicodedata.normalize("NFC", part)).replace("\n", " ").replace("\t", " ").replace("\r", " ").strip()
    )
    if len(part) > 120 or len(part.encode()) > 240:
        stem, dot, suffix = part.rpartition(".")
        ending = dot + suffix if stem and len(suffix) <= 10 else ""
        part = (
            part.encode()[: 240 - len(ending.encode())].decode("utf-8", "ignore")[: 120 - len(ending)].removesuffix(ending)
            + ending
        )
    return part


def human(size: int) -> str:
    """A size for a sentence: "40 MB", "1.5 GB"; a kilobyte has 1024 bytes."""
    value = float(size)
    for unit in ("bytes", "KB", "MB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.3g} GB" if value < 1000 else f"{value:,.0f} GB"
