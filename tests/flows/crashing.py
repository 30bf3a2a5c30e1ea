"""The bot, made to die: `python -m tests.flows.crashing` is `cellmate up` that SIGKILLs itself at one journal point.

CRASH_AT names the point ("after append 2"); CRASH_LOG is a file that gets a line for every point reached.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

from bot import log, wiring
from bot.ports import Journal

WRITES = ("accept", "append", "receipt", "save", "finish")


class DeadlyJournal:
    """A journal that kills its process before or after one chosen write."""

    def __init__(self, journal: Journal, at: str, points: str) -> None:
        self._journal, self._at, self._points = journal, at, points
        self._counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._journal, name)
        if name not in WRITES:
            return method  # type: ignore[no-any-return]

        async def write(*arguments: Any) -> Any:
            self._counts[name] += 1
            self._reach(f"before {name} {self._counts[name]}")
            result = await method(*arguments)
            self._reach(f"after {name} {self._counts[name]}")
            return result

        return write

    def _reach(self, point: str) -> None:
        descriptor = os.open(self._points, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{point}\n".encode())
        os.close(descriptor)
        if point == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    settings = wiring.read_settings()
    log.configure("info")
    at, points = os.environ["CRASH_AT"], os.environ["CRASH_LOG"]
    asyncio.run(wiring.up(settings, [], wrap=lambda journal: DeadlyJournal(journal, at, points)))


if __name__ == "__main__":
    main()
