"""A thread as one HTML page in Discord's dark look: no script and nothing from elsewhere, so its picture is always the same."""

import base64
import html
import re
from datetime import datetime
from pathlib import Path

from markdown_it import MarkdownIt
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from adapters.shared import words
from tests.fakes.discord.world import DM, Channel, File, Message, World

COLOURS = ("#5865f2", "#3ba55c", "#faa61a", "#ed4245", "#eb459e", "#00a8fc")

STYLE = Path(__file__).with_name("page.css").read_text("utf-8")
ICON = (
    '<svg width="28" height="36" viewBox="0 0 28 36">'
    '<path d="M3 0h15l10 10v23a3 3 0 0 1-3 3H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#d3d6fd"/>'
    '<path d="M18 0l10 10H18z" fill="#939bf9"/><path d="M6 17h16M6 22h16M6 27h10" stroke="#5865f2" stroke-width="2"/></svg>'
)
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def render(world: World, channel: Channel, messages: list[Message]) -> str:
    """The page."""
    parent = f'<span class="parent">#{html.escape(channel.parent.name)} /</span>' if channel.parent else ""
    sign = "@" if channel.type == DM else "#" * (not channel.is_thread)
    rows, previous = [], None
    for message in messages:
        rows.append(_message(world, message, more=_continues(previous, message)))
        previous = message
    name = html.escape(channel.name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f'<header>{parent}<span class="hash">{sign}</span>{name}</header><main>{"".join(rows)}</main></html>'
    )


def _continues(previous: Message | None, message: Message) -> bool:
    """Whether Discord shows it under the same name: same author, no reply, within seven minutes."""
    if (
        previous is None
        or previous.author is not message.author
        or message.type == 19
        or previous.only_for is not message.only_for
    ):
        return False
    apart = datetime.fromisoformat(message.timestamp) - datetime.fromisoformat(previous.timestamp)
    return apart.total_seconds() < 420


def _message(world: World, message: Message, *, more: bool) -> str:
    colour = COLOURS[sum(message.author.name.encode()) % len(COLOURS)]
    name = html.escape(message.author.name)
    app = '<span class="app">APP</span>' if message.author.bot else ""
    when = datetime.fromisoformat(message.timestamp).strftime("%H:%M")
    avatar = "" if more else f'<div class="avatar" style="background:{colour}">{name[:1]}</div>'
    who = (
        "" if more else f'<div class="who"><span class="name">{name}</span>{app}<span class="when">Today at {when}</span></div>'
    )
    reply = ""
    if message.replied is not None and message.type == 19:
        said = html.escape(" ".join(message.replied.content.split())[:80])
        reply = f'<div class="reply">↱ <b>{html.escape(message.replied.author.name)}</b> {_mentions(world, said)}</div>'
    eye = '<div class="eye">Only you can see this · Dismiss message</div>' if message.only_for else ""
    text = f'<div class="text">{_markdown(world, message.content)}</div>' if message.content else ""
    body = f"{reply}{who}{text}{_pictures(message.files)}{_cards(message.files)}{_buttons(message)}{eye}"
    kind = "more " * more + "only" * (message.only_for is not None)
    return f'<article class="{kind}"><div>{avatar}</div><div>{body}</div></article>'


def _code(text: str, language: str, _: str) -> str:
    try:
        lexer = get_lexer_by_name(language) if language else None
    except ClassNotFound:
        lexer = None
    shown = highlight(text, lexer, HtmlFormatter(style="one-dark", noclasses=True, nowrap=True)) if lexer else html.escape(text)
    return f"<pre><code>{shown.rstrip()}</code></pre>"


def _markdown(world: World, text: str) -> str:
    """Discord's dialect, near enough: CommonMark with hard line breaks and subtext, and no tables, rules or images."""
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "highlight": _code})
    parser.disable(["hr", "lheading", "image", "entity", "html_block", "html_inline"]).enable("strikethrough")
    shown: str = parser.render(text)
    shown = re.sub(r"(<p>|<br ?/?>\n)-# (.*?)(?=<br|</p>)", r'\1<span class="sub">\2</span>', shown)
    return _mentions(world, shown)


def _mentions(world: World, text: str) -> str:
    names = {f"@{user.id}": user.name for user in (*world.users.values(), world.bot)} | {f"@&amp;{world.role}": world.bot.name}
    for id, name in names.items():
        text = text.replace(f"&lt;{id}&gt;", f'<span class="mention">@{html.escape(name)}</span>')
    return text


def _pictures(files: list[File]) -> str:
    shown = []
    for file in files:
        if file.media_type in PICTURES:
            source = f"data:{file.media_type};base64,{base64.b64encode(file.content).decode()}"
            shown.append(f'<img alt="{html.escape(file.alt, quote=True)}" src="{source}">')
    return f'<div class="pictures{" many" * (len(shown) > 1)}">{"".join(shown)}</div>' if shown else ""


def _cards(files: list[File]) -> str:
    cards = []
    for file in files:
        if file.media_type not in PICTURES:
            name = f"{file.title}.{file.name.rpartition('.')[2]}" if file.title else file.name
            about = f'<div class="title">{html.escape(name)}</div><div class="size">{words.size(len(file.content))}</div>'
            cards.append(f'<div class="file">{ICON}<div>{about}</div></div>')
    return "".join(cards)


def _buttons(message: Message) -> str:
    styles = {1: "primary", 4: "danger"}
    buttons = "".join(
        f'<span class="button {styles.get(button.get("style", 2), "")}">{html.escape(button["label"])}</span>'
        for row in message.components
        for button in row["components"]
    )
    return f'<div class="buttons">{buttons}</div>' if buttons else ""
