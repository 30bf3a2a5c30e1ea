"""The files store keeps what it promised, and nothing else."""

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.files import FolderFiles, open_folder
from bot.types import Blob
from tests.fakes.disk import fill, small_disk


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    return open_folder(tmp_path / "home" / "files")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(files: FolderFiles, blob: Blob) -> bytes:
    return b"".join([chunk async for chunk in files.open(blob)])


def everything(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_is_put_is_named_by_its_content(files: FolderFiles, tmp_path: Path) -> None:
    blob = await files.put(chunks(b"hello ", b"", b"world"))
    assert blob == Blob(hashlib.sha256(b"hello world").hexdigest(), 11)
    assert await content(files, blob) == b"hello world"
    assert await content(open_folder(tmp_path / "home" / "files"), blob) == b"hello world"


async def test_large_and_empty_files(files: FolderFiles) -> None:
    large = os.urandom(3_000_001)
    assert await content(files, await files.put(chunks(large))) == large
    assert await content(files, await files.put(chunks())) == b""


async def test_only_the_owner_may_read(files: FolderFiles, tmp_path: Path) -> None:
    await files.put(chunks(b"secret"))
    for path in (tmp_path / "home" / "files").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert (tmp_path / "home" / "files").stat().st_mode & 0o777 == 0o700


async def test_two_writers_of_the_same_content_leave_one_file(files: FolderFiles, tmp_path: Path) -> None:
    async with files.writer() as one, files.writer() as two:
        for writer in (one, two):
            await writer.write(b"same")
        first, second = await asyncio.gather(one.blob(), two.blob())
    assert first == second
    assert await content(files, first) == b"same"
    assert len(everything(tmp_path)) == 1


async def test_a_writer_that_was_not_finished_leaves_nothing(files: FolderFiles, tmp_path: Path) -> None:
    async with files.writer() as writer:
        await writer.write(b"never mind")
    with pytest.raises(ZeroDivisionError):
        async with files.writer() as writer:
            await writer.write(b"never mind")
            raise ZeroDivisionError
    assert everything(tmp_path) == []


async def test_a_put_that_is_cancelled_leaves_nothing(files: FolderFiles, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            begun.set()

    putting = asyncio.ensure_future(files.put(endless()))
    await begun.wait()
    assert len(everything(tmp_path)) == 1
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert everything(tmp_path) == []


async def test_a_full_disk_keeps_nothing_and_is_usable_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=1024) as disk:
        files = open_folder(disk / "files")
        kept = await files.put(chunks(b"kept"))
        before = everything(disk)
        with pytest.raises(OSError) as full:
            await files.put(chunks(*[b"x" * 65536] * 32))
        assert full.value.errno == errno.ENOSPC
        assert everything(disk) == before
        ballast = fill(disk)
        with pytest.raises(OSError):
            await files.put(chunks(b"y" * 65536))
        ballast.unlink()
        assert await content(files, await files.put(chunks(b"y" * 65536))) == b"y" * 65536
        assert await content(files, kept) == b"kept"


async def test_removed_bytes_are_gone_and_may_be_removed_again(files: FolderFiles) -> None:
    blob = await files.put(chunks(b"gone"))
    reading = files.open(blob)
    assert await anext(reading) == b"gone"
    await files.remove(blob)
    await files.remove(blob)
    assert [chunk async for chunk in reading] == [], "who reads already reads on"
    with pytest.raises(FileNotFoundError):
        await content(files, blob)
    assert await content(files, await files.put(chunks(b"gone"))) == b"gone"


async def test_what_a_crash_left_is_swept_away_and_what_others_write_is_not(files: FolderFiles, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "files"
    folder.mkdir(parents=True)
    for name in (".old", ".young"):
        (folder / name).write_bytes(b"half")
    old = time.time() - 2 * 24 * 3600
    os.utime(folder / ".old", (old, old))
    await files.put(chunks(b"x"))
    assert sorted(path.name for path in folder.glob(".*")) == [".young"]
