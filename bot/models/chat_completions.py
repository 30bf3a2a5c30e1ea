"""Chat Completions, streamed: OpenAI's own and the many servers that speak it."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from importlib.resources import files as resources
from typing import Any, Literal

import openai
import structlog

from bot.errors import ModelError
from bot.models import failures, transcript
from bot.models.failures import Failure, Kind
from bot.models.transcript import Draft, Report
from bot.types import Delta, Item, Reply

log = structlog.get_logger()

Mode = Literal["auto", "tool", "fenced"]

_PROMPTS = {name: resources("bot.prompts").joinpath(f"{name}.md").read_text("utf-8") for name in ("tool", "fenced")}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0


@asynccontextmanager
async def connect(
    *,
    api_key: str,
    base_url: str | None,
    model: str,
    mode: Mode,
    report: Report,
    patience: float = 60.0,
    stall: float = 120.0,
    budget: int = 400_000,
    lead: bool = False,
) -> AsyncIterator["ChatCompletions"]:
    """A client for the model `model` at `base_url` (None: OpenAI's own).

    `mode` `auto` begins with tools and goes over to fenced blocks for good where the server refuses them or the model does not
    use them. `report` turns a cell's outcome into what the model reads. `patience`: seconds from the first failure of a reply
    until it is given up; `stall`: seconds without a byte that count as one; `budget`: characters of conversation that are
    sent, fewer once a server has said that it was too much. `lead`: in fenced mode, begin some replies for the model
    (`transcript.lead`), which the server must go on from, as llama.cpp's does.
    """
    # In a thread: it reads the certificate store. The key may be empty for a server of one's own, but the package wants one.
    client = await asyncio.to_thread(
        lambda: openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url,
            timeout=openai.Timeout(stall, connect=min(stall, 10.0)),
            max_retries=0,  # retries have one place, below
        )
    )
    async with client:
        yield ChatCompletions(client, model, mode, report, patience=patience, budget=budget, lead=lead)


class ChatCompletions:
    """`bot.ports.Model`. Any number of streams at once."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        mode: Mode,
        report: Report,
        *,
        patience: float,
        budget: int,
        lead: bool,
    ) -> None:
        """See `connect`."""
        self._client, self._model, self._report = client, model, report
        self._patience, self._budget, self._lead = patience, budget, lead
        self._fenced = mode == "fenced"
        self._undecided = mode == "auto"
        """Whether it is still open if this model can use tools."""

    async def stream(self, items: Sequence[Item]) -> AsyncGenerator[Delta | Reply, None]:
        """See `Model.stream`. A retry says nothing until it has more than what was already shown, and the same beginning."""
        shown, empty, retries = "", 0, _Retries(self._patience)
        while True:
            fenced, kept = self._fenced, transcript.fit(items, self._budget, self._report)
            draft = Draft(transcript.lead(kept) if self._lead and fenced else "")
            failure: Failure | None = None
            try:
                async with aclosing(self._attempt(kept, draft, fenced=fenced)) as pieces:
                    async for _ in pieces:
                        text = draft.visible(code=not fenced and not self._undecided)
                        if len(text) > len(shown) and text.startswith(shown):
                            shown = text
                            yield Delta(text)
                if draft.finish is None:
                    failure = failures.CUT
            # ValueError: the package lets a stream's broken JSON or broken UTF-8 through as it is.
            except (openai.APIError, ValueError) as problem:
                failure = failures.of(problem, self._model, begun=draft.begun)
                self._log(problem, failure)
            if failure is None:
                reply = transcript.reply(draft, fenced=self._settle(draft, fenced=fenced))
                if reply is not None:
                    yield reply
                    return
                empty += 1
                failure = failures.EMPTY if empty > 1 else replace(failures.EMPTY, kind=Kind.RETRY)
            await self._recover(failure, kept, retries, fenced=fenced)

    async def _attempt(self, items: Sequence[Item], draft: Draft, *, fenced: bool) -> AsyncGenerator[None, None]:
        """One request; yields each time `draft` has grown."""
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": transcript.messages(items, _PROMPTS["fenced" if fenced else "tool"], self._report, fenced=fenced),
        }
        if not fenced:
            arguments["tools"] = [transcript.TOOL]
        if draft.text:
            arguments["messages"].append({"role": "assistant", "content": draft.text})
        async with await self._client.chat.completions.create(**arguments, stream=True) as chunks:
            async for chunk in chunks:
                _take(chunk, draft)
                yield

    def _settle(self, draft: Draft, *, fenced: bool) -> bool:
        """Learn from a finished reply whether this model uses tools; whether to read the reply as fenced."""
        if draft.calls:
            self._undecided = False
        elif self._undecided and not fenced and transcript.ends_in_its_only_block(draft.text):
            self._go_fenced("the model wrote a block instead of calling the tool")
            return True
        return fenced

    async def _recover(self, failure: Failure, sent: Sequence[Item], retries: "_Retries", *, fenced: bool) -> None:
        """Make the next attempt possible, or raise `ModelError`."""
        if failure.kind is Kind.RETRY:
            return await retries.wait(failure)
        if failure.kind is Kind.NO_TOOLS and not fenced and (self._undecided or self._fenced):
            return self._go_fenced("the server refused tools")
        if failure.kind is Kind.TOO_LONG:
            size = transcript.size(sent, self._report)
            if transcript.fit(sent, size // 2, self._report) != list(sent):
                self._budget = size // 2
                return None
        raise ModelError(failure.sentence)

    def _go_fenced(self, why: str) -> None:
        log.info("fenced mode from now on", model=self._model, why=why)
        self._fenced, self._undecided = True, False

    def _log(self, problem: Exception, failure: Failure) -> None:
        """What a server says of a request may quote it, so that is only for whoever asks for all there is."""
        status, code = getattr(problem, "status_code", None), getattr(problem, "code", None)
        log.warning("model failed", kind=failure.kind.name, problem=type(problem).__name__, status=status, code=code)
        log.debug("the model's server said", said=str(problem).replace(self._client.api_key, "…")[:300])


class _Retries:
    """The one clock of one reply's retries."""

    def __init__(self, patience: float) -> None:
        self._patience, self._count, self._until = patience, 0, 0.0

    async def wait(self, failure: Failure) -> None:
        """Pause as long as the server asked, else longer each time. Raises `ModelError` when patience would end first."""
        now = time.monotonic()
        self._until = self._until or now + self._patience
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._count) * random.uniform(0.75, 1.0)
        pause = max(pause, failure.after or 0.0)
        self._count += 1
        if now + pause > self._until:
            raise ModelError(failure.sentence)
        await asyncio.sleep(pause)


def _take(chunk: Any, draft: Draft) -> None:
    """Add one chunk. Typed loosely: servers leave out fields that the package's types promise.

    Raises ValueError for a chunk that has another shape.
    """
    draft.begun = True
    try:
        if usage := getattr(chunk, "usage", None):
            draft.tokens = usage.total_tokens or 0
        for choice in (getattr(chunk, "choices", None) or [])[:1]:
            draft.finish = choice.finish_reason or draft.finish
            if (delta := choice.delta) is None:
                continue
            draft.text += delta.content or getattr(delta, "refusal", None) or ""
            for call in delta.tool_calls or []:
                if call.function is not None:
                    draft.add_call(call.index or 0, call.id, call.function.arguments or "")
    except (AttributeError, TypeError) as problem:
        raise ValueError("a chunk of an unexpected shape") from problem
