"""Tables of figures: a median and a 95th percentile beside the goal, or beside what it is compared with."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path


class Table:
    """Rows as they are measured. `missed` counts the goals that were not met."""

    def __init__(self, title: str, unit: str = "ms") -> None:
        self.missed = 0
        print(f"\n{title}\n{unit:<56}{'median':>10}{'p95':>10}{'n':>6}  goal", flush=True)

    def row(
        self, name: str, values: Sequence[float], goal: float | None = None, *, scale: float = 1000.0, why: str = ""
    ) -> float:
        """A row of `values` times `scale` (1000: seconds to milliseconds); its median, to be at most `goal`, is returned.

        `why`: what is known to stand between the figure and the goal, said where it is not met.
        """
        found = sorted(value * scale for value in values)
        middle = statistics.median(found)
        p95 = found[min(len(found) - 1, round(0.95 * (len(found) - 1)))]
        print(f"{name:<56}{middle:>10.2f}{p95:>10.2f}{len(found):>6}  {self._verdict(middle, goal, why=why)}", flush=True)
        return middle

    def check(self, name: str, value: float, goal: float, *, least: bool = False, why: str = "") -> None:
        """One figure of its own, at most `goal`, or at least that much."""
        print(f"{name:<56}{value:>10.2f}{'':>16}  {self._verdict(value, goal, least, why)}", flush=True)

    def say(self, name: str, words: str) -> None:
        """A row without a figure."""
        print(f"{name:<56}{words}", flush=True)

    def _verdict(self, value: float, goal: float | None, least: bool = False, why: str = "") -> str:
        if goal is None:
            return ""
        met = value >= goal if least else value <= goal
        self.missed += not met
        verdict = "met" if met else f"NOT met{f': {why}' if why else ''}"
        return f"{'≥' if least else '≤'} {goal:g}: {verdict}"


async def timed(act: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    found = sorted(values)
    return found[min(len(found) - 1, round(share * (len(found) - 1)))]


def control_group(id: str, controller: str) -> Path:
    """The container's control group, of version 1 or 2."""
    for path in (Path(f"/sys/fs/cgroup/{controller}/docker/{id}"), Path(f"/sys/fs/cgroup/system.slice/docker-{id}.scope")):
        if path.exists():
            return path
    raise SystemExit("no control group of a container found: run this as root on the engine's machine")
