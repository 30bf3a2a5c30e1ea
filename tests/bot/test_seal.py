"""A sealed piece is read as it was written, or not at all."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.seal import PART, SealedWriter, nonce, opened
from bot.types import Blob, ThreadRef
from sandbox import Damaged

KEY, THREAD = b"k" * 32, ThreadRef("slack", "T1.C1", "1")


class Disk:
    """`bot.ports.Writer` in memory."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, chunk: bytes) -> None:
        self.data += chunk

    async def blob(self) -> Blob:
        raise NotImplementedError


async def seal(*parts: bytes, number: str = "n") -> bytes:
    disk = Disk()
    writer = SealedWriter(disk, KEY, THREAD, number)
    for part in parts:
        await writer.write(part)
    await writer.end()
    return disk.data


async def unseal(
    stored: bytes, cut: int = 1000, *, key: bytes = KEY, thread: ThreadRef = THREAD, number: str = "n"
) -> tuple[bytes, bool]:
    """What is handed out, and whether it was refused in the end."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(stored), cut):
            yield stored[at : at + cut]

    got = b""
    try:
        async for part in opened(chunks(), key, thread, number):
            got += part
    except Damaged:
        return got, True
    return got, False


@pytest.mark.parametrize("sizes", [(), (0,), (1, 2), (PART,), (PART, 1), (3 * PART + 5,), (PART - 1, 2 * PART)])
async def test_what_was_written_is_read(sizes: tuple[int, ...]) -> None:
    parts = [bytes([n]) * size for n, size in enumerate(sizes, 1)]
    stored = await seal(*parts)
    for cut in (1 << 20, 7_001):
        assert await unseal(stored, cut) == (b"".join(parts), False)


@given(st.data())
def test_one_changed_byte_is_refused_and_nothing_changed_is_handed_out(data: st.DataObject) -> None:
    whole = bytes(range(256)) * (2 * PART // 256) + b"the end"
    stored = bytearray(asyncio.run(seal(whole)))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))
    got, refused = asyncio.run(unseal(bytes(stored), 100_000))
    assert refused and whole.startswith(got)


@given(st.integers(0, 3 * PART))
def test_a_piece_that_is_cut_or_continued_is_refused(length: int) -> None:
    whole = b"x" * (2 * PART + 100)
    stored = asyncio.run(seal(whole))
    if length < len(stored):
        got, refused = asyncio.run(unseal(stored[:length], 100_000))
        assert refused and whole.startswith(got)
    assert asyncio.run(unseal(stored + stored[: length + 1], 100_000))[1]


async def test_parts_cannot_change_places() -> None:
    stored = await seal(b"a" * PART + b"b" * PART + b"c")
    size = PART + 37
    swapped = stored[size : 2 * size] + stored[:size] + stored[2 * size :]
    assert await unseal(swapped) == (b"", True)


async def test_another_threads_anothers_place_and_another_installations_are_refused() -> None:
    stored = await seal(b"secret")
    assert await unseal(stored, thread=ThreadRef("slack", "T1.C1", "2")) == (b"", True)
    assert await unseal(stored, number=nonce()) == (b"", True)
    assert await unseal(stored, key=b"o" * 32) == (b"", True)
    assert await unseal(stored) == (b"secret", False)


async def test_one_that_an_earlier_version_wrote_is_refused() -> None:
    assert await unseal(f"{THREAD}\ncellmate checkpoint 1\nF\0\0\0\1x".encode()) == (b"", True)
    assert await unseal(b"") == (b"", True)
