"""What the core asks of the outside, and what it offers to it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from bot.types import (
    Action,
    Attachment,
    Blob,
    Card,
    Delta,
    Finding,
    Item,
    Kept,
    Question,
    Receipt,
    Reply,
    Stage,
    ThreadRef,
    Turn,
)


class Inbox(Protocol):
    """Where adapters bring what people do. The dispatcher is one. None of its calls raises for a person's fault."""

    async def accept(self, question: Question) -> bool:
        """Returns once the question is committed; acknowledge the platform's event only then.

        False when one of its keys has been seen before: a redelivery, nothing was done.
        Where the question cannot be taken (policy, full disk) the thread is told, and True is returned.
        """
        ...

    async def amend(self, question: Question) -> Card | None:
        """The asker has edited or gone on with the question `question.follows`, which now is this whole one.

        None: it had not begun and will be answered as it is now, or it had its answer and will be answered again, from what was
        there before it. A card says to the asker that it was too late for the one and too early for the other.
        """
        ...

    async def act(self, action: Action) -> Card | None:
        """Carry out an action. A card is the answer to its asker (`audience` says who may see it); None: nothing to say."""
        ...

    async def engaged(self, thread: ThreadRef) -> bool:
        """Whether a question has been accepted in this thread before."""
        ...

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        """The turn and thread of a platform message: one of a question's `keys` or of a receipt's `handles`."""
        ...


class Chat(Protocol):
    """A platform. Every adapter room offers `connect(settings, files)`, an async context manager that gives one.

    One that can show how set-up goes has a method `attend(setup: Setup)` too, called once, before `listen`.
    """

    name: str

    async def listen(self, inbox: Inbox) -> None:
        """Bring what people do to `inbox`, until cancelled. Reconnects; raises `ConfigError` when refused for good."""
        ...

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """Make the thread show this card.

        `receipt` is what the last call for this turn returned, also after a restart. None: nothing was ever shown.
        An empty `Receipt()`: a first call may have been cut off by a crash, so look for its message before sending another.
        A card that is not final may be skipped when the platform's pace says so: return `receipt` as it is (an empty one
        for None is never right: the first card of a turn is always shown). The core shows the newest card again every
        second while a turn works, so a skipped card loses nothing.
        For a final card it returns only when text is delivered and every one of `card.files` is in `Receipt.files`;
        text first, files after, and a file the platform refuses becomes a line in the thread. Raises when even the text
        could not be delivered; the core tries again with back-off.
        """
        ...

    def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """The attachment's bytes. Raises `Refused` with a sentence when the platform will not give them."""
        ...

    async def context(self, question: Question) -> Sequence[str]:
        """Recent lines of the thread that Cellmate was not asked, oldest first, "name: text". Best effort; may be empty."""
        ...


class Model(Protocol):
    """A language model behind one API."""

    def stream(self, items: Sequence[Item]) -> AsyncGenerator[Delta | Reply, None]:
        """Deltas, then exactly one Reply. Raises `ModelError` when retries are over; a delta is never taken back by a retry."""
        ...


class Setup(Protocol):
    """What has to be there before a cell can run and a model can answer: found or made while the chats are up already."""

    model: Model | None
    """Who answers; None: nobody, or not yet."""
    label: str
    """What is said of the model under each of its answers; empty where there is nothing to say."""

    @property
    def expects_model(self) -> bool:
        """Whether a model answers, now or once set-up has come so far."""
        ...

    async def ready(self, tell: Callable[[str], None], *, model: bool) -> None:
        """Returns once cells can run, and with `model` once `self.model` is there. `tell` hears in a line what is waited for.

        Raises `ConfigError` when it has failed.
        """
        ...

    async def sandbox(self) -> None:
        """Returns once cells can run, however often it has failed before."""
        ...

    def stages(self) -> tuple[Stage, ...]:
        """How far it is."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """At once, and each time that `stages` has changed."""
        ...

    def again(self) -> None:
        """Try once more what has failed."""
        ...

    def choose(self, choice: str) -> None:
        """Take one of a stage's `choices`. Anything else does nothing."""
        ...

    async def diagnose(self) -> Sequence[Finding]:
        """The check-up of `cellmate doctor`."""
        ...


class Files(Protocol):
    """Bytes on the host, named by their content."""

    async def put(self, chunks: AsyncIterator[bytes]) -> Blob:
        """Keep these bytes; durable when it returns. Raises OSError when the disk is full; then nothing is kept."""
        ...

    def writer(self) -> AbstractAsyncContextManager["Writer"]:
        """The same for a producer that pushes. Nothing is kept unless `Writer.blob` was awaited."""
        ...

    def open(self, blob: Blob) -> AsyncGenerator[bytes, None]:
        """The bytes in order. Raises FileNotFoundError."""
        ...

    async def remove(self, blob: Blob) -> None:
        """Forget these bytes. Missing ones are no error."""
        ...


class Writer(Protocol):
    """One file being written to the store."""

    async def write(self, chunk: bytes) -> None:
        """Append."""
        ...

    async def blob(self) -> Blob:
        """Finish; durable when it returns."""
        ...


class Journal(Protocol):
    """What has been promised and done. Each call is one transaction, durable when it returns."""

    async def accept(self, question: Question) -> bool:
        """Record a question and all its keys at once. False: a key was there already, and nothing is recorded."""
        ...

    async def amend(self, turn: str, question: Question) -> None:
        """Put another wording in a turn that has no items yet."""
        ...

    async def append(self, turn: str, *items: Item) -> None:
        """Add items at the end of a turn."""
        ...

    async def receipt(self, turn: str, receipt: Receipt) -> None:
        """Keep the newest receipt, and its handles for `locate`."""
        ...

    async def finish(self, turn: str, state: str) -> None:
        """Close a turn: done, stopped or failed."""
        ...

    async def turn(self, turn: str) -> Turn | None:
        """One turn, whole."""
        ...

    async def unfinished(self) -> list[Turn]:
        """Open turns in the order they were accepted."""
        ...

    async def before(self, turn: str, limit: int) -> list[Turn]:
        """The last `limit` turns of the same thread accepted before this one, oldest first."""
        ...

    async def latest(self, thread: ThreadRef) -> Turn | None:
        """The newest turn of a thread."""
        ...

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        """The turn that a key or handle belongs to."""
        ...

    async def save(self, thread: ThreadRef, kept: Kept) -> list[Blob]:
        """Make this the thread's newest checkpoint, in place of one of the same turn; of the last `KEPT` the pieces stay.

        Returns the blobs that no checkpoint needs any more, as every call does that drops some.
        """
        ...

    async def checkpoint(self, thread: ThreadRef, before: str | None = None) -> Kept | None:
        """The thread's newest checkpoint; the newest of those made before the turn `before` was asked."""
        ...

    async def rewind(self, thread: ThreadRef, before: str) -> list[Blob]:
        """Drop the checkpoints made since the turn `before` was asked."""
        ...

    async def forget(self, thread: ThreadRef) -> list[Blob]:
        """Drop all of the thread's checkpoints."""
        ...

    async def expire(self, thread: ThreadRef) -> list[Blob]:
        """Drop the pieces of all of the thread's checkpoints, and remember that there were some."""
        ...

    async def asleep(self, since: datetime) -> list[ThreadRef]:
        """Threads with pieces whose newest checkpoint is older than `since`, the oldest first."""
        ...

    async def weight(self) -> int:
        """Bytes of all checkpoints' pieces."""
        ...

    async def key(self) -> bytes:
        """32 bytes of this journal's own that nobody else knows, made once."""
        ...

    async def installation(self) -> str:
        """This journal's id, made once: 12 characters of [a-z2-7]."""
        ...
