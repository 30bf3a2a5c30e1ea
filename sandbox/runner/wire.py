"""Frames: how the host talks with PID 1, and PID 1 with its children. Standard library only; used by both sides.

    token (16) | type (1) | op (4) | length (4) | crc32 of type, op, length and payload (4) | payload

The token is the resync marker. Towards the host it is a secret of the container's own, so that nothing a person uploads
or prints can be taken for a frame; after a half-written frame the parser skips to the next token whose check fits.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

TOKEN_SIZE = 16
LOCAL = b"cellmate-local\x00\x01"
"""The token between processes inside the container. Their streams are never cut, so there is nothing to check."""

MAX_PAYLOAD = 1 << 20
CHUNK = 256 << 10
WINDOW = 1 << 20
"""Bytes of DATA that may be under way, in each direction, before a CREDIT must come back."""
REACH = 256 << 10
"""The same for CARRY and CARRIED, of one connection."""
CONNECTIONS = 32
"""Connections that a sandbox may have at once."""

HEAD = 512
"""First bytes of a file by which its type is told: the mark of a tar archive, the last to come, ends at 263."""

_HEAD = struct.Struct(">BII")
_CHECK = struct.Struct(">I")
PREFIX = TOKEN_SIZE + _HEAD.size + _CHECK.size
PADDING = PREFIX + MAX_PAYLOAD
"""So many zeros complete any frame that was cut off, so that the next one is read at once."""

# Host to sandbox
HELLO, CLAIM, RUN, INTERRUPT, OPEN, END, CANCEL, WARM, NETWORK = 1, 2, 3, 4, 5, 6, 7, 8, 9
# Both ways
DATA, CREDIT = 16, 17
# Connections of the code's, numbered by the sandbox; HANG_UP ends one, and what was sent before it still arrives
DIAL, CARRY, CARRIED, HANG_UP = 24, 25, 26, 27
CONNECTION = frozenset((DIAL, CARRY, CARRIED, HANG_UP))
# Sandbox to host
STATE, EVENT, NOTE, DONE, REFUSED = 32, 33, 34, 35, 36
# Between PID 1 and its children
FORK, FORKED, EXITED, READY, CELL, BEGUN, FINISHED, SCAN, WARMED = 64, 65, 66, 67, 68, 69, 70, 71, 72

TYPES = frozenset(
    (HELLO, CLAIM, RUN, INTERRUPT, OPEN, END, CANCEL, WARM, NETWORK, DATA, CREDIT, STATE, EVENT, NOTE, DONE, REFUSED)
) | CONNECTION.union(range(FORK, WARMED + 1))


class Frame(NamedTuple):
    """One frame as it came."""

    type: int
    op: int
    payload: bytes


def encode(token: bytes, type: int, op: int = 0, payload: bytes = b"") -> bytes:
    """The frame's bytes. The payload is at most `MAX_PAYLOAD` bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame holds {MAX_PAYLOAD} bytes at most, not {len(payload)}")
    head = _HEAD.pack(type, op, len(payload))
    return b"".join((token, head, _CHECK.pack(_check(token, head, payload)), payload))


def _check(token: bytes, head: bytes, payload: bytes) -> int:
    return 0 if token == LOCAL else zlib.crc32(payload, zlib.crc32(head))


def pack(value: object) -> bytes:
    """JSON in UTF-8; a lone surrogate becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def unpack(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload. Raises ValueError for anything else."""
    try:
        value = json.loads(payload)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class Parser:
    """Turns bytes into frames. Never raises, holds one frame at most; what is not a frame is skipped."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete. Consume the iterator before feeding again."""
        self._buffer += data
        at = 0
        try:
            while (at := self._find(at)) + PREFIX <= len(self._buffer):
                frame, size = self._frame(at)
                if not size:
                    break
                at += size
                if frame:
                    yield frame
        finally:
            del self._buffer[:at]

    def _find(self, at: int) -> int:
        found = self._buffer.find(self._token, at)
        return found if found >= 0 else max(at, len(self._buffer) - len(self._token) + 1)

    def _frame(self, at: int) -> tuple[Frame | None, int]:
        """The frame at this token and its size; no frame and 1 to skip a false token; size 0 to wait for more."""
        type, op, length = _HEAD.unpack_from(self._buffer, at + TOKEN_SIZE)
        (check,) = _CHECK.unpack_from(self._buffer, at + TOKEN_SIZE + _HEAD.size)
        if length > MAX_PAYLOAD or type not in TYPES:
            return None, 1
        if len(self._buffer) < at + PREFIX + length:
            return None, 0
        payload = bytes(memoryview(self._buffer)[at + PREFIX : at + PREFIX + length])
        if _check(self._token, _HEAD.pack(type, op, length), payload) != check:
            return None, 1
        return Frame(type, op, payload), PREFIX + length
