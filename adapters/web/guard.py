"""Who may talk to the page: the browser that was given its token, and no other page, host or program.

A loopback port can be reached by every page that the same browser has open. So a request must name a loopback host (else a
stranger's domain could be pointed here: DNS rebinding), come from the page itself where the browser says where it comes from,
and carry the cookie that the token in the printed address was exchanged for.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, unless it says otherwise itself."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_YEAR = 365 * 24 * 3600
_NO_TOKEN = "This page belongs to whoever started Cellmate. Open the address it printed when it started; it ends in a token.\n"


def read_key(folder: Path) -> bytes:
    """The key of this page, made once, for its owner's eyes only; token, cookie and file addresses come from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "key"
    if not path.exists():
        draft = folder / f".key-{token_urlsafe(8)}"
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as f:
            f.write(token_urlsafe(32))
        draft.replace(path)
    return path.read_bytes()


def sign(key: bytes, *parts: str) -> str:
    """43 characters that only the holder of the key can know."""
    digest = hmac.new(key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return digest[:43]


def token(key: bytes) -> str:
    """The token in the printed address."""
    return sign(key, "token")


def invitation(port: int, key: bytes, user: str, host: str, environment: Mapping[str, str]) -> str:
    """What is printed at the start: the address, and the tunnel to it where this machine has no browser of its own."""
    lines = [f"Open http://127.0.0.1:{port}/?token={token(key)}"]
    remote = environment.get("SSH_CONNECTION", "").split()  # client address and port, server address and port (ssh(1))
    if remote or not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        server, number = (remote[2], remote[3]) if len(remote) == 4 else (host, "22")
        other = f" -p {number}" if number != "22" else ""
        lines.append(f"from another machine, first: ssh -N -L {port}:127.0.0.1:{port}{other} {user}@{server}")
    return "\n".join(lines)


class Guard:
    """ASGI middleware that lets through what may pass and puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp, key: bytes, port: int) -> None:
        self._app, self._key = app, key
        self._cookie = f"cellmate_{port}"  # cookies do not know of ports, and two pages may live on one machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3. Web sockets are not spoken here."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        answer = self._foreign(request) or self._stranger(request) or self._app

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await answer(scope, receive, with_headers)

    def _foreign(self, request: Request) -> Response | None:
        """A refusal of what another page or a name of another's sends."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if _hostname(host) not in _LOOPBACK:
            return PlainTextResponse("Cellmate's page answers as 127.0.0.1 or localhost only.\n", 421)
        changes = request.method not in ("GET", "HEAD")
        if (origin is None and changes) or (origin is not None and origin != f"http://{host}"):
            return PlainTextResponse("Cellmate's page takes requests from itself only.\n", 403)
        return None

    def _stranger(self, request: Request) -> Response | None:
        """A refusal of a browser without the cookie; the cookie, for the right token."""
        if request.url.path.startswith("/files/"):
            return None  # their address is the permission
        if request.url.path == "/" and "token" in request.query_params:
            if not hmac.compare_digest(request.query_params["token"].encode(), token(self._key).encode()):
                return PlainTextResponse(f"The token is wrong. {_NO_TOKEN}", 403)
            response = RedirectResponse("/", 303)
            response.set_cookie(
                self._cookie, sign(self._key, "cookie"), max_age=_YEAR, path="/", httponly=True, samesite="strict"
            )
            return response
        cookie = request.cookies.get(self._cookie, "")
        if not hmac.compare_digest(cookie.encode(), sign(self._key, "cookie").encode()):
            return PlainTextResponse(_NO_TOKEN, 401)
        return None


def _hostname(host: str) -> str:
    if not re.fullmatch(r"[\w.\-]+(:\d+)?|\[[\da-fA-F:]+\](:\d+)?", host, re.ASCII):
        return ""
    return urlsplit(f"//{host}").hostname or ""
