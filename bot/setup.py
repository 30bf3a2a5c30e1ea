"""Set-up while the chats are up already: the container engine and the sandbox image by a program, and the model.

A question that comes meanwhile is taken and waits; what it waits for is on its card, and on the page.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import structlog

from bot.agent import report
from bot.errors import CellmateError, ConfigError
from bot.ports import Model
from bot.settings import Settings
from bot.types import Finding, Stage

log = structlog.get_logger()

DEMO_MODEL = "small demo model; for a better one set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own"
"""Under every answer of the embedded model."""
_TAIL = 15
"""Lines of a failed program's words that are kept."""
_PACE = 0.25
"""Seconds between two reports of bytes: as fast as an eye reads."""
_EMBEDDED = "embedded"


class Setup:
    """See `bot.ports.Setup`. `run` does the work and ends with what it holds: the model's server among others."""

    def __init__(self, settings: Settings, *, asks: bool, diagnose: Callable[[], Awaitable[Sequence[Finding]]]) -> None:
        """`asks`: whether there is a page where somebody can choose between models."""
        self._settings, self._asks, self._diagnose = settings, asks, diagnose
        self._stages: dict[str, Stage] = {}
        if settings.setup is not None:
            self._stages |= {"engine": Stage("engine", "Container engine"), "image": Stage("image", "Sandbox image")}
        if settings.model != "none":
            self._stages["model"] = Stage("model", "Language model")
        self._changed, self._again = asyncio.Event(), asyncio.Event()
        self._chosen: asyncio.Future[str] | None = None
        self.model: Model | None = None
        self.label = ""

    # --- What others see and do ----------------------------------------------------------------------------------------

    @property
    def expects_model(self) -> bool:
        """See `bot.ports.Setup.expects_model`."""
        return "model" in self._stages

    def stages(self) -> tuple[Stage, ...]:
        """See `bot.ports.Setup.stages`."""
        return tuple(self._stages.values())

    async def changes(self) -> AsyncIterator[None]:
        """See `bot.ports.Setup.changes`."""
        while True:
            changed = self._changed
            yield
            await changed.wait()

    async def ready(self, tell: Callable[[str], None], *, model: bool) -> None:
        """See `bot.ports.Setup.ready`."""
        names = [name for name in self._stages if model or name != "model"]
        async for _ in self.changes():
            missing = [self._stages[name] for name in names if self._stages[name].state != "done"]
            if not missing:
                return
            if failed := next((stage for stage in missing if stage.state == "failed"), None):
                raise ConfigError(f"Cellmate's set-up has not worked out: {failed.said} Once that is mended, ask again.")
            tell(_waiting_for(missing[0]))

    async def sandbox(self) -> None:
        """See `bot.ports.Setup.sandbox`."""
        async for _ in self.changes():
            if all(stage.state == "done" for name, stage in self._stages.items() if name != "model"):
                return

    def again(self) -> None:
        """See `bot.ports.Setup.again`."""
        self._again.set()

    def choose(self, choice: str) -> None:
        """See `bot.ports.Setup.choose`."""
        known = [value for value, _ in self._stages["model"].choices] if "model" in self._stages else []
        if choice in known and self._chosen is not None and not self._chosen.done():
            self._chosen.set_result(choice)

    async def diagnose(self) -> Sequence[Finding]:
        """See `bot.ports.Setup.diagnose`."""
        return await self._diagnose()

    # --- The work ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Find or make everything, then hold it until cancelled."""
        async with AsyncExitStack() as held, asyncio.TaskGroup() as tasks:
            if "engine" in self._stages:
                tasks.create_task(self._persist(("engine", "image"), lambda: self._prepare("sandbox", "engine")))
            if "model" in self._stages:
                tasks.create_task(self._persist(("model",), lambda: self._provide(held)))
            await asyncio.Event().wait()

    async def _persist(self, names: Sequence[str], work: Callable[[], Awaitable[None]]) -> None:
        """Do it until it is done; a failure is shown, and tried again when somebody asks for that."""
        while True:
            try:
                return await work()
            except (CellmateError, OSError) as problem:
                failed = next((n for n in names if self._stages[n].state == "running"), names[0])
                log.error("set-up failed", stage=failed, problem=str(problem))
                self._set(failed, state="failed", said=str(problem), log=getattr(problem, "log", ""))
            self._again.clear()
            await self._again.wait()
            for name in names:
                self._set(name, state="waiting", said="", log="")

    async def _prepare(self, what: str, stage: str) -> None:
        """Run the set-up program; its reports move the stages. Raises `_ProgramFailed`."""
        self._set(stage, state="running")
        process = await asyncio.create_subprocess_exec(
            str(self._settings.setup),
            what,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said: list[str] = []
        reading = [asyncio.create_task(self._reports(process)), asyncio.create_task(_words(process, said))]
        try:
            status = await process.wait()
            await asyncio.wait(reading, timeout=1)  # a service it has started may hold its pipes open
        finally:
            for task in reading:
                task.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
        if status:
            raise _ProgramFailed(said)

    async def _reports(self, process: asyncio.subprocess.Process) -> None:
        """Lines of standard output: stage, state and words, a tab between."""
        assert process.stdout is not None
        async for line in process.stdout:
            name, state, words = [*line.decode(errors="replace").rstrip("\n").split("\t"), "", ""][:3]
            if name in self._stages and state in ("running", "done"):
                self._set(name, state=state, said=words)

    async def _provide(self, held: AsyncExitStack) -> None:
        """Bring the model: the server that is set, one chosen from those that listen here, or the embedded one."""
        settings, self.label = self._settings, ""
        self._set("model", state="running")
        choice = {"openai": "", "local": _EMBEDDED}.get(settings.source)
        if choice is None:
            choice = await self._choice()
        if choice == _EMBEDDED:
            await self._embed(held)
            return
        base_url, _, name = choice.partition(" ")
        await self._connect(held, base_url or settings.openai_base_url, name or settings.model_name, mode=settings.model_mode)
        self._set("model", state="done", said=name or settings.model_name)

    async def _embed(self, held: AsyncExitStack) -> None:
        if find_spec("xllamacpp") is None and self._settings.setup is not None:
            await self._prepare("local", "model")
        embedded = await asyncio.to_thread(import_module, "bot.models.embedded")
        last = 0.0

        def tell(progress: Any) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _PACE or progress.done == progress.total:
                last = now
                self._set("model", state="running", said=progress.what, done=progress.done, total=progress.total)

        weights = await embedded.fetch(self._settings.cache.expanduser(), self._settings.model_weights, tell)
        self._set("model", state="running", said="Loading the small demo model", done=None, total=None)
        url = await held.enter_async_context(embedded.serve(weights, self._settings.model_threads))
        await self._connect(held, url, "embedded", mode="fenced", budget=embedded.CONTEXT, lead=True)
        self.label = DEMO_MODEL
        self._set("model", state="done", said=DEMO_MODEL[0].upper() + DEMO_MODEL[1:] + ".")

    async def _connect(self, held: AsyncExitStack, base_url: str, name: str, **how: Any) -> None:
        settings = self._settings
        # In a thread: the package is large, and the page is to go on answering.
        api = await asyncio.to_thread(import_module, "bot.models.chat_completions")
        self.model = await held.enter_async_context(
            api.connect(
                api_key=settings.openai_api_key.get_secret_value(),
                base_url=base_url or None,
                model=name,
                report=report,
                patience=settings.model_patience,
                **how,
            )
        )

    async def _choice(self) -> str:
        """Nothing is set: what was chosen before, else what somebody chooses now between the servers that listen here and the
        embedded model. Without a page, and without such a server, it is the embedded one."""
        kept = self._settings.home / "model.json"
        nearby = await asyncio.to_thread(import_module, "bot.models.nearby")
        found = await nearby.listening()
        servers = {f"{server.base_url} {model}": f"{model} ({server.name})" for server in found for model in server.models[:8]}
        with suppress(OSError, ValueError):
            before = json.loads(await asyncio.to_thread(kept.read_text))
            if before == _EMBEDDED or before in servers:
                return str(before)
        if not servers:
            return _EMBEDDED
        if not self._asks:
            url, _, model = next(iter(servers)).partition(" ")
            log.info("a model's server listens here", use=f"OPENAI_BASE_URL={url} CELLMATE_MODEL_NAME={model}")
            return _EMBEDDED
        self._chosen = asyncio.get_running_loop().create_future()
        choices = (*servers.items(), (_EMBEDDED, "Small demo model (1.1 GB to fetch)"))
        self._set(
            "model", state="asking", said="A model's server runs on this machine. Which model shall answer?", choices=choices
        )
        choice = await self._chosen
        await asyncio.to_thread(kept.write_text, json.dumps(choice))
        self._set("model", state="running", said="", choices=())
        return choice

    def _set(self, name: str, **changes: Any) -> None:
        stage, now = self._stages[name], time.time()
        state = changes.get("state", stage.state)
        if state == "running" and stage.state != "running":
            changes["since"] = now
        if state == "done":
            changes |= {"seconds": now - (stage.since or now), "done": None, "total": None}
        self._stages[name] = replace(stage, **changes)
        told, self._changed = self._changed, asyncio.Event()
        told.set()


class _ProgramFailed(ConfigError):
    """What the set-up program said last: its own sentence, and what stood before it."""

    def __init__(self, said: Sequence[str]) -> None:
        ours = [line.removeprefix("cellmate: ") for line in said if line.startswith("cellmate: ")]
        super().__init__(ours[-1] if ours else "It ended without a word.")
        self.log = "\n".join(said) if len(said) > 1 else ""


async def _words(process: asyncio.subprocess.Process, said: list[str]) -> None:
    """Standard error goes where ours goes, and its end is kept."""
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode(errors="replace").rstrip("\n")
        print(text, file=sys.stderr, flush=True)
        said.append(text)
        del said[:-_TAIL]


def _waiting_for(stage: Stage) -> str:
    """A card's line."""
    what = stage.said or stage.title
    if stage.done is not None and stage.total:
        return f"Setting up: {what}, {stage.done / stage.total:.0%}"
    if stage.state == "asking":
        return "Setting up: choose a model at the top of the page"
    return f"Setting up: {what}"
