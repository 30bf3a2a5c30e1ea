"""The fake's Gateway: hello, heartbeat, identify, resume, invalid session, close codes ("Gateway", version 10)."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord.world import User, World, snowflake

MESSAGE_CONTENT = 1 << 15
NEEDS = {
    "MESSAGE": (1 << 9, 1 << 12),
    "MESSAGE_REACTION": (1 << 10, 1 << 13),
    "GUILD": (1, 0),
    "CHANNEL": (1, 0),
    "THREAD": (1, 0),
}
"""By kind of event: the intent in a server and in direct messages."""


@dataclass(slots=True)
class Session:
    intents: int
    id: str = field(default_factory=snowflake)
    events: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


class Gateway:
    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token
        self.message_content = True
        """Whether the portal grants the intent."""
        self.sessions: dict[str, Session] = {}
        self.identified = asyncio.Event()
        self.identifies = 0
        self.resumes = 0
        self.deaf = False
        """Events are kept for a resume but not sent: the connection is about to break."""
        self.sockets: set[web.WebSocketResponse] = set()

    # --- Events out -----------------------------------------------------------------------------------------------------

    async def send(self, kind: str, data: dict[str, Any], *, direct: bool = False) -> None:
        """Deliver an event to every session whose intents ask for it."""
        family = kind.rsplit("_", 1)[0]
        needed = NEEDS.get(family, (0, 0))[direct]
        for session in self.sessions.values():
            if needed and not session.intents & needed:
                continue
            shown = self._redacted(data, session, direct) if kind in ("MESSAGE_CREATE", "MESSAGE_UPDATE") else data
            payload = {"op": 0, "s": len(session.events) + 1, "t": kind, "d": shown}
            session.events.append(payload)
            if session.socket is not None and not session.socket.closed and not self.deaf:
                await session.socket.send_str(json.dumps(payload))

    def _redacted(self, data: dict[str, Any], session: Session, direct: bool) -> dict[str, Any]:
        """Without the intent only direct messages, mentions of the bot and its own messages have content."""
        bot = self.world.bot.id
        ours = data["author"]["id"] == bot or any(user["id"] == bot for user in data["mentions"])
        if direct or ours or session.intents & MESSAGE_CONTENT:
            return data
        return {**data, "content": "", "attachments": [], "components": [], "embeds": []}

    async def drop(self, code: int | None = None) -> None:
        """Close every connection, or with no code cut it as a broken network does."""
        for socket in list(self.sockets):
            if code is None:
                transport = socket._req.transport if socket._req else None
                assert transport
                transport.close()
            else:
                await socket.close(code=code)
        self.deaf = False

    async def invalidate(self) -> None:
        """Forget every session and ask to reconnect (op 7): the resume is then refused (op 9)."""
        self.sessions.clear()
        self.identified.clear()
        for socket in list(self.sockets):
            await socket.send_str(json.dumps({"op": 7, "d": None}))

    # --- Connections ----------------------------------------------------------------------------------------------------

    async def connection(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=4096)  # "Gateway", Sending Events: 4,096 bytes
        await socket.prepare(request)
        self.sockets.add(socket)
        session: Session | None = None
        try:
            await socket.send_str(json.dumps({"op": 10, "d": {"heartbeat_interval": 41250}}))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                payload = json.loads(message.data)
                if payload["op"] == 1:
                    await socket.send_str(json.dumps({"op": 11}))
                elif payload["op"] == 2:
                    session = await self._identify(socket, payload["d"])
                elif payload["op"] == 6:
                    session = await self._resume(socket, payload["d"])
        finally:
            self.sockets.discard(socket)
            if session is not None and session.socket is socket:
                session.socket = None
                self.identified.clear()
        return socket

    async def _identify(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> Session | None:
        if data["token"] != self.token:
            await socket.close(code=4004)
            return None
        if data["intents"] & MESSAGE_CONTENT and not self.message_content:
            await socket.close(code=4014)
            return None
        session = Session(data["intents"], socket=socket)
        self.sessions = {session.id: session}
        self.identifies += 1
        ready = {
            "v": 10,
            "user": {**self.world.bot.json(), "verified": True, "mfa_enabled": False, "email": None},
            "guilds": [{"id": self.world.guild, "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.world.base.replace("http", "ws") + "/gateway/",
            "application": {"id": self.world.application, "flags": 1 << 19 if self.message_content else 0},
        }
        await self.send("READY", ready)
        await self.send("GUILD_CREATE", self.world.guild_json())
        self.identified.set()
        return session

    async def _resume(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> Session | None:
        session = self.sessions.get(data["session_id"])
        if session is None or data["token"] != self.token:
            await socket.send_str(json.dumps({"op": 9, "d": False}))
            return None
        self.resumes += 1
        session.socket = socket
        self.identified.set()
        for payload in session.events[data["seq"] :]:
            await socket.send_str(json.dumps(payload))
        await self.send("RESUMED", {})
        return session


def interaction_user(world: World, user: User) -> dict[str, Any]:
    return {**world.member_json(user, whole=True), "permissions": "0"}
