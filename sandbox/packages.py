"""Packages for `pip install` in a sandbox: asked of the operator's indexes by the host, checked, and kept for the next time.

The code's pip speaks the Simple repository API with the host
(https://packaging.python.org/en/latest/specifications/simple-repository-api/). It sees neither the indexes' addresses nor what
gives access to them, and no other host is opened for it. A file is handed on only when it has the SHA-256 that its index names,
and kept under that name: it is the same for whoever asks.
"""

import ast
import asyncio
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from weakref import WeakValueDictionary

import aiohttp
import anyio
from mousebender import simple

_CHUNK = 256 << 10
_PAGE = 64 << 20
_FILE = 2 << 30
ROOM = 4 << 30
"""Bytes of packages that are kept; beyond them those unused for longest go."""
_KNOWN = 200_000
"""Files of pages that were given lately."""
_PATIENCE = aiohttp.ClientTimeout(total=900, sock_connect=15, sock_read=60)
_JSON = "application/vnd.pypi.simple.v1+json"
_PROJECT = re.compile(r"/simple/([A-Za-z0-9][A-Za-z0-9._-]{0,200})/?")
_WANTED = re.compile(r"/files/([0-9a-f]{64})/[^/?]+?(\.metadata)?")


class Unavailable(Exception):
    """What was asked for cannot be had; `str()` is for whoever reads pip's output."""

    def __init__(self, said: str, *, unknown: bool = False) -> None:
        """`unknown`: there is no such thing, as far as the indexes know."""
        super().__init__(said)
        self.unknown = unknown


@dataclass(slots=True)
class Answer:
    """What goes to pip."""

    media_type: str
    size: int
    chunks: AsyncGenerator[bytes, None]
    file: bool = False
    """It is a distribution, not a page about some."""
    cached: bool = False
    """It was here already."""


class Packages:
    """The packages of some indexes. `close` it in the end."""

    def __init__(self, indexes: tuple[str, ...], folder: Path, room: int = ROOM) -> None:
        """`folder` is made when it is needed; `room`: bytes that it may hold."""
        self._indexes, self._folder, self._room = indexes, folder, room
        self._known: dict[str, str] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._client: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Answer]:
        """What is at a path: `/simple/PROJECT/`, or a file as such a page names it. Raises `Unavailable`."""
        try:
            answer = await self._answer(path)
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as problem:
            raise Unavailable(f"The package index does not answer: {type(problem).__name__}.") from problem
        except OSError as problem:
            raise Unavailable(f"The packages cannot be kept: {problem.strerror}.") from problem
        async with aclosing(answer.chunks):
            yield answer

    async def close(self) -> None:
        """Let go of the indexes."""
        if self._client is not None:
            await self._client.close()

    async def _answer(self, path: str) -> Answer:
        if page := _PROJECT.fullmatch(path):
            return await self._page(re.sub(r"[-_.]+", "-", page[1]).lower())
        if wanted := _WANTED.fullmatch(unquote(path)):
            return await (self._metadata(wanted[1]) if wanted[2] else self._file(wanted[1]))
        raise Unavailable("There is no such page here.", unknown=True)

    async def _page(self, project: str) -> Answer:
        """All files of a project, of every index, those of the first first."""
        files: dict[str, dict[str, Any]] = {}
        for index in self._indexes:
            for file in await self._listed(index, project):
                files.setdefault(file["filename"], file)
        if not files:
            raise Unavailable(f"No index here knows {project}.", unknown=True)
        body = json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": [*files.values()]}).encode()
        return Answer(_JSON, len(body), _once(body))

    async def _listed(self, index: str, project: str) -> list[dict[str, Any]]:
        async with self._get(f"{index.rstrip('/')}/{project}/", {"Accept": simple.ACCEPT_SUPPORTED}) as response:
            if response.status == 404:
                return []
            text = (await _whole(response)).decode("utf-8", "replace")
            try:
                details = simple.parse_project_details(text, response.content_type, project)
            except (ValueError, KeyError, simple.UnsupportedMIMEType, simple.UnsupportedAPIVersion) as problem:
                raise Unavailable("The package index answers with something that is no page of an index.") from problem
            here = str(response.url)
        return [offered for file in details["files"] if (offered := self._offered(index, here, file))]

    def _offered(self, index: str, page: str, file: Any) -> dict[str, Any] | None:
        """A file as pip is told of it; None for one whose content nothing vouches for."""
        digest = file["hashes"].get("sha256", "").lower()
        if not re.fullmatch("[0-9a-f]{64}", digest) or "/" in file["filename"]:
            return None
        while len(self._known) >= _KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = _with_access(urljoin(page, file["url"]), index)
        offered = {"filename": file["filename"], "url": f"/files/{digest}/{file['filename']}", "hashes": {"sha256": digest}}
        optional = ("requires-python", "yanked", "core-metadata")
        return offered | {name: file[name] for name in optional if file.get(name) is not None}

    async def _metadata(self, digest: str) -> Answer:
        async with self._get(f"{self._source(digest)}.metadata") as response:
            body = await _whole(response)
        return Answer("application/octet-stream", len(body), _once(body))

    async def _file(self, digest: str) -> Answer:
        path = self._folder / digest
        async with self._locks.setdefault(digest, asyncio.Lock()):
            cached = await asyncio.to_thread(_touch, path)
            if not cached:
                await self._fetch(self._source(digest), digest, path)
        size = (await anyio.Path(path).stat()).st_size
        return Answer("application/octet-stream", size, _read(path), file=True, cached=cached)

    def _source(self, digest: str) -> str:
        if digest not in self._known:
            raise Unavailable("No page that was given here names this file.", unknown=True)
        return self._known[digest]

    async def _fetch(self, url: str, digest: str, path: Path) -> None:
        """The file, whole and checked, or nothing."""
        await asyncio.to_thread(_make_room, self._folder, self._room)
        coming, hashed, size = path.with_suffix(f".{os.getpid()}"), hashlib.sha256(), 0
        try:
            async with self._get(url) as response, await anyio.open_file(coming, "wb") as file:
                _expect(response)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    size += len(chunk)
                    if size > _FILE:
                        raise Unavailable(f"The file is larger than {_FILE >> 30} GiB.")
                    hashed.update(chunk)
                    await file.write(chunk)
            if hashed.hexdigest() != digest:
                raise Unavailable("The index's file is not the one that its page names: the hashes differ.")
            await anyio.Path(coming).rename(path)
        finally:
            with suppress(OSError):
                await anyio.Path(coming).unlink(missing_ok=True)

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._opening:
            if self._client is None:
                connector = aiohttp.TCPConnector(ssl=await asyncio.to_thread(_context))
                self._client = aiohttp.ClientSession(connector=connector, timeout=_PATIENCE, trust_env=True)
        async with self._client.get(url, headers=headers) as response:
            yield response


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _read(path: Path) -> AsyncGenerator[bytes, None]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK):
            yield chunk


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    _expect(response)
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > _PAGE:
            raise Unavailable("The package index answers with more than a page.")
    return bytes(body)


def _expect(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        raise Unavailable(f"The package index answers with status {response.status}.", unknown=response.status in (404, 410))


def _with_access(url: str, index: str) -> str:
    """A file's address with the name and password of its index, where it lies on the same host."""
    ours, its = urlsplit(index), urlsplit(url)
    if "@" in ours.netloc and "@" not in its.netloc and (ours.hostname, ours.port) == (its.hostname, its.port):
        return its._replace(netloc=f"{ours.netloc.rpartition('@')[0]}@{its.netloc}").geturl()
    return url


def _touch(path: Path) -> bool:
    """Whether it is there; then it is now the one used last."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _make_room(folder: Path, room: int) -> None:
    """Remove those unused for longest, and what is left of fetches that were cut off a day ago."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = sorted(((entry.stat(), entry.path) for entry in os.scandir(folder)), key=lambda it: it[0].st_mtime, reverse=True)
    for info, path in found:
        room -= info.st_size
        if room < 0 or (Path(path).suffix and time.time() - info.st_mtime > 86_400):
            Path(path).unlink(missing_ok=True)


async def check(indexes: tuple[str, ...]) -> None:
    """Ask the indexes for something that each of them has. Raises `Unavailable`."""
    packages = Packages(indexes, Path())
    try:
        async with packages.open("/simple/pip/"):
            pass
    finally:
        await packages.close()


# -- how this machine's pip is set up


def pip_settings() -> dict[str, str]:
    """pip's settings by name, as it would use them to install: its environment before its files. Blocks for a moment."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    )
    found: dict[str, str] = {}
    for scope in ("global", "install", ":env:"):
        for line in listed.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{scope}."):
                with suppress(ValueError, SyntaxError):
                    found[name.removeprefix(f"{scope}.")] = str(ast.literal_eval(value))
    return found


def pip_indexes() -> tuple[str, ...]:
    """The indexes that this machine's pip asks, those that are reached by HTTP. Blocks for a moment.

    Where none is set it is pip's own, which `pip install --help` names.
    """
    settings = pip_settings()
    first = settings.get("index-url")
    if first is None:
        told = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--help"], capture_output=True, text=True, timeout=60, check=False
        )
        first = "".join(re.findall(r"\(default\s+(https?://\S+?)\)", told.stdout)[:1])
    urls = [first, *settings.get("extra-index-url", "").split()]
    return tuple(url for url in urls if url.startswith(("https://", "http://")))


def _context() -> ssl.SSLContext:
    certificates = pip_settings().get("cert")
    return ssl.create_default_context(cafile=certificates if certificates and Path(certificates).is_file() else None)
