"""The sandbox's words and ports: what a cell does, what it leaves, and what an engine promises.

Two failures are kept apart everywhere. *The code failed* is an `Output` (`Raised`, `Ended`): the person's or
the model's to mend. *The sandbox failed* is a `SandboxError`: never the code's fault, and never shown as its output.

    SandboxError
    ├── SandboxDown    the engine cannot be reached or refuses to make a container
    ├── SandboxLost    the session's container is gone or no longer answers
    └── FileRefused    one file cannot be put or got; the session goes on
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|((?:\*\.)?[a-z0-9._-]+|\*))(?::(\d{1,5}))?")

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session and its cells may use. Seconds and bytes."""

    seconds: float = 120.0
    """One cell's time by the host's clock; then SIGINT, and SIGKILL `grace` later."""
    grace: float = 0.7
    memory: int = 2 * GIB
    """The container's memory, tmpfs pages included; swap is not added."""
    workspace: int = 1 * GIB
    """The size of /workspace. An engine uses at most half of `memory`."""
    tmp: int = 128 * MIB
    file: int = 512 * MIB
    """The largest single file that goes in, comes out, or may be written."""
    processes: int = 128
    files: int = 20
    """Files one cell may hand out; the rest stay in the workspace and are counted in `Ended.notes`."""
    output: int = 256 * KIB
    """Text of one cell, kept as head and tail around a line that says how much was dropped."""


@dataclass(frozen=True, slots=True)
class Egress:
    """What a session's code may reach outside; nothing by default. `sandbox.egress` holds it."""

    hosts: tuple[str, ...] = ()
    """Over TLS: "example.org" (itself alone), "*.example.org" (what is below it), "*" (all); with ":8443" for a port other than
    443. A private address only where it is in here itself ("10.0.0.7", "10.0.0.7:5432"), also for a name that leads to it."""
    indexes: tuple[str, ...] = ()
    """URLs of the package indexes (Simple repository API) that `pip install` has its packages from, the first first."""

    def __post_init__(self) -> None:
        """Raise ValueError, which names it, for a host that is none."""
        for host in self.hosts:
            host_and_port(host)


def host_and_port(text: str) -> tuple[str, int]:
    """An entry of `Egress.hosts` in its parts, in small letters. Raises ValueError for any other text."""
    found = _HOST.fullmatch(text.lower())
    port = int(found[3] or 443) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(
            f"{text!r} is neither a host (example.org, *.example.org:8443) nor an address (10.0.0.7, [fd00::7]:5432)"
        )
    return found[1] or found[2], port


@dataclass(frozen=True, slots=True)
class Spec:
    """What a session is made from."""

    image: str
    limits: Limits = Limits()
    runtime: str | None = None
    """An OCI runtime's name as the engine knows it (`runsc`); None is the engine's default."""
    egress: Egress = Egress()

    @property
    def gvisor(self) -> bool:
        """The runtime is gVisor: a kernel of its own between the code and the machine's."""
        return (self.runtime or "").startswith("runsc")


@dataclass(frozen=True, slots=True)
class File:
    """A regular file in the workspace."""

    name: str
    """Its path relative to the workspace, POSIX slashes, valid Unicode, no control characters."""
    size: int
    media_type: str
    """By its first bytes and its name (`sandbox.media`); in a listing by its name alone."""
    figure: bool = False
    """Drawn by a cell (a matplotlib figure that was left open), as PNG."""
    alt: str = ""
    """What the figure shows, in a sentence or two: its title, axes, series and their extremes."""
    facts: str = ""
    """The same at length, for a reader that sees no pictures."""


@dataclass(frozen=True, slots=True)
class Table:
    """The head of a DataFrame or Series that was a cell's last expression, as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    """Rows of the whole table, of which `rows` is the beginning."""
    types: tuple[str, ...] = ()
    """Of each column, as pandas calls it: "int64", "str", "datetime64[us]"."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A name the user's code has defined."""

    name: str
    type: str
    summary: str


@dataclass(frozen=True, slots=True)
class Started:
    """The cell is running. Always first."""


@dataclass(frozen=True, slots=True)
class Printed:
    """Text as it came, already cleaned of escape sequences and invalid characters."""

    text: str
    stream: Literal["stdout", "stderr"] = "stdout"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the code says it is, by a line that it rewrites (tqdm's, or any with a percentage). The newest counts; some
    are skipped, and none is given again for a cell that is looked at a second time."""

    fraction: float
    """0 to 1."""
    eta: float | None = None
    """Seconds left, where it says so."""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The value of the last expression, as text; a table beside it where it is one."""

    text: str
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The code raised. `traceback` has none of our frames."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Made:
    """A figure, or a file that is new or changed since the cell began; after the code has ended."""

    file: File


@dataclass(frozen=True, slots=True)
class Ended:
    """Always last.

    `ok`; `raised` (a `Raised` came before); `interrupted` by `Session.interrupt`; `timeout` by `Limits.seconds`;
    `died`: the kernel's process is gone (memory, a crash, `os._exit`) and a new one is ready.
    """

    reason: Literal["ok", "raised", "interrupted", "timeout", "died"]
    seconds: float
    detail: str = ""
    """One sentence for a person: why it died, what was dropped. Empty when there is nothing to say."""
    lost: bool = False
    """The variables are gone (files never are)."""
    notes: tuple[str, ...] = ()
    """What a limit took: "12,345 lines dropped", "3 more files, largest 40 MB, kept in the workspace"."""


Output = Started | Printed | Progress | Result | Raised | Made | Ended


@dataclass(frozen=True, slots=True)
class Loss:
    """Something a checkpoint could not keep or a restore could not bring back, with the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds."""

    variables: int
    files: int
    lost: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a session brought back from a checkpoint."""

    variables: int
    files: int
    lost: tuple[Loss, ...] = ()
    gone: tuple[str, ...] = ()
    """Names that had a value before and have none now."""


Part = Literal["files", "variables"]
"""The two halves of a checkpoint, in the order in which they are brought back."""


class Sink(Protocol):
    """Takes a part of a checkpoint in pieces."""

    async def write(self, data: bytes) -> None:
        """Opaque bytes of the piece that is being given."""
        ...

    async def piece(self, name: str) -> None:
        """What was written since the last call is the piece of this name; nothing: a piece that was known before.

        An empty name: forget what was written.
        """
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `Session.checkpoint` gave for each part: its pieces' bytes in their order. Only a sandbox reads inside.

    A stream may raise `Damaged`; what came before it is used.
    """

    files: Callable[[], AsyncGenerator[bytes, None]]
    variables: Callable[[], AsyncGenerator[bytes, None]]


class Damaged(Exception):
    """A checkpoint is not what was given out. `str()` says in what way ("it was altered")."""


@dataclass(frozen=True, slots=True)
class About:
    """What an engine says of itself, of its machine, and of what the spec needs there."""

    address: str
    """Where it was reached, as `DOCKER_HOST` writes it."""
    name: str
    version: str
    runtime: str
    """The OCI runtime that sandboxes get."""
    runtime_version: str
    """Empty where the engine does not say."""
    runtimes: tuple[str, ...]
    """Every runtime it knows; empty where it does not say."""
    memory: int
    """Bytes that its machine has."""
    folder: str
    """Where its machine keeps images and containers."""
    missing: tuple[str, ...]
    """What it cannot enforce: of "seccomp", "memory limit", "process limit"."""
    image: int | None
    """Bytes of the spec's image; None when it is not there."""


class SandboxError(Exception):
    """The sandbox failed, not the code. `str()` is one sentence for a person."""


class SandboxDown(SandboxError):
    """The engine cannot be reached or refuses to make a container: the operator's to mend."""

    def __init__(self, said: str, remedy: str = "") -> None:
        """`remedy`: what to type, where that is known."""
        super().__init__(said)
        self.remedy = remedy


class SandboxLost(SandboxError):
    """The session's container is gone or no longer answers. Open the session again to go on."""


class FileRefused(SandboxError):
    """A file is missing, too large, not a regular file, or does not fit the workspace. Nothing has changed."""


class Session(Protocol):
    """One thread's container: variables and files that stay from cell to cell.

    One cell at a time. Every call but `interrupt` waits for a running cell. All calls raise `SandboxLost` when the
    container has gone.
    """

    key: str
    origin: Literal["fresh", "restored", "adopted"]
    """`adopted`: the container was already running for this key, its variables and last cell are as they were."""
    restored: Restored | None
    """Set when `origin` is `restored`."""
    emptied: bool
    """The variables went with a kernel, and `reload` has not been called since. Known after `run`, and after `checkpoint`."""

    def run(self, id: str, code: str, limits: Limits | None = None) -> AsyncGenerator[Output, None]:
        """Run one cell and yield its outputs as they happen; `Started` first, `Ended` last.

        Idempotent by `id`: for the current or the last cell's id nothing runs again, and its outputs (bounded by
        `Limits.output`) are given from the start. Leaving the generator early interrupts the cell and waits until
        it has ended. The deadline is the host's.
        """
        ...

    async def interrupt(self) -> None:
        """SIGINT the running cell, SIGKILL after `Limits.grace`; returns at once. Nothing running: does nothing."""
        ...

    async def put(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> File:
        """Write a file into the workspace, replacing one of that name only when all `size` bytes have come.

        The file it returns may have a cleaned name. Raises `FileRefused` before reading any chunk when it cannot fit.
        """
        ...

    def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """A workspace file's bytes in order, as it was when opened; symbolic links are never followed. Raises `FileRefused`."""
        ...

    async def list(self) -> tuple[File, ...]:
        """Every regular file in the workspace, sorted by name, 10,000 at most."""
        ...

    async def variables(self) -> tuple[Variable, ...]:
        """What the user's code has defined, sorted by name; modules and our own names left out."""
        ...

    async def checkpoint(self, part: Part, sink: Sink, known: Collection[str] = ()) -> Saved:
        """Give a part of the session, and say what it holds. `known`: names of pieces of that part that need not come again.

        When it raises, what reached `sink` is worthless. A variable that cannot be pickled is a `Loss`.
        """
        ...

    async def reload(self, from_: Checkpoint | None, cells: Sequence[str] = ()) -> Restored:
        """Bring variables back after a cell ended with `Ended.lost`; files stay as they are, and so does what is defined since.

        What these cells had given a value to and is not there now is named in `Restored.gone`.
        """
        ...

    async def rest(self) -> None:
        """Use no processor until the next call, where the engine can do that: threads of the code stand still too."""
        ...

    async def close(self) -> None:
        """Remove the container. Idempotent; never raises."""
        ...


class Engine(Protocol):
    """Makes sessions. Used as an async context manager by whoever opens it."""

    async def session(self, key: str, spec: Spec, from_: Checkpoint | None = None) -> Session:
        """The session for `key`: the running one if there is one, else a new one, restored from `from_` if given.

        `key` is any string; two keys never share a container, and a container never serves a second key.
        Raises `SandboxDown`. A checkpoint that cannot be read at all gives a fresh session whose `restored` names the loss.
        """
        ...

    async def about(self) -> About:
        """What the engine says of itself. Raises `SandboxDown`."""
        ...

    async def running(self) -> tuple[str, ...]:
        """The keys whose container runs, those of an earlier process included. Raises `SandboxDown`."""
        ...

    async def memory(self) -> int:
        """Bytes of memory that the sessions use; 0 where the engine's machine does not say."""
        ...

    async def check(self) -> str:
        """One line on what is in use ("Docker Engine 20.10.24, runc"). Raises `SandboxDown`, whose text says what to do."""
        ...
