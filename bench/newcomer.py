"""The first ten minutes, timed: `./run` in this folder, then what a newcomer does on the page, by the page's own requests.

Standard library only, so that it runs before anything is installed: `python3 bench/newcomer.py`. Give it a fresh clone and, for
true figures, a machine without engine, image and model. CELLMATE_HOME and CELLMATE_CACHE are new folders unless they are set.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
QUESTION = "plot revenue per month by region"
GOALS = {"page": 30.0, "first figure, no model": 180.0, "the model's figure": 360.0}
AGAIN = 10.0
"""Seconds the next `./run` may take until the page shows the threads that were there."""
WEIGHTS_MB = 1_117.3
PATIENCE = 1_800


class Page:
    """The page, as its own script speaks to it."""

    def __init__(self, address: str) -> None:
        self._base = address.partition("/?")[0]
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )
        self._opener.open(address).read()

    def call(self, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Origin": self._base})
        with self._opener.open(request) as response:
            return json.load(response)

    def answer(self, thread: str) -> dict[str, Any]:
        """The final card of a thread's only question."""
        for _ in range(PATIENCE * 4):
            messages = self.call(f"/api/threads/{thread}")["messages"]
            if messages and messages[-1]["card"] and messages[-1]["card"]["final"]:
                card: dict[str, Any] = messages[-1]["card"]
                return card
            time.sleep(0.25)
        raise SystemExit("no answer")


def read_address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        print(line, end="", file=sys.stderr)
        if found := re.search(r"Open (http://\S+)", line):
            threading.Thread(target=sys.stderr.writelines, args=(process.stderr,), daemon=True).start()
            return found[1]
    raise SystemExit("./run ended before it had a page")


def figures(card: dict[str, Any]) -> list[str]:
    return [file["alt"] for file in card["files"] if file["kind"] == "picture"]


def watch_model(page: Page, began: float, seen: dict[str, float]) -> None:
    """When the weights began to come, and when they were there."""
    request = page._opener.open(page._base + "/api/events")
    for line in request:
        if line.startswith(b"data: [") and b'"model"' in line:
            model = next(stage for stage in json.loads(line[6:]) if stage["name"] == "model")
            if model["total"] and "from" not in seen:
                seen["from"] = time.monotonic() - began
            if "from" in seen and "to" not in seen and (not model["total"] or model["done"] == model["total"]):
                seen["to"] = time.monotonic() - began


def run(own: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([ROOT / "run"], env={**own, **os.environ}, stderr=subprocess.PIPE, text=True)


def stop(bot: subprocess.Popen[str]) -> float:
    """Ctrl-C, and the seconds it takes."""
    began = time.monotonic()
    bot.send_signal(signal.SIGINT)
    bot.wait(60)
    return time.monotonic() - began


def run_again(own: dict[str, str], thread: str, answer: dict[str, Any]) -> float:
    """The seconds until the next `./run` shows the thread as it was."""
    began = time.monotonic()
    bot = run(own)
    try:
        again = Page(read_address(bot)).answer(thread)
        took = time.monotonic() - began
    finally:
        stop(bot)
    if (again["html"], figures(again)) != (answer["html"], figures(answer)):
        raise SystemExit(f"the thread is not what it was: {again}")
    return took


def main() -> None:
    folder = tempfile.mkdtemp()
    own = {"CELLMATE_HOME": f"{folder}/home", "CELLMATE_CACHE": f"{folder}/cache", "CELLMATE_MODEL": "local"}
    began = time.monotonic()
    bot = run(own)
    try:
        page = Page(read_address(bot))
        times = {"page": time.monotonic() - began}
        fetched: dict[str, float] = {}
        threading.Thread(target=watch_model, args=(page, began, fetched), daemon=True).start()
        page.call("/api/demo", {"id": uuid4().hex, "thread": (thread := uuid4().hex)})
        demo = page.answer(thread)
        times["first figure, no model"] = time.monotonic() - began
        upload = page.call("/api/uploads?name=sales.csv", (ROOT / "adapters/web/demo/sales.csv").read_bytes())["id"]
        question = {"id": uuid4().hex, "thread": (thread := uuid4().hex), "text": QUESTION, "uploads": [upload]}
        page.call("/api/questions", question)
        answer = page.answer(thread)
        times["the model's figure"] = time.monotonic() - began
    finally:
        ended = stop(bot)
    again = run_again(own, thread, answer)
    print(f"{'seconds from ./run':28}{'reached':>9}{'goal':>7}")
    for name, seconds in times.items():
        print(f"{name:28}{seconds:9.1f}{GOALS[name]:7.0f}")
    print(f"{'after Ctrl-C (it took ' + format(ended, '.1f') + ')':28}{again:9.1f}{AGAIN:7.0f}")
    print(f"the demo: {demo['state']}, {figures(demo)}")
    print(f"{QUESTION!r}: {answer['state']}, {figures(answer)}\n  {re.sub('<[^>]+>', '', answer['html']).strip()}")
    if "to" in fetched:
        seconds = fetched["to"] - fetched["from"]
        print(f"weights: {WEIGHTS_MB:,.0f} MB in {seconds:.0f} s, {WEIGHTS_MB / max(seconds, 0.1):.0f} MB/s")
    if not figures(demo) or not figures(answer):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
