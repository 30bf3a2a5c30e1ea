"""The vocabulary of the core: what is asked, what is recorded, what is shown. Frozen values, no behaviour beyond
their own form."""

import hashlib
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox import Part, Progress, Saved, Table

__all__ = [
    "FINAL",
    "Action",
    "Admission",
    "Asker",
    "Attachment",
    "Blob",
    "Called",
    "Card",
    "CardFile",
    "CellError",
    "Delta",
    "Finding",
    "Item",
    "Kept",
    "Piece",
    "Place",
    "Progress",
    "Question",
    "Receipt",
    "Reply",
    "Returned",
    "Said",
    "State",
    "Step",
    "Table",
    "ThreadRef",
    "Turn",
    "turn_id",
]


def turn_id(key: str) -> str:
    """A turn's id from a platform's key: 20 characters of [a-z2-7], the same for the same key, fit for a button's id."""
    return b32encode(hashlib.sha256(key.encode()).digest())[:20].decode().lower()


@dataclass(frozen=True, slots=True)
class ThreadRef:
    """Where a conversation lives. `str()` and `parse()` are inverses; the key for order, journal and session.

    The adapter chooses `place` and `thread` before the platform's own thread exists if need be; neither holds a colon.
    """

    chat: str
    """The adapter's name."""
    place: str
    """Workspace and channel in the adapter's own form."""
    thread: str

    def __post_init__(self) -> None:
        """Refuse a part that would make `parse` ambiguous."""
        if any(":" in part or not part for part in (self.chat, self.place, self.thread)):
            raise ValueError(f"a part of a thread reference is empty or holds a colon: {self!r}")

    def __str__(self) -> str:
        return f"{self.chat}:{self.place}:{self.thread}"

    @classmethod
    def parse(cls, text: str) -> "ThreadRef":
        """The reference that `str()` wrote. Raises ValueError for any other text."""
        chat, place, thread = text.split(":")
        return cls(chat, place, thread)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks or presses, as far as the platform can say."""

    id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    guest: bool = False
    external: bool = False
    """From another organisation (Slack Connect, a foreign guild)."""
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is asked."""

    workspace: str
    channel: str
    direct: bool = False
    """A direct message."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on the platform, not yet fetched. `locator` is read by its own adapter only (JSON values)."""

    name: str
    size: int
    """Bytes, as the platform says; the count while fetching decides."""
    media_type: str = "application/octet-stream"
    locator: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing asked: only what the platform's event itself held, so that accepting it is quick."""

    id: str
    """The turn's id, from `turn_id(keys[0])`."""
    keys: tuple[str, ...]
    """Every key by which the platform may deliver this again; unique over all platforms (start them with the chat's name).
    The first is also the handle of the message that asked."""
    thread: ThreadRef
    asker: Asker
    place: Place
    text: str
    kind: Literal["ask", "run"] = "ask"
    """`run`: the fenced blocks of `text` are cells, and no model is asked. An adapter sends `ask`; with no model the
    core runs fenced blocks by itself."""
    attachments: tuple[Attachment, ...] = ()
    follows: str | None = None
    """The turn whose question this is another wording of: it begins with the files and variables from before that one."""
    hold: float = 0.0
    """Seconds for which the turn does not begin, for more of it may come (`Inbox.amend`). What is shown does not wait."""


@dataclass(frozen=True, slots=True)
class Action:
    """A button, reaction, word or slash command. `name` is in `bot.commands.COMMANDS`."""

    id: str
    name: str
    thread: ThreadRef | None
    """The thread it was made in; None where the platform cannot say (a slash command)."""
    turn: str | None
    asker: Asker
    place: Place
    value: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """The policy's word. `reason` is one sentence for the asker, set where `admitted` is false."""

    admitted: bool
    reason: str = ""


# --- What is recorded -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in the files store."""

    digest: str
    """SHA-256, hexadecimal."""
    size: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a thread's checkpoint, as it lies in the files store."""

    part: Part
    name: str
    """The sandbox's own (`sandbox.Sink.piece`)."""
    blob: Blob
    nonce: str
    """What it is sealed with (`bot.seal`)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A thread's checkpoint."""

    turn: str
    """The answer at whose end it was made."""
    pieces: tuple[Piece, ...]
    files: Saved
    variables: Saved
    gone: Literal["", "old", "expired"] = ""
    """Why its pieces are no longer there: newer ones took their place, or nobody had come for long."""


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file that has come out of the sandbox and lies in the files store."""

    name: str
    """Its workspace path; unique within a turn (a later version of the same name replaces the earlier one)."""
    media_type: str
    blob: Blob
    figure: bool = False
    alt: str = ""
    facts: str = ""
    """What the figure shows, at length: for a model that sees no pictures."""


@dataclass(frozen=True, slots=True)
class CellError:
    """What the code raised, or how it was ended."""

    name: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """Text by a person, by the model, or by Cellmate itself (`note`: what happened to files, restarts, losses)."""

    role: Literal["user", "assistant", "note"]
    text: str
    shown: bool = False
    """A note that the person reads too, as one of the card's notes."""


@dataclass(frozen=True, slots=True)
class Called:
    """A cell to run. `code` is None where the model's arguments could not be read; `text` is what it said beside it."""

    id: str
    code: str | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """A cell's outcome."""

    id: str
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    table: Table | None = None
    error: CellError | None = None
    seconds: float = 0.0
    files: tuple[CardFile, ...] = ()
    notes: tuple[str, ...] = ()
    """For the person and the model: what was lost, dropped or shortened."""


Item = Said | Called | Returned


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what has come of it, as the journal has it."""

    question: Question
    items: tuple[Item, ...] = ()
    receipt: "Receipt | None" = None
    state: Literal["open", "done", "stopped", "failed"] = "open"


@dataclass(frozen=True, slots=True)
class Delta:
    """The reply's text so far, in full. May be skipped."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Ends a model's stream: what to record, in order."""

    items: tuple[Said | Called, ...]
    tokens: int = 0


# --- What is shown --------------------------------------------------------------------------------------------------

State = Literal["queued", "working", "waiting", "done", "stopped", "failed"]
FINAL: frozenset[State] = frozenset({"done", "stopped", "failed"})


@dataclass(frozen=True, slots=True)
class Step:
    """One cell as a person sees it."""

    code: str
    state: Literal["running", "ok", "failed", "stopped"] = "running"
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: CellError | None = None
    seconds: float = 0.0
    progress: Progress | None = None
    """How far the code says it is, while it runs."""


@dataclass(frozen=True, slots=True)
class Card:
    """Everything there is to see of a turn, at one moment. Declarative: a later revision replaces an earlier one.

    Only a card that is not `final` may be skipped.
    """

    turn: str
    revision: int
    state: State
    audience: Literal["thread", "asker"] = "thread"
    """`asker`: for the person who pressed alone (an ephemeral message), never the thread."""
    ahead: int = 0
    """While `queued`: how many turns stand before this one."""
    text: str = ""
    """Markdown (CommonMark with GFM tables). While working it only grows, except that a new step may empty it."""
    steps: tuple[Step, ...] = ()
    table: Table | None = None
    files: tuple[CardFile, ...] = ()
    notes: tuple[str, ...] = ()
    """One sentence each: what was lost, shortened, skipped."""
    actions: tuple[str, ...] = ()
    """Names of commands that make sense now, for buttons."""
    elapsed: float = 0.0
    """Seconds since the turn began to work."""
    waits: str = ""
    """While `waiting`: what for, in one line; empty: for the asker."""
    footer: str = ""

    @property
    def final(self) -> bool:
        """Whether this card must be delivered and nothing follows it."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an adapter needs to show the next card of the same turn. JSON values only; opaque to the core but for `handles`."""

    handles: tuple[str, ...] = ()
    """Keys of the platform's messages that show this turn, in the form of `Question.keys`: `Inbox.locate` finds them."""
    files: Mapping[str, Literal["delivered", "fallback"]] = field(default_factory=dict)
    """By `CardFile.name`: confirmed in the thread, or replaced by something that says so."""
    data: Mapping[str, Any] = field(default_factory=dict)


# --- What set-up is about, and what a check-up finds ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What looking at one thing that Cellmate needs has shown (`cellmate doctor`). Holds no secret."""

    check: str
    """What was looked at, in a word or two: "engine", "slack"."""
    state: Literal["ok", "warn", "fail"]
    """`fail`: Cellmate cannot work so, or not safely."""
    said: str
    remedy: str = ""
    """What to type or press; empty where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that set-up finds or makes, as people see it. Holds no secret."""

    name: str
    """"engine", "image" or "model"."""
    title: str
    state: Literal["waiting", "running", "asking", "done", "failed"] = "waiting"
    """`asking`: somebody has to choose one of `choices`."""
    said: str = ""
    """What is happening, what was found, or what went wrong and how to mend it."""
    log: str = ""
    """When it failed: the last lines of what was tried."""
    since: float = 0.0
    """When it began to run, in seconds since the epoch."""
    seconds: float = 0.0
    """How long it took, once it is done."""
    done: int | None = None
    total: int | None = None
    """Bytes, while something is fetched."""
    choices: tuple[tuple[str, str], ...] = ()
    """Value and label of each."""
