"""What lies beyond a sandbox: a web site with TLS, and a package index that speaks the Simple repository API."""

import base64
import hashlib
import io
import ssl
import zipfile
from collections.abc import Mapping
from typing import Self

import trustme
from aiohttp import web
from aiohttp.typedefs import Handler

_JSON = "application/vnd.pypi.simple.v1+json"


class _Served:
    """An application on a port of its own."""

    _hosts: tuple[str, ...] = ("127.0.0.1",)

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        """Paths of all requests, in order."""
        self.reached: list[str] = []
        """The addresses at which pages were asked for."""
        self._runner: web.AppRunner | None = None

    def _application(self) -> web.Application:
        raise NotImplementedError

    def _tls(self) -> ssl.SSLContext | None:
        return None

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self._application(), access_log=None)
        await self._runner.setup()
        for host in self._hosts:
            await web.TCPSite(self._runner, host, self.port, ssl_context=self._tls()).start()
            self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


class FakeSite(_Served):
    """https://127.0.0.2:PORT with pages that link to each other, a table, a large file, and a place to send one to. `localhost`
    leads there too; programs ask no proxy for that name."""

    _hosts = ("127.0.0.2", "127.0.0.1")

    def __init__(self) -> None:
        super().__init__()
        self.authority = trustme.CA()
        """Who vouches for it: nobody who is known by default."""
        self._certificate = self.authority.issue_cert("127.0.0.2", "localhost")

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.2:{self.port}"

    def _tls(self) -> ssl.SSLContext | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        return context

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_get("/", self._page)
        application.router.add_get("/page/{number}", self._page)
        application.router.add_get("/large/{size}", self._large)
        application.router.add_get("/away", self._away)
        application.router.add_post("/digest", self._digest)
        return application

    async def _page(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.transport is not None:
            self.reached.append(request.transport.get_extra_info("sockname")[0])
        number = int(request.match_info.get("number", 0))
        link = f'<a href="/page/{number + 1}">next</a>' if number < 3 else ""
        table = f"<table><tr><th>n</th></tr><tr><td>{number}</td></tr></table>"
        return web.Response(text=f"<title>Page {number}</title>{table}{link}", content_type="text/html")

    async def _large(self, request: web.Request) -> web.Response:
        return web.Response(body=b"0123456789abcdef" * (int(request.match_info["size"]) // 16))

    async def _away(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def _digest(self, request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())


class FakeIndex(_Served):
    """http://[NAME:PASSWORD@]127.0.0.1:PORT/simple, as JSON (PEP 691) or, `html`, as links (PEP 503)."""

    def __init__(self, *, html: bool = False, login: str = "") -> None:
        super().__init__()
        self._html, self._login = html, login
        self._files: dict[str, dict[str, bytes]] = {}
        self.forged: set[str] = set()
        """Files that are given with another content than their page says."""
        self.unhashed: set[str] = set()
        """Files whose page names no hash."""

    @property
    def url(self) -> str:
        """As pip's setting `index-url` would have it."""
        return f"http://{self._login + '@' if self._login else ''}127.0.0.1:{self.port}/simple"

    def add(self, project: str, version: str, modules: Mapping[str, str], requires: str = "") -> str:
        """Offer a wheel; its file's name."""
        name = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
        self._files.setdefault(project, {})[name] = _wheel(project, version, modules, requires)
        return name

    def content(self, project: str, file: str) -> bytes:
        """A file's bytes as its page vouches for them."""
        return self._files[project][file]

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._admit])
        application.router.add_get("/simple/{project}/", self._page)
        application.router.add_get("/files/{project}/{file}", self._file)
        return application

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(request.path)
        wanted = "Basic " + base64.b64encode(self._login.encode()).decode()
        if self._login and request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        project = request.match_info["project"]
        if project not in self._files:
            return web.Response(status=404)
        hashes = {
            name: {} if name in self.unhashed else {"sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self._files[project].items()
        }
        if self._html:
            links = "".join(
                f'<a href="/files/{project}/{name}{"#sha256=" + its["sha256"] if its else ""}">{name}</a><br>'
                for name, its in hashes.items()
            )
            return web.Response(text=f"<!DOCTYPE html><html><body>{links}</body></html>", content_type="text/html")
        files = [{"filename": name, "url": f"../../files/{project}/{name}", "hashes": its} for name, its in hashes.items()]
        page = {"meta": {"api-version": "1.0"}, "name": project, "files": files}
        return web.json_response(page, content_type=_JSON)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        data = self._files[request.match_info["project"]][name]
        return web.Response(body=data[:-1] + b"!" if name in self.forged else data)


def _wheel(project: str, version: str, modules: Mapping[str, str], requires: str) -> bytes:
    """The smallest wheel that pip takes (https://packaging.python.org/en/latest/specifications/binary-distribution-format/)."""
    name = project.replace("-", "_")
    about = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    members = {
        **modules,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{needs}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in [*members, f"{about}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, text in [*members.items(), (f"{about}/RECORD", record)]:
            archive.writestr(zipfile.ZipInfo(member, (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()
