"""The fake's wires: an aiohttp server for the Web API, files and Socket Mode, and what people do in the workspace."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web

from adapters.slack.manifest import SCOPES
from sandbox.media import media_type
from tests.fakes.platform import Message, Thread
from tests.fakes.slack import contract
from tests.fakes.slack.contract import Broken, Json
from tests.fakes.slack.methods import Denied, Methods
from tests.fakes.slack.page import render_page
from tests.fakes.slack.world import APP, BOT_ID, BOT_USER, TEAM, Post, Upload, World
from tests.fakes.slack.written import written

BOT_TOKEN, APP_TOKEN = "xoxb-test", "xapp-test"
ACK_SECONDS = 3.0


@dataclass(slots=True)
class Call:
    """One Web API call as it came."""

    method: str
    args: Json
    error: str = ""


@dataclass(slots=True)
class Envelope:
    """One delivery over Socket Mode."""

    id: str
    kind: str
    payload: Json
    attempt: int = 0
    socket: "web.WebSocketResponse | None" = None
    sent: float = 0.0
    answer: Json | None = None
    """What the acknowledgement carried; None while there is none."""


@dataclass(slots=True)
class _Failure:
    error: str | None
    status: int
    times: int
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeSlack:
    """A workspace on a loopback port. See `tests.fakes.platform.Platform` for what flow tests use."""

    name = "slack"

    def __init__(self) -> None:
        """Nothing listens before `async with`."""
        self.world = World()
        self.calls: list[Call] = []
        self.envelopes: list[Envelope] = []
        self.violations: list[str] = []
        self.mention_first: bool | None = None
        """Which twin of a mention comes first; None: by turns."""
        self.mention_twin = True
        """Whether a mention is delivered as `message` too."""
        self.twin_gap = 0.05
        """Seconds between the twins."""
        self.rates = False
        """Whether the documented rate tiers are enforced."""
        self.check_file_info = False
        """Whether attached files come as in Slack Connect, without address."""
        self.signed_out = False
        """Whether files are answered with a sign-in page, as without `files:read`."""
        self.scopes = (list(SCOPES), ["connections:write"])
        """What the bot token and the app token may do, as every answer's header says."""
        self.redirect_files = ""
        """Where a file's address leads instead, if anywhere."""
        self.methods = Methods(self.world, self._changed)
        self._allowed: list[str] = []
        self._failures: defaultdict[str, list[_Failure]] = defaultdict(list)
        self._cuts: dict[str, int] = {}
        self._sockets: list[web.WebSocketResponse] = []
        self._closed_at: dict[web.WebSocketResponse, float] = {}
        self._counts: defaultdict[str, list[float]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest: dict[Thread, Post] = {}
        self._next = 0
        self._runner: web.AppRunner | None = None
        self.base = ""
        self.env: Mapping[str, str] = {}
        """The settings with which a bot process reaches this workspace, once it is open."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2 * 1024**3)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_get("/link", self._link)
        app.router.add_post("/upload/v1/{file}", self._upload)
        app.router.add_get("/files-pri/{file}/download/{name:.*}", self._download)
        app.router.add_route("*", "/{rest:.*}", self._unknown)
        self._runner = web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = self.methods.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.env = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": f"{self.base}/api/"}
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._runner is not None
        fine = not any(exception)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if fine:
            await self._last_acks()
        for socket in list(self._sockets):
            await socket.close()
        await self._runner.cleanup()
        left = [text for text in self.violations if not any(allowed in text for allowed in self._allowed)]
        if fine and left:
            raise AssertionError("Slack's rules were broken:\n" + "\n".join(left))

    async def _last_acks(self) -> None:
        """An event that a bot had for `ACK_SECONDS` and did not acknowledge is a violation; one lost with its bot is not."""
        if any(self._open(one) for one in self.envelopes):
            await self._settle()
        self.violations += [f"never acknowledged: {_label(one)}" for one in self.envelopes if self._owed(one)]

    async def _settle(self) -> None:
        with suppress(AssertionError):
            await self._wait(lambda: not any(self._open(one) for one in self.envelopes), ACK_SECONDS, "")

    def _open(self, one: Envelope) -> bool:
        """Waits for its acknowledgement on a socket that still stands."""
        return one.answer is None and one.socket is not None and not one.socket.closed

    def _owed(self, one: Envelope) -> bool:
        if one.answer is not None or one.socket is None:
            return False
        return self._closed_at.get(one.socket, time.monotonic()) - one.sent > ACK_SECONDS

    def allow(self, violation: str) -> None:
        """See `Platform.allow`."""
        self._allowed.append(violation)

    def fail(
        self, method: str, error: str | None = None, *, times: int = 1, status: int = 200, retry_after: int | None = None
    ) -> None:
        """The next `times` calls of a method (-1: all) fail with this error or HTTP status. "upload": the file server."""
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        self._failures[method].append(_Failure(error or ("ratelimited" if status == 429 else None), status, times, headers))

    def cut(self, method: str, after: int = 0) -> None:
        """After `after` more calls of a method, one is carried out and the connection breaks before its answer."""
        self._cuts[method] = after

    def of(self, method: str) -> list[Call]:
        """The calls of a method that were answered well, in order."""
        return [call for call in self.calls if call.method == method and not call.error]

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _scripted(self, method: str) -> _Failure | None:
        for failure in self._failures[method]:
            if failure.times:
                failure.times -= 1
                return failure
        return None

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args: Json = dict(request.query)
        if request.content_type == "application/json":
            args |= await request.json() if request.can_read_body else {}
        else:
            args |= {key: str(value) for key, value in (await request.post()).items()}
        call = Call(method, contract.decoded(args))
        self.calls.append(call)
        failure = self._scripted(method)
        if failure is not None:
            call.error = failure.error or str(failure.status)
            return web.json_response({"ok": False, "error": call.error}, status=failure.status, headers=failure.headers)
        wait = self._too_fast(method, args)
        if wait:
            call.error = "ratelimited"
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(wait)})
        answer = self._answer(call, request.headers.get("Authorization", ""), args)
        if self._cuts.get(method) is not None:
            self._cuts[method] -= 1
            if self._cuts[method] < 0:
                del self._cuts[method]
                assert request.transport is not None
                request.transport.abort()
        return web.json_response(answer, headers={"x-oauth-scopes": ",".join(self.scopes[method == "apps.connections.open"])})

    def _answer(self, call: Call, token: str, args: Json) -> Json:
        if call.method not in contract.METHODS:
            self.violations.append(f"unknown method {call.method}")
            call.error = "unknown_method"
        elif token != f"Bearer {APP_TOKEN if call.method == 'apps.connections.open' else BOT_TOKEN}":
            call.error = "invalid_auth"
        else:
            try:
                return self.methods.call(call.method, args)
            except Broken as problem:
                self.violations.append(f"{call.method}: {problem}")
                call.error = problem.error
            except Denied as problem:
                call.error = problem.error
        return {"ok": False, "error": call.error}

    def _too_fast(self, method: str, args: Json) -> int:
        """Seconds to wait by the documented tiers, or one message a second a channel; 0: go on."""
        known = contract.METHODS.get(method)
        if not self.rates or known is None:
            return 0
        key, most, window = method, contract.PER_MINUTE.get(known.tier), 60.0
        if method == "chat.postMessage":
            key, most, window = f"{method} {args.get('channel')}", 1, 1.0
        if most is None:
            return 0
        now = time.monotonic()
        recent = self._counts[key] = [at for at in self._counts[key] if now - at < window]
        if len(recent) >= most:
            return max(1, round(recent[0] + window - now))
        recent.append(now)
        return 0

    async def _upload(self, request: web.Request) -> web.Response:
        upload = self.world.uploads.get(request.match_info["file"])
        content = await request.read()
        if failure := self._scripted("upload"):
            return web.Response(status=failure.status)
        if request.headers.get("Authorization"):
            self.violations.append("the token was sent to the upload address")
        if upload is None or len(content) != upload.size:
            self.violations.append(f"upload of {len(content)} bytes does not fit {upload}")
            return web.Response(status=400)
        upload.content = content
        return web.Response(text=f"OK - {len(content)}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        upload = self.world.uploads.get(request.match_info["file"].removeprefix(f"{TEAM}-"))
        if upload is None:
            return web.Response(status=404)
        if self.redirect_files:
            return web.Response(status=302, headers={"Location": self.redirect_files})
        if self.signed_out or request.headers.get("Authorization") != f"Bearer {BOT_TOKEN}":
            return web.Response(text="<!DOCTYPE html><html><title>Sign in | Slack</title></html>", content_type="text/html")
        return web.Response(body=upload.content, content_type="application/force-download")

    async def _unknown(self, request: web.Request) -> web.Response:
        self.violations.append(f"unknown route {request.method} {request.path}")
        return web.Response(status=404)

    # --- Socket Mode ----------------------------------------------------------------------------------------------

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("ticket") != str(self.methods.ticket):
            return web.Response(status=408)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": len(self._sockets) + 1, "connection_info": {"app_id": APP}})
        self._sockets.append(socket)
        try:
            await self._again()
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    self._acknowledged(frame.json())
        finally:
            self._sockets.remove(socket)
            self._closed_at[socket] = time.monotonic()
        return socket

    def _acknowledged(self, frame: Json) -> None:
        one = next((one for one in self.envelopes if one.id == frame.get("envelope_id")), None)
        if one is None or set(frame) - {"envelope_id", "payload"}:
            self.violations.append(f"unknown frame {frame}")
        else:
            one.answer = frame.get("payload") or {}

    async def _again(self) -> None:
        """What was lost with a socket, or never found one, is delivered on the next."""
        for one in self.envelopes:
            if one.answer is None and (one.socket is None or one.socket.closed):
                await self._send(one)

    async def _send(self, one: Envelope) -> None:
        if not self._sockets:
            return
        if one.socket is not None:
            one.attempt += 1
        self._next += 1
        one.socket, one.sent = self._sockets[self._next % len(self._sockets)], time.monotonic()
        body: Json = {
            "envelope_id": one.id,
            "type": one.kind,
            "payload": one.payload,
            "accepts_response_payload": one.kind != "events_api",
        }
        if one.attempt:
            body |= {"retry_attempt": one.attempt, "retry_reason": "timeout"}
        try:
            await one.socket.send_json(body)
        except ConnectionError:
            return

    async def deliver(self, kind: str, payload: Json) -> Envelope:
        """Send one envelope to a bot's socket, or keep it until there is one."""
        one = Envelope(f"env-{len(self.envelopes) + 1}", kind, payload)
        self.envelopes.append(one)
        await self._send(one)
        return one

    async def event(self, event: Json, **outer: Any) -> Envelope:
        """Deliver an event of the Events API."""
        number = len(self.envelopes) + 1
        body = {
            "token": "verification",
            "team_id": TEAM,
            "api_app_id": APP,
            "type": "event_callback",
            "event_id": f"Ev{number:08d}",
            "event_time": int(time.time()),
            "event": event,
            "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
            "is_ext_shared_channel": bool(self.world.external),
        }
        return await self.deliver("events_api", body | outer)

    def _soon(self, event: Json) -> None:
        """Deliver without holding up the call that caused it, as Slack does."""
        task = asyncio.get_running_loop().create_task(self._deliver_soon(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_soon(self, event: Json) -> None:
        await self.event(event)

    def _changed(self, post: Post, what: str) -> None:
        """A bot's own messages come back to it, sometimes without `bot_id`."""
        body = self.world.stored(post, metadata=False)
        if len(self.envelopes) % 2:
            body.pop("bot_id")
        kind = "im" if post.channel.startswith("D") else "channel"
        outer: Json = {"type": "message", "channel": post.channel, "channel_type": kind, "event_ts": post.ts}
        if what == "posted":
            self._soon(body | outer)
        elif what == "changed":
            before = body | {"text": ""}
            self._soon(outer | {"subtype": "message_changed", "message": body, "previous_message": before, "ts": post.ts})
        else:
            self._soon(outer | {"subtype": "message_deleted", "previous_message": body, "deleted_ts": post.ts, "ts": post.ts})

    async def refresh(self) -> None:
        """Slack renews every connection."""
        for socket in list(self._sockets):
            await socket.send_json({"type": "disconnect", "reason": "refresh_requested"})

    def expire(self) -> None:
        """The address that `apps.connections.open` gave last is worth nothing any more."""
        self.methods.ticket += 1

    async def drop(self) -> None:
        """Every connection ends without a word."""
        for socket in list(self._sockets):
            await socket.close()

    async def connected(self, seconds: float = 20) -> None:
        """See `Platform.connected`."""
        await self._wait(lambda: bool(self._sockets), seconds, "no bot connected")

    async def acknowledged(self, seconds: float = 20) -> None:
        """Wait until every event so far is acknowledged."""
        await self._wait(lambda: all(one.answer is not None for one in self.envelopes), seconds, "an event stays open")

    async def _wait(self, what: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(otherwise)
            await asyncio.sleep(0.01)

    # --- People ---------------------------------------------------------------------------------------------------

    async def ask(
        self,
        text: str,
        *,
        files: Sequence[tuple[str, bytes]] = (),
        user: str = "ada",
        channel: str = "general",
        thread: Thread | None = None,
        mention: bool = True,
        direct: bool = False,
    ) -> Thread:
        """See `Platform.ask`. `thread.channel` and `thread.thread` are Slack's ids."""
        where = thread.channel if thread else self.world.direct(user) if direct else self.world.channel(channel)
        mention = mention and not where.startswith("D")
        post = self._written(where, user, text, files, thread.thread if thread else None, mention)
        self.world.posts.append(post)
        place = Thread(where, post.root)
        self._newest[place] = post
        await self._send_twins(post, mention)
        return place

    def _written(
        self, channel: str, user: str, text: str, files: Sequence[tuple[str, bytes]], root: str | None, mention: bool
    ) -> Post:
        id, ts = self.world.person(user), self.world.ts()
        flat, blocks = written(text, self.world.people, BOT_USER if mention else None)
        uploads = [self._attached(name, content, id) for name, content in files]
        event: Json = {
            "type": "message",
            "channel": channel,
            "channel_type": "im" if channel.startswith("D") else "channel",
            "user": id,
            "team": self.world.team(id),
            "text": flat,
            "blocks": blocks,
            "ts": ts,
            "event_ts": ts,
            "client_msg_id": f"client-{ts}",
        }
        if self.world.team(id) != TEAM:
            event["user_team"] = self.world.team(id)
        if uploads:
            event |= {"subtype": "file_share", "files": [self._file(upload) for upload in uploads]}
        if root:
            parent = self.world.find(channel, root)
            event |= {"thread_ts": root, "parent_user_id": parent.user if parent else id}
        return Post(channel, ts, id, flat, blocks, root, uploads, event=event)

    def _attached(self, name: str, content: bytes, owner: str) -> Upload:
        upload = Upload(f"F{len(self.world.uploads) + 1:08d}", name, len(content), content, owner=owner)
        self.world.uploads[upload.id] = upload
        return upload

    def _file(self, upload: Upload) -> Json:
        if self.check_file_info:
            return {"id": upload.id, "file_access": "check_file_info"}
        return self.world.file(upload, self.base, media_type(upload.name))

    async def _send_twins(self, post: Post, mention: bool) -> None:
        twins = [post.event]
        if mention:
            bare = {key: value for key, value in post.event.items() if key not in ("files", "subtype", "channel_type")}
            twins = [{**bare, "type": "app_mention"}, *([post.event] if self.mention_twin else [])]
            first = len(self.envelopes) % 2 == 0 if self.mention_first is None else self.mention_first
            twins = twins if first else twins[::-1]
        await self.event(twins[0])
        for event in twins[1:]:
            await asyncio.sleep(self.twin_gap)
            await self.event(event)

    async def edit(self, thread: Thread, text: str) -> None:
        """The newest message that `ask` wrote in the thread is edited. See `Platform.edit`."""
        post = self._newest[thread]
        mention = f"<@{BOT_USER}>" in post.text
        before = dict(post.event)
        post.text, post.blocks = written(text, self.world.people, BOT_USER if mention else None)
        post.event |= {"text": post.text, "blocks": post.blocks, "edited": {"user": post.user, "ts": self.world.ts()}}
        await self._edited(post, before)

    async def _edited(self, post: Post, before: Json) -> None:
        inner = {key: value for key, value in post.event.items() if key not in ("channel", "channel_type", "event_ts")}
        await self.event(
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": post.channel,
                "channel_type": post.event["channel_type"],
                "message": inner,
                "previous_message": before,
                "ts": self.world.ts(),
                "hidden": True,
            }
        )

    async def unfurl(self, thread: Thread) -> None:
        """Slack adds a preview to the newest message asked: a `message_changed` in which nobody changed a word."""
        post = self._newest[thread]
        await self._edited(post, dict(post.event))

    async def delete(self, thread: Thread) -> None:
        """The person takes the newest message asked back."""
        post = self._newest[thread]
        await self.event(
            {
                "type": "message",
                "subtype": "message_deleted",
                "channel": post.channel,
                "channel_type": post.event["channel_type"],
                "deleted_ts": post.ts,
                "previous_message": post.event,
                "ts": self.world.ts(),
            }
        )

    async def react(self, thread: Thread, reaction: str, *, message: str | None = None, user: str = "ada") -> None:
        """A person reacts to the opening message, or to the one with this ts."""
        item = {"type": "message", "channel": thread.channel, "ts": message or thread.thread}
        await self.event(
            {
                "type": "reaction_added",
                "user": self.world.person(user),
                "reaction": reaction,
                "item": item,
                "event_ts": self.world.ts(),
            }
        )

    async def stop_session(self, thread: Thread, user: str = "ada") -> None:
        """Slack's own Stop button: streams end at once, then the event comes."""
        streams = [post for post in self.world.thread(thread.channel, thread.thread) if post.stream == "open"]
        for post in streams:
            post.stream = "stopped"
        await self.event(
            {
                "type": "agent_session_stopped",
                "channel": thread.channel,
                "thread_ts": thread.thread,
                "user": self.world.person(user),
                "streaming_message_ts": [post.ts for post in streams],
                "event_ts": self.world.ts(),
            }
        )

    async def press(self, thread: Thread, label: str, user: str = "ada") -> None:
        """See `Platform.press`."""
        id = self.world.person(user)
        for post in reversed(self.world.thread(thread.channel, thread.thread)):
            if post.only_for not in (None, id):
                continue
            if label == "Stop" and self.world.native_stop(post):
                await self.stop_session(thread, user)
                return
            button = next((one for one in post.buttons() if one["text"]["text"] == label), None)
            if button is not None:
                await self._pressed(post, button, id, user)
                return
        raise LookupError(f"no button {label!r} in the thread:\n{self.transcript(thread)}")

    async def _pressed(self, post: Post, button: Json, id: str, name: str) -> None:
        place = {"message_ts": post.ts, "channel_id": post.channel, "is_ephemeral": bool(post.only_for)}
        await self.deliver(
            "interactive",
            {
                "type": "block_actions",
                "team": {"id": TEAM, "domain": "cellmate"},
                "user": {"id": id, "username": name, "name": name, "team_id": self.world.team(id)},
                "api_app_id": APP,
                "container": {"type": "message", **place, **({"thread_ts": post.thread_ts} if post.thread_ts else {})},
                "channel": {"id": post.channel, "name": "general"},
                "message": self.world.stored(post, metadata=False),
                "trigger_id": f"trigger-{self.world.ts()}",
                "response_url": f"{self.base}/response/{post.ts}",
                "actions": [{**button, "block_id": "b", "action_ts": self.world.ts()}],
            },
        )

    async def slash(self, text: str, user: str = "ada", channel: str = "general") -> Envelope:
        """`/cellmate TEXT`; its answer is in the envelope's `answer`."""
        return await self.deliver(
            "slash_commands",
            {
                "command": "/cellmate",
                "text": text,
                "team_id": TEAM,
                "channel_id": self.world.channel(channel),
                "user_id": self.world.person(user),
                "user_name": user,
                "trigger_id": f"trigger-{self.world.ts()}",
                "response_url": f"{self.base}/response/slash",
                "api_app_id": APP,
            },
        )

    async def redeliver(self) -> None:
        """See `Platform.redeliver`."""
        last = next(one for one in reversed(self.envelopes) if one.payload.get("event", {}).get("user") != BOT_USER)
        again = Envelope(f"env-{len(self.envelopes) + 1}", last.kind, last.payload, last.attempt + 1)
        self.envelopes.append(again)
        await self._send(again)

    # --- What stands there ----------------------------------------------------------------------------------------

    def posts(self, thread: Thread) -> list[Post]:
        """The thread's messages as Slack keeps them."""
        return self.world.thread(thread.channel, thread.thread)

    def messages(self, thread: Thread) -> list[Message]:
        """See `Platform.messages`."""
        return [self.world.message(post) for post in self.posts(thread)]

    def transcript(self, thread: Thread) -> str:
        """See `Platform.transcript`. Measured seconds are left out too."""
        lines = []
        for message in self.messages(thread):
            only = f" (only for {message.only_for})" if message.only_for else ""
            text = re.sub(r"\d+(\.\d+)? s\b", "N s", message.text)
            text = re.sub(r"<@([UW][A-Z0-9]+)>", lambda match: f"@{self.world.name(match[1])}", text)
            extra = "".join(f"\n  [file {file.name}: {file.alt}]" for file in message.files)
            extra += "".join(f"\n  [button {label}]" for label in message.buttons)
            lines.append(f"{message.author}{only}: {text}{extra}")
        return "\n".join(lines)

    async def until(self, thread: Thread, what: Callable[[list[Message]], bool], seconds: float = 60) -> list[Message]:
        """See `Platform.until`."""
        deadline = time.monotonic() + seconds
        while not what(self.messages(thread)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s:\n{self.transcript(thread)}")
            await asyncio.sleep(0.01)
        return self.messages(thread)

    def page(self, thread: Thread) -> str:
        """The thread as a page of its own, as Slack shows it."""
        channel = next(name for name, id in self.world.channels.items() if id == thread.channel)
        return render_page(self.world, channel, self.posts(thread))


def _label(one: Envelope) -> str:
    event = one.payload.get("event") or {}
    return f"{one.kind} {event.get('type', '')} {event.get('subtype', '')}".strip()


__all__ = ["BOT_ID", "Call", "Envelope", "FakeSlack"]
