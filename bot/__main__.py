"""The command line."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import typer

from bot import log, wiring
from bot.errors import CellmateError, ConfigError
from bot.settings import Settings, table
from bot.text import fence
from bot.types import Card, Question
from sandbox import SandboxError

app = typer.Typer(
    name="cellmate",
    help="A code interpreter that lives in team chat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
slack = typer.Typer(help="For Slack's administrators.", no_args_is_help=True)
discord = typer.Typer(help="For Discord's administrators.", no_args_is_help=True)
app.add_typer(slack, name="slack")
app.add_typer(discord, name="discord")

Attach = Annotated[list[Path] | None, typer.Option("--attach", help="A file to put beside the code. May be repeated.")]
Thread = Annotated[str, typer.Option(help="A name for the thread, whose files and variables are kept for the next time.")]
Out = Annotated[Path | None, typer.Option(help="Where the answer's files are written.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_T = TypeVar("_T")


@app.command()
def up(only: Annotated[str, typer.Option(help="Adapters to start, separated by commas.")] = "") -> None:
    """Start every configured adapter, and work until interrupted."""
    settings = _settings()
    _run(wiring.up(settings, [name.strip() for name in only.split(",") if name.strip()]))


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(help="Python files, run in order as cells of one thread.")],
    attach: Attach = None,
    thread: Thread = "",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Run Python files as cells of one thread, with no model."""
    code = "\n\n".join(fence(_source(path).removesuffix("\n")) for path in files)
    _once(code, attach or [], thread, out, as_json, is_run=True)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Files to attach.")] = None,
    attach: Attach = None,
    thread: Thread = "",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model one question."""
    _once(question, [*(files or []), *(attach or [])], thread, out, as_json, is_run=False)


@app.command()
def settings() -> None:
    """Print every setting, its default and its meaning."""
    print(table(wiring.all_settings()))


@app.command()
def health() -> None:
    """Exit with status 0 when a bot with this CELLMATE_HOME is alive."""
    if not wiring.alive(_settings().home):
        raise ConfigError("No bot with this CELLMATE_HOME has given a sign of life in the last 30 seconds.")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    patience: Annotated[float, typer.Option(min=4, help="Seconds that a check may take.")] = 8,
) -> None:
    """Try everything that Cellmate needs, and say how to mend what is not well. Exits with status 1 when something failed."""
    settings = wiring.read_settings()
    log.configure("error")  # what is wrong is in the findings
    _run(_doctor(settings, as_json, patience))


async def _doctor(settings: Settings, as_json: bool, patience: float) -> None:
    findings = await wiring.diagnose(settings, patience)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        print(import_module("bot.doctor").table(findings))
    sys.stdout.flush()
    # Not by returning: a thread that waits for a dead resolver or disk would hold the loop's end, and then the interpreter's.
    os._exit(1 if any(finding.state == "fail" for finding in findings) else 0)


@slack.command()
def manifest() -> None:
    """Print the app manifest to paste when the Slack app is made."""
    print(json.dumps(import_module("adapters.slack.manifest").manifest(), indent=2))


@discord.command()
def invite(application_id: Annotated[int, typer.Argument(help="The Application ID of the Developer Portal.")]) -> None:
    """Print the link that invites the bot to a server."""
    print(import_module("adapters.discord").invite_url(application_id))


def main() -> None:
    """The console script: one line on stderr and exit status 2 for what the operator can mend."""
    try:
        app()
    except (CellmateError, SandboxError) as problem:
        print(f"cellmate: {problem}", file=sys.stderr)
        raise SystemExit(2) from None


def _settings() -> Settings:
    settings = wiring.read_settings()
    log.configure(settings.log)
    return settings


def _once(text: str, attached: Sequence[Path], thread: str, out: Path | None, as_json: bool, *, is_run: bool) -> None:
    settings = wiring.read_settings()
    # What a command prints is for its user: the bot's own log only when something is wrong.
    log.configure("warning" if settings.log == "info" else settings.log)
    question = _question(thread or f"once-{uuid4().hex[:8]}", text, attached, is_run)
    folder = out or settings.home / "out" / question.id
    card, paths = _run(wiring.once(settings, question, folder, keep=bool(thread)))
    if as_json:
        print(json.dumps(as_object(card, paths), ensure_ascii=False))
    else:
        print(import_module("adapters.terminal").plain(card, paths))
    failed = card.state != "done" or any(step.error for step in card.steps)
    raise SystemExit(1 if failed else 0)


def _question(thread: str, text: str, attached: Sequence[Path], is_run: bool) -> Question:
    try:
        question: Question = import_module("adapters.terminal").question(thread, text, attached, run=is_run)
    except ValueError:
        raise ConfigError(f"A thread's name is not empty and has no colon: {thread!r}.") from None
    return question


def _source(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text, so it is no Python file.") from None


def as_object(card: Card, paths: dict[str, Path]) -> dict[str, Any]:
    """A final card as the object that `--json` prints."""
    return {
        "text": card.text,
        "state": card.state,
        "notes": list(card.notes),
        "table": asdict(card.table) if card.table else None,
        "cells": [
            {
                "code": step.code,
                "stdout": step.stdout,
                "stderr": step.stderr,
                "result": step.result,
                "error": asdict(step.error) if step.error else None,
                "seconds": round(step.seconds, 6),
            }
            for step in card.steps
        ],
        "files": [
            {
                "name": file.name,
                "media_type": file.media_type,
                "size": file.blob.size,
                "path": str(paths[file.name]),
                "alt": file.alt,
                "facts": file.facts,
            }
            for file in card.files
        ],
    }


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BaseExceptionGroup as group:
        # A TaskGroup wraps what went wrong; the operator's part of it is one sentence.
        ours = group.subgroup((CellmateError, SandboxError))
        if ours is None:
            raise
        raise _first(ours) from None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


if __name__ == "__main__":
    main()
