"""What the sandbox says, read on the host: bounded, strictly typed, never trusted.

Framing (resync, sizes, check) is `sandbox.runner.wire`; here content becomes one of the port's words or a `ProtocolError`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.api import Ended, File, Loss, Made, Output, Printed, Progress, Raised, Result, Started, Table, Variable
from sandbox.media import media_type
from sandbox.runner import wire
from sandbox.runner.text import clean, safe_name

_TEXT = 1 << 20
_PIECE = re.compile("(?:[0-9a-f]{32})?")
_FROM_SANDBOX = (
    frozenset((wire.STATE, wire.EVENT, wire.NOTE, wire.DONE, wire.REFUSED, wire.DATA, wire.CREDIT)) | wire.CONNECTION
)


class ProtocolError(Exception):
    """The sandbox sent something that is not in the protocol."""


@dataclass(frozen=True, slots=True)
class State:
    """What a sandbox says of itself when asked."""

    nonce: str
    boot: str
    key: str | None
    ready: bool
    """A cell can run."""
    warm: bool
    """It can run with the heavy libraries loaded."""
    cell: str | None
    """The current or the last cell's id."""
    running: bool
    memory: int
    """Bytes in use; 0 where the sandbox cannot see that."""
    emptied: bool
    """A kernel has gone with its variables, and no cell has said so yet."""


class Frames:
    """The stream from one sandbox as frames. Never raises; types that a sandbox does not send are dropped."""

    def __init__(self, token: bytes) -> None:
        self._parser = wire.Parser(token)

    def feed(self, data: bytes) -> Iterator[wire.Frame]:
        """The frames that these bytes complete."""
        return (frame for frame in self._parser.feed(data) if frame.type in _FROM_SANDBOX)


def json_object(payload: bytes) -> dict[str, Any]:
    """A payload's JSON object. Raises `ProtocolError`."""
    try:
        return wire.unpack(payload)
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def state(payload: bytes) -> State:
    """A STATE frame. Raises `ProtocolError`."""
    value = json_object(payload)
    cell = value.get("cell") or {}
    if not isinstance(cell, dict):
        raise ProtocolError("cell is not an object")
    key = value.get("key")
    return State(
        nonce=_string(value, "nonce", 200),
        boot=_string(value, "boot", 200),
        key=None if key is None else _raw(key),
        ready=value.get("ready") is True,
        warm=value.get("warm") is True,
        cell=_raw(cell["id"]) if "id" in cell else None,
        running=cell.get("running") is True,
        memory=_count(value, "memory"),
        emptied=value.get("emptied") is True,
    )


def output(payload: bytes) -> Output:
    """An EVENT frame. Raises `ProtocolError`."""
    value = json_object(payload)
    match value.get("t"):
        case "started":
            return Started()
        case "printed":
            return Printed(_string(value, "text"), "stderr" if value.get("stream") == "stderr" else "stdout")
        case "progress":
            return _progress(value)
        case "result":
            return Result(_string(value, "text"), _table(value.get("table")))
        case "raised":
            return Raised(_string(value, "name", 500), _string(value, "message"), _string(value, "traceback"))
        case "made":
            return Made(_made(value))
        case "ended":
            return _ended(value)
    raise ProtocolError(f"unknown event {str(value.get('t'))[:50]!r}")


def elapsed(payload: bytes) -> float:
    """Seconds for which a cell had been running when its `Started` was sent."""
    return _seconds(json_object(payload), "elapsed")


def count(payload: bytes, name: str) -> int:
    """A non-negative number of a frame. Raises `ProtocolError`."""
    return _count(json_object(payload), name)


def files(value: dict[str, Any]) -> list[File]:
    """Files of a listing. Raises `ProtocolError`."""
    found = []
    for item in _list(value, "files", 10_000):
        if not isinstance(item, list) or len(item) != 2:
            raise ProtocolError("a file is not a pair")
        name = safe_name(_raw(item[0]))
        found.append(File(name, _count({"size": item[1]}, "size"), media_type(name)))
    return found


def variables(value: dict[str, Any]) -> list[Variable]:
    """Variables of a listing. Raises `ProtocolError`."""
    found = []
    for item in _list(value, "variables", 10_000):
        if not isinstance(item, list) or len(item) != 3:
            raise ProtocolError("a variable is not a triple")
        found.append(Variable(*(clean(_raw(part))[:200] for part in item)))
    return found


def losses(value: dict[str, Any]) -> list[Loss]:
    """What was lost, of a NOTE. Raises `ProtocolError`."""
    found = []
    for item in _list(value, "lost", 10_000):
        if not isinstance(item, list) or len(item) != 2:
            raise ProtocolError("a loss is not a pair")
        found.append(Loss(_shown(item[0]), clean(_raw(item[1]))[:500]))
    return found


def piece(value: dict[str, Any]) -> str:
    """The name of a piece of a checkpoint; empty: none. Raises `ProtocolError`."""
    name = _raw(value.get("piece"))
    if not _PIECE.fullmatch(name):
        raise ProtocolError("not a piece's name")
    return name


def names(value: dict[str, Any], key: str) -> list[str]:
    """A list of names, fit to be shown. Raises `ProtocolError`."""
    return [_shown(item) for item in _list(value, key, 10_000)]


def name(value: dict[str, Any], key: str) -> str:
    """One name, fit to be shown. Raises `ProtocolError`."""
    return _shown(value.get(key))


def _shown(value: object) -> str:
    return clean(_raw(value))[:200]


def _raw(value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT:
        raise ProtocolError("not a string")
    return value


def _string(value: dict[str, Any], name: str, limit: int = _TEXT) -> str:
    return clean(_raw(value.get(name)))[:limit]


def _count(value: dict[str, Any], name: str) -> int:
    number = value.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 62:
        raise ProtocolError(f"{name} is not a count")
    return number


def _seconds(value: dict[str, Any], name: str) -> float:
    number = value.get(name)
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number < 1e9:
        raise ProtocolError(f"{name} is not a time")
    return float(number)


def _list(value: dict[str, Any], name: str, limit: int) -> list[Any]:
    items = value.get(name)
    if not isinstance(items, list) or len(items) > limit:
        raise ProtocolError(f"{name} is not a list")
    return items


def _table(value: object) -> Table | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProtocolError("table is not an object")
    columns = tuple(clean(_raw(column)) for column in _list(value, "columns", 21))
    rows = tuple(tuple(clean(_raw(item)) for item in row if isinstance(row, list)) for row in _list(value, "rows", 20))
    types = tuple(clean(_raw(name)) for name in _list(value, "types", 21))
    return Table(columns, rows, _count(value, "total"), types)


def _made(value: dict[str, Any]) -> File:
    name = safe_name(_string(value, "name", 4096))
    kind = media_type(name, _head(value.get("head")))
    size, figure = _count(value, "size"), value.get("figure") is True
    return File(name, size, kind, figure, _string(value, "alt", 2000), _string(value, "facts", 6000))


def _head(value: object) -> bytes | None:
    """A file's first bytes; None where they could not be read."""
    if value is None:
        return None
    try:
        return bytes.fromhex(_raw(value))[: wire.HEAD]
    except ValueError as error:
        raise ProtocolError("the first bytes are not in hexadecimal") from error


def _progress(value: dict[str, Any]) -> Progress:
    fraction = _seconds(value, "fraction")
    if fraction > 1:
        raise ProtocolError("fraction is over 1")
    eta = None if value.get("eta") is None else _seconds(value, "eta")
    return Progress(fraction, eta, " ".join(_string(value, "label", 100).split()))


def _ended(value: dict[str, Any]) -> Ended:
    reason = value.get("reason")
    if reason not in ("ok", "raised", "interrupted", "timeout", "died"):
        raise ProtocolError("unknown reason")
    notes = tuple(clean(_raw(note))[:1000] for note in _list(value, "notes", 50))
    return Ended(reason, _seconds(value, "seconds"), _string(value, "detail", 2000), value.get("lost") is True, notes)
