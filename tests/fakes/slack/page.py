"""A thread as a page of its own, in Slack's look, from which pictures are made. Nothing is loaded from anywhere."""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from markdown_it import MarkdownIt

from sandbox.media import media_type
from tests.fakes.slack.contract import Json
from tests.fakes.slack.world import BOT_USER, Post, Upload, World

_COLOURS = ("#4a154b", "#1264a3", "#2bac76", "#de4e2b", "#9b5de5", "#00798c")
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
_STYLE = Path(__file__).with_suffix(".css").read_text()
_MARKS = {"complete": "✔", "error": "✖", "in_progress": "◐", "pending": "○"}


def render_page(world: World, channel: str, posts: Sequence[Post]) -> str:
    """One HTML document; images as data addresses."""
    place = f"@{channel[1:]}" if channel.startswith("@") else f"# {channel}"
    first, *rest = [_message(world, post, number) for number, post in enumerate(posts)]
    count = f"<div class=count>{len(rest)} repl{'y' if len(rest) == 1 else 'ies'}</div>" if rest else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Thread in {escape(place)}</title><style>{_STYLE}</style>"
        f"<main><header>Thread <small>{escape(place)}</small></header>{first}{count}{''.join(rest)}</main></html>"
    )


def _message(world: World, post: Post, number: int) -> str:
    name = "Cellmate" if post.user == BOT_USER else world.name(post.user).title()
    badge = "<span class=app>APP</span>" if post.user == BOT_USER else ""
    only = "<div class=hint>Only visible to you</div>" if post.only_for else ""
    reactions = "".join(f"<span class=react>:{escape(name)}: 1</span>" for name, _ in sorted(post.reactions))
    kind = " class=only" if post.only_for else ""
    return (
        f"<article{kind}>{_face(name)}<div class=body>{only}<span class=who>{escape(name)}</span>"
        f"{badge}<time>10:{24 + number // 2:02d} AM</time>{_content(world, post)}{reactions}</div></article>"
    )


def _face(name: str) -> str:
    colour = "#2a2a2e" if name == "Cellmate" else _COLOURS[hashlib.sha256(name.encode()).digest()[0] % len(_COLOURS)]
    return (
        f'<div class=face style="background:{colour}" aria-hidden=true>{"▚" if name == "Cellmate" else escape(name[0])}</div>'
    )


def _content(world: World, post: Post) -> str:
    if post.user != BOT_USER:
        body = _mrkdwn(world, post.text)
    else:
        parts = [
            "<div class=tasks>" + "".join(map(_task, run)) + "</div>"
            if task
            else "".join(_MARKDOWN.render(one["text"]) for one in run)
            for task, run in groupby(post.flow, lambda chunk: chunk["type"] == "task_update")
        ]
        body = "".join(parts) + "".join(_block(world, block) for block in post.blocks)
        body = body or _mrkdwn(world, post.text)
        if world.native_stop(post):
            body += "<button class=stop>◼ Stop</button>"
    return body + "".join(_file(upload) for upload in post.files)


def _block(world: World, block: Json) -> str:
    match block["type"]:
        case "markdown":
            return str(_MARKDOWN.render(block["text"]))
        case "section":
            return _mrkdwn(world, block["text"]["text"])
        case "context":
            return f"<div class=note>{' · '.join(_mrkdwn(world, one['text'], inline=True) for one in block['elements'])}</div>"
        case _:
            return "".join(
                f"<button{' class=danger' if one.get('style') == 'danger' else ''}>{escape(one['text']['text'])}</button>"
                for one in block["elements"]
            )


def _task(chunk: Json) -> str:
    extra = f" <span>— {escape(chunk['output'])}</span>" if chunk.get("output") else ""
    return (
        f"<div class='task {chunk['status']}'><i>{_MARKS[chunk['status']]}</i>"
        f"<div><b>{escape(chunk['title'])}</b>{extra}</div></div>"
    )


def _mrkdwn(world: World, text: str, *, inline: bool = False) -> str:
    """Slack's own markup, as far as people and Cellmate use it: mentions, code, line ends."""
    pieces = re.split(r"```\n?(.*?)\n?```", text, flags=re.DOTALL)
    shown = []
    for number, piece in enumerate(pieces):
        if number % 2:
            shown.append(f"<pre><code>{_entities(piece)}</code></pre>")
            continue
        piece = re.sub(r"<@([UW][A-Z0-9]+)>", lambda match: f"\0@{world.name(match[1])}\1", piece.strip("\n"))
        html = _entities(piece).replace("\0", "<span class=at>").replace("\1", "</span>").replace("\n", "<br>")
        html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
        shown.append(html if inline else f"<p>{html}</p>" if html else "")
    return "".join(shown)


def _entities(text: str) -> str:
    return escape(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def _file(upload: Upload) -> str:
    name, kind = escape(upload.title or upload.name), media_type(upload.name)
    if kind.startswith("image/"):
        data = base64.b64encode(upload.content).decode()
        return (
            f'<figure><figcaption>{name}</figcaption><img src="data:{kind};base64,{data}" alt="{escape(upload.alt)}"></figure>'
        )
    suffix = escape((upload.name.rpartition(".")[2] or "file")[:4].upper())
    size = f"{upload.size / 1000:.1f} kB" if upload.size >= 1000 else f"{upload.size} bytes"
    about = f"<b>{name}</b><span>{suffix} · {size}</span>"
    return f'<div class=file title="{escape(upload.alt)}"><i>{suffix}</i><div>{about}</div></div>'
