"""The page's HTTP: what the browser asks, and what people do brought to the inbox."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, replace
from hmac import compare_digest
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from adapters.web import names, render
from bot.commands import COMMANDS, command_for_word
from bot.ports import Inbox
from bot.types import Action, Attachment, Blob, Card, Question, turn_id
from sandbox import MIB, media_type

if TYPE_CHECKING:
    from adapters.web.room import Web

_HERE = resources("adapters.web")
_CSV = (_HERE / "demo" / "sales.csv").read_bytes()
_CELL = (_HERE / "demo" / "cell.py").read_text("utf-8")
DEMO = f"Which region's revenue grew most? Plot it per month.\n\n```python\n{_CELL}```"
_ANSWERED = (
    "This question has its answer. Asked anew, it starts from the files and variables that were there before it; what later "
    "answers did to them is undone."
)
MOST_TEXT = 4 * MIB
"""Bytes of a request that is no upload."""
_ID = re.compile(r"[A-Za-z0-9-]{8,40}")
_ARTEFACT = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; worker-src blob:"
)
"""For pages that code has made: they may run, in an origin of their own, with no network and none of this page's rights."""
_INERT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Handlers:
    """One method a route."""

    def __init__(self, room: "Web", inbox: Inbox) -> None:
        self._room, self._inbox = room, inbox

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return FileResponse(str(_HERE / "static" / "index.html"))

    async def threads(self, request: Request) -> Response:
        """The list at the side."""
        return JSONResponse(await self._room.threads())

    async def thread(self, request: Request) -> Response:
        """One thread, whole."""
        found = await self._room.thread(request.path_params["thread"])
        if found is None:
            raise HTTPException(404, "There is no such thread.")
        return JSONResponse(found)

    async def ask(self, request: Request) -> Response:
        """A question, or a word that is a command; the browser chooses the ids, so that it may send again."""
        body = await _body(request)
        thread, message, text = _id(body, "thread"), _id(body, "id"), _text(body)
        attachments = [await self._uploaded(upload) for upload in body.get("uploads", [])]
        if not text.strip() and not attachments:
            raise HTTPException(422, "Write a question, or attach a file.")
        if not attachments and (command := command_for_word(text)):
            return await self._act(command.name, thread, None)
        return await self._ask(thread, message, text, tuple(attachments))

    async def demo(self, request: Request) -> Response:
        """The bundled question about the bundled file; no model is asked."""
        body = await _body(request)
        blob = await self._room.files.put(_once(_CSV))
        file = Attachment("sales.csv", blob.size, "text/csv", {"digest": blob.digest})
        return await self._ask(_id(body, "thread"), _id(body, "id"), DEMO, (file,), run=True)

    async def edit(self, request: Request) -> Response:
        """Another wording of a question: taken where it still waits, else the sentence that says it is too late."""
        body = await _body(request)
        entry = await self._room.store.entry(request.path_params["turn"])
        if entry is None or entry.question is None:
            raise HTTPException(404, "There is no such question.")
        text = _text(body)
        if not text.strip() and not entry.question.attachments:
            raise HTTPException(422, "A question needs words.")
        if entry.card is not None and entry.card.final:
            return JSONResponse({"late": _ANSWERED})  # `again` asks it anew, as a message of its own
        card = await self._inbox.amend(replace(entry.question, text=text, follows=entry.turn))
        if card is not None:
            return JSONResponse({"late": card.text})
        await self._room.store.reword(entry.turn, replace(entry.question, text=text))
        self._room.changed(entry.thread, entry.turn)
        return JSONResponse({"late": None})

    async def again(self, request: Request) -> Response:
        """A question with another wording and the same files, as a new one in its thread that begins where the first did."""
        body = await _body(request)
        entry = await self._room.store.entry(request.path_params["turn"])
        if entry is None or entry.question is None:
            raise HTTPException(404, "There is no such question.")
        was = entry.question
        again = (_id(body, "id"), _text(body), was.attachments)
        return await self._ask(entry.thread, *again, run=was.kind == "run", follows=entry.turn)

    async def act(self, request: Request) -> Response:
        """A button."""
        body = await _body(request)
        if body.get("name") not in COMMANDS:
            raise HTTPException(422, "There is no such command.")
        turn = body.get("turn")
        return await self._act(body["name"], _id(body, "thread"), turn if isinstance(turn, str) else None)

    async def setup(self, request: Request) -> Response:
        """What a person decides about set-up: try again, or take one of the choices."""
        body = await _body(request)
        if self._room.setup is not None:
            choice = body.get("choice")
            if isinstance(choice, str):
                self._room.setup.choose(choice)
            else:
                self._room.setup.again()
        return JSONResponse({})

    async def doctor(self, request: Request) -> Response:
        """The check-up. It starts a container of its own, so it is done when somebody asks for it."""
        findings = await self._room.setup.diagnose() if self._room.setup is not None else []
        return JSONResponse([asdict(finding) for finding in findings])

    async def upload(self, request: Request) -> Response:
        """One file, as the body; it goes to disk as it comes."""
        name = request.query_params.get("name", "")[:255].strip() or "file"
        try:
            async with self._room.files.writer() as writer:
                total = 0
                async for chunk in request.stream():
                    total += len(chunk)
                    if total > self._room.most:
                        raise HTTPException(413, f"{name} is too large: a file may have {self._room.most / MIB:,.0f} MiB here.")
                    if chunk:
                        await writer.write(chunk)
                blob = await writer.blob()
        except ClientDisconnect:
            return Response(status_code=400)
        upload = uuid4().hex
        await self._room.store.keep_upload(upload, Attachment(name, blob.size, media_type(name), {"digest": blob.digest}))
        return JSONResponse({"id": upload})

    async def events(self, request: Request) -> Response:
        """Server-sent events (HTML Standard §9.2)."""

        async def stream() -> AsyncIterator[str]:
            async for kind, data in self._room.events():
                yield f"event: {kind}\ndata: {json.dumps(data)}\n\n" if kind else ":\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def file(self, request: Request) -> Response:
        """Bytes by an address that the page made. What could run is boxed in, or only saved; pictures are shown."""
        part = request.path_params
        name = unquote(request.url.query.removesuffix("&save"))
        blob, kind = Blob(part["digest"], part["size"]), part["kind"]
        if not compare_digest(part["seal"].encode(), self._room.seal(name, kind, blob).encode()):
            raise HTTPException(404, "There is no such file.")
        chunks = self._room.files.open(blob)
        try:
            first = await anext(chunks, b"")
        except FileNotFoundError:
            raise HTTPException(404, "This file is no longer there.") from None
        save = request.url.query.endswith("&save")
        shown = kind == render.PAGE or kind in render.PICTURES - {"image/svg+xml"}
        headers = {
            "Content-Disposition": render.disposition(name, inline=shown and not save),
            "Content-Length": str(blob.size),
            "Content-Security-Policy": _ARTEFACT if kind == render.PAGE else _INERT,
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        known = kind if shown or kind in render.PICTURES else "application/octet-stream"

        async def rest() -> AsyncIterator[bytes]:
            async with aclosing(chunks):
                yield first
                async for chunk in chunks:
                    yield chunk

        return StreamingResponse(rest(), headers=headers, media_type=known)

    async def _ask(
        self,
        thread: str,
        message: str,
        text: str,
        attachments: tuple[Attachment, ...],
        *,
        run: bool = False,
        follows: str | None = None,
    ) -> Response:
        key = names.key(thread, message)
        question = Question(
            id=turn_id(key),
            keys=(key,),
            thread=names.reference(thread),
            asker=names.ASKER,
            place=names.PLACE,
            text=text,
            kind="run" if run else "ask",
            attachments=attachments,
            follows=follows,
        )
        await self._room.store.ask(question, render.title(text or attachments[0].name))
        self._room.changed(thread, question.id)
        await self._inbox.accept(question)
        return JSONResponse({"turn": question.id})

    async def _act(self, name: str, thread: str, turn: str | None) -> Response:
        action = Action(uuid4().hex, name, names.reference(thread), turn, names.ASKER, names.PLACE)
        card = await self._inbox.act(action)
        return JSONResponse({"notice": _notice(card)})

    async def _uploaded(self, upload: object) -> Attachment:
        found = await self._room.store.upload(upload) if isinstance(upload, str) else None
        if found is None:
            raise HTTPException(422, "An attached file is not there. Attach it again.")
        return found


def application(room: "Web", inbox: Inbox) -> Starlette:
    """The page, unguarded."""
    do = Handlers(room, inbox)
    return Starlette(
        routes=[
            Route("/", do.index),
            Mount("/static", StaticFiles(directory=str(_HERE / "static"), check_dir=False)),
            Route("/api/threads", do.threads),
            Route("/api/threads/{thread}", do.thread),
            Route("/api/questions", do.ask, methods=["POST"]),
            Route("/api/questions/{turn}", do.edit, methods=["PUT"]),
            Route("/api/questions/{turn}/again", do.again, methods=["POST"]),
            Route("/api/demo", do.demo, methods=["POST"]),
            Route("/api/actions", do.act, methods=["POST"]),
            Route("/api/setup", do.setup, methods=["POST"]),
            Route("/api/doctor", do.doctor, methods=["POST"]),
            Route("/api/uploads", do.upload, methods=["POST"]),
            Route("/api/events", do.events),
            Route("/files/{seal}/{digest}/{size:int}/{kind:path}", do.file),
        ],
        exception_handlers={HTTPException: _refused, sqlite3.Error: _full, OSError: _full},
    )


async def _refused(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    return JSONResponse({"error": problem.detail}, problem.status_code)


async def _full(request: Request, problem: Exception) -> Response:
    why = f"Cellmate cannot write to its disk ({problem}). Free some space; then send it again."
    return JSONResponse({"error": why}, 507)


async def _body(request: Request) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MOST_TEXT:
            raise HTTPException(413, "This is too long for a message. Attach it as a file.")
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    return body


def _id(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise HTTPException(400, f"{name} is not an id.")
    return value


def _text(body: dict[str, Any]) -> str:
    value = body.get("text")
    if not isinstance(value, str):
        raise HTTPException(400, "text is not text.")
    return value.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be kept


def _notice(card: Card | None) -> str | None:
    """A card for the asker alone, as the page shows it in passing."""
    return render.markdown(card.text) if card is not None else None


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
