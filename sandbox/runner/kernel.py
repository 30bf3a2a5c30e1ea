"""Runs cells: an IPython shell without sockets. This process is the person's; nothing it says is trusted."""

import ast
import asyncio
import builtins
import contextlib
import inspect
import io
import linecache
import signal
import socket
import sys
import traceback
import types
import warnings
from typing import Any, NoReturn

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from IPython.lib.pretty import pretty
from traitlets.config import Config

from . import checkpoint, displayed, figures, libraries, missing, network, tables, wire
from .text import shorten

_TEXT = 32 << 10
_TRACEBACK = 16 << 10
_NO_INPUT = (
    "input() does not work here: nobody can type while code runs. Put the value into the code, or ask for it in the thread."
)


class NoInput(io.TextIOBase):
    """Standard input that says at once that there is none."""

    def readable(self) -> bool:
        """As a file opened for reading."""
        return True

    def read(self, size: int | None = -1) -> NoReturn:
        """Raises EOFError."""
        raise EOFError(_NO_INPUT)

    def readline(self, size: int = -1) -> NoReturn:  # type: ignore[override]
        """Raises EOFError."""
        raise EOFError(_NO_INPUT)

    def fileno(self) -> int:
        """Descriptor 0, which is at its end."""
        return 0


class _Display(DisplayPublisher):
    """`display(x)` in the middle of a cell: files for pictures, text for the rest."""

    def publish(self, data: dict[str, Any], metadata: dict[str, Any] | None = None, **_: Any) -> None:
        if not figures.take_png(data.get("image/png")):
            print(shorten(str(data.get("text/plain", "")), _TEXT))


class _Exit(SystemExit):
    """What exit() and quit() raise."""


class Shell:
    """One IPython shell and its namespace."""

    def __init__(self) -> None:
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"cache_size": 0, "colors": "nocolor"}})
        self._shell = InteractiveShell.instance(config=config, user_module=module, display_pub_class=_Display)
        self._shell.system = self._shell.system_raw
        warnings.filterwarnings("ignore", "You executed the system command !pip")
        self._shell.showtraceback = lambda *_, **__: self._print_traceback()
        self._ns: dict[str, Any] = self._shell.user_ns
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cells = 0
        self._running = False
        self.notes: list[str] = []
        self._define()
        self._own = set(self._ns)
        self._execute("1 + 1", "<warm-up>")

    def _define(self) -> None:
        self._ns |= {"display": display, "exit": _leave, "quit": _leave}
        builtins.input = _no_input
        vars(builtins).update(exit=_leave, quit=_leave)
        figures.install()
        displayed.install(self._shell.display_formatter)
        checkpoint.namespace = self._ns

    def warm_up(self) -> None:
        """Do once, with the libraries loaded, what the first cell would pay for."""
        figures.warm_up()
        if pandas := sys.modules.get("pandas"):
            tables.table(pandas.DataFrame({"a": [1.5], "b": ["x"]}))

    # -- the loop

    def serve(self, channel: socket.socket) -> None:
        """Take what PID 1 asks, until it closes."""
        self._channel = channel
        out, err = (
            io.TextIOWrapper(
                io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
            )
            for fd in (1, 2)
        )
        nothing = NoInput()
        vars(sys).update(stdout=out, __stdout__=out, stderr=err, __stderr__=err, stdin=nothing, __stdin__=nothing)
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._send(wire.READY, 0, {})
        parser = wire.Parser(wire.LOCAL)
        while True:
            channel.setblocking(True)  # code may have changed it for every descriptor it found
            data, descriptors, _, _ = socket.recv_fds(channel, 64 << 10, 4)
            if not data:
                return
            for frame in parser.feed(data):
                self._serve(frame, descriptors)

    def _serve(self, frame: wire.Frame, descriptors: list[int]) -> None:
        if frame.type == wire.CELL:
            self._send(wire.BEGUN, frame.op, {})
            self._send(wire.FINISHED, frame.op, self._cell(wire.unpack(frame.payload)))
        elif frame.type == wire.NETWORK:
            with contextlib.suppress(OSError):  # a full disk: what may be reached is then not, and the code hears why
                network.join(wire.unpack(frame.payload))
        elif frame.type == wire.OPEN:
            with socket.socket(fileno=descriptors[0]) as channel:
                self._running = True
                try:
                    checkpoint.serve(channel, frame.op, wire.unpack(frame.payload), self.variables())
                except (OSError, KeyboardInterrupt):
                    pass  # PID 1 gave it up and has said so
                finally:
                    self._running = False

    def _send(self, type: int, op: int, value: dict[str, Any]) -> None:
        self._channel.setblocking(True)
        self._channel.sendall(wire.encode(wire.LOCAL, type, op, wire.pack(value)))

    def _on_interrupt(self, *_: object) -> None:
        if self._running:
            raise KeyboardInterrupt

    # -- one cell

    def _cell(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run it; whatever it does becomes an outcome."""
        self._cells += 1
        self.notes = []
        figures.begin(int(request["figure"]), int(request["files"]))
        signal.signal(signal.SIGINT, self._on_interrupt)
        outcome: dict[str, Any] = {}
        try:
            self._running = True
            try:
                self._predefine(request["code"])
                value = self._execute(request["code"], f"<cell {self._cells}>")
                outcome |= self._result(value)
                figures.collect()
            finally:
                self._running = False
                _flush()
        except SystemExit as leaving:
            outcome |= _left(leaving)
            with contextlib.suppress(Exception):
                figures.collect()
        except KeyboardInterrupt as error:
            outcome |= {"interrupted": True, "raised": self._raised(error)}
            figures.discard()
        except BaseException as error:
            outcome["raised"] = self._raised(error)
            with contextlib.suppress(Exception):
                figures.collect()
        return outcome | figures.outcome() | {"notes": self.notes + figures.notes()}

    def _predefine(self, code: str) -> None:
        """np, pd and plt are there for whoever names them; for the others they cost nothing."""
        for name in libraries.predefined(code):
            if name not in self._ns:
                with contextlib.suppress(ImportError):
                    self._ns[name] = libraries.load(libraries.PREDEFINED[name])

    def _execute(self, code: str, name: str) -> Any:
        """Run all statements; the value of the last one if it is an expression without a semicolon after it."""
        source = self._shell.transform_cell(code)
        lines = source.splitlines(keepends=True)
        linecache.cache[name] = (len(source), None, lines, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = compile(source, name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with self._shell.builtin_trap:
            if tree.body:
                self._evaluate(compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
            if last is None:
                return None
            expression = ast.Expression(last.value)
            value = self._evaluate(compile(expression, name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
        if code.rstrip().endswith(";"):
            return None
        if value is not None:
            self._ns["_"] = value
        return value

    def _evaluate(self, code: types.CodeType) -> Any:
        value = eval(code, self._ns)
        if not code.co_flags & inspect.CO_COROUTINE:
            return value
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(value)

    def _result(self, value: Any) -> dict[str, Any]:
        if value is None or figures.take(value) or displayed.take(value):
            return {}
        table = tables.table(value)
        self.notes += tables.cut(value) if table else []
        text = tables.text(value) if table else pretty(value, max_seq_length=1000)
        return {"result": {"text": shorten(text, _TEXT), "table": table}}

    def _raised(self, error: BaseException) -> dict[str, Any]:
        hint = missing.hint(error)
        if hint:
            error.add_note(hint)  # the traceback ends with it
        try:
            message = shorten(f"{str(error).rstrip('.')}. {hint}" if hint else str(error), 2000)
        except BaseException:
            message = "(its message could not be made)"
        name = (
            type(error).__qualname__
            if type(error).__module__ == "builtins"
            else f"{type(error).__module__}.{type(error).__qualname__}"
        )
        return {"name": name.removeprefix("__main__."), "message": message, "traceback": _format(error)}

    def _print_traceback(self) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            print(_format(error), file=sys.stderr)

    def variables(self) -> dict[str, Any]:
        """What the person's code has defined."""
        hidden = self._shell.user_ns_hidden
        return {
            name: value
            for name, value in list(self._ns.items())
            if isinstance(name, str) and not name.startswith("_") and name not in hidden and name not in self._own
        }


def _format(error: BaseException) -> str:
    """The traceback from the first line of the person's own code on."""
    try:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next
        full = traceback.TracebackException(type(error), error, trace, limit=-40, compact=True)
        lines = full.format() if trace else full.format_exception_only()
        return shorten("".join(lines).rstrip(), _TRACEBACK)
    except BaseException:
        return f"{type(error).__name__}: (its traceback could not be made)"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _left(leaving: SystemExit) -> dict[str, Any]:
    code = leaving.code
    if code is None or isinstance(code, int):
        return {"exit": int(code or 0)}
    print(shorten(str(code), _TEXT), file=sys.stderr)
    return {"exit": 1}


def _leave(code: object = None) -> NoReturn:
    raise _Exit(code)


def _no_input(prompt: object = "") -> NoReturn:
    raise EOFError(_NO_INPUT)
