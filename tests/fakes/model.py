"""A language model that says what it was told to: a real HTTP server that speaks Chat Completions, streamed or not.

It refuses what real servers refuse, and remembers every such request: leaving the block then raises AssertionError.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Messages = Sequence[Mapping[str, Any]]

KEY = "sk-scripted-0123456789"
_PIECE = 12
_AFTER_OUTPUT = "send one more block."


@dataclass(frozen=True, slots=True)
class Text:
    """An answer; a plain `str` is one that ends as it should."""

    text: str
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Calls of the tool made at once, by their raw arguments: right ones, cut ones, nonsense."""

    arguments: Sequence[str]
    text: str = ""
    finish: str = "tool_calls"


@dataclass(frozen=True, slots=True)
class Code:
    """A cell: a call of the tool, or a fenced block where the request offers no tools."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, once. `after`: how many chunks of `answer` are sent well before it."""

    kind: Literal["status", "cut", "corrupt", "unfinished", "stall"]
    answer: "str | Text | Code | ToolCalls" = ""
    after: int = 3
    code: int = 500
    message: str = "something went wrong"
    type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def status(cls, code: int, message: str = "something went wrong", *, type: str = "", **headers: str) -> "Fault":
        """An HTTP error; headers by name, `_` for `-` (`Retry_After="1"`). `type` is the error's code in the body."""
        return cls(
            "status", code=code, message=message, type=type, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    @classmethod
    def cut(cls, answer: "str | Code | ToolCalls", after: int = 3) -> "Fault":
        """The connection breaks."""
        return cls("cut", answer, after)

    @classmethod
    def corrupt(cls, answer: "str | Code | ToolCalls", after: int = 3) -> "Fault":
        """A chunk in the middle is not JSON."""
        return cls("corrupt", answer, after)

    @classmethod
    def unfinished(cls, answer: "str | Code | ToolCalls", after: int = 3) -> "Fault":
        """The stream ends in good order but without a finish reason."""
        return cls("unfinished", answer, after)

    @classmethod
    def stall(cls, answer: "str | Code | ToolCalls" = "", after: int = 0) -> "Fault":
        """Nothing more comes, and the connection stays open."""
        return cls("stall", answer, after)


Answer = str | Text | Code | ToolCalls | Fault | Callable[[Messages], str]


class _Script:
    """Answers to one question. Which one is due is read from the conversation itself, so that a client that was killed and asks
    again is answered alike; faults in between happen once each."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers, self._happened = list(answers), set[int]()

    def due(self, steps: int) -> Answer | None:
        """The answer after `steps` replies of the model."""
        for n, answer in enumerate(self._answers):
            if not isinstance(answer, Fault):
                if steps == 0:
                    return answer
                steps -= 1
            elif steps == 0 and n not in self._happened:
                self._happened.add(n)
                return answer
        return None


class ScriptedModel:
    """`async with` starts and stops the server. Rules are asked before the queue: `when` first, then `on`."""

    def __init__(self, *, tools: Literal["take", "refuse", "ignore"] = "take", pace: float = 0.0) -> None:
        """`tools`: what to do with a request that offers them. `pace`: chunks a second, 0 for as fast as it goes."""
        self.tools, self.pace = tools, pace
        self.env: Mapping[str, str] = {}
        """The settings with which a bot reaches it."""
        self.requests: list[dict[str, Any]] = []
        """The body of every request, in order of arrival."""
        self.violations: list[str] = []
        self.names: Sequence[str] = ()
        """The models it has, as it lists them; a request for another is refused. None named: any will do."""
        self._allowed: list[str] = []
        self._queue: list[Answer] = []
        self._scripts: list[tuple[str, _Script]] = []
        self._rules: list[tuple[Callable[[Messages], bool], list[Answer]]] = []
        self._not_before: dict[str, float] = {}
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def reply(self, *answers: Answer) -> None:
        """Queue answers for requests that no rule takes, first in, first out."""
        self._queue.extend(answers)

    def on(self, words: str, *answers: Answer) -> None:
        """The answers to a question that holds these words: the first, the one after the first outcome, and so on."""
        self._scripts.append((words, _Script(answers)))

    def when(self, takes: Callable[[Messages], bool], *answers: Answer) -> None:
        """Answers, each given once in this order, for requests whose messages `takes` is true of."""
        self._rules.append((takes, list(answers)))

    def echo(self, messages: Messages) -> str:
        """As an answer: the last outcome, word for word."""
        for message in reversed(messages):
            content = str(message["content"])
            if message["role"] == "tool":
                return content
            if message["role"] == "user" and content.startswith("[output]"):
                return content.removeprefix("[output]").partition("\n\nNow give")[0].strip()
        return "nothing was run"

    def allow(self, violation: str) -> None:
        """A violation whose text contains this is expected by the test."""
        self._allowed.append(violation)

    async def __aenter__(self) -> "ScriptedModel":
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._list)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": KEY}
        return self

    async def __aexit__(self, problem_type: type[BaseException] | None, *_: object) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()
        unexpected = [v for v in self.violations if not any(allowed in v for allowed in self._allowed)]
        if unexpected and problem_type is None:
            raise AssertionError("the model's server was misused:\n" + "\n".join(unexpected))

    # --- Requests ------------------------------------------------------------------------------------------------------

    async def _unknown(self, request: web.Request) -> web.Response:
        return self._refuse(404, f"unknown route {request.method} {request.path}")

    async def _list(self, request: web.Request) -> web.Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in self.names]
        return web.json_response({"object": "list", "data": models})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}", "invalid_api_key")
        try:
            body = json.loads(await request.read())
        except ValueError:
            return self._refuse(400, "the body is not JSON")
        if violation := misuse(body):
            return self._refuse(400, violation)
        if self.names and body["model"] not in self.names:
            return _error(404, f"The model `{body['model']}` does not exist", "model_not_found")
        now, conversation = asyncio.get_running_loop().time(), json.dumps(body["messages"])
        if now < self._not_before.get(conversation, 0.0):
            return self._refuse(429, "came back before Retry-After was over")
        self.requests.append(body)
        if body.get("tools") and self.tools == "refuse":
            return _error(400, f"registry/{body['model']} does not support tools")
        answer = self._due(body["messages"])
        if answer is None:
            return self._refuse(400, f"nothing is scripted for {body['messages'][-1]['content']!r:.300}")
        if isinstance(answer, Fault) and answer.kind == "status":
            self._not_before[conversation] = now + float(answer.headers.get("Retry-After", 0))
            return _error(answer.code, answer.message, answer.type, answer.headers)
        if callable(answer):
            answer = answer(body["messages"])
        said = answer.answer if isinstance(answer, Fault) else answer
        deltas = list(_deltas(said, tools=bool(body.get("tools")) and self.tools == "take"))
        if not body.get("stream"):
            return _whole(body["model"], deltas)
        return await self._stream(request, body["model"], deltas, answer if isinstance(answer, Fault) else None)

    def _due(self, messages: Messages) -> Answer | None:
        for takes, answers in self._rules:
            if answers and takes(messages):
                return answers.pop(0)
        asked = [
            (at, _asked(message).rfind(words), script)
            for at, message in enumerate(messages)
            for words, script in self._scripts
            if message["role"] == "user" and words in _asked(message)
        ]
        if asked:
            at, _, script = max(asked, key=lambda found: found[:2])
            return script.due(sum(message["role"] == "assistant" for message in messages[at:]))
        return self._queue.pop(0) if self._queue else None

    def _refuse(self, status: int, violation: str) -> web.Response:
        self.violations.append(violation)
        return _error(status, violation)

    # --- Answers -------------------------------------------------------------------------------------------------------

    async def _stream(
        self, request: web.Request, model: str, deltas: list[tuple[dict[str, Any], str | None]], fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        try:
            for n, (delta, finish) in enumerate(deltas):
                chunk = _chunk(model, delta, finish)
                if fault is not None and fault.kind == "corrupt" and n == min(fault.after, len(deltas) - 2):
                    chunk = chunk[: len(chunk) // 2] + b"\n\n"  # and the rest goes on as if nothing had happened
                elif fault is not None and fault.kind != "corrupt" and (n == fault.after or finish is not None):
                    return await self._fail(request, response, fault)
                await response.write(chunk)
                if self.pace:
                    await asyncio.sleep(1 / self.pace)
            await response.write(b"data: [DONE]\n\n")
        except ConnectionResetError:
            pass  # the client has left, as it may
        return response

    async def _fail(self, request: web.Request, response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
        assert request.transport is not None
        match fault.kind:
            case "cut":
                request.transport.abort()
            case "unfinished":
                await response.write(b"data: [DONE]\n\n")
            case "stall":
                while not (self._closing.is_set() or request.transport is None or request.transport.is_closing()):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), 0.1)
        return response


def _asked(message: Mapping[str, Any]) -> str:
    """What a person said in a user message, which may also hold an outcome."""
    content = str(message["content"])
    return content.rpartition(_AFTER_OUTPUT)[2] if content.startswith("[output]") else content


def _deltas(answer: Any, *, tools: bool) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The deltas of one answer; the last has its finish reason."""
    yield {"role": "assistant", "content": ""}, None
    match answer:
        case Code(code, text) if tools:
            answer = ToolCalls([json.dumps({"code": code})], text)
        case Code(code, text):
            answer = Text(f"{text}\n\n```python\n{code}\n```".lstrip())
        case str():
            answer = Text(answer)
    for piece in _pieces(answer.text):
        yield {"content": piece}, None
    for index, arguments in enumerate(answer.arguments if isinstance(answer, ToolCalls) else ()):
        start = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": "python", "arguments": ""}}
        yield {"tool_calls": [start]}, None
        for piece in _pieces(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None
    yield {}, answer.finish


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _chunk(model: str, delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _whole(model: str, deltas: list[tuple[dict[str, Any], str | None]]) -> web.Response:
    calls: list[dict[str, Any]] = []
    for delta, _ in deltas:
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                calls.append({"id": piece["id"], "type": "function", "function": {"name": "python", "arguments": ""}})
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    message = {"role": "assistant", "content": "".join(d.get("content") or "" for d, _ in deltas)}
    if calls:
        message["tool_calls"] = calls  # type: ignore[assignment]
    choice = {"index": 0, "message": message, "finish_reason": deltas[-1][1]}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return web.json_response(body)


def _error(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code or None}}
    return web.json_response(body, status=status, headers=dict(headers or {}))


# --- What real servers refuse (OpenAI's API reference, "Create chat completion"; llama.cpp for broken arguments) -----------


def misuse(body: Any) -> str | None:
    """What is wrong with a request, or None."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages must be a list with at least one message"
    unanswered: list[str] = []
    for n, message in enumerate(messages):
        if problem := _misuse_of_message(message, unanswered):
            return f"messages[{n}]: {problem}"
    if unanswered:
        return f"tool_calls without an answer: {unanswered}"
    return None if any(m["role"] == "user" for m in messages) or messages[-1]["role"] == "tool" else "nobody has asked anything"


def _misuse_of_message(message: dict[str, Any], unanswered: list[str]) -> str | None:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant", "tool"):
        return f"unknown role {role!r}"
    if not isinstance(content, str):
        return f"content must be a string, not {content!r}"
    if role == "tool":
        if message.get("tool_call_id") not in unanswered:
            return "a message with role 'tool' must answer a preceding call"
        unanswered.remove(message["tool_call_id"])
        return None
    if unanswered:
        return f"tool_calls without an answer right after them: {unanswered}"
    calls = message.get("tool_calls", [])
    if (role == "user" and not content.strip()) or (role == "assistant" and not (content.strip() or calls)):
        return "empty message"
    if "tool_calls" in message and (role != "assistant" or not calls):
        return "tool_calls must be a non-empty list of an assistant's message"
    for call in calls:
        if problem := _misuse_of_call(call):
            return problem
        if call["id"] in unanswered:
            return f"two calls have the id {call['id']}"
        unanswered.append(call["id"])
    return None


def _misuse_of_call(call: dict[str, Any]) -> str | None:
    if call.get("type") != "function" or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(call.get("id"))):
        return f"a call needs the type 'function' and an id of at most 40 plain characters: {call!r:.200}"
    try:
        arguments = json.loads(call["function"]["arguments"])
    except (KeyError, TypeError, ValueError):
        return "a call's arguments are not JSON"
    return None if isinstance(arguments, dict) else "a call's arguments are not an object"
