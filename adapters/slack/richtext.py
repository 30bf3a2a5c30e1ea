"""What people write in Slack, as Markdown.

Read from `rich_text` blocks, which hold code verbatim; `text` has it escaped and its links rewritten
(docs.slack.dev, "Rich text block", "Formatting message text").
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Names = Callable[[str], str]
"""A user id to a name, or to the id where none is known."""
Json = Mapping[str, Any]

_TOKEN = re.compile(r"<([^<>\n]+)>")
_FENCE = re.compile(r"```[ ]*\n?(.*?)\n?```", re.DOTALL)
_STYLES = {"bold": "**", "italic": "*", "strike": "~~", "code": "`"}


def message_text(event: Json, bot: str, names: Names) -> str:
    """A message as Markdown: our own mention taken out, entities undone, code as it was written."""
    rich = [block for block in event.get("blocks") or [] if block.get("type") == "rich_text"]
    if rich:
        parts = [_element(element, bot, names) for block in rich for element in block.get("elements", [])]
        return "\n".join(part for part in parts if part).strip()
    return plain_text(str(event.get("text") or ""), bot, names)


def plain_text(text: str, bot: str, names: Names) -> str:
    """Slack's `text` as Markdown, where there are no blocks."""
    text = _TOKEN.sub(lambda match: _entity(match[1], bot, names), text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return _FENCE.sub(lambda match: f"\n```\n{match[1]}\n```\n", text).strip()


def mentioned(event: Json) -> set[str]:
    """The ids of the users a message mentions."""
    return set(re.findall(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>", str(event.get("text") or ""))) | {
        str(element["user_id"])
        for block in event.get("blocks") or []
        if block.get("type") == "rich_text"
        for element in _leaves(block)
        if element.get("type") == "user" and element.get("user_id")
    }


def table_csv(block: Json) -> str:
    """A pasted table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in block.get("rows", []):
        writer.writerow([_cell(cell) for cell in row])
    return out.getvalue()


def _cell(cell: Json) -> str:
    if cell.get("type") == "rich_text":
        return "".join(str(leaf.get("text") or leaf.get("url") or "") for leaf in _leaves(cell))
    return str(cell.get("text", ""))


def _leaves(block: Json) -> Iterable[Json]:
    for element in block.get("elements", []):
        if "elements" in element:
            yield from _leaves(element)
        else:
            yield element


def _entity(inner: str, bot: str, names: Names) -> str:
    target, _, label = inner.partition("|")
    if target.startswith("@"):
        return "" if target[1:] == bot else f"@{label or names(target[1:])}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return f"@{label.removeprefix('@') or target[1:].partition('^')[0]}"
    return target if not label or label == target else f"{label} ({target})"


def _element(element: Json, bot: str, names: Names) -> str:
    inner = element.get("elements", [])
    match element.get("type"):
        case "rich_text_preformatted":
            code = "".join(str(leaf.get("text") or leaf.get("url") or "") for leaf in inner).strip("\n")
            ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
            return f"{ticks}{element.get('language') or ''}\n{code}\n{ticks}"
        case "rich_text_quote":
            return "\n".join(f"> {line}" for line in _run(inner, bot, names).splitlines())
        case "rich_text_list":
            mark = "1." if element.get("style") == "ordered" else "-"
            indent = "  " * int(element.get("indent") or 0)
            return "\n".join(f"{indent}{mark} {_run(item.get('elements', []), bot, names)}" for item in inner)
        case _:
            return _run(inner, bot, names).strip("\n")


def _run(leaves: Iterable[Json], bot: str, names: Names) -> str:
    return "".join(_leaf(leaf, bot, names) for leaf in leaves)


def _leaf(leaf: Json, bot: str, names: Names) -> str:
    match leaf.get("type"):
        case "user":
            user = str(leaf.get("user_id"))
            return "" if user == bot else f"@{names(user)}"
        case "link":
            url, text = str(leaf.get("url")), str(leaf.get("text") or "")
            return url if text in ("", url) else f"{text} ({url})"
        case "channel":
            return f"#{leaf.get('channel_id')}"
        case "broadcast":
            return f"@{leaf.get('range')}"
        case "usergroup":
            return f"@{leaf.get('usergroup_id')}"
        case "emoji":
            return _emoji(leaf)
        case _:
            return _styled(str(leaf.get("text") or ""), leaf.get("style") or {})


def _emoji(leaf: Json) -> str:
    try:
        return "".join(chr(int(point, 16)) for point in str(leaf["unicode"]).split("-"))
    except (KeyError, ValueError, OverflowError):
        return f":{leaf.get('name')}:"


def _styled(text: str, style: Json) -> str:
    core = text.strip()
    if not core:
        return text
    marks = [mark for name, mark in _STYLES.items() if style.get(name)]
    start = text.index(core)
    return text[:start] + "".join(marks) + core + "".join(reversed(marks)) + text[start + len(core) :]
