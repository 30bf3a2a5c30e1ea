"""The demo model's server: a child process that comes back when it dies, and never outlives the bot."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.errors import ConfigError
from bot.models.embedded import next_pause, serve
from bot.models.nearby import listening

STAND_IN = """
import http.server, os, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""
"""A server of the same shape: weights, port and threads; `/health`; ends with its standard input."""


def stand_in(folder: Path, text: str = STAND_IN) -> tuple[str, ...]:
    path = folder / "server.py"
    path.write_text(text)
    return (sys.executable, str(path))


async def pid(url: str) -> int | None:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/pid") as response:
            return int(await response.text())
    except aiohttp.ClientError:
        return None


async def until(holds: Callable[[], object]) -> None:
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not in 30 s")


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


async def test_it_comes_back_at_the_same_address_and_ends_with_us(tmp_path: Path) -> None:
    async with serve(tmp_path, 1, stand_in(tmp_path)) as url:
        first = await pid(url)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        second: int | None = None
        for _ in range(600):
            second = await pid(url)
            if second not in (None, first):
                break
            await asyncio.sleep(0.05)
        assert second is not None and second != first
    await until(lambda: gone(second))


def test_it_is_started_again_at_once_and_then_after_longer_and_longer_pauses() -> None:
    pauses: list[float | None] = [None]
    for _ in range(9):
        pauses.append(next_pause(pauses[-1], lived=2.0))
    assert pauses[1:] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert next_pause(60, lived=3_600) == 0  # one that was up well is no longer a bad one


async def test_it_does_not_outlive_a_bot_that_is_killed(tmp_path: Path) -> None:
    bot = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio, sys, aiohttp\n"
        "from pathlib import Path\n"
        "from bot.models.embedded import serve\n"
        "async def main():\n"
        "    async with serve(Path('.'), 1, tuple(sys.argv[1:])) as url, aiohttp.ClientSession() as s:\n"
        "        async with s.get(url) as response: print(await response.text(), flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())",
        *stand_in(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    assert bot.stdout is not None
    child = int(await bot.stdout.readline())
    assert not gone(child)
    bot.kill()
    await bot.wait()
    await until(lambda: gone(child))


async def test_one_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ended at once.*no room for the weights"):
        async with serve(tmp_path, 1, stand_in(tmp_path, "raise SystemExit('no room for the weights')")):
            raise AssertionError("it is not up")


TALKATIVE = STAND_IN.replace("body =", "sys.stderr.write('x' * 2_000_000); sys.stderr.flush(); body =")


async def test_one_that_talks_without_end_is_neither_held_up_nor_hard_to_end(tmp_path: Path) -> None:
    async with asyncio.timeout(60), serve(tmp_path, 1, stand_in(tmp_path, TALKATIVE)) as url:
        for _ in range(3):
            assert await pid(url) is not None


async def test_a_list_of_models_may_come_in_pieces() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = json.dumps({"data": [{"id": f"m{number}"} for number in range(20)]}).encode()
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        for start in (0, 50):
            await response.write(body[start : start + 50 if not start else None])
            await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        (found,) = await listening({"here": int(runner.addresses[0][1])})
    finally:
        await runner.cleanup()
    assert found.models == tuple(f"m{number}" for number in range(20))


async def test_servers_of_models_are_found_and_nothing_else_is_taken_for_one() -> None:
    bodies = {
        "good": json.dumps({"data": [{"id": "qwen3:8b"}, {"id": "two words"}, {"id": 7}]}),
        "empty": json.dumps({"data": []}),
        "other": "<html>a development server</html>",
        "shape": json.dumps([1, 2]),
        "deep": "[" * 100_000,
    }
    runners, ports = [], {}

    def answering(body: str) -> web.Application:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=body)

        app = web.Application()
        app.router.add_get("/v1/models", answer)
        return app

    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")

    redirecting = web.Application()
    redirecting.router.add_get("/v1/models", moved)
    for name, app in [*((name, answering(body)) for name, body in bodies.items()), ("moved", redirecting)]:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        ports[name] = int(runner.addresses[0][1])
    silent = socket.create_server(("127.0.0.1", 0))
    ports["silent"] = silent.getsockname()[1]
    try:
        (found,) = await listening(ports | {"closed": 9})
    finally:
        silent.close()
        for runner in runners:
            await runner.cleanup()
    assert (found.name, found.base_url, found.models) == ("good", f"http://127.0.0.1:{ports['good']}/v1", ("qwen3:8b",))
