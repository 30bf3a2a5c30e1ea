"""The host's end of a sandbox's way out: a proxy that passes on what the operator allows, and nothing else.

Bytes of the code's connections come as frames (`sandbox.runner.relay`). One that begins with CONNECT (RFC 9110 §9.3.6) is
tunnelled if its host may be reached; the name is looked up here, once, and only an address that was judged is connected to.
One that asks for a package is answered from the operator's indexes (`sandbox.packages`). All else is refused, in words for the
code.
"""

import asyncio
import ipaddress
import logging
import os
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import h11

from sandbox.api import Egress, SandboxLost, host_and_port
from sandbox.packages import Packages, Unavailable
from sandbox.runner import wire
from sandbox.runner.text import human

_log = logging.getLogger(__name__)

_HEAD = 16 << 10
"""Bytes that the head of a request may have."""
_PATIENCE = 60.0
"""Seconds that a request may take to come."""
_DIAL = 15.0
"""Seconds for looking a name up, and for each address to answer."""
_IDLE = 300.0
"""Seconds after which a tunnel through which nothing goes is closed."""
_TARGET = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that hold another one (RFC 6052 §2.1)."""
_SHOWN = 5

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """It may not be reached, or cannot be. `str()` is for whoever reads the code's error."""

    def __init__(self, status: int, said: str) -> None:
        """`status`: of the answer to the code."""
        super().__init__(said)
        self.status = status


class Rules:
    """Which hosts and addresses may be reached."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        """`hosts` as in `Egress`."""
        self.hosts = hosts
        self._entries = [host_and_port(host) for host in hosts]

    def allow(self, host: str, port: int) -> bool:
        """Whether a name, or an address as it is written, may be asked for."""
        host = host.lower().rstrip(".")
        return any(port == at and _covers(pattern, host) for pattern, at in self._entries)

    def lead_to(self, address: str, port: int) -> bool:
        """Whether an address that was looked up may be connected to: a public one, or one that is in here itself."""
        found = ipaddress.ip_address(address.partition("%")[0])
        if _is_public(found):
            return True
        return any(port == at and _literal(pattern) == found for pattern, at in self._entries)


def _covers(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern or (_literal(host) is not None and _literal(host) == _literal(pattern))


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    """Neither private, loopback, link-local (a cloud's metadata), multicast, reserved, nor another form of such a one."""
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None and not _is_public(within):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def authorities() -> str:
    """The certificates that this machine trusts, as PEM: the code has to trust them too. Empty where there is no such file."""
    named = (os.environ.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"))
    usual = ("/etc/ssl/certs/ca-certificates.crt", ssl.get_default_verify_paths().openssl_cafile)
    for path in filter(None, (*named, *usual)):
        with suppress(OSError, UnicodeDecodeError):
            text = Path(path).read_text("ascii", errors="ignore")
            found = re.findall(r"-----BEGIN CERTIFICATE-----[\w+/=\s]+-----END CERTIFICATE-----", text)
            return "\n".join(found)[: wire.MAX_PAYLOAD // 2]
    return ""


class Line:
    """One connection of the code's."""

    def __init__(self, send: Callable[[int, int, bytes], Awaitable[None]], number: int) -> None:
        self._send, self._number = send, number
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._credit = wire.REACH
        self._room = asyncio.Event()
        self.over = False
        """The code, or its sandbox, has hung up."""

    def take(self, frame: wire.Frame) -> None:
        """A frame of it, from the sandbox; what is more than it was let send ends it."""
        if frame.type == wire.CARRY and frame.payload and not self.over:
            self._waiting += len(frame.payload)
            self._incoming.put_nowait(frame.payload)
        elif frame.type == wire.CARRIED:
            self._credit = min(wire.REACH, self._credit + int.from_bytes(frame.payload[:4]))
            self._room.set()
        if frame.type == wire.HANG_UP or self._waiting > wire.REACH:
            self.hang_up()

    def hang_up(self) -> None:
        """Let whoever reads or writes see that it is over."""
        self.over = True
        self._incoming.put_nowait(b"")
        self._room.set()

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        data = await self._incoming.get()
        if data:
            self._waiting -= len(data)
            await self._send(wire.CARRIED, self._number, len(data).to_bytes(4))
        else:
            self._incoming.put_nowait(b"")
        return data

    async def write(self, data: bytes) -> None:
        """Send, as fast as the code reads. Raises ConnectionError once it has hung up."""
        view = memoryview(data)
        while view:
            while not self._credit and not self.over:
                self._room.clear()
                await self._room.wait()
            if self.over:
                raise ConnectionError("the code has hung up")
            piece = bytes(view[: min(self._credit, wire.CHUNK)])
            view = view[len(piece) :]
            self._credit -= len(piece)
            await self._send(wire.CARRY, self._number, piece)

    async def end(self) -> None:
        """There is no more; what was written still arrives."""
        await self._send(wire.HANG_UP, self._number, b"")


class Gateway:
    """One session's way out."""

    def __init__(self, egress: Egress, packages: Packages | None, send: Callable[[int, int, bytes], Awaitable[None]]) -> None:
        """`send` takes a frame's type, a connection's number and a payload."""
        self._rules, self._packages, self._send = Rules(egress.hosts), packages, send
        self._lines: dict[int, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._passed: Counter[str] = Counter()
        self._refused: dict[str, None] = {}
        self._fetched = _Fetched()

    def take(self, frame: wire.Frame) -> None:
        """A frame of a connection, from the sandbox."""
        if frame.type == wire.DIAL:
            if frame.op not in self._lines and len(self._lines) < 2 * wire.CONNECTIONS:
                self._lines[frame.op] = Line(self._send, frame.op)
                task = asyncio.create_task(self._serve(frame.op), name="egress")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif line := self._lines.get(frame.op):
            line.take(frame)

    async def close(self) -> None:
        """End every connection."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def notes(self) -> tuple[str, ...]:
        """What has passed and what was refused since this was asked last, in sentences without a capital."""
        passed, refused, fetched = self._passed, self._refused, self._fetched
        self._passed, self._refused, self._fetched = Counter(), {}, _Fetched()
        notes = []
        if passed:
            notes.append("reached " + ", ".join(f"{host} ({human(size)})" for host, size in passed.most_common(_SHOWN)))
        if fetched.files:
            notes.append(fetched.note())
        if refused:
            names = ", ".join(list(refused)[:_SHOWN])
            notes.append(f"not allowed here: {names}; who runs Cellmate decides what this channel may reach")
        return tuple(notes)

    # -- one connection

    async def _serve(self, number: int) -> None:
        line = self._lines[number]
        try:
            await self._converse(line)
        except (ConnectionError, SandboxLost, TimeoutError):
            pass  # the code has hung up, or says nothing
        except Exception:
            _log.exception("a connection of the code's could not be served")
        finally:
            del self._lines[number]
            with suppress(SandboxLost):
                await line.end()

    async def _converse(self, line: Line) -> None:
        """Requests, one after the other, until one becomes a tunnel or the code has no more."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        while True:
            try:
                request = await _next_request(http, line)
                if request is None:
                    return
                if request.method == b"CONNECT":
                    await self._tunnel(http, line, request.target.decode("ascii", "replace"))
                    return
                await self._package(http, line, request)
                if http.our_state is not h11.DONE:
                    return
                http.start_next_cycle()
            except h11.RemoteProtocolError:
                await _answer(http, line, 400, b"This is no request that a proxy could read.\n")
                return
            except Refused as refusal:
                await _answer(http, line, refusal.status, f"{refusal}\n".encode())
                return

    async def _tunnel(self, http: h11.Connection, line: Line, target: str) -> None:
        reader, writer = await self._connect(target)
        try:
            await line.write(http.send(h11.Response(status_code=200, headers=[], reason=b"Connection established")) or b"")
            host = target.rpartition(":")[0]
            async with asyncio.TaskGroup() as both:
                out = both.create_task(self._out(line, writer, http.trailing_data[0], host))
                await self._back(line, reader, host)
                out.cancel()
        except* (OSError, SandboxLost, TimeoutError):
            pass  # one of the two has gone, or neither says anything
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _out(self, line: Line, writer: asyncio.StreamWriter, first: bytes, host: str) -> None:
        data = first or await line.read()
        while data:
            self._passed[host] += len(data)
            writer.write(data)
            await writer.drain()
            data = await line.read()
        raise ConnectionError("the code has hung up")

    async def _back(self, line: Line, reader: asyncio.StreamReader, host: str) -> None:
        while True:
            async with asyncio.timeout(_IDLE):
                data = await reader.read(wire.CHUNK)
            if not data:
                return
            self._passed[host] += len(data)
            await line.write(data)

    async def _connect(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the first address behind the target that may be reached and answers. Raises `Refused`."""
        found = _TARGET.fullmatch(target)
        host, port = ((found[1] or found[2]), int(found[3])) if found else ("", 0)
        if not self._rules.allow(host, port):
            allowed = ", ".join(self._rules.hosts) or "no host"
            raise self._refusal(target, f"{_shown(target)} is not allowed here. Allowed: {allowed}.")
        try:
            async with asyncio.timeout(_DIAL):
                known = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError):
            raise Refused(502, f"{_shown(host)} is not known to this machine's name servers.") from None
        addresses = dict.fromkeys(str(entry[4][0]) for entry in known)
        permitted = [address for address in addresses if self._rules.lead_to(address, port)]
        if not permitted:
            raise self._refusal(target, f"{_shown(host)} leads to a private address, which is not allowed here.")
        for address in permitted:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_DIAL):
                    return await asyncio.open_connection(address, port)
        raise Refused(502, f"{_shown(host)} does not answer.")

    def _refusal(self, target: str, said: str) -> Refused:
        if len(self._refused) < 100:
            self._refused[_shown(target)] = None
        return Refused(403, said)

    async def _package(self, http: h11.Connection, line: Line, request: h11.Request) -> None:
        """A page of the index or a file of it. Raises `Refused`."""
        path = request.target.decode("ascii", "replace")
        if not path.startswith("/"):
            host = path.partition("://")[2].partition("/")[0]
            raise self._refusal(f"{host} over plain http", "Only https:// passes here: plain http:// does not.")
        if self._packages is None:
            raise Refused(403, "No packages can be installed here.")
        if request.method not in (b"GET", b"HEAD"):
            raise Refused(405, "Only GET is understood here.")
        began = time.monotonic()
        try:
            async with self._packages.open(path) as answer:
                headers = [("content-type", answer.media_type), ("content-length", str(answer.size))]
                await line.write(http.send(h11.Response(status_code=200, headers=headers)) or b"")
                if request.method == b"GET":
                    async for chunk in answer.chunks:
                        await line.write(http.send(h11.Data(data=chunk)) or b"")
        except Unavailable as problem:
            raise Refused(404 if problem.unknown else 502, str(problem)) from None
        await line.write(http.send(h11.EndOfMessage()) or b"")
        if answer.file:
            self._fetched.add(answer.size, time.monotonic() - began, cached=answer.cached)


class _Fetched:
    """Files of packages that were handed on."""

    def __init__(self) -> None:
        self.files = self._bytes = self._cached = 0
        self._seconds = 0.0

    def add(self, size: int, seconds: float, *, cached: bool) -> None:
        self.files += 1
        self._bytes += size
        self._seconds += seconds
        self._cached += cached

    def note(self) -> str:
        noun = "package" if self.files == 1 else "packages"
        kept = f", {self._cached} of them kept from before" if self._cached else ""
        return f"fetched {self.files} {noun} ({human(self._bytes)}{kept}) in {max(0.1, self._seconds):.1f} s"


async def _next_request(http: h11.Connection, line: Line) -> h11.Request | None:
    """The next request, its body read and dropped; None at the end. Raises `h11.RemoteProtocolError`, TimeoutError."""
    request = None
    async with asyncio.timeout(_PATIENCE):
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await line.read())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None


async def _answer(http: h11.Connection, line: Line, status: int, body: bytes) -> None:
    """A refusal. Its words are the reason too: of a refused tunnel, programs show nothing else."""
    if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return  # in the middle of another answer
    headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body))), ("connection", "close")]
    reason = body.strip().decode("ascii", "replace").encode("ascii", "replace")
    head = http.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""
    await line.write(head + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))


def _shown(text: str) -> str:
    """A name that the code has sent, fit to be shown: nothing that could be more than a name."""
    return re.sub(r"[^A-Za-z0-9.:_\[\] -]", "?", text)[:80]
