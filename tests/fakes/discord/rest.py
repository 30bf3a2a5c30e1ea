"""The fake's REST API: the routes the bot uses, with Discord's documented limits and error codes."""

import asyncio
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox.media import media_type
from tests.fakes.discord import contract
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.world import DM, FORUM, PUBLIC_THREAD, VOICE, Channel, File, Message, User, World, now

MESSAGE_CONTENT_LIMITED = 1 << 19
"""Application flag: an unverified application reads message content."""
MIB = 1024 * 1024
MOST_CHARACTERS = 2000
MOST_FILES = 10
BODY = 25 * MIB
FLAG_SUPPRESS_EMBEDS, FLAG_EPHEMERAL = 4, 64
NONCES_LAST = 300.0


class Refusal(Exception):
    """An error response ("Opcodes and Status Codes", JSON Error Codes)."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status, self.code, self.message = status, code, message


def invalid(where: str, why: str) -> Refusal:
    return Refusal(400, 50035, f"Invalid Form Body: {where}: {why}")


@dataclass(slots=True)
class Failure:
    """A scripted failure."""

    route: str
    status: int
    times: int
    abort: bool
    after: bool
    retry_after: float
    via: bool
    code: int


@dataclass(slots=True)
class Call:
    """One request as it came."""

    route: str
    body: Any
    files: list[tuple[str, bytes]] = field(default_factory=list)
    status: int = 0


@dataclass(slots=True)
class Interaction:
    id: str
    token: str
    channel: Channel
    user: User
    message: Message | None
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    ephemeral: bool = False
    kind: int = 0
    """The callback's type; 0 before it came."""
    original: Message | None = None


Handler = Callable[["Rest", "Request"], Awaitable[Any]]


@dataclass(slots=True)
class Request:
    parts: dict[str, str]
    query: dict[str, str]
    body: Any
    files: list[tuple[str, bytes]]
    """By field number: file name and content."""


class Rest:
    def __init__(self, world: World, gateway: Gateway, token: str, violation: Callable[[str], None]) -> None:
        self.world, self.gateway, self.token, self.violation = world, gateway, token, violation
        self.calls: list[Call] = []
        self.typing: list[str] = []
        self.failures: list[Failure] = []
        self.interactions: dict[str, Interaction] = {}
        self.commands: list[dict[str, Any]] = []
        self.upload_limit = 20 * MIB
        self.rate = (20, 1.0)
        """Requests of one route and channel, and the seconds they may take."""
        self.contract = contract.load()
        self.automod: str | None = None
        self._windows: dict[str, deque[float]] = defaultdict(deque)
        self._nonces: dict[str, tuple[float, Message]] = {}
        self.changed = asyncio.Condition()

    # --- Every request --------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request of the API: authorisation, scripted failures, rate limit, the route itself, the contract."""
        path = request.path.removeprefix("/api/v10")
        found = next(((t, p, h, m) for m, t, p, h in ROUTES if m == request.method and p.fullmatch(path)), None)
        if found is None:
            self.violation(f"unknown route {request.method} {path}")
            return self._answer(404, {"message": "404: Not Found", "code": 0}, {})
        template, pattern, handler, _ = found
        route = f"{request.method} {template}"
        body, files = await _body(request)
        call = Call(route, body, files)
        self.calls.append(call)
        match = pattern.fullmatch(path)
        assert match
        failure = self._failure(route)
        if failure and not failure.after:
            return self._fail(request, failure, call)
        headers = self._limited(template, match.groupdict())
        if headers["X-RateLimit-Remaining"] == "-1":
            retry = float(headers["X-RateLimit-Reset-After"])
            headers |= {"X-RateLimit-Remaining": "0", "Via": "1.1 google", "Retry-After": str(retry)}
            call.status = 429
            return self._answer(429, {"message": "You are being rate limited.", "retry_after": retry, "global": False}, headers)
        self._judge_request(request, template, call)
        call.status, answer = await self._carry_out(
            request, handler, Request(match.groupdict(), dict(request.query), body, files)
        )
        if failure:
            return self._fail(request, failure, call)
        if self.contract and call.status < 400:
            for problem in self.contract.response(request.method, template, call.status, answer):
                self.violation(f"the fake's own answer to {route}: {problem}")
        async with self.changed:
            self.changed.notify_all()
        return self._answer(call.status, answer, headers)

    async def _carry_out(self, request: web.Request, handler: Handler, parsed: Request) -> tuple[int, Any]:
        open_to_all = request.path.startswith(("/api/v10/interactions", "/api/v10/webhooks"))
        try:
            if not open_to_all and request.headers.get("Authorization") != f"Bot {self.token}":
                raise Refusal(401, 0, "401: Unauthorized")
            size = request.content_length or 0
            if size > BODY:
                raise Refusal(413, 40005, "Request entity too large")
            answer = await handler(self, parsed)
        except Refusal as refusal:
            return refusal.status, {"message": refusal.message, "code": refusal.code}
        return (204, None) if answer is None else (201 if parsed.parts.get("_created") else 200, answer)

    def _judge_request(self, request: web.Request, template: str, call: Call) -> None:
        if self.contract is None:
            return
        multipart = request.content_type.startswith("multipart/")
        query = dict(request.query)
        for problem in self.contract.request(request.method, template, query, call.body, multipart):
            self.violation(f"{call.route}: {problem}")

    def _failure(self, route: str) -> Failure | None:
        for failure in self.failures:
            if failure.route == route and failure.times > 0:
                failure.times -= 1
                return failure
        return None

    def _fail(self, request: web.Request, failure: Failure, call: Call) -> web.StreamResponse:
        call.status = failure.status
        if failure.abort:
            assert request.transport
            request.transport.abort()
            return web.Response()
        headers = {"Via": "1.1 google"} if failure.via else {}
        if failure.status == 429:
            body = {"message": "You are being rate limited.", "retry_after": failure.retry_after, "global": False}
            return self._answer(429, body, headers)
        return self._answer(failure.status, {"message": "scripted", "code": failure.code}, headers)

    def _limited(self, template: str, parts: dict[str, str]) -> dict[str, str]:
        """The five headers ("Rate Limits"); a remaining of -1 where the request is one too many."""
        limit, seconds = self.rate
        window = self._windows[f"{template} {parts.get('channel_id', '')}"]
        clock = time.monotonic()
        while window and window[0] <= clock - seconds:
            window.popleft()
        left = limit - len(window) - 1
        if left >= 0:
            window.append(clock)
        reset = max(0.0, window[0] + seconds - clock) if window else seconds
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": f"{time.time() + reset:.3f}",
            "X-RateLimit-Reset-After": f"{reset:.3f}",
            "X-RateLimit-Bucket": re.sub(r"\W", "", template)[:32],
        }

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> web.Response:
        if body is None:
            return web.Response(status=204, headers=headers)
        # A charset behind the media type makes discord.py take the body for text.
        return web.Response(
            status=status, body=json.dumps(body).encode(), headers={**headers, "Content-Type": "application/json"}
        )

    # --- Shared rules ---------------------------------------------------------------------------------------------------

    def channel(self, id: str) -> Channel:
        channel = self.world.channels.get(id)
        if channel is None:
            raise Refusal(404, 10003, "Unknown Channel")
        if not channel.may("view_channel"):
            raise Refusal(403, 50001, "Missing Access")
        return channel

    def message(self, channel: Channel, id: str) -> Message:
        message = next((m for m in channel.messages if m.id == id and not m.only_for), None)
        if message is None:
            raise Refusal(404, 10008, "Unknown Message")
        return message

    def need(self, channel: Channel, permission: str) -> None:
        if not channel.may(permission):
            raise Refusal(403, 50013, "Missing Permissions")

    def checked(self, body: dict[str, Any]) -> None:
        """The limits of a message's text and components that the OpenAPI document has too wide or not at all."""
        content = body.get("content") or ""
        if len(content) > MOST_CHARACTERS:
            raise invalid("content", f"Must be {MOST_CHARACTERS} or fewer in length.")
        if self.automod and self.automod in content:
            raise Refusal(400, 200000, "Message was blocked by automatic moderation")
        rows = body.get("components") or []
        if len(rows) > 5 or any(len(row.get("components", ())) > 5 for row in rows):
            raise invalid("components", "Must be 5 or fewer in length.")
        buttons = [button for row in rows for button in row.get("components", ())]
        ids = [button.get("custom_id", "") for button in buttons]
        if any(len(id) > 100 for id in ids):
            raise invalid("custom_id", "Must be between 1 and 100 in length.")
        if len(set(ids)) != len(ids):
            raise invalid("custom_id", "Component custom id cannot be duplicated")
        if any(len(button.get("label") or "") > 80 for button in buttons):
            raise invalid("label", "Must be 80 or fewer in length.")

    def files(self, channel: Channel, body: dict[str, Any], sent: list[tuple[str, bytes]]) -> list[File]:
        if len(sent) > MOST_FILES:
            raise invalid("files", f"Must be {MOST_FILES} or fewer in length.")
        if sent:
            self.need(channel, "attach_files")
        if any(len(content) > (channel.limit or self.upload_limit) for _, content in sent):
            raise Refusal(413, 40005, "Request entity too large")
        described = {str(entry.get("id")): entry for entry in body.get("attachments") or ()}
        files = []
        for number, (name, content) in enumerate(sent):
            alt = described.get(str(number), {}).get("description") or ""
            if len(alt) > 1024:
                raise invalid("description", "Must be 1024 or fewer in length.")
            files.append(File(re.sub(r"[^A-Za-z0-9._-]", "_", name), content, media_type(name), alt))
        return files

    def pings(self, body: dict[str, Any], replied: Message | None, *, interaction: bool = False) -> list[str]:
        """Whom a message notifies ("Allowed Mentions Object"); nothing inside code does."""
        content = re.sub(r"```.*?```|`[^`\n]+`", "", body.get("content") or "", flags=re.DOTALL)
        allowed = body.get("allowed_mentions")
        if allowed is None:
            allowed = {"parse": ["users"] if interaction else ["users", "roles", "everyone"], "replied_user": True}
        parse, users = allowed.get("parse", []), [str(user) for user in allowed.get("users", [])]
        if (users and "users" in parse) or (allowed.get("roles") and "roles" in parse):
            raise invalid("allowed_mentions", "parse and a list of the same kind exclude each other")
        names = {user.id: user.name for user in (*self.world.users.values(), self.world.bot)}
        found = []
        for id in re.findall(r"<@!?(\d+)>", content):
            if id in names and ("users" in parse or id in users):
                found.append(names[id])
        if re.search(r"<@&\d+>", content) and "roles" in parse:
            found.append("role")
        if re.search(r"@(everyone|here)\b", content) and "everyone" in parse:
            found.append("everyone")
        if replied is not None and allowed.get("replied_user", False):
            found.append(replied.author.name)
        return list(dict.fromkeys(found))

    async def publish(self, message: Message, kind: str = "MESSAGE_CREATE") -> None:
        """Put a message in its channel and tell the Gateway, as Discord does for the bot's own ones too."""
        if kind == "MESSAGE_CREATE":
            message.channel.messages.append(message)
        direct = message.channel.type == DM
        data = self.world.message_json(message)
        data["channel_type"] = message.channel.type
        if not direct:
            data |= {"guild_id": self.world.guild, "member": self.world.member_json(message.author)}
        if message.nonce:
            data["nonce"] = message.nonce
        if message.only_for is None:
            if self.contract:
                # Forwards (reference type 1) are in Discord's documentation and not in the document.
                unjudged = {"guild_id", "member", "channel_type"} | ({"message_reference"} if message.forwarded else set())
                judged = {k: v for k, v in data.items() if k not in unjudged}
                for problem in self.contract.object("MessageResponse", judged):
                    self.violation(f"the fake's own {kind}: {problem}")
            await self.gateway.send(kind, data, direct=direct)
        async with self.changed:
            self.changed.notify_all()

    async def created(self, message: Message, body: dict[str, Any]) -> dict[str, Any]:
        if not message.content.strip() and not message.files:
            raise Refusal(400, 50006, "Cannot send an empty message")
        message.content = message.content.strip()
        message.components = _with_component_ids(body.get("components") or [])
        if re.search(r"https?://", message.content) and not (
            message.flags & FLAG_SUPPRESS_EMBEDS or message.author is not self.world.bot
        ):
            self.violation("a link unfurls: embeds are not suppressed")
        await self.publish(message)
        return self.world.message_json(message)

    # --- Routes ---------------------------------------------------------------------------------------------------------

    async def me(self, request: Request) -> Any:
        extra = {"mfa_enabled": False, "locale": "en-US", "email": None, "verified": True, "premium_type": 0}
        return self.world.bot.json() | extra

    async def application(self, request: Request) -> Any:
        return {
            "id": self.world.application,
            "name": self.world.bot.name,
            "icon": None,
            "description": "",
            "summary": "",
            "type": None,
            "verify_key": "0" * 64,
            "flags": (flags := MESSAGE_CONTENT_LIMITED if self.gateway.message_content else 0),
            "flags_new": str(flags),
            "redirect_uris": [],
            "interactions_endpoint_url": None,
            "role_connections_verification_url": None,
            "owner": self.world.user("owner").json(),
            "approximate_guild_count": 1,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
            "explicit_content_filter": 0,
            "team": None,
            "eligible_oauth2_scopes": [],
            "bot_public": True,
            "bot_require_code_grant": False,
        }

    async def commands_get(self, request: Request) -> Any:
        return self.commands

    async def commands_put(self, request: Request) -> Any:
        base = {"application_id": self.world.application, "version": self.world.application, "default_member_permissions": None}
        for command in request.body:
            if not re.fullmatch(r"[-_\w]{1,32}", command["name"]) or not 1 <= len(command.get("description", "x")) <= 100:
                raise invalid("name", "Command name or description is invalid")
        given = [{key: value for key, value in command.items() if value is not None} for command in request.body]
        ids = (str(int(self.world.application) + number) for number in range(1, 200))
        self.commands = [{**base, "type": 1, **command, "id": id} for command, id in zip(given, ids, strict=False)]
        return self.commands

    async def channel_get(self, request: Request) -> Any:
        return self.world.channel_json(self.channel(request.parts["channel_id"]))

    async def typing_post(self, request: Request) -> None:
        channel = self.channel(request.parts["channel_id"])
        self.need(channel, "send_messages_in_threads" if channel.is_thread else "send_messages")
        self.typing.append(channel.id)

    async def messages_get(self, request: Request) -> Any:
        channel = self.channel(request.parts["channel_id"])
        limit = int(request.query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise invalid("limit", "Must be between 1 and 100.")
        if not channel.may("read_message_history"):
            return []
        before, after = int(request.query.get("before", 1 << 63)), int(request.query.get("after", 0))
        found = [m for m in channel.messages if after < int(m.id) < before and not m.only_for]
        page = found[:limit] if "after" in request.query else found[-limit:]
        return [self.world.message_json(m) for m in reversed(page)]

    async def message_get(self, request: Request) -> Any:
        channel = self.channel(request.parts["channel_id"])
        self.need(channel, "read_message_history")
        return self.world.message_json(self.message(channel, request.parts["message_id"]))

    async def message_post(self, request: Request) -> Any:
        channel, body = self.channel(request.parts["channel_id"]), request.body or {}
        if channel.type == FORUM:
            raise Refusal(400, 50008, "Cannot send messages in a non-text channel")
        self.need(channel, "send_messages_in_threads" if channel.is_thread else "send_messages")
        if channel.locked:
            raise Refusal(403, 160005, "Thread is locked")
        nonce = str(body["nonce"]) if body.get("nonce") is not None else None
        if nonce is not None and len(nonce) > 25:
            raise invalid("nonce", "Must be 25 or fewer in length.")
        if nonce and body.get("enforce_nonce") and (known := self._nonces.get(nonce)) and known[0] > time.monotonic():
            return self.world.message_json(known[1])
        self.checked(body)
        replied = self._replied(channel, body)
        message = Message(
            channel,
            self.world.bot,
            body.get("content") or "",
            self.files(channel, body, request.files),
            type=19 if replied else 0,
            flags=body.get("flags") or 0,
            reference={"channel_id": channel.id, "message_id": replied.id, "guild_id": self.world.guild} if replied else None,
            replied=replied,
            notified=self.pings(body, replied),
            nonce=nonce,
        )
        channel.archived = False
        if nonce:
            self._nonces[nonce] = (time.monotonic() + NONCES_LAST, message)
        return await self.created(message, body)

    def _replied(self, channel: Channel, body: dict[str, Any]) -> Message | None:
        reference = body.get("message_reference")
        if reference is None:
            return None
        self.need(channel, "read_message_history")
        found = next((m for m in channel.messages if m.id == str(reference["message_id"])), None)
        if found is None and reference.get("fail_if_not_exists", True):
            raise invalid("message_reference", "Unknown message")
        return found

    async def message_patch(self, request: Request) -> Any:
        channel, body = self.channel(request.parts["channel_id"]), request.body or {}
        message = self.message(channel, request.parts["message_id"])
        if message.author is not self.world.bot:
            raise Refusal(403, 50005, "Cannot edit a message authored by another user")
        if channel.archived:
            raise Refusal(400, 50083, "Thread is archived")
        await self._edit(message, body, request.files)
        return self.world.message_json(message)

    async def _edit(self, message: Message, body: dict[str, Any], sent: list[tuple[str, bytes]]) -> None:
        self.checked(body)
        if "content" in body:
            message.content = (body["content"] or "").strip()
            self.pings(body, None)  # an edit notifies nobody, but what it may parse is judged
        if "components" in body:
            message.components = _with_component_ids(body["components"] or [])
        if "flags" in body:
            message.flags = body["flags"] or 0
        if "attachments" in body:
            kept = {str(entry["id"]) for entry in body["attachments"]}
            message.files = [f for f in message.files if f.id in kept] + self.files(message.channel, body, sent)
        if not message.content and not message.files:
            raise Refusal(400, 50006, "Cannot send an empty message")
        message.edited = now()
        await self.publish(message, "MESSAGE_UPDATE")

    async def thread_post(self, request: Request) -> Any:
        channel, name = self.channel(request.parts["channel_id"]), request.body.get("name", "")
        if channel.type in (VOICE, FORUM, DM, PUBLIC_THREAD):
            raise Refusal(400, 50024, "Cannot execute action on this channel type")
        message = self.message(channel, request.parts["message_id"])
        self.need(channel, "create_public_threads")
        if not 1 <= len(name) <= 100:
            raise invalid("name", "Must be between 1 and 100 in length.")
        if message.id in self.world.channels:
            raise Refusal(400, 160004, "A thread has already been created for this message")
        thread = self.world.add(Channel(name, PUBLIC_THREAD, message.id, channel, self.world.bot))
        reference = {"channel_id": channel.id, "message_id": message.id, "guild_id": self.world.guild}
        thread.messages.append(Message(thread, message.author, type=21, reference=reference, replied=message))
        data = self.world.channel_json(thread)
        await self.gateway.send("THREAD_CREATE", {**data, "newly_created": True})
        request.parts["_created"] = "yes"
        return data

    # --- Interactions ---------------------------------------------------------------------------------------------------

    async def callback(self, request: Request) -> Any:
        interaction = self.interactions.get(request.parts["interaction_token"])
        if interaction is None or interaction.id != request.parts["interaction_id"]:
            raise Refusal(404, 10062, "Unknown interaction")
        if interaction.kind:
            raise Refusal(400, 40060, "Interaction has already been acknowledged.")
        kind, data = request.body["type"], request.body.get("data") or {}
        if kind in (6, 7) and interaction.message is None:
            raise invalid("type", "this kind of callback answers components only")
        interaction.kind = kind
        interaction.ephemeral = bool(data.get("flags", 0) & FLAG_EPHEMERAL)
        if kind in (4, 5):
            message = self._interaction_message(interaction, data, request.files, ephemeral=interaction.ephemeral)
            message.thinking = kind == 5
            interaction.original = message
            if kind == 4:
                await self.created(message, data)
        interaction.acknowledged.set()
        about = {"id": interaction.id, "type": 3 if interaction.message else 2}
        return {"interaction": about} if "with_response" in request.query else None

    def _interaction_message(
        self, interaction: Interaction, body: dict[str, Any], files: list[tuple[str, bytes]], *, ephemeral: bool
    ) -> Message:
        self.checked(body)
        message = Message(
            interaction.channel,
            self.world.bot,
            body.get("content") or "",
            self.files(interaction.channel, body, files),
            flags=(body.get("flags") or 0) & ~FLAG_EPHEMERAL,
            only_for=interaction.user if ephemeral else None,
        )
        message.notified = self.pings(body, None, interaction=True)
        return message

    async def followup(self, request: Request) -> Any:
        interaction = self.interactions.get(request.parts["webhook_token"])
        if interaction is None or request.parts["webhook_id"] != self.world.application:
            raise Refusal(404, 10015, "Unknown Webhook")
        if not interaction.kind:
            raise Refusal(404, 10015, "Unknown Webhook: the interaction was not acknowledged")
        body = request.body or {}
        first = interaction.original is not None and interaction.original.thinking
        ephemeral = interaction.ephemeral if first else bool((body.get("flags") or 0) & FLAG_EPHEMERAL)
        message = self._interaction_message(interaction, body, request.files, ephemeral=ephemeral)
        if interaction.original is not None:
            interaction.original.thinking = False
        return await self.created(message, body)


def _with_component_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Discord numbers components that come without an id ("Component Reference")."""
    number = 0
    numbered = []
    for row in rows:
        number += 1
        row = {**row, "id": number, "components": list(row.get("components", ()))}
        for place, item in enumerate(row["components"]):
            number += 1
            row["components"][place] = {"disabled": False, **item, "id": number}
        numbered.append(row)
    return numbered


async def _body(request: web.Request) -> tuple[Any, list[tuple[str, bytes]]]:
    """The JSON of a request, and its files in order of their field number."""
    if request.content_type == "application/json":
        text = await request.read()
        return (json.loads(text) if text else None), []
    if not request.content_type.startswith("multipart/"):
        await request.read()
        return None, []
    body: Any = None
    files: dict[int, tuple[str, bytes]] = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        content = bytes(await part.read())
        if part.name == "payload_json":
            body = json.loads(content)
        elif match := re.fullmatch(r"files\[(\d+)\]", part.name or ""):
            files[int(match[1])] = (part.filename or "", content)
    return body, [files[number] for number in sorted(files)]


def _routes(*entries: tuple[str, str, Handler]) -> list[tuple[str, str, re.Pattern[str], Handler]]:
    return [(m, t, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(t))), h) for m, t, h in entries]


ROUTES = _routes(
    ("GET", "/users/@me", Rest.me),
    ("GET", "/oauth2/applications/@me", Rest.application),
    ("GET", "/applications/{application_id}/commands", Rest.commands_get),
    ("PUT", "/applications/{application_id}/commands", Rest.commands_put),
    ("GET", "/channels/{channel_id}", Rest.channel_get),
    ("POST", "/channels/{channel_id}/typing", Rest.typing_post),
    ("GET", "/channels/{channel_id}/messages", Rest.messages_get),
    ("POST", "/channels/{channel_id}/messages", Rest.message_post),
    ("GET", "/channels/{channel_id}/messages/{message_id}", Rest.message_get),
    ("PATCH", "/channels/{channel_id}/messages/{message_id}", Rest.message_patch),
    ("POST", "/channels/{channel_id}/messages/{message_id}/threads", Rest.thread_post),
    ("POST", "/interactions/{interaction_id}/{interaction_token}/callback", Rest.callback),
    ("POST", "/webhooks/{webhook_id}/{webhook_token}", Rest.followup),
)
