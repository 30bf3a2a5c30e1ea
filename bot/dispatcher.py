"""The inbox: takes questions durably, carries their turns out in order within a thread and side by side across threads, stops
them, and takes them up again after a restart. The one place where a turn's task lives."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from bot.commands import COMMANDS
from bot.errors import CellmateError
from bot.policy import admit, told
from bot.ports import Chat
from bot.text import fence, shorten
from bot.turns import PAUSED, Means, TurnRun
from bot.types import Action, Called, Card, Question, Receipt, Said, ThreadRef, Turn, turn_id
from sandbox import SandboxError

log = structlog.get_logger()

TOO_LATE = "I had already taken up the earlier wording. Send the new one as a message, and I will answer that."
DRAIN = 5.0
"""Seconds that running turns get to end by themselves when the bot shuts down."""


@dataclass(slots=True)
class _Entry:
    """One accepted turn until it is closed."""

    run: TurnRun
    task: asyncio.Task[None] | None = None
    stopped_by: str | None = None
    begun: bool = False


class Dispatcher:
    """The one `Inbox`. `serve` owns every turn's task."""

    def __init__(self, chats: Mapping[str, Chat], means: Means) -> None:
        """`chats` by name: whose questions are taken, and where their answers go."""
        self._chats, self._means = chats, means
        self._threads: dict[ThreadRef, list[_Entry]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._started = asyncio.Event()
        self._closing = False

    # --- Inbox ---------------------------------------------------------------------------------------------------------

    async def accept(self, question: Question) -> bool:
        """See `Inbox.accept`."""
        # A question recorded while what is unfinished is being read would be found there, and carried out twice.
        await self._started.wait()
        admission = admit(question.asker, question.place, "ask")
        try:
            if not await self._means.journal.accept(question):
                return False
            if not admission.admitted:
                await self._means.journal.finish(question.id, "failed")
        except CellmateError as problem:
            log.error("question not taken", turn=question.id, problem=str(problem))
            await self._refuse(question, str(problem))
            return True
        if not admission.admitted:
            await self._refuse(question, admission.reason)
            return True
        log.info("accepted", turn=question.id, chat=question.thread.chat, files=len(question.attachments))
        self._enqueue(Turn(question))
        return True

    async def amend(self, question: Question) -> Card | None:
        """See `Inbox.amend`."""
        entry = self._entry(question.thread, question.follows)
        if entry is None:
            return await self._ask_again(question)
        if entry.begun or entry.run.items:
            return Card(question.id, 1, "done", audience="asker", text=TOO_LATE)
        whole = replace(question, id=entry.run.question.id, follows=entry.run.question.follows)
        await self._means.journal.amend(whole.id, whole)
        entry.run.amend(whole)
        return None

    async def _ask_again(self, question: Question) -> Card | None:
        """An edited question that has its answer is asked anew, from what was there before it. A redelivery changes nothing."""
        first = await self._means.journal.turn(question.follows) if question.follows else None
        newest = await self._means.journal.latest(question.thread)
        if first is None or newest is None or first.state == "open":
            return Card(question.id, 1, "done", audience="asker", text=TOO_LATE)
        if newest.question.text != question.text or first.question.id not in (newest.question.id, newest.question.follows):
            # It still ends with the message's own key, by which an adapter knows the message that asked.
            key = f"{question.thread.chat}.edit.{turn_id(newest.question.id + question.text)}:{question.keys[0]}"
            await self.accept(replace(question, id=turn_id(key), keys=(key,), follows=first.question.id))
        return None

    async def act(self, action: Action) -> Card | None:
        """See `Inbox.act`."""
        admission = admit(action.asker, action.place, action.name)
        if not admission.admitted:
            return _answer(action, admission.reason)
        try:
            if COMMANDS[action.name].who == "asker" and not await self._owns(action):
                return _answer(action, "Only the person who asked here can do that.")
            match action.name:
                case "stop":
                    return self._stop(action)
                case "code":
                    return await self._code(action)
                case "files":
                    return await self._files(action)
                case "reset":
                    return await self._reset(action)
                case _:
                    return _answer(action, self._help(action.thread))
        except (CellmateError, SandboxError) as problem:
            return _answer(action, str(problem))

    async def engaged(self, thread: ThreadRef) -> bool:
        """See `Inbox.engaged`."""
        return await self._means.journal.latest(thread) is not None

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        """See `Inbox.locate`."""
        return await self._means.journal.locate(handle)

    # --- Life ----------------------------------------------------------------------------------------------------------

    async def serve(self, until: asyncio.Event) -> None:
        """Take up what is unfinished, then work until `until` is set; running turns then get `DRAIN` seconds.

        What is not done by then stays open in the journal, with a note when its thread's state could be saved.
        """
        async with asyncio.TaskGroup() as self._tasks:
            taking_over = self._tasks.create_task(self._take_over())
            for turn in await self._means.journal.unfinished():
                if turn.question.thread.chat in self._chats:
                    log.info("taken up again", turn=turn.question.id)
                    self._enqueue(turn)
            self._started.set()
            await until.wait()
            self._closing = True
            taking_over.cancel()  # it may be waiting for a set-up that has failed
            await self._drain()
        unsaved = await self._means.sessions.close()
        for thread, entries in self._threads.items():
            for entry in entries:
                if entry.run.items and thread not in unsaved:
                    await self._means.journal.append(entry.run.question.id, Said("note", PAUSED))

    async def _take_over(self) -> None:
        await self._means.setup.sandbox()
        await self._means.sessions.take_over()

    async def _drain(self) -> None:
        tasks = [entry.task for entries in self._threads.values() for entry in entries if entry.task]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN)
        for task in tasks:
            task.cancel()

    def _enqueue(self, turn: Turn) -> None:
        if self._closing or self._tasks is None:
            return  # it is in the journal: the next start takes it up
        entries = self._threads.setdefault(turn.question.thread, [])
        entry = _Entry(TurnRun(self._means, self._chats[turn.question.thread.chat], turn))
        entries.append(entry)
        before = entries[-2].task if len(entries) > 1 else None
        if before is not None and not entries[-2].run.finished:
            entry.run.presenter.update(state="queued", ahead=len(entries) - 1)
        entry.task = self._tasks.create_task(self._carry_out(entry, before), name=f"turn {turn.question.id}")

    async def _carry_out(self, entry: _Entry, before: asyncio.Task[None] | None) -> None:
        """One turn's task: waits for the one before it in the thread, works, and never fails."""
        thread, turn = entry.run.question.thread, entry.run.question.id
        structlog.contextvars.bind_contextvars(turn=turn)
        try:
            await entry.run.wait(before)
            entry.begun = True
            await entry.run.run()
            log.info("answered")
        except asyncio.CancelledError:
            if entry.stopped_by is None:
                raise
            await entry.run.stop(entry.stopped_by)
            log.info("stopped")
        except Exception:
            # Delivery failed for good, or the journal did: the turn stays open and is taken up at the next start.
            log.exception("turn left open")
        entries = self._threads[thread]
        entries.remove(entry)
        for ahead, waiting in enumerate(entries):
            if not waiting.begun:
                waiting.run.presenter.update(ahead=ahead)
        if not entries:
            del self._threads[thread]

    # --- Actions -------------------------------------------------------------------------------------------------------

    def _stop(self, action: Action) -> Card | None:
        """Stop one turn, or every turn of the thread when the action names none."""
        entries = self._threads.get(action.thread, []) if action.thread else []
        chosen = [e for e in entries if action.turn in (None, e.run.question.id) and not e.run.finished]
        for entry in chosen:
            if entry.task is not None and entry.stopped_by is None:
                entry.stopped_by = action.asker.name or "somebody"
                entry.task.cancel()
        return None if chosen else _answer(action, "Nothing is running here.")

    async def _code(self, action: Action) -> Card:
        turn = await self._turn(action)
        code = [item.code for item in turn.items if isinstance(item, Called) and item.code] if turn else []
        if not code:
            return _answer(action, "This answer ran no code.")
        return _answer(action, "\n\n".join(f"```python\n{block.strip()}\n```" for block in code))

    async def _files(self, action: Action) -> Card:
        if action.thread is None or await self._means.journal.latest(action.thread) is None:
            return _answer(action, "This thread has no files yet.")
        async with self._means.sessions.use(action.thread) as session:
            files, variables = await session.list(), await session.variables()
        listing = "\n".join(f"{file.size:>12,}  {file.name}" for file in files) or "(no files)"
        names = "\n".join(f"{v.name}: {v.type} {v.summary}" for v in variables) or "(no variables)"
        return _answer(
            action, f"Files, in bytes:\n{fence(shorten(listing, 6_000))}\nVariables:\n{fence(shorten(names, 3_000))}"
        )

    async def _reset(self, action: Action) -> Card:
        if action.thread is None:
            return _answer(action, "Say it in the thread that is to start afresh.")
        if any(not entry.run.finished for entry in self._threads.get(action.thread, [])):
            return _answer(action, "Something is running here. Stop it first.")
        await self._means.sessions.forget(action.thread)
        return _answer(action, "This thread's files and variables are gone; the next question starts afresh.", "thread")

    def _help(self, thread: ThreadRef | None) -> str:
        how = (
            "Ask a question, with files attached if you like; I write Python, run it, and answer here."
            if self._means.setup.expects_model
            else "Send Python in a fenced block (```), with files attached if you like; I run it and show what comes out."
        )
        rows = [f"- **{c.words[0]}** — {c.help}." for c in COMMANDS.values() if c.words]
        network = (told(self._means.sessions.reach(thread)) or "Code has no network here.") if thread else ""
        lead = " ".join(filter(None, (how, "Files and variables stay in the thread.", network)))
        return "\n".join([f"{lead} A message that says only:", *rows])

    async def _turn(self, action: Action) -> Turn | None:
        if action.turn is not None:
            return await self._means.journal.turn(action.turn)
        return await self._means.journal.latest(action.thread) if action.thread else None

    async def _owns(self, action: Action) -> bool:
        turn = await self._turn(action)
        return turn is None or turn.question.asker.id == action.asker.id or "admin" in action.asker.roles

    def _entry(self, thread: ThreadRef, turn: str | None) -> _Entry | None:
        return next((e for e in self._threads.get(thread, []) if e.run.question.id == turn and not e.run.finished), None)

    async def _refuse(self, question: Question, reason: str) -> None:
        await self._tell(question, Card(question.id, 1, "failed", text=reason))

    async def _tell(self, question: Question, card: Card) -> None:
        """Say one thing in a thread outside any turn; a platform that will not take it is logged, for nobody else can know."""
        receipt: Receipt | None = None
        try:
            await self._chats[question.thread.chat].show(question.thread, card, receipt)
        except Exception as problem:
            log.error("could not tell the thread", turn=question.id, problem=repr(problem))


def _answer(action: Action, text: str, audience: str = "asker") -> Card:
    return Card(
        action.turn or action.id,
        1,
        "done",
        audience="thread" if audience == "thread" else "asker",
        text=text,
    )
