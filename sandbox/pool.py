"""What is kept ready for whoever comes next: how much of it, when more is made, and whether it still works."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from sandbox.api import SandboxDown, SandboxLost

_log = logging.getLogger(__name__)

_BURST = 10.0
"""Seconds within which those who come count as coming at once."""
_HALF_LIFE = 600.0
"""Seconds after which half as many are expected."""
_CHECK = 30.0
"""Seconds between two looks at whether what waits still works."""
_CALM = 0.2
_PATIENCE = 10.0
"""The longest that making one waits for running cells."""
_RETRY = 1.0, 60.0


class Member(Protocol):
    """Something that can be kept ready."""

    @property
    def lost(self) -> bool:
        """It is known not to work any more."""
        ...

    @property
    def warm(self) -> bool:
        """It is as quick as it can be."""
        ...

    async def check(self) -> None:
        """Raises `SandboxLost` when it does not work."""
        ...

    async def warm_up(self) -> None:
        """Make it warm; it may be taken meanwhile. Raises `SandboxLost` when it ends over that."""
        ...

    async def remove(self) -> None:
        """End it. Never raises."""
        ...


T = TypeVar("T", bound=Member)


class Demand:
    """How many may come at once, by those who came lately. Times are in seconds by any one clock."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._most, self._at = 0.0, 0.0

    def arrived(self, now: float) -> None:
        """Somebody came."""
        self._recent.append(now)
        while self._recent[0] < now - _BURST:
            self._recent.popleft()
        self._most, self._at = max(self._most_at(now), len(self._recent)), now

    def expected(self, now: float) -> int:
        """How many to be ready for."""
        return math.ceil(self._most_at(now) - 0.5)

    def _most_at(self, now: float) -> float:
        return float(self._most * 0.5 ** ((now - self._at) / _HALF_LIFE))


class Pool(Generic[T]):
    """Keeps at least `least` members ready, and up to `most` while that many come at once. With a `least` of 0, none.

    First there are enough of them, then they are warmed, and those that are warm are taken first.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], least: int, most: int, busy: Callable[[], bool]) -> None:
        """`busy`: whether running cells want the cores for themselves."""
        self._make, self._least, self._busy = make, least, busy
        self._most = max(least, most) if least else 0
        self._demand = Demand()
        self._changed = asyncio.Event()
        self._changed.set()
        self._broken: list[T] = []
        self._making = False
        self._promised: asyncio.Future[T | None] | None = None
        self.ready: list[T] = []

    @property
    def size(self) -> int:
        """How many are to be ready now."""
        return max(self._least, min(self._most, self._demand.expected(time.monotonic())))

    def take(self) -> T | None:
        """One that is not known to be broken, to be had for good; None when there is none. Whoever asks is counted."""
        self._demand.arrived(time.monotonic())
        self._changed.set()
        self._broken += [member for member in self.ready if member.lost]
        self.ready = [member for member in self.ready if not member.lost]
        if not self.ready:
            return None
        return self.ready.pop(next((at for at, member in enumerate(self.ready) if member.warm), 0))

    async def coming(self) -> T | None:
        """The one that is just being made, once it is there: sooner than one more beside it. None when there is none."""
        if not self._making or self._promised is not None:
            return None
        promised: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._promised = promised
        try:
            return await promised
        except asyncio.CancelledError:
            if promised.done() and not promised.cancelled() and (made := promised.result()) is not None:
                self.ready.append(made)  # it had just come: whoever comes next has it
            raise
        finally:
            self._promised = None

    async def keep(self) -> None:
        """Make one after the other what is missing, and look after what waits. While an engine is down, try ever less often.

        Runs until cancelled.
        """
        pause, most = _RETRY
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK):
                    await self._changed.wait()
            quiet = not self._changed.is_set()
            self._changed.clear()
            try:
                if quiet:
                    await self._check()
                while self._broken:
                    await self._broken.pop().remove()
                while len(self.ready) < self.size:
                    await self._calm()
                    await self._add()
                await self._warm_up()
                pause = _RETRY[0]
            except SandboxDown as down:
                _log.warning("%s", down)
                await asyncio.sleep(pause)
                pause = min(pause * 2, most)
                self._changed.set()

    async def _add(self) -> None:
        self._making, made = True, None
        try:
            made = await self._make()
        finally:
            self._making = False
            if self._promised is not None and not self._promised.done():
                self._promised.set_result(made)
            elif made is not None:
                self.ready.append(made)

    async def _warm_up(self) -> None:
        """One after the other, until somebody comes."""
        for member in self.ready[:]:
            if member.warm or member not in self.ready:
                continue
            await self._calm()
            if self._changed.is_set():
                return
            try:
                await member.warm_up()
            except SandboxLost as lost:
                if member in self.ready:  # else whoever has taken it hears of it
                    self.ready.remove(member)
                    await member.remove()
                    raise SandboxDown(f"A sandbox ended while it was made ready: {lost}") from lost

    async def _calm(self) -> None:
        """Who has just come and who is at work come first; but those still to come do not wait for ever."""
        await asyncio.sleep(_CALM)
        for _ in range(round(_PATIENCE / _CALM)):
            if not self._busy():
                return
            await asyncio.sleep(_CALM)

    async def _check(self) -> None:
        """Drop what no longer works, and what is more than is wanted."""
        for member in self.ready[:]:
            if member not in self.ready:
                continue  # taken meanwhile
            self.ready.remove(member)
            try:
                await member.check()
            except SandboxLost:
                await member.remove()
            else:
                self.ready.append(member)
        while len(self.ready) > self.size:
            await self.ready.pop().remove()

    async def close(self) -> None:
        """End what waits. `keep` has ended before."""
        for member in (*self.ready, *self._broken):
            await member.remove()
        self.ready.clear()
