"""Running cells in tests: what one cell gave, gathered."""

import itertools
from collections.abc import AsyncIterator

from sandbox import Checkpoint, Ended, File, Limits, Made, Output, Printed, Raised, Result, Saved, Session, Started

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


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """Bytes as a stream."""
    for part in parts:
        yield part


async def get(session: Session, name: str) -> bytes:
    """A file's bytes."""
    return b"".join([chunk async for chunk in session.get(name)])


async def checkpoint(session: Session) -> tuple[Saved, bytes]:
    """A checkpoint in memory."""
    blob = bytearray()

    async def sink(data: bytes) -> None:
        blob.extend(data)

    return await session.checkpoint(sink), bytes(blob)


def from_bytes(blob: bytes) -> Checkpoint:
    """The other way."""
    return Checkpoint(len(blob), lambda: chunks(blob))
