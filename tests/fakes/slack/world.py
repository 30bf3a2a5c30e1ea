"""The workspace of the fake: people, channels, messages, files, streams. What Slack keeps, without its wires."""

import itertools
import re
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.platform import Message, Shown
from tests.fakes.slack.contract import Json, pings

TEAM, BOT_USER, BOT_ID, APP = "T0CELLMATE", "U0CELLMATE", "B0CELLMATE", "A0CELLMATE"
OTHER_TEAM = "T0OTHER"


@dataclass(slots=True)
class Upload:
    """A file at Slack."""

    id: str
    name: str
    size: int
    content: bytes = b""
    title: str = ""
    alt: str = ""
    owner: str = BOT_USER


@dataclass(slots=True)
class Post:
    """One message as Slack keeps it."""

    channel: str
    ts: str
    user: str
    text: str = ""
    blocks: list[Json] = field(default_factory=list)
    thread_ts: str | None = None
    files: list[Upload] = field(default_factory=list)
    metadata: Json | None = None
    only_for: str | None = None
    linked: bool = False
    edited: bool = False
    event: Json = field(default_factory=dict)
    """A person's message as it was delivered."""
    reactions: set[tuple[str, str]] = field(default_factory=set)
    stream: Literal["", "open", "done", "stopped"] = ""
    began: float = 0.0
    weight: int = 0
    flow: list[Json] = field(default_factory=list)
    """A stream's chunks in order; a task stands where it first came."""

    @property
    def root(self) -> str:
        return self.thread_ts or self.ts

    def feed(self, chunks: list[Json]) -> None:
        """Take in a stream's chunks: text joins text, a task replaces its earlier state."""
        for chunk in chunks:
            if chunk["type"] == "markdown_text" and self.flow and self.flow[-1]["type"] == "markdown_text":
                self.flow[-1] = {**chunk, "text": self.flow[-1]["text"] + chunk["text"]}
            elif chunk["type"] == "task_update" and any(chunk["id"] == old.get("id") for old in self.flow):
                self.flow = [({**old, **chunk} if old.get("id") == chunk["id"] else old) for old in self.flow]
            else:
                self.flow.append(dict(chunk))

    def parts(self) -> list[tuple[str, str]]:
        """What a reader sees, in order, as (kind, text): markdown, mrkdwn, note, task."""
        shown = [
            ("markdown", str(chunk["text"])) if chunk["type"] == "markdown_text" else ("task", _task(chunk))
            for chunk in self.flow
        ]
        for block in self.blocks:
            match block["type"]:
                case "markdown":
                    shown.append(("markdown", block["text"]))
                case "section":
                    shown.append(("mrkdwn", block["text"]["text"]))
                case "context":
                    shown += [("note", element["text"]) for element in block["elements"]]
        return shown or ([("mrkdwn", self.text)] if self.text else [])

    def buttons(self) -> list[Json]:
        return [element for block in self.blocks if block["type"] == "actions" for element in block["elements"]]

    def pinged(self) -> set[str]:
        rich = [text for kind, text in self.parts() if kind in ("markdown", "task")]
        plain = [self.text, *(text for kind, text in self.parts() if kind in ("mrkdwn", "note"))]
        names = [text for file in self.files for text in (file.title, file.name, file.alt)]
        return pings([*plain, *names], rich, linked=self.linked)


def _task(chunk: Json) -> str:
    mark = {"pending": "…", "in_progress": "▸", "complete": "✓", "error": "✗"}[chunk["status"]]
    extra = " — ".join(chunk[key] for key in ("details", "output") if chunk.get(key))
    return f"[{mark}] {chunk['title']}" + (f" — {extra}" if extra else "")


class World:
    """Everything there is in the workspace."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)
        self.posts: list[Post] = []
        self.uploads: dict[str, Upload] = {}
        self.people: dict[str, str] = {"cellmate": BOT_USER}
        self.channels: dict[str, str] = {}
        self.external: set[str] = set()
        """Names of people from another organisation."""
        self.statuses: dict[tuple[str, str], list[str]] = {}
        """By channel and thread: every status in order, prefixed by its kind."""

    def ts(self) -> str:
        return f"1795{next(self._ticks):06d}.{int(time.monotonic() * 1e6) % 1_000_000:06d}"

    def person(self, name: str) -> str:
        return self.people.setdefault(name, f"U0{re.sub('[^A-Z0-9]', '', name.upper())}")

    def name(self, id: str) -> str:
        return next((name for name, known in self.people.items() if known == id), id)

    def channel(self, name: str) -> str:
        return self.channels.setdefault(name, f"C0{re.sub('[^A-Z0-9]', '', name.upper())}")

    def direct(self, name: str) -> str:
        return self.channels.setdefault(f"@{name}", f"D{self.person(name)[1:]}")

    def team(self, user: str) -> str:
        return OTHER_TEAM if self.name(user) in self.external else TEAM

    def find(self, channel: str, ts: str) -> Post | None:
        return next((post for post in self.posts if (post.channel, post.ts) == (channel, ts)), None)

    def thread(self, channel: str, root: str) -> list[Post]:
        return [post for post in self.posts if post.channel == channel and post.root == root]

    def native_stop(self, post: Post) -> bool:
        """Whether Slack shows its own Stop button, here under the newest message of the bot."""
        mine = [one for one in self.thread(post.channel, post.root) if one.user == BOT_USER and not one.only_for]
        return self.busy(post.channel, post.root) and mine[-1:] == [post]

    def busy(self, channel: str, root: str) -> bool:
        """Whether an agent's session in the thread is at work."""
        return (self.statuses.get((channel, root)) or [""])[-1] == "sessions:processing"

    def message(self, post: Post) -> Message:
        """A message as a member of the channel sees it."""
        text = "\n".join(_plain(kind, text) for kind, text in post.parts())
        buttons = [element["text"]["text"] for element in post.buttons()]
        if self.native_stop(post):
            buttons.append("Stop")
        return Message(
            id=post.ts,
            author=self.name(post.user),
            text=text,
            files=[Shown(file.title or file.name, file.content, file.alt) for file in post.files],
            buttons=buttons,
            only_for=self.name(post.only_for) if post.only_for else None,
            notified=sorted("everyone" if who == "everyone" else self.name(who) for who in post.pinged())
            if post.user == BOT_USER
            else [],
        )

    def stored(self, post: Post, *, metadata: bool) -> Json:
        """A message as `conversations.replies` gives it."""
        if post.event:
            return {key: value for key, value in post.event.items() if key not in ("channel", "channel_type", "event_ts")}
        blocks: list[Any] = [
            {"type": "task_card", "task_id": chunk["id"], "title": chunk["title"], "status": chunk["status"]}
            for chunk in post.flow
            if chunk["type"] == "task_update"
        ]
        body: Json = {
            "type": "message",
            "ts": post.ts,
            "user": post.user,
            "bot_id": BOT_ID,
            "app_id": APP,
            "team": TEAM,
            "text": post.text or "".join(chunk.get("text", "") for chunk in post.flow),
            "blocks": [*blocks, *post.blocks],
            "files": [self.file(upload, "") for upload in post.files],
        }
        if post.thread_ts:
            body["thread_ts"] = post.thread_ts
        return body | ({"metadata": post.metadata} if metadata and post.metadata else {})

    def file(self, upload: Upload, base: str, media_type: str = "application/octet-stream") -> Json:
        """A file object."""
        url = f"{base}/files-pri/{TEAM}-{upload.id}/download/{upload.name}"
        return {
            "id": upload.id,
            "name": upload.name,
            "title": upload.title or upload.name,
            "mimetype": media_type,
            "size": upload.size,
            "mode": "hosted",
            "user": upload.owner,
            "url_private": url,
            "url_private_download": url,
        }


def _plain(kind: str, text: str) -> str:
    if kind in ("mrkdwn", "note"):
        return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return text
