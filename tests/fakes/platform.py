"""What every fake chat platform offers to flow tests, so that one flow runs on all of them.

A fake is a real HTTP and WebSocket server on a loopback port. It enforces the platform's documented limits, refuses what the
platform refuses, and remembers every violation for its teardown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Shown:
    """One file as the thread shows it."""

    name: str
    content: bytes
    alt: str = ""


@dataclass(slots=True)
class Message:
    """One message as a member of the channel sees it."""

    id: str
    author: str
    """A person's name, or "cellmate"."""
    text: str
    """What a reader reads, as source text (mrkdwn, Markdown), blocks included."""
    files: list[Shown] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    """Labels."""
    only_for: str | None = None
    """The one person who sees it (ephemeral)."""
    notified: list[str] = field(default_factory=list)
    """Whom it pinged: names, "everyone"."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A place where an answer is expected."""

    channel: str
    thread: str


class Platform(Protocol):
    """A fake Slack or Discord. `async with` starts and stops it; stopping raises AssertionError for every unknown method,
    route or argument and every broken limit that a test did not expect."""

    name: str

    @property
    def env(self) -> Mapping[str, str]:
        """The settings with which a bot process reaches it: tokens and URLs."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    async def connected(self, seconds: float = 20) -> None:
        """Wait until a bot is connected and identified."""
        ...

    async def ask(
        self,
        text: str,
        *,
        files: Sequence[tuple[str, bytes]] = (),
        user: str = "ada",
        channel: str = "general",
        thread: Thread | None = None,
        mention: bool = True,
        direct: bool = False,
    ) -> Thread:
        """A person writes a message; returns the thread where its answer belongs. `direct`: in a DM, without a mention."""
        ...

    async def edit(self, thread: Thread, text: str) -> None:
        """The newest message that `ask` wrote in the thread is edited by its writer."""
        ...

    async def press(self, thread: Thread, label: str, user: str = "ada") -> None:
        """Press the newest button with this label in the thread. Raises LookupError when there is none."""
        ...

    async def redeliver(self) -> None:
        """Deliver the last event again, as the platform does when an acknowledgement was lost."""
        ...

    def messages(self, thread: Thread) -> list[Message]:
        """What stands in the thread now, oldest first, the opening message included."""
        ...

    def transcript(self, thread: Thread) -> str:
        """The same as text for golden files: one line a message, files and buttons named, ids and times left out."""
        ...

    def page(self, thread: Thread) -> str:
        """The thread as a self-contained HTML page in the platform's look, for pictures."""
        ...

    async def until(self, thread: Thread, what: Callable[[list[Message]], bool], seconds: float = 60) -> list[Message]:
        """Wait until the thread's messages satisfy `what`; AssertionError with the transcript when they do not in time."""
        ...

    def allow(self, violation: str) -> None:
        """A violation whose text contains this is expected by the test."""
        ...
