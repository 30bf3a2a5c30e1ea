"""What Cellmate adds to a turn: three steps through inbox, journal, dispatcher, agent, sandbox and presenter, beside a bare
loop that asks the same scripted model by the same client and runs the same code with `exec` in its own process.

Both ask a server on this machine that answers at once, so the difference is Cellmate's own time: three cells in a container,
their transcript made durable, the thread's checkpoint, the cards.
"""

import asyncio
import contextlib
import io
import json
import operator
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai

from adapters.terminal import OneShot, question
from bot import log, wiring
from bot.ports import Chat, Files
from bot.types import Action, Card
from tests.fakes.model import Answer, Code, ScriptedModel

STEPS: list[Answer] = [Code("x = 1\nprint(x)"), Code("x += 1\nprint(x)"), Code("x += 1\nprint(x)"), "It is three."]
TURNS = 15


class Shots:
    """The terminal's one-shot chat, once a turn, in one bot."""

    name = "terminal"

    def __init__(self, files: Files, out: Path) -> None:
        self._files, self._out = files, out
        self._open: dict[str, OneShot] = {}
        self.newest: Card | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(OneShot, name).__get__(next(iter(self._open.values())))

    async def show(self, thread: Any, card: Any, receipt: Any) -> Any:
        self.newest = card
        return await self._open[card.turn].show(thread, card, receipt)

    async def turn(self, bot: wiring.Bot, number: int) -> float:
        asked = question(f"turn-{number}", "count to three", [])
        shot = self._open[asked.id] = OneShot(self._files, asked, self._out)
        began = time.perf_counter()
        await shot.listen(bot.dispatcher)
        card = await shot.answer
        seconds = time.perf_counter() - began
        assert (card.text, len(card.steps)) == ("It is three.", 3), card
        return seconds

    async def stopped(self, bot: wiring.Bot, thread: str) -> float:
        """Seconds from Stop to the final card, which says so, for code that never ends by itself."""
        asked = question(thread, "for ever", [])
        shot = self._open[asked.id] = OneShot(self._files, asked, self._out)
        listening = asyncio.create_task(shot.listen(bot.dispatcher))
        while not (self.newest and self.newest.turn == asked.id and self.newest.steps):  # noqa: ASYNC110 - a bench may poll
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # into the loop
        began = time.perf_counter()
        await bot.dispatcher.act(Action("stop", "stop", asked.thread, asked.id, asked.asker, asked.place))
        card = await shot.answer
        seconds = time.perf_counter() - began
        await listening
        assert card.state == "stopped", card
        return seconds


async def ours(model: ScriptedModel, home: Path) -> tuple[list[float], list[float]]:
    """Seconds of each turn, each in a thread of its own with a container claimed from the pool; seconds of each stop."""
    os.environ |= {**model.env, "CELLMATE_HOME": str(home), "CELLMATE_POOL": "1", "CELLMATE_SESSIONS": "2"}
    settings = wiring.read_settings()
    made: list[Shots] = []

    @contextlib.asynccontextmanager
    async def connect(files: Files) -> AsyncIterator[Chat]:
        made.append(Shots(files, home / "out"))
        yield made[0]

    seconds = []
    async with wiring.build(settings, {"terminal": connect}) as bot, asyncio.TaskGroup() as tasks:
        tasks.create_task(bot.dispatcher.serve(stop := asyncio.Event()))
        for number in range(TURNS):
            model.reply(*STEPS)
            seconds.append(await made[0].turn(bot, number))
            await asyncio.sleep(4)  # let the pool make the next container: a claim is what is measured, not a start
        stops = []
        for number in range(TURNS // 2):
            model.on("for ever", Code("import time\nwhile True:\n    time.sleep(0.01)"))
            stops.append(await made[0].stopped(bot, f"turn-{number % 2}"))
        stop.set()
    return seconds, stops


async def bare(model: ScriptedModel) -> list[float]:
    """Seconds of each turn of the loop that everybody writes first."""
    client = openai.AsyncOpenAI(api_key=model.env["OPENAI_API_KEY"], base_url=model.env["OPENAI_BASE_URL"])
    tool: Any = {
        "name": "python",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    }
    seconds = []
    for _ in range(TURNS):
        model.reply(*STEPS)
        began = time.perf_counter()
        messages: list[Any] = [{"role": "user", "content": "count to three"}]
        names: dict[str, Any] = {}
        while True:
            reply = await client.chat.completions.create(
                model="scripted",
                messages=messages,
                tools=[{"type": "function", "function": tool}],
            )
            message = reply.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(json.loads(call.function.arguments)["code"], names)  # type: ignore[union-attr]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": printed.getvalue()})
        assert message.content == "It is three."
        seconds.append(time.perf_counter() - began)
    await client.close()
    return seconds


async def main() -> None:
    log.configure("error")
    with tempfile.TemporaryDirectory() as folder:
        async with ScriptedModel() as model:
            baseline = await bare(model)
            cellmate, stops = await ours(model, Path(folder))
    print(f"{'a turn of three steps':<34}{'median':>10}{'p95':>10}")
    for name, seconds in (
        ("bare openai loop, exec in process", baseline),
        ("Cellmate", cellmate),
        ("Stop to the final card", stops),
    ):
        print(f"{name:<34}{statistics.median(seconds) * 1e3:>8.1f}ms{statistics.quantiles(seconds, n=20)[-1] * 1e3:>8.1f}ms")
    over, times = (f(statistics.median(cellmate), statistics.median(baseline)) for f in (operator.sub, operator.truediv))
    print(f"{'overhead of Cellmate':<34}{over * 1e3:>8.1f}ms   ({times:.1f} times)")


if __name__ == "__main__":
    asyncio.run(main())
