"""What a person types, as Slack's client sends it: `text` with entities, and the same as a `rich_text` block."""

import re
from collections.abc import Mapping

from tests.fakes.slack.contract import Json

_FENCE = re.compile(r"```(?:([a-z0-9+]*)\n)?(.*?)```", re.DOTALL)


def written(text: str, people: Mapping[str, str], mention: str | None) -> tuple[str, list[Json]]:
    """`@name` becomes a mention where the name is in `people` (name to id); `mention` is put in front."""
    pattern = re.compile("@(" + "|".join(map(re.escape, people)) + r")\b") if people else None
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = pattern.sub(lambda match: f"<@{people[match[1]]}>", escaped) if pattern else escaped
    elements: list[Json] = []
    place = 0
    for match in [*_FENCE.finditer(text), None]:
        before = text[place : match.start() if match else len(text)].strip("\n")
        if before.strip() or (mention and not elements):
            elements.append(_section(before, pattern, people, mention if not elements else None))
        if match:
            code, language = match[2].strip("\n"), {"language": match[1]} if match[1] else {}
            leaf = {"type": "text", "text": code}
            elements.append({"type": "rich_text_preformatted", "border": 0, "elements": [leaf], **language})
            place = match.end()
    head = f"<@{mention}> " if mention else ""
    return head + flat, [{"type": "rich_text", "block_id": "b1", "elements": elements}] if elements else []


def _section(text: str, pattern: "re.Pattern[str] | None", people: Mapping[str, str], mention: str | None) -> Json:
    leaves: list[Json] = [{"type": "user", "user_id": mention}, {"type": "text", "text": " "}] if mention else []
    pieces = pattern.split(text) if pattern else [text]
    for number, piece in enumerate(pieces):
        if number % 2:
            leaves.append({"type": "user", "user_id": people[piece]})
        elif piece:
            leaves.append({"type": "text", "text": piece})
    return {"type": "rich_text_section", "elements": leaves}
