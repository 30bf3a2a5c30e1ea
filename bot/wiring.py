"""Builds everything, in one place: adapters, engine, model and journal are found by name."""

import asyncio
import fcntl
import hashlib
import os
import pkgutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import IO, Any

import structlog

from bot.dispatcher import Dispatcher
from bot.errors import ConfigError
from bot.files import open_folder
from bot.policy import Reach, wants_packages
from bot.ports import Chat, Files, Journal
from bot.sessions import Bounds, Sessions
from bot.settings import Settings, read, refuse_unknown
from bot.setup import Setup
from bot.turns import Line, Means
from bot.types import Card, Finding, Question
from sandbox import MIB, Egress, Engine, Limits, Spec

log = structlog.get_logger()

HEARTBEAT = 10.0
"""Seconds between two signs of life in `CELLMATE_HOME/alive`; three missed ones count as dead."""

NEWCOMERS = "web"
"""The adapter that is started where none is configured: it needs no account."""

Connect = Callable[[Files], AbstractAsyncContextManager[Chat]]


@dataclass(frozen=True, slots=True)
class Bot:
    """What has been built."""

    dispatcher: Dispatcher
    chats: Mapping[str, Chat]
    journal: Journal
    files: Files
    engine: Engine
    sessions: Sessions
    setup: Setup


def rooms() -> dict[str, Any]:
    """Every adapter by name: a module with `NAME`, `Settings` and `connect`.

    `Settings.configured`: whether it is started without being named. `Settings.on_demand` (none: false): whether naming it is
    enough, for it needs no token. `check(settings)`, where there is one, gives the room's `Finding`s for `cellmate doctor`.
    """
    adapters = import_module("adapters")
    names = (module.name for module in pkgutil.iter_modules(adapters.__path__) if module.name != "shared")
    return {name: import_module(f"adapters.{name}") for name in sorted(names)}


def all_settings() -> list[type]:
    """The settings classes of the core and of every adapter."""
    return [Settings, *(room.Settings for room in rooms().values())]


def read_settings() -> Settings:
    """The core's settings. Raises `ConfigError` for a bad value or an unknown `CELLMATE_` name."""
    refuse_unknown(all_settings())
    return read(Settings)


def chosen(only: Sequence[str]) -> dict[str, Connect]:
    """The adapters to start: those named, else those configured, else the page. Raises `ConfigError` for an unknown one."""
    found = rooms()
    if unknown := [name for name in only if name not in found]:
        raise ConfigError(f"There is no adapter {unknown[0]!r}; there are: {', '.join(found)}.")
    settings = {name: read(room.Settings) for name, room in found.items() if not only or name in only}
    ready = [name for name, its in settings.items() if its.configured or getattr(its, "on_demand", False)]
    if missing := [name for name in only if name not in ready]:
        raise ConfigError(f"The adapter {missing[0]!r} has no token set. See docs/settings.md.")
    names = only or [name for name, its in settings.items() if its.configured] or [NEWCOMERS]
    return {name: _connector(found[name], settings[name]) for name in names}


def _connector(room: Any, settings: Any) -> Connect:
    connect = room.connect  # looked up now: a room may load its packages then, and that is nothing for an event loop
    return lambda files: connect(settings, files)


@asynccontextmanager
async def build(
    settings: Settings, connect: Mapping[str, Connect], *, wrap: Callable[[Journal], Journal] = lambda journal: journal
) -> AsyncIterator[Bot]:
    """Everything, opened in order and closed in reverse. `wrap` lets a test stand between the core and its journal."""
    async with AsyncExitStack() as stack:
        slot, held = await asyncio.to_thread(_take_slot, settings.home)
        stack.callback(held.close)
        journal_module = import_module("bot.journal")
        journal = wrap(await stack.enter_async_context(journal_module.connect(settings.journal_url)))
        files = open_folder(settings.home / "files")
        spec, reach = _spec(settings), await _reach(settings)
        setup = Setup(settings, asks=NEWCOMERS in connect, diagnose=partial(diagnose, settings))
        label = f"{await journal.installation()}.{slot}"
        connecting = import_module("sandbox.docker").connect(
            label,
            spec,
            pool=settings.pool,
            pool_memory=settings.pool_memory * MIB,
            packages=settings.home / "packages",
            ready=setup.sandbox,
        )
        try:
            engine = await stack.enter_async_context(connecting)
        except ValueError as problem:
            raise ConfigError(f"DOCKER_HOST: {problem}") from None
        chats = {name: await stack.enter_async_context(open_chat(files)) for name, open_chat in connect.items()}
        sessions = Sessions(engine, spec, files, journal, _bounds(settings), reach)
        means = Means(
            journal=journal,
            files=files,
            sessions=sessions,
            setup=setup,
            line=Line(settings.cells or os.cpu_count() or 1),
            steps=settings.steps,
            files_a_turn=settings.files,
        )
        working = asyncio.create_task(setup.run(), name="set-up")
        stack.push_async_callback(_end, working)
        yield Bot(Dispatcher(chats, means), chats, journal, files, engine, sessions, setup)


async def up(settings: Settings, only: Sequence[str], *, wrap: Callable[[Journal], Journal] = lambda journal: journal) -> None:
    """Run every chosen adapter until SIGINT or SIGTERM; then let go of the platforms, drain, checkpoint, remove containers."""
    connect = chosen(only)
    with await asyncio.to_thread(_take_home, settings.home):
        async with build(settings, connect, wrap=wrap) as bot:
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            log.info("up", adapters=sorted(bot.chats), model=settings.source or "not set")
            await _live(bot, settings, stop)
            log.info("down")


async def once(settings: Settings, ask: Question, out: Path, *, keep: bool) -> tuple[Card, dict[str, Path]]:
    """Carry out one question of this terminal's; its final card, and where its files were written.

    `keep`: whether the thread's files and variables are there for the next time.
    """
    terminal = import_module("adapters.terminal")
    shots: list[Any] = []

    @asynccontextmanager
    async def connect(files: Files) -> AsyncIterator[Chat]:
        shots.append(terminal.OneShot(files, ask, out))
        yield shots[0]

    async with build(settings, {"terminal": connect}) as bot:
        for turn in await bot.journal.unfinished():
            if turn.question.thread.chat == "terminal":
                await bot.journal.finish(turn.question.id, "stopped")  # whoever waited for it has gone
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bot.dispatcher.serve(stop))
            try:
                await shots[0].listen(bot.dispatcher)
            finally:
                stop.set()
        if not keep:
            await bot.sessions.forget(ask.thread)
        return await shots[0].answer, shots[0].paths


async def diagnose(settings: Settings, patience: float = 8) -> list[Finding]:
    """Everything that Cellmate needs, tried: see `bot.doctor`. Raises `ConfigError` for a bad setting of an adapter."""
    checks = {name: partial(room.check, read(room.Settings)) for name, room in rooms().items() if hasattr(room, "check")}
    checks["egress"] = partial(_check_egress, settings)
    spec = _spec(settings)
    # Containers under a label of their own: no bot's are touched, and one that a killed check-up left is removed by the next.
    with ExitStack() as stack:
        try:
            slot, held = await asyncio.to_thread(lambda: _take_slot(_folder(settings.home) / "doctor"))
            stack.callback(held.close)
        except (ConfigError, OSError):
            slot = os.getpid()  # what is wrong with the folder is found below
        label = f"doctor.{hashlib.sha256(bytes(settings.home.absolute())).hexdigest()[:12]}.{slot}"
        engine = partial(import_module("sandbox.docker").connect, label, spec, pool=0)
        found: list[Finding] = await import_module("bot.doctor").diagnose(settings, spec, engine, checks, patience)
        return found


async def _check_egress(settings: Settings) -> list[Finding]:
    """What code may reach, and whether the package indexes among it answer."""
    try:
        reach = await _reach(settings)
    except ConfigError as problem:
        return [Finding("egress", "fail", str(problem), "export CELLMATE_EGRESS='* = pypi', or unset it")]
    said = "; ".join(f"{place}: {', '.join(_ways(egress)) or 'nothing'}" for place, egress in reach.rules.items())
    if indexes := next((egress.indexes for egress in reach.rules.values() if egress.indexes), ()):
        packages = import_module("sandbox.packages")
        try:
            await packages.check(indexes)
        except packages.Unavailable as problem:
            return [
                Finding("egress", "fail", f"{said}, but: {problem}", "python3 -m pip config list; python3 -m pip download pip")
            ]
    return [Finding("egress", "ok", said or "closed: no code reaches any host")]


def _ways(egress: Egress) -> list[str]:
    return [*(["packages"] if egress.indexes else []), *egress.hosts]


def alive(home: Path) -> bool:
    """Whether a bot with this home has given a sign of life lately."""
    try:
        age = time.time() - (home / "alive").stat().st_mtime
    except OSError:
        return False
    return age < 3 * HEARTBEAT


async def _live(bot: Bot, settings: Settings, stop: asyncio.Event) -> None:
    """Serve and listen until `stop`; the platforms are let go before the turns are drained."""
    listening = 0

    async def listen(chat: Chat) -> None:
        nonlocal listening
        listening += 1
        try:
            if hasattr(chat, "attend"):
                chat.attend(bot.setup)
            await chat.listen(bot.dispatcher)
        except ConfigError as problem:
            log.error("adapter given up", adapter=chat.name, problem=str(problem))
            if len(bot.chats) == 1:
                raise
        finally:
            listening -= 1
            if not listening:
                stop.set()

    async def until_stop() -> None:
        async with asyncio.TaskGroup() as side:
            tasks = [side.create_task(listen(chat), name=f"listen {chat.name}") for chat in bot.chats.values()]
            tasks.append(side.create_task(_beat(settings.home)))
            tasks.append(side.create_task(bot.sessions.tend()))
            await stop.wait()
            for task in tasks:
                task.cancel()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bot.dispatcher.serve(drained := asyncio.Event()))
        try:
            await until_stop()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            drained.set()
            await asyncio.wait({serving})


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()  # it ended by itself: a mistake of ours that must be seen


async def _beat(home: Path) -> None:
    while True:
        await asyncio.to_thread((home / "alive").touch)
        await asyncio.sleep(HEARTBEAT)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        idle=settings.idle,
        pause=settings.pause,
        most=settings.sessions,
        memory=settings.memory_total * MIB,
        disk=settings.disk * MIB,
        keep=settings.keep_days * 86_400,
    )


async def _reach(settings: Settings) -> Reach:
    """Raises `ConfigError`."""
    indexes = await asyncio.to_thread(import_module("sandbox.packages").pip_indexes) if wants_packages(settings.egress) else ()
    return Reach(settings.egress, indexes)


def _spec(settings: Settings) -> Spec:
    limits = Limits(
        seconds=settings.seconds,
        memory=settings.memory * MIB,
        workspace=settings.workspace * MIB,
        file=settings.file * MIB,
        processes=settings.processes,
        files=settings.files,
    )
    return Spec(settings.image, limits, settings.runtime or None)


def _take_slot(home: Path) -> tuple[int, IO[bytes]]:
    """The lowest number that no other process with this home holds, and the open file that holds it.

    The number is part of the label on this process's containers: one that comes later takes the number, and with it the
    containers, of one that was killed, and never touches those of one that lives.
    """
    folder = _folder(home) / "slots"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in count():
        if held := _lock(folder / f"{number}.lock"):
            return number, held
    raise AssertionError("count() never ends")


def _take_home(home: Path) -> IO[bytes]:
    held = _lock(_folder(home) / "up.lock")
    if held is None:
        raise ConfigError(f"Cellmate is already up with {home}. Stop that one, or give this one another CELLMATE_HOME.")
    return held


def _folder(home: Path) -> Path:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as problem:
        raise ConfigError(f"CELLMATE_HOME {home} cannot be used: {problem.strerror}.") from None
    return home


def _lock(path: Path) -> IO[bytes] | None:
    """The file, locked as long as it is open (flock(2)); None when another process holds it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
