"""From what is kept to what the browser shows: plain values, and HTML only from Markdown in which HTML is switched off."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from adapters.shared.neutral import line
from adapters.shared.words import ROWS, bar, head, size, state_line, step_title, tail
from adapters.web.store import Entry
from bot.commands import COMMANDS
from bot.ports import Setup
from bot.types import Attachment, Blob, Card, CardFile, Question, Step, Table

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml"})
"""What an `<img>` may show: nothing in one can run (HTML Standard, "Images", SVG included)."""
PAGE = "text/html"
OUTPUT = 6_000
"""Characters of a step's output that the page shows; the whole is the bot's to deliver as a file."""

Address = Callable[[str, str, Blob], str]
"""From name, media type and bytes to the address they are served at."""


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  (the library's name)
        return urlsplit(url.strip()).scheme.lower() in ("http", "https", "mailto")


def _link(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
    tokens[at].attrs |= {"target": "_blank", "rel": "noopener noreferrer nofollow"}
    return renderer.renderToken(tokens, at, options, env)


def _parser(*, breaks: bool) -> MarkdownIt:
    # No images: one would tell its server that, when and where it was looked at.
    parser = _Markdown("commonmark", {"html": False, "breaks": breaks, "maxNesting": 20})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.add_render_rule("link_open", _link)
    return parser


_said, _typed = _parser(breaks=False), _parser(breaks=True)


def title(text: str) -> str:
    """A thread's name, from its first question."""
    plain = text.replace("```python", " ").replace("```", " ").strip()
    return line(plain.splitlines()[0] if plain else "New thread", 80)


def markdown(text: str) -> str:
    """Markdown as safe HTML."""
    return str(_said.render(text))


def entry(it: Entry, card: Card | None, address: Address) -> dict[str, Any]:
    """A message as the page's script reads it. `card` is the newest one."""
    return {
        "turn": it.turn,
        "at": it.at,
        "question": _question(it.question, address) if it.question else None,
        "card": _card(card, address) if card else None,
    }


def stages(setup: Setup | None) -> list[dict[str, Any]]:
    """How far set-up is, as the page's script reads it. The page counts the seconds itself, from `since`."""
    return [
        {
            **{
                name: getattr(stage, name)
                for name in ("name", "title", "state", "said", "log", "since", "seconds", "done", "total")
            },
            "bytes": f"{size(stage.done or 0)} of {size(stage.total)}" if stage.total else "",
            "choices": [{"value": value, "label": label} for value, label in stage.choices],
        }
        for stage in (setup.stages() if setup is not None else ())
    ]


def _question(question: Question, address: Address) -> dict[str, Any]:
    return {
        "text": question.text,
        "html": _typed.render(question.text),
        "files": [_attachment(file, address) for file in question.attachments],
    }


def _attachment(file: Attachment, address: Address) -> dict[str, Any]:
    blob = Blob(file.locator["digest"], file.size)
    return {"name": line(file.name, 200), "size": size(file.size), "url": address(file.name, file.media_type, blob)}


def _card(card: Card, address: Address) -> dict[str, Any]:
    return {
        "state": card.state,
        "final": card.final,
        "line": state_line(card) or {"done": "", "stopped": "Stopped", "failed": "Could not be finished"}[card.state],
        "html": markdown(card.text),
        "steps": [_step(step) for step in card.steps],
        "table": _table(card.table) if card.table else None,
        "files": [_file(file, address) for file in card.files],
        "notes": list(card.notes),
        "actions": [{"name": name, "label": COMMANDS[name].label} for name in card.actions if name != "code"],
        "footer": card.footer,
    }


def _step(step: Step) -> Mapping[str, Any]:
    printed = "\n".join(part.rstrip("\n") for part in (step.stdout, step.stderr) if part.strip())
    parts = [tail(printed, OUTPUT), head(step.result or "", OUTPUT)]
    if step.error is not None:
        parts.append(head(f"{step.error.name}: {step.error.message}", OUTPUT))
    return {
        "title": step_title(step),
        "code": step.code.strip("\n"),
        "state": step.state,
        "output": "\n".join(filter(None, parts)),
        "progress": {"value": step.progress.fraction, "said": bar(step.progress)} if step.progress else None,
    }


def _table(table: Table) -> dict[str, Any]:
    shown = table.rows[:ROWS]
    more = f"First {len(shown):,} of {table.total:,} rows." if table.total > len(shown) else ""
    return {"columns": list(table.columns), "types": list(table.types), "rows": [list(row) for row in shown], "more": more}


def _file(file: CardFile, address: Address) -> dict[str, Any]:
    kind = "picture" if file.media_type in PICTURES else "page" if file.media_type == PAGE else "file"
    return {
        "name": line(file.name, 200),
        "size": size(file.blob.size),
        "url": address(file.name, file.media_type, file.blob),
        "kind": kind,
        "alt": file.alt or f"Figure {line(file.name, 200)}",
    }


def disposition(name: str, *, inline: bool) -> str:
    """`Content-Disposition` (RFC 6266) with the file's own name, whatever is in it."""
    last = line(name.rpartition("/")[2], 200)
    return f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(last, safe='')}"
