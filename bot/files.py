"""The files store in a folder: each file is named by the SHA-256 of its content, and has its name only once it is durable."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import IO, TypeVar

from bot.types import Blob

T = TypeVar("T")

CHUNK = 256 * 1024
_ABANDONED = 24 * 3600
"""Seconds without a write after which an unfinished file is taken for one that a crash left behind."""


def open_folder(path: Path) -> "FolderFiles":
    """The store in this folder, which is made (mode 0700) with the first file. Any number of programs may share it."""
    return FolderFiles(path)


class FolderFiles:
    """`bot.ports.Files`. Constant memory; all of its disk work is done in threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swept = False

    async def put(self, chunks: AsyncIterator[bytes]) -> Blob:
        """See `Files.put`."""
        async with self.writer() as writer:
            async for chunk in chunks:
                await writer.write(chunk)
            return await writer.blob()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["FolderWriter"]:
        """See `Files.writer`."""
        if not self._swept:
            self._swept = True
            await _in_thread(lambda: _sweep(self._folder))
        unfinished = await _in_thread(lambda: _Unfinished(self._folder))
        try:
            yield FolderWriter(unfinished)
        finally:
            await _in_thread(unfinished.discard)

    async def open(self, blob: Blob) -> AsyncGenerator[bytes, None]:
        """See `Files.open`."""
        opened: list[IO[bytes]] = []  # also when the wait for it is given up
        try:
            await _in_thread(lambda: opened.append(_place(self._folder, blob.digest).open("rb", buffering=0)))
            while chunk := await _in_thread(lambda: opened[0].read(CHUNK)):
                yield chunk
        finally:
            for file in opened:
                await _in_thread(file.close)

    async def remove(self, blob: Blob) -> None:
        """See `Files.remove`."""
        await _in_thread(lambda: _place(self._folder, blob.digest).unlink(missing_ok=True))


class FolderWriter:
    """`bot.ports.Writer`."""

    def __init__(self, unfinished: "_Unfinished") -> None:
        self._unfinished = unfinished

    async def write(self, chunk: bytes) -> None:
        """See `Writer.write`. Raises OSError when the disk is full."""
        await _in_thread(lambda: self._unfinished.write(chunk))

    async def blob(self) -> Blob:
        """See `Writer.blob`. Raises OSError when the disk is full."""
        return await _in_thread(self._unfinished.finish)


class _Unfinished:
    """A file without its name. Every method blocks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        descriptor, name = mkstemp(prefix=".", dir=folder)  # mode 0600
        self._path, self._file = Path(name), os.fdopen(descriptor, "wb", buffering=0)
        self._sha, self._size = hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:
            left = left[self._file.write(left) :]
        self._sha.update(chunk)
        self._size += len(chunk)

    def finish(self) -> Blob:
        os.fsync(self._file.fileno())
        blob = Blob(self._sha.hexdigest(), self._size)
        place = _place(self._folder, blob.digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        # In place of one with the same content, should there be one: what is put now outlives a removal just before.
        self._path.replace(place)
        for folder in (place.parent, self._folder):
            _sync(folder)
        return blob

    def discard(self) -> None:
        """Close; drop the file if it has no name yet."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _place(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest


def _sync(folder: Path) -> None:
    """Make the names in a folder durable (fsync(2): a file's own fsync does not)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what crashes have left. Another program's unfinished files are being written, and so are young."""
    for path in folder.glob(".*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()


async def _in_thread(work: Callable[[], T]) -> T:
    """Run in a thread, and wait for its end also when cancelled: nobody may close a file that a thread still writes to."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
