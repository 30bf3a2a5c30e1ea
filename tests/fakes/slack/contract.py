"""What Slack's Web API takes and refuses, for the methods Cellmate calls: a hand-made table from docs.slack.dev/reference.

A method, argument or value outside of it is a violation: the fake answers as Slack would, and remembers it for its teardown.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One Web API method."""

    required: frozenset[str]
    optional: frozenset[str]
    tier: int
    """Calls a minute, by docs.slack.dev/apis/web-api/rate-limits (1: 1, 2: 20, 3: 50, 4: 100; 0: special, not counted)."""


def _method(required: str, optional: str = "", tier: int = 3) -> Method:
    return Method(frozenset(required.split()), frozenset(optional.split()), tier)


_POST = "text blocks attachments metadata parse unfurl_links unfurl_media thread_ts mrkdwn link_names reply_broadcast"
METHODS: dict[str, Method] = {
    "agents.sessions.setStatus": _method("channel_id status", "thread_ts title initiator_user_id", 0),
    "apps.connections.open": _method("", "", 0),
    "assistant.threads.setStatus": _method("channel_id thread_ts status", "loading_messages", 0),
    "auth.test": _method("", "", 0),
    "chat.appendStream": _method("channel ts", "markdown_text chunks", 4),
    "chat.delete": _method("channel ts", "as_user", 3),
    "chat.postEphemeral": _method("channel user", "text blocks attachments parse link_names thread_ts", 4),
    "chat.postMessage": _method("channel", _POST, 0),
    "chat.startStream": _method(
        "channel thread_ts", "markdown_text chunks recipient_user_id recipient_team_id task_display_mode", 2
    ),
    "chat.stopStream": _method("channel ts", "markdown_text chunks blocks metadata session_status", 2),
    "chat.update": _method("channel ts", "text blocks attachments metadata parse link_names file_ids reply_broadcast", 3),
    "conversations.replies": _method("channel ts", "cursor inclusive latest limit oldest include_all_metadata", 3),
    "files.completeUploadExternal": _method("files", "channel_id thread_ts initial_comment channels blocks", 4),
    "files.getUploadURLExternal": _method("filename length", "alt_txt snippet_type", 4),
    "files.info": _method("file", "count cursor limit page", 4),
    "reactions.add": _method("channel timestamp name", "", 3),
    "reactions.remove": _method("channel timestamp name", "", 2),
    "users.info": _method("user", "include_locale", 4),
}
PER_MINUTE = {1: 1, 2: 20, 3: 50, 4: 100}

TEXT = 40_000
UPDATE = 4_000
MARKDOWN = 12_000
STREAM = 10_600
BLOCKS = 50
ALT = 1_000


class Broken(Exception):
    """A documented limit or rule was broken. `error` is Slack's answer; `str()` says which rule."""

    def __init__(self, error: str, rule: str) -> None:
        super().__init__(f"{error}: {rule}")
        self.error = error


def check_arguments(name: str, args: Mapping[str, Any]) -> None:
    """Raises `Broken` for an argument the method does not have, or lacks. Bolt adds `team_id` to every call."""
    method = METHODS[name]
    known = method.required | method.optional | {"team_id", "token"}
    if unknown := sorted(set(args) - known):
        raise Broken("invalid_arguments", f"{name} has no argument {', '.join(unknown)}")
    if missing := sorted(key for key in method.required if args.get(key) in (None, "") and key != "status"):
        raise Broken("missing_argument" if name.startswith("files.") else "invalid_arguments", f"{name} lacks {missing}")


def check_blocks(blocks: Any) -> None:
    """A message's blocks by the Block Kit reference."""
    if not isinstance(blocks, list):
        raise Broken("invalid_blocks_format", "blocks are a list")
    if len(blocks) > BLOCKS:
        raise Broken("invalid_blocks", f"a message has at most {BLOCKS} blocks, not {len(blocks)}")
    for block in blocks:
        _check_block(block)
    total = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
    if total > MARKDOWN:
        raise Broken("msg_blocks_too_long", f"markdown blocks of a message hold {MARKDOWN} characters, not {total}")


def _check_block(block: Json) -> None:
    match block.get("type"):
        case "markdown":
            _length("a markdown block's text", block.get("text"), 1, MARKDOWN)
            _keys(block, "type text block_id")
        case "section":
            _length("a section's text", (block.get("text") or {}).get("text"), 1, 3_000)
            _keys(block, "type text block_id fields accessory expand")
        case "context":
            _count("a context block's elements", block.get("elements"), 10)
            for element in block["elements"]:
                if element.get("type") not in ("mrkdwn", "plain_text"):
                    raise Broken("invalid_blocks", f"a context block takes no {element.get('type')}")
                _length("a context element's text", element.get("text"), 1, 3_000)
        case "actions":
            _count("an actions block's elements", block.get("elements"), 25)
            for element in block["elements"]:
                _check_button(element)
            ids = [element["action_id"] for element in block["elements"]]
            if len(set(ids)) < len(ids):
                raise Broken("invalid_blocks", "action_id is unique within a message")
        case other:
            raise Broken("invalid_blocks", f"unknown block type {other!r}")


def _check_button(element: Json) -> None:
    if element.get("type") != "button":
        raise Broken("invalid_blocks", f"unknown element {element.get('type')!r}")
    _keys(element, "type text action_id value style url confirm accessibility_label")
    if (element.get("text") or {}).get("type") != "plain_text":
        raise Broken("invalid_blocks", "a button's text is plain_text")
    _length("a button's text", element["text"].get("text"), 1, 75)
    _length("a button's value", element.get("value", "-"), 1, 2_000)
    _length("an action_id", element.get("action_id"), 1, 255)
    if element.get("style") not in (None, "primary", "danger"):
        raise Broken("invalid_blocks", "a button's style is primary or danger")


def check_chunks(chunks: Any) -> None:
    """A stream's chunks (docs.slack.dev, chat.appendStream)."""
    if not isinstance(chunks, list) or not chunks:
        raise Broken("invalid_chunks", "chunks are a list that is not empty")
    for chunk in chunks:
        match chunk.get("type"):
            case "markdown_text":
                _length("a markdown_text chunk", chunk.get("text"), 1, MARKDOWN, "msg_too_long")
                _keys(chunk, "type text")
            case "task_update":
                _keys(chunk, "type id title status details output sources")
                if not chunk.get("id") or not chunk.get("title"):
                    raise Broken("invalid_chunks", "a task has an id and a title")
                if chunk.get("status") not in ("pending", "in_progress", "complete", "error"):
                    raise Broken("invalid_chunks", f"unknown task status {chunk.get('status')!r}")
            case "plan_update":
                _keys(chunk, "type title")
            case other:
                raise Broken("invalid_chunks", f"unknown chunk type {other!r}")


def check_metadata(metadata: Any) -> None:
    """Message metadata: an event_type and a flat payload."""
    if metadata is None:
        return
    if not isinstance(metadata, dict) or set(metadata) != {"event_type", "event_payload"}:
        raise Broken("invalid_metadata_format", "metadata has event_type and event_payload")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,255}", metadata["event_type"]):
        raise Broken("invalid_metadata_format", "event_type is a short word")


def _length(what: str, text: Any, low: int, high: int, error: str = "invalid_blocks") -> None:
    if not isinstance(text, str) or not low <= len(text) <= high:
        raise Broken(error, f"{what} has {low} to {high:,} characters, not {len(text) if isinstance(text, str) else text!r}")


def _count(what: str, items: Any, high: int) -> None:
    if not isinstance(items, list) or not 1 <= len(items) <= high:
        raise Broken("invalid_blocks", f"{what}: 1 to {high}")


def _keys(thing: Json, known: str) -> None:
    if unknown := set(thing) - set(known.split()):
        raise Broken("invalid_blocks", f"a {thing.get('type')} has no {', '.join(sorted(unknown))}")


def decoded(args: Mapping[str, Any]) -> Json:
    """Arguments as values: those of a form or a query string hold lists and objects as JSON."""
    return {key: _decoded(value) for key, value in args.items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


_TOKENS = re.compile(r"<(?:!(channel|here|everyone)|@([UW][A-Z0-9]+)|!subteam\^([A-Z0-9]+))(?:\|[^>]*)?>")
_BARE = re.compile(r"@(channel|here|everyone)\b")


def pings(mrkdwn: Iterable[str], markdown: Iterable[str], *, linked: bool) -> set[str]:
    """Whom these texts notify: user ids, "everyone", group ids.

    Slack's tokens count in both kinds of text. Whether Markdown also knows entities and bare names is not documented, so here
    it does. `linked`: `link_names` or `parse=full`, with which bare names count in mrkdwn too.
    """
    found: set[str] = set()
    plain, rich = list(mrkdwn), [text.replace("&lt;", "<").replace("&gt;", ">") for text in markdown]
    for text in plain + rich:
        for everyone, user, group in _TOKENS.findall(text):
            found.add("everyone" if everyone else user or group)
    for text in rich + (plain if linked else []):
        found |= {"everyone" for _ in _BARE.findall(text)}
    return found
