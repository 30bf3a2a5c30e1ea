"""What Cellmate has put on disk for a thread, authenticated: HMAC-SHA256 (RFC 2104) over every part of a stored piece.

A part is `last (1) | length (4) | tag (32) | bytes`. Each is checked before its bytes are handed out, so a file of any size
takes constant memory, and nothing unchecked ever reaches a sandbox. A part's tag covers its number and whether it is the last;
the key is the piece's own, made from the installation's key, the thread, and a number that only the journal has. So a piece
that was altered, cut, put in another's place, or is of another thread is refused.
"""

import hmac
import secrets
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bot.ports import Writer
from bot.types import ThreadRef
from sandbox import Damaged

PART = 256 * 1024
_HEAD = struct.Struct(">?I32s")
_COVERED = struct.Struct(">Q?")
_REFUSED = "what is on disk is not what was kept there: it was altered, or an earlier version of Cellmate wrote it"


def nonce() -> str:
    """A new number for a piece."""
    return secrets.token_hex(16)


class SealedWriter:
    """Writes one piece."""

    def __init__(self, writer: Writer, key: bytes, thread: ThreadRef, nonce: str) -> None:
        self._writer, self._key = writer, _key(key, thread, nonce)
        self._buffer = bytearray()
        self._parts = 0

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        self._buffer += data
        while len(self._buffer) > PART:
            part = bytes(memoryview(self._buffer)[:PART])
            del self._buffer[:PART]
            await self._part(part, last=False)

    async def end(self) -> None:
        """The last part."""
        await self._part(bytes(self._buffer), last=True)

    async def _part(self, data: bytes, *, last: bool) -> None:
        tag = _tag(self._key, self._parts, last, data)
        self._parts += 1
        await self._writer.write(_HEAD.pack(last, len(data), tag) + data)


async def opened(stored: AsyncGenerator[bytes, None], key: bytes, thread: ThreadRef, nonce: str) -> AsyncGenerator[bytes, None]:
    """The bytes of a piece, each part once it is known to be what was written. Raises `Damaged`, and what `stored` raises."""
    of_piece = _key(key, thread, nonce)
    buffer = bytearray()
    number, last = 0, False
    async with aclosing(stored):
        async for chunk in stored:
            buffer += chunk
            while (part := _take(buffer)) is not None:
                ended, last, tag, data = last, *part
                if ended or not hmac.compare_digest(tag, _tag(of_piece, number, last, data)):
                    raise Damaged(_REFUSED)
                number += 1
                yield data
    if buffer or not last:
        raise Damaged(_REFUSED)


def _take(buffer: bytearray) -> tuple[bool, bytes, bytes] | None:
    if len(buffer) < _HEAD.size:
        return None
    last, length, tag = _HEAD.unpack_from(buffer)
    if length > PART:
        raise Damaged(_REFUSED)
    end = _HEAD.size + length
    if len(buffer) < end:
        return None
    data = bytes(memoryview(buffer)[_HEAD.size : end])
    del buffer[:end]
    return last, tag, data


def _key(key: bytes, thread: ThreadRef, nonce: str) -> bytes:
    return hmac.digest(key, f"{thread}\n{nonce}".encode(), "sha256")


def _tag(key: bytes, number: int, last: bool, data: bytes) -> bytes:
    return hmac.digest(key, _COVERED.pack(number, last) + data, "sha256")
