"""Running cells in tests: what one cell gave, gathered."""

import itertools
from collections.abc import AsyncGenerator, Callable

from sandbox import Checkpoint, Ended, File, Limits, Made, Output, Part, Printed, Raised, Result, Saved, Session, Started

_numbers = itertools.count(1)


class Outcome:
    """All outputs of one cell, in order."""

    def __init__(self, outputs: list[Output]) -> None:
        assert isinstance(outputs[0], Started)
        assert isinstance(outputs[-1], Ended)
        self.outputs = outputs
        self.ended: Ended = outputs[-1]
        self.files: list[File] = [output.file for output in outputs if isinstance(output, Made)]
        self.result: Result | None = next((output for output in outputs if isinstance(output, Result)), None)
        self.raised: Raised | None = next((output for output in outputs if isinstance(output, Raised)), None)
        self.stdout = self._text("stdout")
        self.stderr = self._text("stderr")

    def _text(self, stream: str) -> str:
        return "".join(output.text for output in self.outputs if isinstance(output, Printed) and output.stream == stream)

    @property
    def names(self) -> list[str]:
        """Names of the files it handed out."""
        return [file.name for file in self.files]

    @property
    def value(self) -> str | None:
        """The result's text."""
        return self.result.text if self.result else None


async def run(session: Session, code: str, limits: Limits | None = None, id: str | None = None) -> Outcome:
    """Run one cell to its end."""
    return Outcome([output async for output in session.run(id or f"cell-{next(_numbers)}", code, limits)])


async def chunks(*parts: bytes) -> AsyncGenerator[bytes, None]:
    """Bytes as a stream."""
    for part in parts:
        yield part


async def get(session: Session, name: str) -> bytes:
    """A file's bytes."""
    return b"".join([chunk async for chunk in session.get(name)])


class Blob:
    """A checkpoint in memory; `sandbox.Sink` for one part after the other."""

    def __init__(self) -> None:
        self.parts: dict[Part, list[str]] = {"files": [], "variables": []}
        """Names of each part's pieces."""
        self.pieces: dict[str, bytes] = {}
        self.given: list[str] = []
        """Names of those that came with their bytes, in order."""
        self._part: Part = "files"
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        self._buffer += data

    async def piece(self, name: str) -> None:
        if self._buffer and name:
            self.pieces[name] = bytes(self._buffer)
            self.given.append(name)
        self._buffer.clear()
        if name:
            self.parts[self._part].append(name)

    async def take(self, session: Session) -> Saved:
        """Take a checkpoint; what is known from the last one need not come again."""
        self.given.clear()
        saved = []
        for part in PARTS:
            known, self._part, self.parts[part] = self.parts[part], part, []
            saved.append(await session.checkpoint(part, self, known))
        files, variables = saved
        return Saved(variables.variables, files.files, (*files.lost, *variables.lost))

    def bytes(self, part: Part) -> bytes:
        return b"".join(self.pieces[name] for name in self.parts[part])


PARTS: tuple[Part, Part] = ("files", "variables")


async def checkpoint(session: Session) -> tuple[Saved, Blob]:
    """A checkpoint in memory."""
    blob = Blob()
    return await blob.take(session), blob


def from_bytes(blob: Blob, change: Callable[[bytes], bytes] = lambda whole: whole) -> Checkpoint:
    """The other way, each part's bytes changed on the way."""

    def stream(part: Part) -> Callable[[], AsyncGenerator[bytes, None]]:
        return lambda: chunks(change(blob.bytes(part)))

    return Checkpoint(stream("files"), stream("variables"))
