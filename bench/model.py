"""How often a small model on this machine gives the right answer: through Cellmate, and by the loop that everybody writes
first, on the same weights, with the same sampling, in one run. Both sides have the same number of blocks and of tokens a reply;
the time is no bound but a guard, so that a busy machine changes nothing.

`python -m bench.model` asks all of `bench.questions`, both sides at once; `--every 4` each fourth, from `--first 2` on;
`--only join` those whose id begins so; `--resume` goes on with a run that was stopped; `--threads 1` where cores are few.
Transcripts and results land in out/model.

The bare loop is no straw man: its code runs in the same sandbox, with the same libraries imported, figures collected for it,
and its errors handed back. What it lacks is what Cellmate adds: the prompt, what is told of the files, replies begun,
faults mended, words where a small model strays.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openai

from adapters.terminal import OneShot, question
from bench.questions import KINDS, QUESTIONS, Asked, tables
from bench.questions.checks import Given
from bot import log, wiring
from bot.models import embedded
from bot.ports import Chat, Files
from bot.types import Action, Called, Card, Item, Question, Returned
from sandbox import Ended, Made, Printed, Raised, Result, SandboxError, Session

OUT = Path("out/model")
STEPS, SECONDS = 5, 600.0
_SHOWN = 2_000
"""Characters of an output that the bare loop hands back: the last ones, where a traceback says what was wrong."""
BARE = """You are a data analyst. You answer questions by running Python. \
The user's files are in the working directory: {files}.

Reply with one ```python code block. It is executed, variables stay, and you are shown what it prints. \
numpy, pandas and matplotlib are installed; figures that you draw are shown to the user.

Do not guess: compute. When you know the answer, reply with it in plain text, without code."""
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question, one side."""

    side: str
    id: str
    kind: str
    right: bool
    seconds: float
    cells: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question: what the thread shows, blocks run, and the transcript."""

    given: Given
    cells: int
    told: str


Ask = Callable[[Asked], Awaitable[Answer]]


# --- Through Cellmate ----------------------------------------------------------------------------------------------------


class Shots:
    """The terminal's one-shot chat, once a question, in one bot."""

    name = "terminal"

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: dict[str, OneShot] = {}

    async def listen(self, inbox: Any) -> None:
        await asyncio.Event().wait()

    async def context(self, asked: Any) -> Sequence[str]:
        return ()

    def fetch(self, attachment: Any) -> Any:
        return next(iter(self._open.values())).fetch(attachment)

    async def show(self, thread: Any, card: Card, receipt: Any) -> Any:
        return await self._open[card.turn].show(thread, card, receipt)

    async def ask(self, bot: wiring.Bot, asked: Asked, folder: Path) -> tuple[Card, tuple[Item, ...]]:
        put = question(asked.id, asked.text, [folder / name for name in asked.files])
        shot = self._open[put.id] = OneShot(self._files, put, OUT / "cellmate" / asked.id)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(shot.listen(bot.dispatcher))
            try:
                async with asyncio.timeout(SECONDS):
                    await asyncio.shield(shot.answer)
            except TimeoutError:
                await _stop(bot, put)
                await shot.answer
            await listening
        turn = await bot.journal.turn(put.id)
        await bot.sessions.forget(put.thread)
        assert turn is not None
        return await shot.answer, turn.items


async def _stop(bot: wiring.Bot, put: Question) -> None:
    await bot.dispatcher.act(Action("stop", "stop", put.thread, put.id, put.asker, put.place))


@asynccontextmanager
async def _bot(home: Path, **settings: str) -> AsyncIterator[tuple[wiring.Bot, Shots]]:
    os.environ |= {"CELLMATE_HOME": str(home), "CELLMATE_STEPS": str(STEPS), **settings}
    made: list[Shots] = []

    @asynccontextmanager
    async def connect(files: Files) -> AsyncIterator[Chat]:
        made.append(Shots(files))
        yield made[0]

    async with wiring.build(wiring.read_settings(), {"terminal": connect}) as bot, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bot.dispatcher.serve(stop := asyncio.Event()))
        await bot.setup.ready(lambda _: None, model=bot.setup.expects_model)
        try:
            yield bot, made[0]
        finally:
            stop.set()
            await asyncio.wait({serving})


@asynccontextmanager
async def ours(folder: Path, weights: Path, threads: int) -> AsyncIterator[Ask]:
    """Ask through inbox, journal, dispatcher, agent, container and presenter, by the embedded model as it is shipped."""
    settings = {"CELLMATE_MODEL": "local", "CELLMATE_MODEL_WEIGHTS": str(weights), "CELLMATE_MODEL_THREADS": str(threads)}
    async with _bot(folder / "home", **settings) as (bot, shots):

        async def ask(asked: Asked) -> Answer:
            card, items = await shots.ask(bot, asked, folder)
            figures = tuple(file.alt for file in card.files if file.media_type.startswith("image/"))
            told = "\n\n".join(map(_told, items)) + f"\n\n=== {card.state}\n{card.text}\n{figures}"
            return Answer(Given(card.text if card.state == "done" else "", figures), len(card.steps), told)

        yield ask


def _told(item: Item) -> str:
    match item:
        case Called():
            return f"--- block\n{item.text}\n{item.code}"
        case Returned():
            error = f"\n{item.error.traceback}" if item.error else ""
            return f"--- output\n{item.stdout}{item.stderr}{item.result or ''}{error}"
    return f"--- {item.role}\n{item.text}"


# --- The bare loop -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def bare(folder: Path, weights: Path, threads: int) -> AsyncIterator[Ask]:
    """The loop that everybody writes first, its cells run by the same sandbox."""
    async with (
        _bot(folder / "bare", CELLMATE_MODEL="none") as (bot, _),
        embedded.serve(weights, threads) as url,
        openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client,
    ):

        async def ask(asked: Asked) -> Answer:
            session = await bot.engine.session(asked.id, bot.sessions.spec)
            messages: list[Any] = []
            figures: list[str] = []
            try:
                for name in asked.files:
                    data = (folder / name).read_bytes()
                    await session.put(name, len(data), _chunks(data))
                async with asyncio.timeout(SECONDS):
                    text = await _converse(client, session, asked, messages, figures)
            except (TimeoutError, openai.APIError, SandboxError) as problem:
                text = ""
                messages.append({"role": "end", "content": repr(problem)})
            finally:
                await session.close()
            told = "\n\n".join(f"--- {m['role']}\n{m['content']}" for m in messages) + f"\n{figures}"
            cells = sum(message["role"] == "user" for message in messages) - 1
            return Answer(Given(text, tuple(figures)), cells, told)

        yield ask


async def _converse(client: Any, session: Session, asked: Asked, messages: list[Any], figures: list[str]) -> str:
    messages += [
        {"role": "system", "content": BARE.format(files=", ".join(asked.files))},
        {"role": "user", "content": asked.text},
    ]
    for step in range(STEPS + 1):
        reply = await client.chat.completions.create(model="embedded", messages=messages)
        text: str = reply.choices[0].message.content or ""
        messages.append({"role": "assistant", "content": text})
        block = _BLOCK.search(text)
        if block is None or step == STEPS:
            return text
        output, drawn = await _run(session, f"{asked.id}:{step}", block[1])
        figures += drawn
        messages.append({"role": "user", "content": f"Output:\n{output}"})
    return ""


async def _run(session: Session, id: str, code: str) -> tuple[str, list[str]]:
    said, figures = "", []
    async for output in session.run(id, code):
        match output:
            case Printed() | Result():
                said += output.text
            case Raised():
                said += output.traceback
            case Made() if output.file.media_type.startswith("image/"):
                figures.append(output.file.alt)
            case Ended():
                said += output.detail
    return said[-_SHOWN:] or "(nothing was printed)", figures


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


# --- The run -------------------------------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """How many were right, a kind a line, in Markdown. While a side is behind, what only the other has answered is left out."""
    sides = {side: [o for o in outcomes if o.side == side] for side in ("cellmate", "bare")}
    if all(sides.values()):
        both = set.intersection(*({o.id for o in of} for of in sides.values()))
        sides = {side: [o for o in of if o.id in both] for side, of in sides.items()}
    lines = ["| kind | questions | Cellmate | bare loop |", "| --- | ---: | ---: | ---: |"]
    for kind in KINDS:
        right = [sum(o.right for o in of if o.kind == kind) for of in sides.values()]
        asked = max(sum(o.kind == kind for o in of) for of in sides.values())
        if asked:
            lines.append(f"| {kind} | {asked} | {right[0]} | {right[1]} |")
    total = [sum(o.right for o in of) for of in sides.values()]
    shares = [f"{n} ({n / max(1, len(of)):.0%})" for n, of in zip(total, sides.values(), strict=True)]
    lines.append(f"| **all** | {max(map(len, sides.values()))} | **{shares[0]}** | **{shares[1]}** |")
    for title, value in (("median seconds", lambda o: o.seconds), ("mean cells", lambda o: o.cells)):
        middle = statistics.median if "median" in title else statistics.fmean
        lines.append(
            f"| {title} | | " + " | ".join(f"{middle(map(value, of)):.1f}" if of else "" for of in sides.values()) + " |"
        )
    if total[1]:
        lines.append(f"\nCellmate is right {total[0] / total[1]:.2f} times as often as the bare loop.")
    return "\n".join(lines)


class Record:
    """What has been found so far, on disk line by line, so that a run that is stopped can be gone on with."""

    def __init__(self, resume: bool) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        self._path = OUT / "results.jsonl"
        if not resume:
            self._path.unlink(missing_ok=True)
        lines = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        self.outcomes = [Outcome(**json.loads(line)) for line in lines]

    def keep(self, outcome: Outcome, told: str) -> None:
        self.outcomes.append(outcome)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
        folder = OUT / outcome.side
        folder.mkdir(exist_ok=True)
        (folder / f"{outcome.id}.txt").write_text(told, "utf-8")
        sign = "right" if outcome.right else "wrong"
        print(f"{outcome.side:<9}{outcome.id:<14}{sign:<7}{outcome.seconds:5.0f} s", flush=True)


async def carry_out(asked: Sequence[Asked], sides: Sequence[str], record: Record, threads: int) -> None:
    """Ask what is not answered yet, all sides at once, each at its own pace."""
    settings = wiring.read_settings()
    weights = await embedded.fetch(settings.cache.expanduser(), settings.model_weights, lambda _: None)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        await asyncio.to_thread(tables.write, folder)
        asks = {side: await stack.enter_async_context(SIDES[side](folder, weights, threads)) for side in sides}
        known = {(o.side, o.id) for o in record.outcomes}
        async with asyncio.TaskGroup() as tasks:
            for side, ask in asks.items():
                tasks.create_task(_ask_all([one for one in asked if (side, one.id) not in known], side, ask, record))


async def _ask_all(todo: Sequence[Asked], side: str, ask: Ask, record: Record) -> None:
    for one in todo:
        began = time.monotonic()
        answer = await ask(one)
        right, seconds = one.check(answer.given), time.monotonic() - began
        record.keep(Outcome(side, one.id, one.kind, right, seconds, answer.cells, answer.given.text), answer.told)


SIDES = {"cellmate": ours, "bare": bare}


def main() -> None:
    parser = argparse.ArgumentParser(description="Right answers of the demo model, through Cellmate and by a bare loop.")
    parser.add_argument("--every", type=int, default=1, help="ask each n-th question")
    parser.add_argument("--first", type=int, default=1, help="from this one on")
    parser.add_argument("--only", default="", help="ask those whose id begins so")
    parser.add_argument("--side", choices=[*SIDES], help="one side only")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was stopped")
    parser.add_argument("--threads", type=int, default=0, help="threads of the model on either side; 0: one a core")
    chosen = parser.parse_args()
    log.configure("error")
    record = Record(chosen.resume)
    asked = [one for one in QUESTIONS if one.id.startswith(chosen.only)][chosen.first - 1 :: chosen.every]
    asyncio.run(carry_out(asked, [chosen.side] if chosen.side else [*SIDES], record, chosen.threads))
    threads = chosen.threads or len(os.sched_getaffinity(0))
    print(f"\n{table(record.outcomes)}\n\nThreads of the model: {threads}, on either side.")


if __name__ == "__main__":
    main()
