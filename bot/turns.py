"""One turn, from the first look at its files to the final card. Everything is recorded before it is acted on, so that starting
over after a crash is the same loop started again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from bot import intake, policy
from bot.agent import AskModel, Finish, Record, RunCell, next_step
from bot.errors import CellmateError
from bot.ports import Chat, Files, Journal, Setup
from bot.presenter import TEXT_OF_A_CELL, Presenter, is_run
from bot.sessions import Sessions
from bot.types import Called, CardFile, CellError, Delta, Item, Question, Returned, Said, Step, Table, Turn
from sandbox import (
    MIB,
    Ended,
    FileRefused,
    Limits,
    Made,
    Output,
    Printed,
    Progress,
    Raised,
    Result,
    SandboxError,
    SandboxLost,
    Session,
    Started,
)

log = structlog.get_logger()

NO_MODEL = (
    "No language model is set up, so I can only run code: send Python in a fenced block (```). To let me answer questions, "
    "the administrator sets OPENAI_API_KEY (or OPENAI_BASE_URL for a model of your own) and starts me again."
)
PAUSED = "Cellmate was restarted here; files and variables were kept."
SET_BACK = (
    "Cellmate and its sandbox were restarted in the middle of this answer: files and variables are as they were at the end of "
    "the previous one."
)
RESTARTED = "Cellmate was restarted while this ran, so it was not finished; it has not been run again."
REWOUND = (
    "The question was edited, so files and variables were set back to what they were before it was first asked; what later "
    "answers did to them is undone."
)
NOT_REWOUND = (
    "The question was edited. What files and variables were before it is no longer kept, so this answer goes on from what "
    "they are now."
)
LOST = "The sandbox was lost while this ran. Files and variables are as they were at the end of the previous answer."
HISTORY = 12
"""Turns of the thread that the model reads before this one."""


class Line:
    """A fair semaphore that tells those who wait how many stand before them."""

    def __init__(self, places: int) -> None:
        """`places`: how many may be inside at once."""
        self._free = places
        self._waiting: list[tuple[asyncio.Event, Callable[[int], None]]] = []

    @asynccontextmanager
    async def place(self, tell: Callable[[int], None]) -> AsyncIterator[None]:
        """Wait for a place, first come first served. `tell` hears the number ahead each time it changes."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(tell)
        try:
            yield
        finally:
            self._free += 1
            self._admit()

    async def _wait(self, tell: Callable[[int], None]) -> None:
        entry = (asyncio.Event(), tell)
        self._waiting.append(entry)
        tell(len(self._waiting))
        try:
            await entry[0].wait()
        except asyncio.CancelledError:
            if entry[0].is_set():
                self._free += 1
            else:
                self._waiting.remove(entry)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.pop(0)[0].set()
        for ahead, (_, tell) in enumerate(self._waiting, 1):
            tell(ahead)


@dataclass(frozen=True, slots=True)
class Means:
    """What every turn is carried out with."""

    journal: Journal
    files: Files
    sessions: Sessions
    setup: Setup
    line: Line
    steps: int
    files_a_turn: int


class TurnRun:
    """Carries out one turn."""

    def __init__(self, means: Means, chat: Chat, turn: Turn) -> None:
        """`turn` as the journal has it; items there mean that it was begun before a restart."""
        self._means, self._chat = means, chat
        self.question = turn.question
        self.items: list[Item] = list(turn.items)
        self._before: list[Item] = []
        self._resumed = bool(turn.items)
        self._ground: Session | None = None
        """The session this turn's cells have run in."""
        self.finished = False
        """The final card is delivered and the turn closed; what is left to do is nobody's to stop."""
        self.presenter = Presenter(
            chat, turn.question, turn.receipt, lambda receipt: means.journal.receipt(turn.question.id, receipt)
        )

    def amend(self, question: Question) -> None:
        """Another wording, before `run`."""
        self.question = question
        self.presenter.question = question

    async def wait(self, before: asyncio.Task[None] | None) -> None:
        """Wait, visibly, for the turn before this one in the thread, and for what may still come of the question."""
        if before is None and not self.question.hold:
            return
        async with self.presenter.showing():
            if before is not None:
                await asyncio.wait({before})
            else:
                self.presenter.update(state="working")
            held = None
            while held is not self.question:
                held = self.question
                await asyncio.sleep(held.hold)

    async def run(self) -> None:
        """Work until the final card is delivered and the turn closed.

        Cancelled: an open cell is recorded as not finished and the turn stays open, for `stop` or for the next start.
        """
        async with self.presenter.showing():
            state, closing = await self._answer()
            closing = _paragraphs(closing, await self._keep())
        await self.presenter.settle(state=state, closing=closing, running=None, text="")
        await self._finish(state)

    async def stop(self, who: str) -> None:
        """After `run` was cancelled by a person: say so, with what there is."""
        closing = _paragraphs(f"Stopped by {who}." if who else "Stopped.", await self._keep())
        await self.presenter.settle(items=self.items, state="stopped", closing=closing, running=None)
        await self._finish("stopped")

    async def _finish(self, state: str) -> None:
        """Close the turn, and then save the variables: nobody waits for that but the next turn of the thread."""
        await self._means.journal.finish(self.question.id, state)
        self.finished = True
        try:
            await self._means.sessions.save(self.question.thread)
        except (SandboxError, OSError, CellmateError) as problem:
            log.warning("variables not saved", problem=str(problem))

    async def _answer(self) -> tuple[str, str]:
        """The final state and a closing sentence; every failure that is somebody's to know becomes one here."""
        try:
            await self._begin()
            async with self._means.sessions.engaged(self.question.thread):
                return "done", await self._loop()
        except (CellmateError, SandboxError) as problem:
            return "failed", str(problem)
        except OSError as problem:
            log.error("turn failed", problem=repr(problem))
            return "failed", full_disk(problem)
        except Exception:
            log.exception("turn failed")
            return "failed", f"Something went wrong inside Cellmate; its log has it under turn {self.question.id}."

    async def _begin(self) -> None:
        """Record what the turn starts from, once: the person's words or their cells, and what is in their files."""
        question = self.question
        self.presenter.update(items=self.items)
        await self._means.setup.ready(self._waits, model=self._by_model)
        label = self._means.setup.label if self._by_model else ""
        self.presenter.update(state="working", ahead=0, waits="", label=label)
        if not self.items:
            first = await self._set_back()
            if not self._by_model:
                blocks = intake.cells(question.text)
                await self._append(*first, *(Called(f"{question.id}.{n}", code) for n, code in enumerate(blocks, 1)))
            else:
                said = [Said("note", f"said in the thread — {line}") for line in await self._chat.context(question)]
                network = policy.told(self._means.sessions.reach(question.thread))
                notes = [Said("note", network)] if network else []
                await self._append(*first, *notes, *said, Said("user", question.text))
        elif any(isinstance(item, Returned) for item in self.items):
            await self._find_ground()
        if question.attachments:
            await self._place_files()
        if self._by_model:
            self._before = _history(await self._means.journal.before(question.id, HISTORY), question)

    async def _set_back(self) -> list[Said]:
        """An edited question that had its answer begins where the first wording began."""
        edited = self.question.follows
        if edited is None:
            return []
        rewound = await self._means.sessions.rewind(self.question.thread, edited)
        return [Said("note", REWOUND if rewound else NOT_REWOUND, shown=True)]

    def _session(self) -> AbstractAsyncContextManager[Session]:
        return self._means.sessions.use(self.question.thread, self.question.id)

    @property
    def _by_model(self) -> bool:
        """Whether a model answers; else a person's own cells are run."""
        if self.items:
            return not is_run(self.items)
        return self._means.setup.expects_model and self.question.kind == "ask"

    def _waits(self, what: str) -> None:
        self.presenter.update(state="waiting", waits=what)

    async def _find_ground(self) -> None:
        """After a restart in the middle of a turn: where its container is gone, so is what its cells did. Say so, and do not
        run on top of it what was written for it. (A shutdown that could save the thread has left a note that nothing is lost.)
        """
        if Said("note", PAUSED) in self.items[-1:]:
            return
        async with self._session() as session:
            if session.origin == "adopted":
                return
        returned = {item.id for item in self.items if isinstance(item, Returned)}
        unfinished = [item for item in self.items if isinstance(item, Called) and item.id not in returned]
        error = CellError("Restarted", RESTARTED)
        await self._append(*(Returned(call.id, error=error) for call in unfinished), Said("note", SET_BACK, shown=True))

    async def _place_files(self) -> None:
        """Put the attachments where the code can read them; again after a restart only when their container is gone."""
        async with self._session() as session:
            if intake.placed(self.items) and (not self._resumed or session.origin == "adopted"):
                return
            self._ground = session
            await self._tell_news()
            limits = self._means.sessions.spec.limits
            cell = f"{self.question.id}:files:{len(self.items)}"
            notes = await intake.place(self._chat, session, self.question.attachments, limits, cell)
        known = {item.text for item in self.items if isinstance(item, Said)}
        await self._append(*(note for note in notes if note.text not in known))

    async def _loop(self) -> str:
        while True:
            step = next_step(self.items, model=not is_run(self.items), steps=self._means.steps)
            match step:
                case Finish():
                    return self._closing(step)
                case Record():
                    await self._append(step.item)
                case AskModel():
                    await self._ask()
                case RunCell():
                    await self._append(await self._run(step.call, step.code))

    def _closing(self, finish: Finish) -> str:
        said = [item for item in self.items if isinstance(item, Said) and item.role == "assistant"]
        lead = "" if said and said[-1].text == finish.text else finish.text
        if is_run(self.items) and not any(isinstance(i, Called) for i in self.items):
            lead = f"The files are in this thread's workspace. {NO_MODEL}" if self.question.attachments else NO_MODEL
        return _paragraphs(lead, finish.note)

    async def _ask(self) -> None:
        assert self._means.setup.model is not None, "set-up is ready"
        async with aclosing(self._means.setup.model.stream([*self._before, *self.items])) as stream:
            async for part in stream:
                if isinstance(part, Delta):
                    self.presenter.update(text=part.text)
                else:
                    await self._append(*part.items)
        self.presenter.update(text="")

    async def _run(self, call: Called, code: str) -> Returned:
        """Run one cell, or find out what became of it when the bot died meanwhile.

        A container that is gone took the effects of this turn's cells with it. So a turn's first cell may be run again when
        it had not begun; a later one rests on what is lost, and whoever wrote it is told instead.
        """
        earlier = any(isinstance(item, Returned) for item in self.items)
        for last_try in (False, True):
            running = _Running(call, code, self.presenter, self._means.sessions.spec.limits)
            try:
                async with self._session() as session:
                    before, self._ground = self._ground, session
                    if earlier and before not in (None, session):
                        return _lost(call)
                    await self._tell_news()
                    return await self._cell(session, running)
            except SandboxLost as problem:
                log.warning("sandbox lost", problem=str(problem))
                self._ground = None
                if last_try or earlier or running.started:
                    return _lost(call)
        raise AssertionError("the second try returns")

    async def _cell(self, session: Session, running: "_Running") -> Returned:
        async with self._means.line.place(lambda ahead: self.presenter.update(state="queued", ahead=ahead)):
            running.show()
            try:
                cell = f"{self.question.id}:{running.call.id}"
                async with aclosing(session.run(cell, running.code)) as outputs:
                    async for output in outputs:
                        running.take(output)
            except asyncio.CancelledError:
                # Shielded: what was seen so far must be on record before this task is allowed to end.
                await asyncio.shield(self._append(running.cut_off()))
                raise
        files, notes = await self._collect(session, running.made)
        running.mended(await self._means.sessions.mend(self.question.thread, [*self._ran(), running.code]))
        outcome = running.outcome(files, notes)
        if outcome.error is None or not is_run(self.items):
            # The model may pass over a loss; the person is told by a note.
            outcome = replace(outcome, notes=(*outcome.notes, *running.losses))
        return await self._with_long_output(outcome)

    def _ran(self) -> list[str]:
        """The code of this turn that has run."""
        returned = {item.id for item in self.items if isinstance(item, Returned)}
        return [item.code for item in self.items if isinstance(item, Called) and item.id in returned and item.code]

    async def _collect(self, session: Session, made: Sequence[Made]) -> tuple[tuple[CardFile, ...], tuple[str, ...]]:
        """Copy what the cell made into the files store; what is over the turn's number stays in the workspace, and is said."""
        taken = {f.name for item in self.items if isinstance(item, Returned) for f in item.files}
        files, notes, left = [], [], []
        for output in made:
            file = output.file
            if file.name not in taken and len(taken) >= self._means.files_a_turn:
                left.append(file)
                continue
            try:
                async with aclosing(session.get(file.name)) as chunks:
                    blob = await self._means.files.put(chunks)
            except FileRefused as problem:
                notes.append(str(problem))
                continue
            except OSError as problem:
                log.error("file not stored", problem=repr(problem))
                notes.append(f"{file.name} stays in the workspace: {full_disk(problem)}")
                continue
            taken.add(file.name)
            files.append(CardFile(file.name, file.media_type, blob, file.figure, file.alt, file.facts))
        if left:
            largest = max(file.size for file in left)
            more = f"{len(left)} more file" + ("s" if len(left) > 1 else "")
            limit = self._means.files_a_turn
            notes.append(f"{more}, the largest {largest / 1e6:,.1f} MB, kept in the workspace: an answer delivers {limit}.")
        return tuple(files), tuple(notes)

    async def _with_long_output(self, cell: Returned) -> Returned:
        """Where no model tells about it, output too long for a thread also comes as a file."""
        if not is_run(self.items) or len(cell.stdout) <= TEXT_OF_A_CELL:
            return cell
        number = sum(isinstance(item, Returned) for item in self.items) + 1
        blob = await self._means.files.put(_once(cell.stdout.encode()))
        return replace(cell, files=(*cell.files, CardFile(f"output-{number}.txt", "text/plain", blob)))

    async def _tell_news(self) -> None:
        """Say what could not be kept since the answer before."""
        if news := self._means.sessions.news(self.question.thread):
            await self._append(Said("note", news, shown=True))

    async def _keep(self) -> str:
        """Make the thread's files durable before the final card; what there is to say of it."""
        thread = self.question.thread
        try:
            mended = await self._means.sessions.mend(thread, self._ran())
            await self._means.sessions.save(thread, "files")
        except (SandboxError, OSError, CellmateError) as problem:
            log.warning("checkpoint failed", problem=str(problem))
            return (
                "The files and variables of this thread could not be saved outside its sandbox; they last only while it runs."
            )
        return mended

    async def _append(self, *items: Item) -> None:
        if items:
            await self._means.journal.append(self.question.id, *items)
            self.items.extend(items)
            self.presenter.update(items=self.items)


class _Running:
    """One cell while it runs: its outputs folded into a step for the card and an outcome for the record."""

    def __init__(self, call: Called, code: str, presenter: Presenter, limits: Limits) -> None:
        self.call, self.code, self._presenter, self._limits = call, code, presenter, limits
        self._text = {"stdout": "", "stderr": ""}
        self._result: str | None = None
        self._table: Table | None = None
        self._progress: Progress | None = None
        self._error: CellError | None = None
        self._ended: Ended | None = None
        self._began = time.monotonic()
        self.made: list[Made] = []
        self.started = False

    def take(self, output: Output) -> None:
        match output:
            case Started():
                self.started = True
            case Printed(text, stream):
                self._text[stream] += text
            case Progress():
                self._progress = output if output.fraction < 1 else None
            case Result(text, table):
                self._result, self._table = text, table
            case Raised(name, message, traceback):
                self._error = CellError(name, message, traceback)
            case Made():
                self.made.append(output)
            case Ended():
                self._ended = output
        self.show()

    def show(self) -> None:
        stdout, stderr = self._text["stdout"][-2_000:], self._text["stderr"][-2_000:]
        seconds = time.monotonic() - self._began
        step = Step(self.code, "running", stdout, stderr, seconds=seconds, progress=self._progress)
        self._presenter.update(state="working", ahead=0, running=step)

    def outcome(self, files: tuple[CardFile, ...], notes: tuple[str, ...]) -> Returned:
        self._presenter.update(running=None)
        assert self._ended is not None, "a session's run ends with Ended"
        ended, error = self._ended, self._error
        if error is None and ended.reason in ("interrupted", "timeout", "died"):
            error = _cut_short(ended, self._limits)
        return Returned(
            self.call.id,
            self._text["stdout"],
            self._text["stderr"],
            self._result,
            self._table,
            error,
            ended.seconds,
            files,
            (*ended.notes, *_hints(error, self._limits), *notes),
        )

    def mended(self, sentence: str) -> None:
        """What there is to say of variables that went with the kernel."""
        if self._ended is not None:
            self._ended = replace(self._ended, detail=f"{self._ended.detail} {sentence}".strip())

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence when the variables are gone."""
        return (self._ended.detail,) if self._ended and self._ended.lost and self._ended.detail else ()

    def cut_off(self) -> Returned:
        """The outcome of a cell that was stopped from outside."""
        self._presenter.update(running=None)
        return Returned(
            self.call.id,
            self._text["stdout"],
            self._text["stderr"],
            error=CellError("Stopped", "The cell was stopped before it was done."),
            seconds=time.monotonic() - self._began,
        )


def _history(turns: Sequence[Turn], question: Question) -> list[Item]:
    """What earlier turns of the thread leave for the model: closed calls only, and their notes. Nothing of what an edited
    question has undone."""
    standing: list[Turn] = []
    for asked in [*(turn.question for turn in turns), question]:
        edited = [n for n, turn in enumerate(standing) if turn.question.id == asked.follows]
        standing = standing[: edited[0]] if edited else standing
        standing += [turn for turn in turns if turn.question is asked]
    items: list[Item] = []
    for turn in standing:
        returned = {item.id for item in turn.items if isinstance(item, Returned)}
        items += [item for item in turn.items if not isinstance(item, Called) or item.id in returned]
    return items


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def _lost(call: Called) -> Returned:
    return Returned(call.id, error=CellError("SandboxLost", LOST), notes=(LOST,))


def _cut_short(ended: Ended, limits: Limits) -> CellError:
    """What a person and a model read of a cell that did not end by itself."""
    match ended.reason:
        case "timeout":
            longest = f"The code was stopped after {limits.seconds:,.0f} s, the longest it may run."
            return CellError("TimeLimit", f"{longest} {ended.detail}".strip())
        case "interrupted":
            return CellError("Stopped", f"The code was stopped. {ended.detail}".strip())
        case _:
            return CellError("KernelDied", ended.detail)


def _hints(error: CellError | None, limits: Limits) -> tuple[str, ...]:
    """What to do about an error that only looks like the code's own (errno values of Linux, errno(3))."""
    if error is None or error.name != "OSError":
        return ()
    if "[Errno 28]" in error.message:
        room = min(limits.workspace, limits.memory // 2) / MIB
        return (f"This thread's workspace is full ({room:,.0f} MiB): delete files that are no longer needed, or say reset.",)
    if "[Errno 27]" in error.message:
        return (f"A single file may have {limits.file / MIB:,.0f} MiB here.",)
    return ()


def full_disk(problem: OSError) -> str:
    """What a person reads when Cellmate's own disk refuses a write."""
    return (
        f"Cellmate cannot write to its disk ({problem.strerror or problem}). The administrator must free space; then ask again."
    )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
